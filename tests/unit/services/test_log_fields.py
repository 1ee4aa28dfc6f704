"""Log lines of all services have one name for one thing, so that one search finds all of them."""

import ast
from collections.abc import Iterator
from pathlib import Path

SERVICES = Path(__file__).resolve().parents[3] / "services"
METHODS = {"debug", "info", "warning", "error", "exception", "critical"}
# What somebody might call it, and what it is called.
OTHER_NAMES = {
    "agent": "agent_id",
    "correlation": "correlation_id",
    "execution": "execution_id",
    "execution_ids": "executions (how many) or execution_id",
    "command": "execution_id, step and attempt; of a message, type",
    "command_id": "execution_id, step and attempt",
    "step_id": "step",
    "message": "message_id",
    "msg": "message_id",
    "queue_name": "queue",
    "letter": "dead_letter_id",
    "workflow": "workflow_id or workflow_name",
    "duration": "seconds",
    "elapsed": "seconds",
    "exc": "error or exc_info",
}
# These stand on every line already, and nobody else may say them.
OURS = {"service", "level", "timestamp", "event"}


def log_calls() -> Iterator[tuple[str, ast.Call]]:
    for path in sorted(SERVICES.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in METHODS):
                continue
            if isinstance(node.func.value, ast.Name) and node.func.value.id in ("log", "_log"):
                yield f"{path.relative_to(SERVICES)}:{node.lineno}", node


def test_there_is_one_name_for_one_thing() -> None:
    calls = list(log_calls())
    assert len(calls) > 100
    found = [
        f"{where}: {keyword.arg}, which is {OTHER_NAMES.get(keyword.arg, 'not for lines to say')}"
        for where, call in calls
        for keyword in call.keywords
        if keyword.arg is not None and keyword.arg in OTHER_NAMES.keys() | OURS
    ]
    assert found == []


def test_an_event_is_a_constant_text_by_which_it_can_be_searched_for() -> None:
    """What differs from line to line stands in fields."""
    texts = [(where, call.args[0]) for where, call in log_calls() if call.args]
    assert [where for where, text in texts if isinstance(text, ast.JoinedStr)] == []

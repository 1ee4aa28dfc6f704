"""Run a workflow through the REST API, as any client would, and show it while it runs."""

import hashlib
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import httpx
from rich.console import Console, Group
from rich.live import Live
from rich.markup import escape
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

POLL_SECONDS = 0.1
AGENTS_WAIT_SECONDS = 30.0
# Faults that pass by themselves while agents are still introducing themselves.
_NOT_YET = {"unknown_agent_type", "unknown_action"}
_STYLES = {
    "pending": "dim",
    "running": "yellow",
    "waiting": "magenta",
    "succeeded": "green",
    "failed": "bold red",
    "skipped": "blue",
    "cancelled": "red",
}

View = Mapping[str, Any]


class ExampleFailed(Exception):
    """The workflow was refused, or did not complete; the message says why."""


def run_example(
    api: str, headers: Mapping[str, str], definition: Path, console: Console, *, patience: float = 120.0
) -> View:
    """Store the definition, execute it, follow it to its end and return the execution. ``headers`` hold the API key.

    Raises:
        ExampleFailed: refused, not completed, or not ended within ``patience`` seconds.
    """
    with httpx.Client(base_url=api, headers=headers, timeout=30.0) as client:
        workflow_id = _store(client, definition)
        console.print(f"[bold]POST[/] {api}/workflows?workflow_id={workflow_id}   ({definition.name})")
        started = _answer(client.post(f"/workflows/{workflow_id}/execute"))
        console.print(f"[bold]POST[/] {api}/workflows/{workflow_id}/execute")
        view = _follow(client, started["execution_id"], console, time.monotonic() + patience)
    if view["status"] != "completed":
        errors = "; ".join(f"{step}: {error['type']}: {error['message']}" for step, error in view["errors"].items())
        raise ExampleFailed(f"the example ended as {view['status']}: {errors or view['reason'] or 'no reason given'}")
    return view


def show_decision(view: View, decision: str, console: Console) -> None:
    """The rationale of every step that decided something, and last that of the step named ``decision``."""
    outputs = {step: shown["output"] for step, shown in view["steps"].items() if isinstance(shown["output"], dict)}
    decisions = {step: output for step, output in outputs.items() if "rationale" in output and "winner" in output}
    if decision not in decisions:
        raise ExampleFailed(f"step {decision!r} has decided nothing; decided have: {', '.join(decisions) or 'none'}")
    for step in [*(step for step in decisions if step != decision), decision]:
        output = decisions[step]
        title = f"{step} ({output['method']}): {output['winner'] or 'no winner'}"
        style = "bold green" if step == decision else "dim"
        panel = Panel(Text(output["rationale"]), title=escape(title), title_align="left", border_style=style)
        console.print(panel, soft_wrap=False)
    console.print(f"Decision: [bold green]{escape(str(decisions[decision]['winner']))}[/]")


# ---- asking


def _store(client: httpx.Client, definition: Path) -> str:
    """Store the definition under an id made of its content, so that storing it again changes nothing."""
    content = definition.read_bytes()
    workflow_id = f"{definition.stem}-{hashlib.sha256(content).hexdigest()[:8]}"
    deadline = time.monotonic() + AGENTS_WAIT_SECONDS
    while True:
        answer = client.post(
            "/workflows",
            params={"workflow_id": workflow_id},
            content=content,
            headers={"Content-Type": "application/yaml"},
        )
        if not _passes_by_itself(answer) or time.monotonic() > deadline:
            _answer(answer)
            return workflow_id
        time.sleep(POLL_SECONDS)


def _passes_by_itself(answer: httpx.Response) -> bool:
    if answer.status_code == httpx.codes.SERVICE_UNAVAILABLE:
        return True
    if answer.status_code != httpx.codes.UNPROCESSABLE_ENTITY:
        return False
    codes = {error["code"] for error in answer.json().get("errors", ())}
    return bool(codes) and codes <= _NOT_YET


def _answer(response: httpx.Response) -> dict[str, Any]:
    """
    Raises:
        ExampleFailed: with the problem document's words and every fault.
    """
    if response.is_success:
        body: dict[str, Any] = response.json()
        return body
    problem = response.json()
    faults = "".join(f"\n  {fault['path']}: {fault['message']}" for fault in problem.get("errors", ()))
    request = response.request
    raise ExampleFailed(f"{request.method} {request.url.path} was refused: {problem.get('detail')}{faults}")


# ---- showing


def _follow(client: httpx.Client, execution_id: str, console: Console, deadline: float) -> View:
    if not console.is_terminal:
        return _poll(client, execution_id, deadline, _Printer(console))
    with Live(console=console, refresh_per_second=10) as live:
        return _poll(client, execution_id, deadline, lambda view: live.update(_table(view)))


def _poll(client: httpx.Client, execution_id: str, deadline: float, show: Callable[[View], None]) -> View:
    while True:
        response = client.get(f"/executions/{execution_id}", params={"include_large": True})
        if response.status_code != httpx.codes.SERVICE_UNAVAILABLE:
            view = _answer(response)
            show(view)
            if view["status"] != "running":
                return view
        if time.monotonic() > deadline:
            raise ExampleFailed(f"execution {execution_id} has not ended in time")
        time.sleep(POLL_SECONDS)


def _table(view: View) -> Group:
    table = Table(title=f"{view['workflow_name']}  {view['execution_id']}", title_justify="left", expand=False)
    for column in ("step", "action", "agent", "status", "attempt", "time"):
        table.add_column(column, justify="right" if column in ("attempt", "time") else "left")
    for step, shown in view["steps"].items():
        status = shown["status"]
        table.add_row(
            step,
            str(shown["action"]),
            shown["agent_id"] or str(shown["agent_type"]),
            Text(status, style=_STYLES.get(status, "")),
            str(shown["attempts"] or ""),
            _duration(shown),
        )
    return Group(table, Text(_remark(view), style="dim"))


def _duration(shown: View) -> str:
    seconds = shown["duration_seconds"]
    return "" if seconds is None else f"{seconds * 1000:,.0f} ms"


def _remark(view: View) -> str:
    remarks = [
        f"{step}: {shown['skipped_because']}" for step, shown in view["steps"].items() if shown["skipped_because"]
    ]
    remarks += [f"{step}: {shown['error']['message']}" for step, shown in view["steps"].items() if shown["error"]]
    counts = ", ".join(f"{number} {status}" for status, number in view["counts"].items())
    return "\n".join([f"{view['status']}: {counts}", *remarks])


class _Printer:
    """Where there is no terminal: a line for each change of a step."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._shown: dict[str, tuple[str, int]] = {}

    def __call__(self, view: View) -> None:
        for step, shown in view["steps"].items():
            state = (shown["status"], shown["attempts"])
            if state != self._shown.get(step, ("pending", 0)):
                self._shown[step] = state
                agent = shown["agent_id"] or shown["agent_type"]
                attempt = f"attempt {shown['attempts']}" if shown["attempts"] else ""
                parts = [f"  {step}: {shown['status']}", f"{agent} {shown['action']}", attempt, _duration(shown)]
                self._console.print(", ".join(filter(None, parts)), highlight=False)
        if view["status"] != "running":
            self._console.print(_remark(view), highlight=False)

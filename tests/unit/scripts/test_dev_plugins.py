"""What start_dev.py says of plugins."""

from typing import Any

from rich.text import Text

from scripts.dev_plugins import plugin_lines


def agent_type(name: str, service: str = "plugin_agent", available: bool = True) -> dict[str, Any]:
    return {"agent_type": name, "hosts": [{"service": service, "available": available}]}


def lines(items: list[dict[str, Any]], *faults: tuple[str, str]) -> list[str]:
    said = [{"plugin": plugin, "error": error} for plugin, error in faults]
    return [Text.from_markup(line).plain for line in plugin_lines({"items": items, "faults": said}, "my/[plugins]")]


def test_types_of_plugins_are_counted_and_others_are_not() -> None:
    found = [agent_type("a"), agent_type("b"), agent_type("data_agent", "data_agent"), agent_type("old", "x", False)]
    assert lines(found) == ["plugins: 2 agent types (a, b)   PLUGIN_FOLDER: my/[plugins]"]
    assert lines(found[1:2]) == ["plugins: 1 agent type (b)   PLUGIN_FOLDER: my/[plugins]"]
    assert lines([agent_type("gone", available=False)]) == ["plugins: none loaded   PLUGIN_FOLDER: my/[plugins]"]


def test_every_fault_has_a_line_once() -> None:
    typo = ("typo", "line 2\n  f(\n  ^\nSyntaxError: [b]")
    faults = [typo, ("PLUGIN_FOLDER", "no such folder"), typo]
    assert lines([], *faults)[1:] == [
        "  not loaded: typo: line 2 f( ^ SyntaxError: [b]",
        "  not loaded: PLUGIN_FOLDER: no such folder",
    ]

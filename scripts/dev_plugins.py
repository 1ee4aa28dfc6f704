"""Which plugins the services have loaded and which not, as the API says it, in a line each."""

import time
from collections.abc import Iterable, Mapping
from typing import Any

import httpx
from rich.console import Console
from rich.markup import escape

POLL_SECONDS = 0.1
WAIT_SECONDS = 3.0  # for the plugin agent to announce itself, which it does as soon as all services run
SERVICE = "plugin_agent"

Types = Mapping[str, Any]


def show_plugins(api: str, headers: Mapping[str, str], folder: str, console: Console) -> None:
    """Print what has become of the plugins in ``folder`` (PLUGIN_FOLDER) and of installed ones.

    ``headers`` hold the API key.
    """
    for line in plugin_lines(_types(api, headers), folder):
        console.print(line)


def plugin_lines(types: Types, folder: str) -> list[str]:
    """Lines in rich's markup. ``types`` is the body of ``GET /agents/types``."""
    names = [escape(one["agent_type"]) for one in types["items"] if any(map(_is_plugin_host, one["hosts"]))]
    loaded = f"{len(names)} agent type{'' if len(names) == 1 else 's'} ({', '.join(names)})" if names else "none loaded"
    # Every replica of the plugin agent says the same.
    faults = dict.fromkeys((fault["plugin"], " ".join(fault["error"].split())) for fault in types["faults"])
    return [
        f"plugins: {loaded}   [dim]PLUGIN_FOLDER: {escape(folder)}[/]",
        *(f"  [bold red]not loaded:[/] {escape(plugin)}: {escape(error)}" for plugin, error in faults),
    ]


def _types(api: str, headers: Mapping[str, str]) -> Types:
    """What the API says once the plugin agent has been heard, or after a while, since it may have nothing to say."""
    deadline = time.monotonic() + WAIT_SECONDS
    answer: Types = {"items": [], "faults": []}
    while True:
        try:
            response = httpx.get(f"{api}/agents/types", headers=headers, timeout=WAIT_SECONDS)
            answer = response.json() if response.is_success else answer
        except httpx.TransportError:
            pass  # the services run, and whatever keeps them from answering now is told by what comes next
        if _is_heard(answer) or time.monotonic() > deadline:
            return answer
        time.sleep(POLL_SECONDS)


def _is_heard(types: Types) -> bool:
    hosts: Iterable[Mapping[str, Any]] = (host for one in types["items"] for host in one["hosts"])
    return bool(types["faults"]) or any(map(_is_plugin_host, hosts))


def _is_plugin_host(host: Mapping[str, Any]) -> bool:
    return bool(host["available"]) and host["service"] == SERVICE

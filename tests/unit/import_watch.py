"""Run as a script: import modules and report what importing them did.

    python import_watch.py ROOT MODULE ...

Prints one JSON object: module -> effects. What a library does while *it* is imported is the library's business: an
effect counts against one of our modules only if no import of a library stands between them on the stack.
"""

import importlib
import json
import logging
import os
import sys
import threading
from types import FrameType
from typing import Any

_WATCHED = frozenset(
    {
        "socket.__new__",
        "socket.connect",
        "socket.bind",
        "subprocess.Popen",
        "os.system",
        "os.fork",
        "os.mkdir",
        "os.remove",
        "os.rename",
        "os.putenv",
        "os.unsetenv",
    }
)
_READ_BY_LIBRARIES = frozenset({"PYDANTIC_DISABLE_PLUGINS"})  # at the definition of every model
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT


def main(root: str, modules: list[str]) -> dict[str, list[str]]:
    sys.path.insert(0, root)
    effects: dict[str, list[str]] = {}

    def blame(effect: str) -> None:
        frame: FrameType | None = sys._getframe(2)
        while frame is not None and not frame.f_code.co_filename.startswith("<frozen importlib"):
            name = frame.f_code.co_filename
            if name.startswith(root) and "site-packages" not in name and name != __file__:
                effects.setdefault(frame.f_globals["__name__"], []).append(f"{effect} in line {frame.f_lineno}")
                return
            frame = frame.f_back

    def audit(event: str, arguments: tuple[Any, ...]) -> None:
        if event in _WATCHED:
            blame(event)
        elif event == "open" and isinstance(arguments[2], int) and arguments[2] & _WRITING:
            blame(f"open for writing: {arguments[0]!r}")

    class WatchedEnvironment(type(os.environ)):  # type: ignore[misc]
        def __getitem__(self, key: str) -> str:
            if key not in _READ_BY_LIBRARIES:
                blame(f"environment read: {key}")
            return str(super().__getitem__(key))

        def __iter__(self) -> Any:
            blame("environment read: all of it")
            return super().__iter__()

    start_thread = threading.Thread.start

    def watched_start(thread: threading.Thread) -> None:
        blame("thread started")
        start_thread(thread)

    os.environ.__class__ = WatchedEnvironment
    threading.Thread.start = watched_start  # type: ignore[method-assign]
    sys.addaudithook(audit)
    for module in modules:
        handlers = list(logging.getLogger().handlers)
        importlib.import_module(module)
        if logging.getLogger().handlers != handlers:
            effects.setdefault(module, []).append("logging configured")
    return effects


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1], sys.argv[2:])))

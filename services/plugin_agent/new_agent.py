"""``python -m services new-agent NAME [--folder DIR]``: write a working agent package, with a test, to start from."""

import argparse
import importlib.util
import keyword
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from string import Template

from services.plugin_agent.checking import built_in_names, reserved_words
from services.plugin_agent.new_agent_files import FILES
from services.plugin_agent.sources import GROUP

_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")

NEXT_STEPS = """\
wrote $folder: $files

  run its test     python -m pytest $folder
  run the agent    PLUGIN_FOLDER=$folder/src python scripts/start_dev.py
                   (or install it beside Conclave, and start the plugin agent: python -m pip install -e $folder)
  see it           curl -H "X-API-Key: $$(cat .conclave/secrets/admin-key)" http://127.0.0.1:$port/api/v1/agents/types
  make it yours    $folder/src/$name/agent.py, and docs/agent_development_guide.md
"""


class CannotCreate(Exception):
    """The package cannot be written; the message says why."""


def create_agent(name: str, folder: Path) -> list[Path]:
    """Write the package ``folder/name``; returns its files.

    Raises:
        CannotCreate: a bad name, something of that name is there, or the folder cannot be written.
    """
    target = folder / name
    _check_name(name, target)
    values = {"name": name, "package": name.replace("_", "-"), "cls": _class_name(name), "group": GROUP}
    texts = {
        target / Template(path).substitute(values): Template(text).substitute(values) for path, text in FILES.items()
    }
    try:
        target.mkdir(parents=True)
        for path, text in texts.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise CannotCreate(f"{error.filename or target} cannot be written: {error.strerror}") from error
    return list(texts)


def _check_name(name: str, target: Path) -> None:
    if not _NAME.fullmatch(name) or keyword.iskeyword(name):
        raise CannotCreate(
            f"{name!r} is no name for an agent: it becomes a Python package, so lower-case letters, digits and '_', at"
            " most 64, beginning with a letter, and no word of the language; for example price_checker"
        )
    if name in built_in_names() | reserved_words():
        raise CannotCreate(f"{name!r} is a name of Conclave's own; choose another, for example my_{name}")
    if target.exists():
        raise CannotCreate(f"{target} exists already; choose another name, or another --folder")
    if name in sys.stdlib_module_names or importlib.util.find_spec(name) is not None:
        raise CannotCreate(
            f"a Python module called {name!r} exists already, which a package would hide; choose another"
        )


def _class_name(name: str) -> str:
    return "".join(part.capitalize() for part in name.split("_"))


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m services new-agent", description=__doc__)
    parser.add_argument("name", help="the agent type and the package, for example price_checker")
    parser.add_argument("--folder", type=Path, default=Path(), help="where to write it (default: here)")
    options = parser.parse_args(arguments)
    try:
        written = create_agent(options.name, options.folder)
    except CannotCreate as error:
        print(f"new-agent: {error}", file=sys.stderr)
        return 1
    folder = options.folder / options.name
    files = ", ".join(str(path.relative_to(folder)) for path in written)
    print(Template(NEXT_STEPS).substitute(folder=folder, files=files, name=options.name, port=_port()))
    return 0


def _port() -> str:
    """Where the API is in this shell; 0 stands for any port, which nobody knows yet."""
    given = os.environ.get("API_PORT", "")
    return "8000" if given in ("", "0") else given

"""Where plugins come from: the entry points of installed packages, and a folder of plain files."""

import importlib
import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType

from services.runtime.agent import BaseAgent
from services.runtime.hosting.folder_packages import package_of

GROUP = "conclave.agents"
FOLDER_SETTING = "PLUGIN_FOLDER"
_LEFT_OUT = (".", "_")


class BadPlugin(Exception):
    """A plugin that cannot be used, and why."""


@dataclass(frozen=True, slots=True)
class Plugin:
    """A plugin that was found and not loaded yet: its name, where it is, and how to get its agent classes.

    ``load`` imports the plugin, so it raises whatever the plugin raises. ``package`` is the name of the installed
    package that it belongs to; empty where it belongs to none.
    """

    name: str
    source: str
    load: Callable[[], Sequence[type[BaseAgent]]]
    package: str = ""


# ---- installed packages


def installed_plugins() -> list[Plugin]:
    """One for each entry point of the group ``conclave.agents``, by name."""
    found = sorted(entry_points(group=GROUP), key=lambda entry: (entry.name, entry.value))
    return [
        Plugin(entry.name, _described(entry), partial(_class_of, entry), entry.dist.name if entry.dist else "")
        for entry in found
    ]


def _described(entry: EntryPoint) -> str:
    package = f"{entry.dist.name} {entry.dist.version}, " if entry.dist else ""
    return f"{package}entry point {entry.name} = {entry.value}"


def _class_of(entry: EntryPoint) -> list[type[BaseAgent]]:
    found = entry.load()
    if not (isinstance(found, type) and issubclass(found, BaseAgent) and found is not BaseAgent):
        raise BadPlugin(f"{entry.value} is no subclass of BaseAgent")
    return [found]


# ---- a folder


def folder_plugins(folder: Path) -> list[Plugin]:
    """One for each ``*.py`` file and each package in the folder, by name; names that begin with ``_`` or ``.`` are
    left out, so that files may share helpers (``from . import _helpers``)."""
    try:
        paths = sorted(path for path in folder.iterdir() if not path.name.startswith(_LEFT_OUT))
    except OSError as error:
        return [Plugin(FOLDER_SETTING, str(folder), partial(_raise, _unreadable(folder, error)))]
    return [
        Plugin(path.stem, str(path), partial(_classes_in, folder, path))
        for path in paths
        if (path.suffix == ".py" and path.is_file()) or (path / "__init__.py").is_file()
    ]


def _unreadable(folder: Path, error: OSError) -> BadPlugin:
    return BadPlugin(f"{FOLDER_SETTING} names {folder}, which cannot be listed: {error.strerror}")


def _raise(error: Exception) -> Sequence[type[BaseAgent]]:
    raise error


def _classes_in(folder: Path, path: Path) -> list[type[BaseAgent]]:
    if "." in path.stem:
        raise BadPlugin(f"a module's name has no dots in it: rename {path.stem!r}")
    module = importlib.import_module(f"{package_of(folder)}.{path.stem}")
    if not _came_from(module, path):
        raise BadPlugin(f"{module.__file__} has the same name, and hides it: rename one of them")
    classes = [found for found in vars(module).values() if _is_agent_class(found) and _is_of(module, found)]
    if not classes:
        raise BadPlugin(
            "no agent class: a plugin defines at least one subclass of BaseAgent whose name does not begin with '_'"
            " (a package does so in its __init__.py, or imports it there from one of its own modules)"
        )
    return list(dict.fromkeys(classes))


def _is_agent_class(found: object) -> bool:
    """Base classes for a plugin's own use are no types: those that are abstract or begin with ``_``."""
    return (
        isinstance(found, type)
        and issubclass(found, BaseAgent)
        and not found.__name__.startswith("_")
        and not inspect.isabstract(found)
    )


def _came_from(module: ModuleType, path: Path) -> bool:
    """Whether the module came from that file or that package, and not from another of the same name."""
    found = Path(module.__file__ or "").resolve()
    return found in (path.resolve(), (path / "__init__.py").resolve())


def _is_of(module: ModuleType, found: type) -> bool:
    return found.__module__ == module.__name__ or found.__module__.startswith(f"{module.__name__}.")

"""Modules of a plain folder under a package name of their own.

Whatever such a module is called, it shadows nothing; and its classes can be sent to another process, which knows
nothing of the folder before.
"""

import hashlib
import importlib
import sys
from collections.abc import Callable
from operator import attrgetter
from pathlib import Path
from pickle import PicklingError  # nosec B403
from types import ModuleType
from typing import Any

_PREFIX = "conclave_folder_"


def package_of(folder: Path) -> str:
    """The name of the package below which the folder's modules can be imported from now on. A folder has the same name
    in every process."""
    path = str(folder.resolve())
    name = _PREFIX + hashlib.sha256(path.encode()).hexdigest()[:12]
    if name not in sys.modules:
        package = ModuleType(name, f"The modules of {path}.")
        package.__path__ = [path]
        sys.modules[name] = package
    return name


class Portable:
    """A class in a form that can be pickled for another process; unpickled it is the class itself."""

    def __init__(self, found: type) -> None:
        self._class = found

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str, str, str | None]]:
        """
        Raises:
            pickle.PicklingError: the class does not stand at the top of its module, where others could find it.
        """
        if not is_importable(self._class):
            raise PicklingError(f"{self._class.__module__} has no {self._class.__qualname__} that can be imported")
        return _imported, (self._class.__module__, self._class.__qualname__, _folder_of(self._class))


def is_importable(found: type) -> bool:
    """Whether the class can be had by the names of its module and its own."""
    try:
        return bool(attrgetter(found.__qualname__)(sys.modules[found.__module__]) is found)
    except (AttributeError, KeyError):
        return False


def _folder_of(found: type) -> str | None:
    root = found.__module__.partition(".")[0]
    return str(sys.modules[root].__path__[0]) if root.startswith(_PREFIX) else None


def _imported(module: str, name: str, folder: str | None) -> Any:
    if folder is not None:
        package_of(Path(folder))
    return attrgetter(name)(importlib.import_module(module))

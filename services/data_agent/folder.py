"""The data folder: which of its files a name means, and that nothing outside it can be meant.

Links that stay inside are followed. A hard link to a file outside cannot be told from a file: whoever can make one in
the folder could as well copy the file there.
"""

from collections.abc import Sequence
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Literal

from services.data_agent.data_file import DataFile, NotThatFile, open_file
from services.runtime.agent import CapabilityError

Format = Literal["csv", "jsonl", "json", "parquet"]
SUFFIXES: dict[str, Format] = {
    ".csv": "csv",
    ".tsv": "csv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "json",
    ".parquet": "parquet",
}
_LISTED = 30
# DuckDB reads these in a path as a pattern, which could match a link that leads out of the folder.
_PATTERN = set("*?[]{}")


class DataFolder:
    """Finds data files by name.

    Raises (all methods):
        CapabilityError: ``NoDataFolder``, ``SourceNotFound``, ``AmbiguousSource``, ``ForbiddenPath``, ``FileTooLarge``.
    """

    def __init__(self, root: Path | None, max_file_bytes: int) -> None:
        self._root = root
        self._max_file_bytes = max_file_bytes

    def open(self, name: str, formats: Sequence[Format] = ("csv", "jsonl", "json", "parquet")) -> DataFile:
        """The file that ``name`` means, open: that very file, or the one with a data suffix added."""
        root = self._resolved_root(name)
        _refuse_odd_path(name)
        exact = self._inside(root, name)
        suffixes = [suffix for suffix, format_ in SUFFIXES.items() if format_ in formats]
        guesses = [exact] if exact else [self._inside(root, name + suffix) for suffix in suffixes]
        found = [path for path in guesses if path is not None]
        if not found:
            raise CapabilityError(
                f"there is no data file {name!r}; {self._what_there_is(root)}",
                code="SourceNotFound",
                details={"available": self.available(root)[:_LISTED]},
            )
        if len(found) > 1:
            names = ", ".join(path.name for path in found)
            raise CapabilityError(f"{name!r} means several files: {names}; give the suffix", code="AmbiguousSource")
        return self._opened(root, found[0], name)

    def available(self, root: Path) -> list[str]:
        """The data files of the folder, by the paths under which they can be named."""
        files = (path for path in root.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
        return sorted(path.relative_to(root).as_posix() for path in files)

    def _resolved_root(self, name: str) -> Path:
        if self._root is None:
            raise CapabilityError(
                f"cannot read {name!r}: this agent has no data folder, so it reads inline records only",
                code="NoDataFolder",
            )
        if not self._root.is_dir():
            raise CapabilityError(f"the agent's data folder does not exist: {self._root.name}", code="NoDataFolder")
        return self._root.resolve()

    def _inside(self, root: Path, relative: str) -> Path | None:
        try:
            path = (root / relative).resolve(strict=True)
        except (OSError, RuntimeError, ValueError):  # it is not there, or links run in a circle
            return None
        if not path.is_relative_to(root):
            raise _forbidden(relative, "it is a link that leads out of the data folder")
        if _PATTERN & set(str(path)):
            raise _forbidden(relative, f"it leads to a path with one of {' '.join(sorted(_PATTERN))}")
        return path if path.is_file() else None

    def _opened(self, root: Path, path: Path, name: str) -> DataFile:
        try:
            file = open_file(root, path)
        except NotThatFile as error:
            raise _forbidden(name, str(error)) from None
        except OSError as error:
            raise CapabilityError(f"{name!r} cannot be read: {error.strerror}", code="SourceNotFound") from error
        if file.size > self._max_file_bytes:
            file.close()
            message = f"{name!r} has {file.size} bytes; at most {self._max_file_bytes} are read"
            raise CapabilityError(message, code="FileTooLarge")
        return file

    def _what_there_is(self, root: Path) -> str:
        names = self.available(root)
        if not names:
            return "the data folder holds no data files"
        rest = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
        return f"the data folder has: {', '.join(names[:_LISTED])}{rest}"


def _refuse_odd_path(name: str) -> None:
    parts = {*PurePosixPath(name).parts, *PureWindowsPath(name).parts}
    if PurePosixPath(name).is_absolute() or PureWindowsPath(name).anchor or ".." in parts:
        raise _forbidden(name, "a path is relative to the data folder and has no '..'")
    if "\0" in name or _PATTERN & set(name):
        raise _forbidden(name, f"a path has no NUL and none of {' '.join(sorted(_PATTERN))}")


def _forbidden(name: str, reason: str) -> CapabilityError:
    return CapabilityError(f"{name!r} may not be read: {reason}", code="ForbiddenPath")

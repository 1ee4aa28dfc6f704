"""A data file, opened: what is read is what was checked, whatever happens to its name meanwhile."""

import os
import stat
from dataclasses import dataclass
from pathlib import Path

_DESCRIPTORS = Path("/proc/self/fd")
_DIRECTORY = getattr(os, "O_DIRECTORY", 0) | getattr(os, "O_NOFOLLOW", 0)
# Without waiting: opening a pipe that nobody writes to would take for ever.
_FILE = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)


class NotThatFile(Exception):
    """What stands under the name is a link, or no plain file: it was swapped after it had been looked at, or is a
    device or a pipe."""


@dataclass(frozen=True, slots=True)
class DataFile:
    """``name`` is the file's own, for people; ``path`` is what to open; ``size`` in bytes."""

    name: str
    path: Path
    size: int
    _descriptor: int | None = None

    @property
    def suffix(self) -> str:
        return Path(self.name).suffix.lower()

    def close(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)


def open_file(root: Path, path: Path) -> DataFile:
    """Open ``path``, which is resolved and below ``root``, following no link on the way.

    From then on its path is that of the open descriptor, which means the same file whoever renames or replaces what.
    Where the system has no such paths, it is the path that was checked.

    Raises:
        NotThatFile: see there.
        OSError: it is gone, or may not be read.
    """
    if os.open not in os.supports_dir_fd or not _DESCRIPTORS.is_dir():
        found = path.lstat()
        _require_plain(found.st_mode)
        return DataFile(path.name, path, found.st_size)
    descriptor = _descend(root, path.relative_to(root).parts)
    try:
        found = os.fstat(descriptor)
        _require_plain(found.st_mode)
    except BaseException:
        os.close(descriptor)
        raise
    return DataFile(path.name, _DESCRIPTORS / str(descriptor), found.st_size, descriptor)


def _descend(root: Path, parts: tuple[str, ...]) -> int:
    at = os.open(root, os.O_RDONLY | _DIRECTORY)
    for number, part in enumerate(parts, 1):
        flags = _FILE if number == len(parts) else _DIRECTORY
        try:
            below = os.open(part, os.O_RDONLY | flags, dir_fd=at)
        except FileNotFoundError:
            raise
        except OSError as error:
            raise NotThatFile(f"{part!r} is a link, or cannot be opened: {error.strerror}") from None
        finally:
            os.close(at)
        at = below
    return at


def _require_plain(mode: int) -> None:
    if not stat.S_ISREG(mode):
        raise NotThatFile("it is no plain file")

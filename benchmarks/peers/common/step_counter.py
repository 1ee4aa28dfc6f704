"""How many steps were really executed, over all worker processes: each writes its own count to a file that is mapped
into memory, which costs about a microsecond a step and asks no server."""

import mmap
import os
import struct
import threading
from pathlib import Path

_NUMBER = struct.Struct("=Q")
_lock = threading.Lock()
_counters: dict[int, mmap.mmap] = {}  # by process: a forked worker must not write into its parent's


def count_step() -> None:
    """Call it once in every execution of a step."""
    process = os.getpid()
    with _lock:
        if process not in _counters:
            _counters[process] = _open(process)
        memory = _counters[process]
        _NUMBER.pack_into(memory, 0, _NUMBER.unpack_from(memory, 0)[0] + 1)


def executed_steps() -> int:
    """The count of every process that ever counted, since this peer was started."""
    return sum(_NUMBER.unpack(path.read_bytes())[0] for path in _folder().glob("*"))


def _open(process: int) -> mmap.mmap:
    folder = _folder()
    folder.mkdir(exist_ok=True)
    path = folder / str(process)
    if not path.exists():
        path.write_bytes(_NUMBER.pack(0))
    with path.open("r+b") as file:
        return mmap.mmap(file.fileno(), _NUMBER.size)


def _folder() -> Path:
    return Path(os.environ["SCRATCH"]) / "executed"

"""Make the virtual environment ``.venv`` from ``requirements-dev.lock``: exact versions, each file checked by hash.

    python scripts/setup_environment.py

Needs Python 3.11 or later with pip, and nothing else. Run again, it does nothing unless the lock file, the Python
or the environment itself has changed; then it makes the environment anew. ``start_dev.py`` and ``run_tests.py`` call
``run_in_environment``, which does this first and then goes on inside the environment.
"""

from __future__ import annotations  # so that an older Python is told which one is needed

import contextlib
import hashlib
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import time
import venv
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / ".venv"
LOCK = ROOT / "requirements-dev.lock"
OLDEST = (3, 11)
LOG_LINES_SHOWN = 25


class SetupFailed(Exception):
    """The environment could not be made; the message says what to do."""


def environment_python(folder: Path = FOLDER) -> Path:
    return folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def ensure_environment(folder: Path = FOLDER, lock: Path = LOCK) -> Path:
    """Make the environment if it is not there or not what the lock file says; return its Python.

    Raises:
        SetupFailed: with the reason and, where pip failed, the end of what it said.
    """
    if sys.version_info < OLDEST:
        raise SetupFailed(f"Python {'.'.join(map(str, OLDEST))} or later is needed, this is {sys.version.split()[0]}")
    if not lock.exists():
        raise SetupFailed(f"{lock} is missing; it is part of the repository")
    if _is_ready(folder, lock):
        return environment_python(folder)
    with _one_at_a_time(folder):
        if not _is_ready(folder, lock):
            _make(folder, lock)
    return environment_python(folder)


def run_in_environment(script: str | Path) -> None:
    """Go on inside the environment: return at once if this is it, else replace this process by the same script
    run by the environment's Python. Ends the process with a message if the environment cannot be made."""
    try:
        python = ensure_environment()
    except SetupFailed as failure:
        sys.exit(f"setup failed: {failure}")
    if Path(sys.prefix).resolve() == FOLDER.resolve():
        return
    command = [str(python), str(Path(script).resolve()), *sys.argv[1:]]
    sys.stdout.flush()
    if os.name == "nt":
        sys.exit(subprocess.call(command))
    os.execv(command[0], command)


# ---- making it


def _make(folder: Path, lock: Path) -> None:
    started = time.monotonic()
    _say(f"making {folder} from {lock.name} with Python {sys.version.split()[0]}")
    try:
        venv.EnvBuilder(clear=True, with_pip=False, symlinks=os.name != "nt").create(folder)
    except OSError as error:
        raise SetupFailed(f"{folder} cannot be made: {error}") from error
    _install(folder, lock)
    _point_at_project(folder)
    _stamp(folder).write_text(_fingerprint(lock), encoding="utf-8")
    _say(f"done in {time.monotonic() - started:.0f} s")


def _install(folder: Path, lock: Path) -> None:
    """This Python's pip fills the environment, so the environment needs none of its own (Debian splits ensurepip
    off, so not every Python could give it one)."""
    python = environment_python(folder)
    command = [_outer_python(folder), "-m", "pip", "--python", str(python), "--disable-pip-version-check", "install"]
    command += ["--require-hashes", "--no-input", "--progress-bar", "off", "--requirement", str(lock)]
    total = len(re.findall(r"^\S+==", lock.read_text(encoding="utf-8"), re.MULTILINE))
    progress = _Progress(total)
    said: list[str] = []
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", env=_pip_environment()
    ) as pip:
        for line in pip.stdout or ():
            said.append(line.rstrip())
            progress.show(line)
    progress.end()
    if pip.returncode != 0:
        shutil.rmtree(folder, ignore_errors=True)
        raise SetupFailed(_explain(said, command[0]))


def _outer_python(folder: Path) -> str:
    """A Python with pip that is not the environment's own: this one, or the one that this one was made of."""
    inside = Path(sys.prefix).resolve() == folder.resolve()
    if inside or importlib.util.find_spec("pip") is None:
        return str(getattr(sys, "_base_executable", sys.executable))
    return sys.executable


def _pip_environment() -> dict[str, str]:
    """What the user set for pip (an index, a proxy) holds; what would change where or whether it installs does not."""
    refused = {"PIP_TARGET", "PIP_PREFIX", "PIP_USER", "PIP_REQUIRE_VIRTUALENV", "PIP_NO_DEPS", "PYTHONHOME"}
    return {name: value for name, value in os.environ.items() if name not in refused}


def _explain(said: list[str], python: str) -> str:
    text = "\n".join(said[-LOG_LINES_SHOWN:])
    if "No module named pip" in text:
        return f"{python} has no pip: install it (python -m ensurepip, or your system's python3-pip), try again"
    if "no such option: --python" in text:
        return f"the pip of {python} is too old: python -m pip install --upgrade pip (22.3 or later), try again"
    if "DO NOT MATCH THE HASHES" in text:
        return f"a package is not the one that was locked; nothing was installed. pip said:\n{text}"
    return f"pip could not install what {LOCK.name} lists. Is a package index reachable? pip said:\n{text}"


def _point_at_project(folder: Path) -> None:
    """Let the environment import the project from the repository, wherever it is started."""
    for packages in folder.glob("**/site-packages"):
        (packages / "conclave.pth").write_text(f"{ROOT}\n", encoding="utf-8")


# ---- knowing whether it is made


def _stamp(folder: Path) -> Path:
    return folder / "conclave-lock.txt"


def _fingerprint(lock: Path) -> str:
    """What the environment depends on: the lock, the repository's place and the Python's version."""
    digest = hashlib.sha256(lock.read_bytes()).hexdigest()
    return f"{digest}\n{ROOT}\n{sys.version_info.major}.{sys.version_info.minor}\n"


def _is_ready(folder: Path, lock: Path) -> bool:
    stamp, python = _stamp(folder), environment_python(folder)
    if not stamp.exists() or stamp.read_text(encoding="utf-8") != _fingerprint(lock):
        return False
    if Path(sys.executable).absolute() == python.absolute():
        return True
    if not python.exists():
        return False
    # The Python that it was made of may have been replaced since by one that cannot run it.
    return subprocess.run([python, "-c", ""], check=False, capture_output=True).returncode == 0


@contextlib.contextmanager
def _one_at_a_time(folder: Path) -> Iterator[None]:
    """Two commands started together must not make one environment twice."""
    try:
        import fcntl
    except ImportError:  # Windows
        yield
        return
    with folder.with_name(f"{folder.name}.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            _say("another command is making the environment; waiting for it")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


# ---- showing progress


def _say(text: str) -> None:
    print(f"setup: {text}", flush=True)


class _Progress:
    """What pip says, as one line that is rewritten on a terminal; elsewhere as a line for every tenth package."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._fetched = 0
        self._rewrites = sys.stdout.isatty()

    def show(self, line: str) -> None:
        what, _, rest = line.strip().partition(" ")
        if what == "Ignoring":  # meant for another platform or Python
            self._total -= 1
        elif what in ("Collecting", "Processing"):  # the latter where the index is a folder
            self._fetched += 1
            name = re.split(r"[=<>;\[]", rest.split()[0].rpartition("/")[2], maxsplit=1)[0]
            self._write(f"fetching {self._fetched} of {self._total}: {name}", always=self._fetched % 10 == 0)
        elif what == "Installing":
            self._write(f"installing {rest.count(',') + 1} packages", always=True)

    def _write(self, text: str, *, always: bool) -> None:
        if self._rewrites:
            width = shutil.get_terminal_size().columns - 1
            print(f"\r\033[Ksetup: {text}"[: width + 4], end="", flush=True)
        elif always:
            _say(text)

    def end(self) -> None:
        if self._rewrites and self._fetched:
            print(flush=True)


if __name__ == "__main__":
    try:
        _say(f"ready: {ensure_environment()}")
    except SetupFailed as failure:
        sys.exit(f"setup failed: {failure}")
    except KeyboardInterrupt:
        sys.exit("setup: interrupted; run it again to start over")

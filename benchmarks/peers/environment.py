"""The virtual environment of a peer: made from its pinned requirements, kept until they change."""

import hashlib
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
VENVS = ROOT / ".conclave" / "benchmarks" / "venvs"
_INSTALL_TIMEOUT = 1200.0
_STAMP = "made-from"


class SetUpFailed(Exception):
    """A virtual environment could not be made; the message holds the end of what the installer said."""


def python_of(venv: Path) -> Path:
    return venv / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")


def make_environment(requirements: Path, venv: Path) -> Path:
    """A virtual environment with exactly these requirements; returns its Python. One that is there already and was
    made from the same text by the same version of Python is left as it is.

    Raises:
        SetUpFailed: naming the command that failed.
    """
    wanted = _mark(requirements)
    stamp = venv / _STAMP
    if stamp.exists() and stamp.read_text(encoding="utf-8") == wanted:
        return python_of(venv)
    shutil.rmtree(venv, ignore_errors=True)
    venv.parent.mkdir(parents=True, exist_ok=True)
    for command in _commands(requirements, venv):
        _run(command)
    # Written last: an environment that was left half made has no stamp and is made anew.
    stamp.write_text(wanted, encoding="utf-8")
    return python_of(venv)


def _mark(requirements: Path) -> str:
    text = requirements.read_bytes()
    return f"{hashlib.sha256(text).hexdigest()} {sys.version_info.major}.{sys.version_info.minor}"


def _commands(requirements: Path, venv: Path) -> list[list[str]]:
    python = str(python_of(venv))
    uv = shutil.which("uv")
    if uv is not None:
        return [
            [uv, "venv", "--quiet", "--python", sys.executable, str(venv)],
            [uv, "pip", "install", "--quiet", "--python", python, "--requirement", str(requirements)],
        ]
    return [
        [sys.executable, "-m", "venv", str(venv)],
        [python, "-m", "pip", "install", "--quiet", "--requirement", str(requirements)],
    ]


def _run(command: Sequence[str]) -> None:
    try:
        done = subprocess.run(
            command,
            check=False,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=_INSTALL_TIMEOUT,
        )
    except subprocess.TimeoutExpired as error:
        raise SetUpFailed(f"{' '.join(command)} took more than {_INSTALL_TIMEOUT:.0f} s") from error
    if done.returncode != 0:
        tail = "\n".join(done.stdout.splitlines()[-10:])
        raise SetUpFailed(f"{' '.join(command)} ended with code {done.returncode}:\n{tail}")

"""Which version of Conclave this process runs."""

import tomllib
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

_PROJECT = Path(__file__).resolve().parents[2] / "pyproject.toml"


def own_version() -> str:
    """That of the installed package; a checkout or an image, which is not installed, has it in its pyproject.toml."""
    try:
        return version("conclave")
    except PackageNotFoundError:
        pass
    try:
        return str(tomllib.loads(_PROJECT.read_text(encoding="utf-8"))["project"]["version"])
    except OSError:
        return "unknown"

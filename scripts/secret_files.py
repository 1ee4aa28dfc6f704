"""Files that hold one secret each: readable by their owner only from their first moment on, and never half written."""

import os
import secrets
from collections.abc import Callable
from pathlib import Path


class UnsafeSecret(Exception):
    """A file of secrets is empty, or others can read it."""


def new_password() -> str:
    """256 random bits, in characters that a URL takes as they are."""
    return secrets.token_urlsafe(32)


def write_secret(path: Path, content: str, mode: int = 0o600, *, owner: int | None = None) -> None:
    """On disk, and its owner's (a user's id, and a group's), when it takes its place. A link that stands there is
    replaced, and not written through."""
    new = path.with_name(f".{path.name}.new")
    new.unlink(missing_ok=True)
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "w", encoding="utf-8") as file:
        file.write(content)
        if owner is not None:
            os.fchown(file.fileno(), owner, owner)
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)


def kept_secret(path: Path, make: Callable[[], str], *, renew: bool = False) -> str:
    """What the file says; if it is missing, or to be renewed, ``make`` says what it shall.

    Raises:
        UnsafeSecret: the file is empty, or others can read it.
    """
    if renew or not path.exists():
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_secret(path, content := make())
        return content
    if os.name == "posix" and path.stat().st_mode & 0o077:
        raise UnsafeSecret(
            f"{path} can be read by others: chmod 600 {path} (on a file system without modes, such as a Windows drive,"
            " that changes nothing: move the folder to another)"
        )
    content = path.read_text(encoding="utf-8").strip()
    if not content:
        raise UnsafeSecret(f"{path} is empty; delete it to have a new secret made")
    return content

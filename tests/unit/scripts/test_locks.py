"""The lock files: complete, hashed, and in agreement with pyproject.toml and with each other."""

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from scripts.lock import DEVELOPMENT_LOCK, ROOT, targets

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS: dict[str, list[str]] = PROJECT["optional-dependencies"]
LOCKS = targets(list(EXTRAS))
ENTRY = re.compile(r"^(?P<name>[a-z0-9-]+)==(?P<version>\S+)(?P<rest>(?:.*\\\n)*.*)$", re.MULTILINE)


def pinned(lock: Path) -> dict[str, set[str]]:
    """Package -> its versions (more than one where they depend on the Python)."""
    found: dict[str, set[str]] = {}
    for entry in ENTRY.finditer((ROOT / lock).read_text(encoding="utf-8")):
        found.setdefault(entry["name"], set()).add(entry["version"])
    return found


def requirements(extra: str) -> list[Requirement]:
    """What the project and an extra ask for, other extras of ours opened up."""
    found = [Requirement(text) for text in PROJECT["dependencies"]]
    waiting = [extra]
    while waiting:
        for requirement in map(Requirement, EXTRAS[waiting.pop()]):
            if requirement.name == PROJECT["name"]:
                waiting.extend(requirement.extras)
            else:
                found.append(requirement)
    return found


@pytest.mark.parametrize(("lock", "extra"), LOCKS.items(), ids=str)
def test_lock_holds_what_pyproject_asks_for(lock: Path, extra: str) -> None:
    versions = pinned(lock)
    for requirement in requirements(extra):
        found = versions.get(canonicalize_name(requirement.name), set())
        assert found, f"{lock} lacks {requirement}: run python scripts/lock.py"
        fitting = all(requirement.specifier.contains(version, prereleases=True) for version in found)
        assert fitting, f"{lock} has {found}, pyproject.toml asks for {requirement}: run python scripts/lock.py"


@pytest.mark.parametrize("lock", LOCKS, ids=str)
def test_every_entry_has_hashes_and_no_address(lock: Path) -> None:
    text = (ROOT / lock).read_text(encoding="utf-8")
    entries = list(ENTRY.finditer(text))
    assert entries
    assert [entry["name"] for entry in entries if "--hash=sha256:" not in entry["rest"]] == []
    assert not re.search(r"://|^-", text, re.MULTILINE)


@pytest.mark.parametrize("lock", LOCKS, ids=str)
def test_tests_run_with_the_versions_that_are_deployed(lock: Path) -> None:
    tested = pinned(DEVELOPMENT_LOCK)
    assert {name: versions for name, versions in pinned(lock).items() if versions != tested.get(name)} == {}


def test_the_embedded_store_is_in_no_runtime_lock() -> None:
    assert "secantusdb" in pinned(DEVELOPMENT_LOCK)
    assert [str(lock) for lock in LOCKS if lock != DEVELOPMENT_LOCK and "secantusdb" in pinned(lock)] == []

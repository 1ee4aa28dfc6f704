"""Making the environment, on lock files that need no package index."""

import subprocess
import sys
from pathlib import Path

import pytest

from scripts import setup_environment
from scripts.setup_environment import ROOT, SetupFailed, ensure_environment, environment_python

MISSING = f"no-such-package-of-conclave==1.0 --hash=sha256:{'0' * 64}\n"


@pytest.fixture
def lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    path = tmp_path / "test.lock"
    path.write_text("# nothing\n", encoding="utf-8")
    return path


def made_at(folder: Path) -> int:
    return (folder / "pyvenv.cfg").stat().st_mtime_ns


def test_the_environment_is_made_and_sees_the_project(tmp_path: Path, lock: Path) -> None:
    python = ensure_environment(tmp_path / "env", lock)
    assert python == environment_python(tmp_path / "env")
    question = "import contracts, sys; print(contracts.__path__[0]); print(sys.prefix)"
    done = subprocess.run([python, "-c", question], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert done.stdout.split() == [str(ROOT / "contracts"), str(tmp_path / "env")]


def test_it_is_made_once(tmp_path: Path, lock: Path) -> None:
    ensure_environment(tmp_path / "env", lock)
    before = made_at(tmp_path / "env")
    ensure_environment(tmp_path / "env", lock)
    assert made_at(tmp_path / "env") == before


def test_it_is_made_anew_when_the_lock_changes(tmp_path: Path, lock: Path) -> None:
    ensure_environment(tmp_path / "env", lock)
    before = made_at(tmp_path / "env")
    lock.write_text("# nothing, in other words\n", encoding="utf-8")
    ensure_environment(tmp_path / "env", lock)
    assert made_at(tmp_path / "env") > before


def test_it_is_made_anew_when_its_python_is_gone(tmp_path: Path, lock: Path) -> None:
    python = ensure_environment(tmp_path / "env", lock)
    python.unlink()
    assert ensure_environment(tmp_path / "env", lock).exists()


def test_what_was_left_half_made_is_made_anew(tmp_path: Path, lock: Path) -> None:
    (tmp_path / "env" / "lib").mkdir(parents=True)
    (tmp_path / "env" / "lib" / "half").write_text("", encoding="utf-8")
    assert ensure_environment(tmp_path / "env", lock).exists()
    assert not (tmp_path / "env" / "lib" / "half").exists()


def test_a_package_that_cannot_be_had_is_an_error_and_leaves_nothing(tmp_path: Path, lock: Path) -> None:
    lock.write_text(MISSING, encoding="utf-8")
    with pytest.raises(SetupFailed, match="no-such-package-of-conclave"):
        ensure_environment(tmp_path / "env", lock)
    assert not (tmp_path / "env").exists()


def test_a_missing_lock_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(SetupFailed, match=r"nowhere\.lock is missing"):
        ensure_environment(tmp_path / "env", tmp_path / "nowhere.lock")


def test_an_old_python_is_refused(tmp_path: Path, lock: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(setup_environment, "OLDEST", (99, 0))
    with pytest.raises(SetupFailed, match=r"Python 99\.0 or later is needed"):
        ensure_environment(tmp_path / "env", lock)


@pytest.mark.parametrize("script", ["setup_environment.py", "start_dev.py", "run_tests.py"])
def test_what_a_person_runs_loads_with_the_standard_library_alone(script: str) -> None:
    """On a machine that has nothing, the script itself must come as far as making the environment."""
    load = f"import runpy; runpy.run_path({str(ROOT / 'scripts' / script)!r}, run_name='loaded')"
    done = subprocess.run([sys.executable, "-I", "-S", "-c", load], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr

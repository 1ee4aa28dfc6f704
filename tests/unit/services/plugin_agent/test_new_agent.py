"""``new-agent``: a package whose test passes at once, and clear words where it cannot be written."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from services.plugin_agent.loading import load_plugins
from services.plugin_agent.new_agent import CannotCreate, create_agent, main
from services.plugin_agent.sources import folder_plugins

ROOT = Path(__file__).resolve().parents[4]


def run(*command: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, "-m", *command],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_a_new_agent_passes_its_own_test_and_can_be_loaded(tmp_path: Path) -> None:
    done = run("services", "new-agent", "stock_level", "--folder", "mine", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "PLUGIN_FOLDER=mine/stock_level/src" in done.stdout
    tested = run("pytest", "-q", "-p", "no:cacheprovider", "mine/stock_level", cwd=tmp_path)
    assert tested.returncode == 0, tested.stdout
    assert "5 passed" in tested.stdout
    assert "Warning" not in tested.stdout + tested.stderr
    loaded = load_plugins(folder_plugins(tmp_path / "mine" / "stock_level" / "src"))
    assert {kind: cls.__name__ for kind, cls in loaded.classes.items()} == {"stock_level": "StockLevel"}
    assert loaded.faults == ()


@pytest.mark.parametrize(("given", "shown"), [("", 8000), ("0", 8000), ("8123", 8123)])
def test_the_address_of_the_api_is_the_one_that_is_set(
    given: str, shown: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("API_PORT", given)
    assert main(["stock_level", "--folder", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    key = "X-API-Key: $(cat .conclave/secrets/admin-key)"
    assert f'curl -H "{key}" http://127.0.0.1:{shown}/api/v1/agents/types' in said


def test_what_is_written_is_tidy(tmp_path: Path) -> None:
    create_agent("tidy", tmp_path)
    config = str(ROOT / "pyproject.toml")
    # How imports are grouped depends on what lies beside the package.
    for command in (["check", "--ignore", "I001", "--config", config], ["format", "--check", "--config", config]):
        done = run("ruff", *command, str(tmp_path / "tidy"), cwd=tmp_path)
        assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("Price", "lower-case letters"),
        ("two words", "lower-case letters"),
        ("../out", "lower-case letters"),
        ("9lives", "beginning with a letter"),
        ("_hidden", "beginning with a letter"),
        ("price-checker", "for example price_checker"),
        ("a" * 65, "at most 64"),
        ("", "lower-case letters"),
        ("class", "no word of the language"),
        ("data_agent", "a name of Conclave's own"),
        ("mail", "a name of Conclave's own"),
        ("json", "exists already, which a package would hide"),
        ("pydantic", "exists already, which a package would hide"),
    ],
)
def test_a_bad_name_is_refused_in_clear_words(
    name: str, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([name, "--folder", str(tmp_path)]) == 1
    assert words in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_what_exists_is_left_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "taken").mkdir()
    with pytest.raises(CannotCreate, match="taken exists already"):
        create_agent("taken", tmp_path)
    assert list((tmp_path / "taken").iterdir()) == []


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(CannotCreate, match="cannot be written: Not a directory"):
        create_agent("fine", tmp_path / "file")


def test_the_help_of_services_names_the_command() -> None:
    done = run("services", "--help", cwd=ROOT)
    assert done.returncode == 0
    assert "new-agent         write a package with an agent type of your own" in done.stdout

"""``scripts/run_example.py`` against a running system, as Tilt's button and the deployment guide run it."""

from pathlib import Path

import pytest

from scripts.run_example import main
from scripts.servers import free_port
from tests.support.api_access import ADMIN_KEY
from tests.support.cluster import Cluster

pytestmark = pytest.mark.system
Capsys = pytest.CaptureFixture[str]


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    path = tmp_path / "admin-key"
    path.write_text(f"{ADMIN_KEY}\n", encoding="utf-8")
    return path


def test_the_example_is_run_against_an_api_that_is_only_starting(
    one_process: Cluster, key_file: Path, capsys: Capsys
) -> None:
    one_process.start("all")
    assert main(["--key-file", str(key_file), "--api", api_of(one_process)]) == 0
    assert "Decision: " in capsys.readouterr().out


def test_a_workflow_of_ones_own_is_run(one_process: Cluster, key_file: Path, tmp_path: Path, capsys: Capsys) -> None:
    one_process.start("all")
    workflow = tmp_path / "mine.yaml"
    workflow.write_text(
        "name: mine\nsteps:\n"
        "  - {id: look, agent_type: data_agent, action: profile, inputs: {data_source: [{x: 1}]}}\n",
        encoding="utf-8",
    )
    assert main(["--key-file", str(key_file), "--api", api_of(one_process), str(workflow)]) == 0
    assert "completed" in capsys.readouterr().out


def test_a_key_that_is_none_is_told(one_process: Cluster, tmp_path: Path, capsys: Capsys) -> None:
    one_process.start("all")
    wrong = tmp_path / "wrong"
    wrong.write_text("ck_wrong", encoding="utf-8")
    assert main(["--key-file", str(wrong), "--api", api_of(one_process)]) == 1
    assert "run_example: " in (said := capsys.readouterr().out)
    assert "was refused" in said


def test_an_api_that_is_not_there_is_told_and_so_is_a_key_file(key_file: Path, tmp_path: Path, capsys: Capsys) -> None:
    nowhere = f"http://127.0.0.1:{free_port()}"
    assert main(["--key-file", str(key_file), "--api", nowhere, "--wait", "0"]) == 1
    assert f"{nowhere} does not answer" in capsys.readouterr().out
    assert main(["--key-file", str(tmp_path / "none"), "--api", nowhere, "--wait", "0"]) == 1


def api_of(system: Cluster) -> str:
    return system.url.removesuffix("/api/v1")

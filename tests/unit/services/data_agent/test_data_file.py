"""What is read is what was checked: names that are swapped meanwhile, pipes, devices and odd names."""

import os
from pathlib import Path

import pytest

from services.data_agent import folder as folder_module
from services.data_agent.data_file import DataFile, NotThatFile, open_file
from services.data_agent.folder import DataFolder
from services.runtime.agent import CapabilityError


@pytest.fixture
def secret(folder: Path) -> Path:
    path = folder.parent / "secret.csv"
    path.write_text("password\nhunter2\n")
    return path


def open_descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def swap(path: Path, target: Path, *, is_directory: bool = False) -> None:
    path.rename(path.with_name("moved"))
    path.symlink_to(target, target_is_directory=is_directory)


def test_a_file_that_is_replaced_after_it_was_opened_is_read_as_it_was(folder: Path, secret: Path) -> None:
    (folder / "a.csv").write_text("x\n1\n")
    file = DataFolder(folder, 1_000).open("a")
    try:
        swap(folder / "a.csv", secret)
        assert file.path.read_text() == "x\n1\n"
        assert (file.name, file.suffix, file.size) == ("a.csv", ".csv", 4)
    finally:
        file.close()


@pytest.mark.parametrize("form", ["a", {"csv": "a.csv"}])
def test_a_file_that_becomes_a_link_between_check_and_opening_is_refused(
    refused, folder: Path, secret: Path, monkeypatch, form: object
) -> None:
    (folder / "a.csv").write_text("x\n1\n")
    monkeypatch.setattr(folder_module, "open_file", after(lambda: swap(folder / "a.csv", secret)))
    error = refused("process_data", data_source=form)
    assert error.code == "ForbiddenPath"
    assert "hunter2" not in str(error)


def test_a_folder_that_becomes_a_link_between_check_and_opening_is_refused(
    refused, folder: Path, secret: Path, monkeypatch
) -> None:
    (folder / "sub").mkdir()
    (folder / "sub" / "secret.csv").write_text("x\n1\n")
    monkeypatch.setattr(
        folder_module, "open_file", after(lambda: swap(folder / "sub", secret.parent, is_directory=True))
    )
    assert refused("process_data", data_source="sub/secret.csv").code == "ForbiddenPath"


def test_a_file_that_becomes_a_pipe_is_refused_and_not_waited_for(refused, folder: Path, monkeypatch) -> None:
    (folder / "a.csv").write_text("x\n1\n")

    def make_a_pipe() -> None:
        (folder / "a.csv").unlink()
        os.mkfifo(folder / "a.csv")

    monkeypatch.setattr(folder_module, "open_file", after(make_a_pipe))
    assert refused("process_data", data_source="a").code == "ForbiddenPath"


def test_a_file_that_is_gone_again_is_not_found(refused, folder: Path, monkeypatch) -> None:
    (folder / "a.csv").write_text("x\n1\n")
    monkeypatch.setattr(folder_module, "open_file", after((folder / "a.csv").unlink))
    assert refused("process_data", data_source="a").code == "SourceNotFound"


def after(what) -> object:
    def open_later(root: Path, path: Path) -> DataFile:
        what()
        return open_file(root, path)

    return open_later


@pytest.mark.parametrize("device", ["/dev/zero", "/dev/stdin", "/proc/self/environ", "/proc/self/fd/0"])
def test_links_to_devices_and_to_proc_are_refused(refused, folder: Path, device: str) -> None:
    (folder / "d.csv").symlink_to(device)
    assert refused("process_data", data_source="d.csv").code in ("ForbiddenPath", "SourceNotFound")


def test_a_device_or_a_folder_is_no_data_file(folder: Path) -> None:
    (folder / "sub").mkdir()
    os.mkfifo(folder / "pipe")
    for name in ("sub", "pipe"):
        with pytest.raises(NotThatFile):
            open_file(folder, folder / name)


@pytest.mark.parametrize(
    "name",
    [
        "x" * 1_000,
        "./././../secret.csv",
        "sub/..;/secret.csv",
        "\\\\server\\share\\x.csv",
        "//etc/passwd",
        "file:///etc/passwd",
        "~/.ssh/id_rsa",
        "secret.csv\x00.txt",
        "．．/secret.csv",  # full-width dots
        "..%2fsecret.csv",
        "CON",
        "loop.csv",
        "SECRET.CSV",
        "\u202ecsv.terces",
    ],
)
def test_odd_names_lead_nowhere(refused, folder: Path, secret: Path, name: str) -> None:
    (folder / "loop.csv").symlink_to(folder / "loop.csv")
    error = refused("process_data", data_source={"csv": name})
    assert error.code in ("ForbiddenPath", "SourceNotFound")
    assert "hunter2" not in str(error)


def test_nothing_stays_open(run, refused, folder: Path) -> None:
    (folder / "good.csv").write_text("x\n1\n")
    (folder / "ragged.csv").write_text("x,y\n1\n2,3,4\n")
    (folder / "odd.txt").write_text("x")
    (folder / "large.csv").write_text("x\n" + "1\n" * 100)
    (folder / "bad.json").write_text("{")
    run("process_data", data_source="good")
    before = open_descriptors()
    for _ in range(3):
        run("process_data", data_source="good")
        for name in ("ragged", "odd.txt", "bad.json", "none"):
            refused("process_data", data_source=name)
        with pytest.raises(CapabilityError, match="at most 10 are read"):
            DataFolder(folder, 10).open("large")
    assert open_descriptors() == before

import os
from pathlib import Path

import pytest

from services.runtime.security.watched_file import EVERY, WatchedFile
from services.runtime.settings import BadSettings


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def number_in(path: Path) -> int:
    try:
        return int(path.read_text())
    except (OSError, ValueError) as error:
        raise BadSettings(f"{path}: {error}") from error


@pytest.fixture
def clock() -> Clock:
    return Clock()


def watched(path: Path, clock: Clock, text: str = "1") -> WatchedFile[int]:
    path.write_text(text)
    return WatchedFile(path, number_in, clock=clock)


def test_a_changed_file_is_read_again_within_seconds(tmp_path: Path, clock: Clock) -> None:
    file = watched(tmp_path / "f", clock)
    file.path.write_text("22")
    assert file.value == 1
    clock.now = EVERY
    assert file.value == 22


def test_a_file_is_looked_at_when_asked(tmp_path: Path, clock: Clock) -> None:
    file = watched(tmp_path / "f", clock)
    file.path.write_text("22")
    assert file.look() == 22
    assert file.value == 22


def test_a_file_that_is_replaced_by_one_of_the_same_size_is_read_again(tmp_path: Path, clock: Clock) -> None:
    file = watched(tmp_path / "f", clock)
    other = tmp_path / "other"
    other.write_text("2")
    stamp = os.stat(file.path)
    os.utime(other, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    other.replace(file.path)
    assert file.look() == 2


def test_a_link_that_points_elsewhere_is_followed(tmp_path: Path, clock: Clock) -> None:
    (tmp_path / "a").write_text("1")
    (tmp_path / "b").write_text("2")
    link = tmp_path / "f"
    link.symlink_to("a")
    file = WatchedFile(link, number_in, clock=clock)
    link.unlink()
    link.symlink_to("b")
    assert file.look() == 2


def test_what_cannot_be_read_changes_nothing_until_it_can(tmp_path: Path, clock: Clock) -> None:
    file = watched(tmp_path / "f", clock)
    file.path.write_text("no number")
    assert file.look() == 1
    file.path.unlink()
    assert file.look() == 1
    file.path.write_text("3")
    assert file.look() == 3


def test_at_first_it_must_be_readable(tmp_path: Path, clock: Clock) -> None:
    with pytest.raises(BadSettings):
        WatchedFile(tmp_path / "missing", number_in, clock=clock)


@pytest.mark.skipif(os.name != "posix", reason="only POSIX has such permissions")
def test_a_file_that_was_refused_for_its_permissions_is_read_once_they_are_mended(tmp_path: Path, clock: Clock) -> None:
    def of_its_owner(path: Path) -> int:
        if path.stat().st_mode & 0o007:
            raise BadSettings(f"{path}: chmod 600 {path}")
        return number_in(path)

    path = tmp_path / "f"
    path.write_text("1")
    path.chmod(0o600)
    file = WatchedFile(path, of_its_owner, clock=clock)
    path.write_text("2")
    path.chmod(0o644)
    assert file.look() == 1
    path.chmod(0o600)
    assert file.look() == 2

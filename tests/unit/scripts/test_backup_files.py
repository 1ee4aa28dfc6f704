"""A backup's files and folders, without a store."""

import gzip
import json
from pathlib import Path

import bson
import pytest

from scripts import backup
from scripts.backups.files import documents_of, rows_file
from scripts.backups.folder import backups_in, complete, locked, new_backup, remove_oldest, unfinished_in
from scripts.backups.manifest import FORMAT, BackupError, FileFacts, Manifest, read_manifest, written
from scripts.backups.mongodb import DenseEntries
from scripts.backups.order import READ_IN_THIS_ORDER
from services.runtime.settings import Settings
from services.runtime.store.mongo_layout import INDEXES


def manifest(files: tuple[FileFacts, ...] = (), **fields: object) -> Manifest:
    said = {"format": FORMAT, "conclave": "0.1", "store": "mongodb", "server": "8", "database": "conclave"}
    return Manifest.model_validate({**said, "began_at": 1.5, "ended_at": 2.5, "files": files, **fields})


def made(folder: Path, began_at: float, **fields: object) -> Path:
    """A backup of empty collections."""
    with new_backup(folder, began_at) as (work, place):
        files = []
        for name in READ_IN_THIS_ORDER:
            with rows_file(work, f"{name}.bson.gz", name) as file:
                files.append(file.finish())
        complete(work, place, manifest(tuple(files), **fields))
    return place


def names(paths: list[Path]) -> list[str]:
    return [path.name for path in paths]


# ---- what is in it


def test_a_collection_that_is_added_to_the_store_is_in_backups_or_this_fails() -> None:
    assert set(INDEXES) == set(READ_IN_THIS_ORDER)
    assert len(READ_IN_THIS_ORDER) == len(INDEXES)


def test_what_refers_to_something_is_read_before_it() -> None:
    read = {name: place for place, name in enumerate(READ_IN_THIS_ORDER)}
    referring = {
        "headers": ["log"],
        "log": ["payloads", "definitions", "agents"],
        "workflows": ["definitions"],
        "agents": ["hosts"],
        "audit_checkpoints": ["audit"],
        "dead_letters": ["headers", "log"],
    }
    assert all(read[name] < read[other] for name, others in referring.items() for other in others)


def test_entries_behind_a_gap_are_told_from_those_before_it() -> None:
    seen = [
        "a-b/000000001",
        "a-b/000000003",
        "a/000000001",
        "a/000000002",
        "a/000000004",
        "a/b/000000001",
        "c/000000002",
    ]
    dense = DenseEntries()
    assert [key for key in seen if dense.keeps(key)] == [
        "a-b/000000001",
        "a/000000001",
        "a/000000002",
        "a/b/000000001",
    ]


# ---- files


def test_documents_come_back_however_large_they_are(tmp_path: Path) -> None:
    documents = [bson.encode({"_id": i, "text": "é" * size}) for i, size in enumerate([0, 1, 3_000_000, 7])]
    with rows_file(tmp_path, "x.bson.gz", "x") as file:
        for document in documents:
            file.write(document, 1)
        facts = file.finish()
    assert list(documents_of(tmp_path / "x.bson.gz")) == documents
    assert (facts.rows, facts.bytes) == (4, (tmp_path / "x.bson.gz").stat().st_size)


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (gzip.compress(bson.encode({"_id": 1}) + b"\x09\0\0\0"), "ends within a document"),
        (gzip.compress(b"\0\0\0\0" * 2), "a document of 0 bytes"),
        (gzip.compress(b"\xff\xff\xff\x7f" * 2), "a document of 2,147,483,647 bytes"),
        (gzip.compress(bson.encode({"_id": 1}))[:-9], "ended before"),
        (b"not compressed", "Not a gzipped file"),
    ],
    ids=[
        "half a document",
        "no length",
        "a length of 2 GiB",
        "half a file",
        "no gzip",
    ],  # gzip's own have the time in them
)
def test_a_file_that_is_no_file_of_documents_is_named(tmp_path: Path, content: bytes, fault: str) -> None:
    (tmp_path / "x.bson.gz").write_bytes(content)
    with pytest.raises(BackupError, match=rf"x\.bson\.gz is damaged: .*{fault}"):
        list(documents_of(tmp_path / "x.bson.gz"))


def test_a_manifest_comes_back_as_it_was_written(tmp_path: Path) -> None:
    place = made(tmp_path, 0.0, behind_a_gap=2, left_out=("more",))
    assert read_manifest(place) == manifest(read_manifest(place).files, behind_a_gap=2, left_out=("more",))
    assert backup.verify(place).rows == 0


@pytest.mark.parametrize(
    ("changed", "fault"),
    [
        ({"format": FORMAT + 1}, rf"newer Conclave \(0\.1\): it has format {FORMAT + 1}, this Conclave reads {FORMAT}"),
        ({"began_at": 1.25}, "does not say what was written"),
        ({"began_at": "soon"}, "is damaged: began_at: "),
        ({"unheard of": 1}, "is damaged: unheard of: "),
    ],
)
def test_a_manifest_that_was_changed_is_refused(tmp_path: Path, changed: dict[str, object], fault: str) -> None:
    path = made(tmp_path, 0.0) / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changed}))
    with pytest.raises(BackupError, match=fault):
        read_manifest(path.parent)


@pytest.mark.parametrize("text", ["", "[]", "{", "\0"])
def test_what_is_no_manifest_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(BackupError, match=r"manifest\.json is damaged"):
        read_manifest(tmp_path)


@pytest.mark.parametrize(
    ("files", "fault"),
    [
        ({"log": None}, "names no file of log"),
        ({"log": {"collection": "of_later"}}, "has of_later, of which this Conclave knows nothing"),
        ({"log": {"file": "../log.bson.gz"}}, "is not the name of a file beside it"),
    ],
)
def test_a_manifest_of_other_files_is_refused(tmp_path: Path, files: dict[str, object], fault: str) -> None:
    facts = []
    for name in READ_IN_THIS_ORDER:
        changed = files.get(name, {})
        if changed is not None:
            said = {"file": f"{name}.bson.gz", "collection": name, "rows": 0, "bytes": 0, "sha256": "0"}
            facts.append(FileFacts.model_validate({**said, **changed}))  # type: ignore[dict-item]
    (tmp_path / "manifest.json").write_bytes(written(manifest(tuple(facts))))
    with pytest.raises(BackupError, match=fault):
        read_manifest(tmp_path)


# ---- the folder


def test_backups_of_one_second_have_names_of_their_own_in_their_order(tmp_path: Path) -> None:
    places = [made(tmp_path, 1e9), made(tmp_path, 1e9), made(tmp_path, 1e9 - 60)]
    first, second, before = names(places)
    assert (first, second, before) == (
        "conclave-20010909T014640Z",
        "conclave-20010909T014640Z-2",
        "conclave-20010909T014540Z",
    )
    assert names(backups_in(tmp_path)) == [before, first, second]


def test_only_the_last_are_kept_and_what_cannot_be_read_is_neither_counted_nor_removed(tmp_path: Path) -> None:
    places = [made(tmp_path, 1e9 + i) for i in range(4)]
    (places[3] / "manifest.json").write_text("")
    (tmp_path / "something else").mkdir()
    removed = remove_oldest(tmp_path, 2)
    assert removed == [places[0]]
    assert {path.name for path in tmp_path.iterdir()} == {*names(places[1:]), "something else"}


def test_what_a_killed_backup_left_behind_is_shown_and_removed_by_the_next(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    left = tmp_path / "conclave-20010909T014640Z.unfinished"
    left.mkdir()
    (left / "log.bson.gz").write_bytes(b"x")
    made(tmp_path, 1e9 + 1)
    assert (backups_in(tmp_path)[0].name, unfinished_in(tmp_path)) == ("conclave-20010909T014641Z", [left])
    assert backup.main(["list", str(tmp_path)]) == 0
    assert f"{left.name}  being written, or left behind" in capsys.readouterr().out
    with locked(tmp_path):
        assert unfinished_in(tmp_path) == []
    assert len(backups_in(tmp_path)) == 1


def test_two_backups_are_not_written_to_a_folder_at_once(tmp_path: Path) -> None:
    with locked(tmp_path), pytest.raises(BackupError, match="another backup is being written"), locked(tmp_path):
        pass
    with locked(tmp_path):
        pass


def test_what_is_not_there_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    nowhere = str(tmp_path / "nowhere")
    assert [backup.main([name, nowhere]) for name in ("list", "verify", "restore")] == [1, 1, 1]
    said = capsys.readouterr().err.splitlines()
    assert [line.startswith(f"backup: {nowhere} ") for line in said] == [True] * 3


# ---- another database of the same server


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("mongodb://h:1/conclave", "mongodb://h:1/other%20one"),
        ("mongodb://u:p@h:1/conclave?tls=true", "mongodb://u:p@h:1/other%20one?tls=true&authSource=conclave"),
        ("mongodb://u:p@h/conclave?authSource=admin", "mongodb://u:p@h/other%20one?authSource=admin"),
        ("mongodb://u:p@h", "mongodb://u:p@h/other%20one?authSource=admin"),
        ("postgresql://u:p@h/conclave?sslmode=require", "postgresql://u:p@h/other%20one?sslmode=require"),
    ],
)
def test_into_another_database_with_the_same_login(url: str, expected: str) -> None:
    other = backup.another_database(Settings(database_url=url), "other one")  # type: ignore[call-arg]
    assert other.database_url == expected
    assert other.get_database_config()["database"] == "other one"

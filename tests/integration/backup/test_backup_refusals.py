"""What is refused, and that nothing is written then; and the command, which says so."""

import asyncio
import json
import os
import re
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from pymongo import MongoClient

from scripts import backup
from scripts.backups import postgres as backup_postgres
from scripts.backups.folder import backups_in, unfinished_in
from scripts.backups.manifest import BackupError, read_manifest
from scripts.backups.order import READ_IN_THIS_ORDER
from services.runtime.settings import Settings
from services.runtime.store import postgres_schema
from services.runtime.store.postgres_schema import MIGRATIONS
from tests.support.postgres import sql
from tests.support.store_backups import (
    Databases,
    Life,
    all_that_is_in,
    create,
    opened,
    restore,
    tables_of,
)
from tests.support.store_operations import host

ROOT = Path(__file__).resolve().parents[3]


# ---- what is refused, and that nothing is written then


async def assert_nothing_is_in(settings: Settings) -> None:
    async with opened(settings) as store:
        nothing = await all_that_is_in(store, ["e0", "e1", "e2"])
    assert {name for name, value in nothing.items() if value and name != "log"} == set()
    assert not any(nothing["log"].values())


async def filled_backup(source: Settings, folder: Path) -> Path:
    async with opened(source) as store:
        await Life(store).everything()
    return await create(source, folder)


async def test_a_database_that_is_not_empty_is_refused_by_name_and_left_alone(
    source: Settings, target: Settings, tmp_path: Path
) -> None:
    place = await filled_backup(source, tmp_path)
    async with opened(target) as store:
        await store.put_host(host("somebody"))
    name = target.get_database_config()["database"]
    with pytest.raises(BackupError, match=rf"database {name} is not empty: it has (rows|documents) in hosts 1"):
        await restore(target, place)
    async with opened(target) as store:
        assert [one.announced.host_id for one in await store.list_hosts()] == ["somebody"]
        assert await store.read_audit(0, 10) == []


@pytest.mark.parametrize("damage", ["flipped", "cut", "missing", "manifest", "no manifest"])
async def test_a_damaged_backup_is_refused_by_the_name_of_the_file_and_nothing_is_written(
    source: Settings, target: Settings, tmp_path: Path, damage: str
) -> None:
    place = await filled_backup(source, tmp_path)
    victim = place / read_manifest(place).of("log").file
    manifest = place / "manifest.json"
    content = victim.read_bytes()
    expected = {
        "flipped": rf"{victim.name} is damaged: its SHA-256",
        "cut": rf"{victim.name} is damaged: it has {len(content) - 1:,} bytes, and had {len(content):,}",
        "missing": rf"{victim.name} is missing",
        "manifest": r"manifest.json is damaged: it does not say what was written",
        "no manifest": r"is no backup, or an unfinished one: it has no manifest.json",
    }[damage]
    if damage == "flipped":
        middle = len(content) // 2
        victim.write_bytes(content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :])
    elif damage == "cut":
        victim.write_bytes(content[:-1])
    elif damage == "missing":
        victim.unlink()
    elif damage == "manifest":
        said = json.loads(manifest.read_text())
        said["files"] = [one for one in said["files"] if one["collection"] != "api_keys"]
        manifest.write_text(json.dumps(said))
    else:
        manifest.unlink()
    with pytest.raises(BackupError, match=expected):
        await asyncio.to_thread(backup.verify, place)
    with pytest.raises(BackupError, match=expected):
        await restore(target, place)
    await assert_nothing_is_in(target)


async def test_a_backup_of_the_other_kind_of_store_is_refused(source: Settings, tmp_path: Path) -> None:
    place = await filled_backup(source, tmp_path)
    kinds = ("mongodb", "postgresql") if source.database_url.startswith("mongodb") else ("postgresql", "mongodb")
    other = Settings(database_url=f"{kinds[1]}://127.0.0.1:1/conclave")  # type: ignore[call-arg]
    with pytest.raises(BackupError, match=f"is a backup of {kinds[0]}, and DATABASE_URL names {kinds[1]}"):
        await restore(other, place)


async def test_a_database_without_a_store_is_not_backed_up(source: Settings, tmp_path: Path) -> None:
    with pytest.raises(BackupError, match="is it the right one"):
        await create(source, tmp_path)
    assert backups_in(tmp_path) == unfinished_in(tmp_path) == []


async def test_what_fails_half_way_leaves_no_backup(source: Settings, tmp_path: Path) -> None:
    async with opened(source) as store:
        await Life(store).everything()

    def fail(collection: str, _rows: int) -> None:
        if collection == "payloads":
            raise RuntimeError("stopped here")

    with pytest.raises(RuntimeError, match="stopped here"):
        await create(source, tmp_path, progress=fail)
    assert backups_in(tmp_path) == unfinished_in(tmp_path) == []


@pytest.mark.postgres
async def test_a_restore_into_postgresql_that_fails_leaves_nothing(postgres_url: str, tmp_path: Path) -> None:
    databases = Databases("postgres", postgres_url)
    async with databases.new() as source, databases.new() as target:
        place = await filled_backup(source, tmp_path)

        def fail(collection: str, rows: int) -> None:
            if collection == "log" and rows:
                raise RuntimeError("stopped here")

        with pytest.raises(RuntimeError, match="stopped here"):
            await asyncio.to_thread(lambda: backup.restore(target, place, progress=fail))
        assert await tables_of(target) == set()
        await restore(target, place)


@pytest.mark.postgres
async def test_a_backup_of_earlier_tables_is_restored_and_upgraded(
    postgres_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    databases = Databases("postgres", postgres_url)
    async with databases.new() as source, databases.new() as target, databases.new() as prepared:
        with monkeypatch.context() as before:
            before.setattr(postgres_schema, "MIGRATIONS", MIGRATIONS[:2])
            async with opened(source) as store:
                life = Life(store)
                await life.head(await life.begin())
        place = await create(source, tmp_path)
        assert read_manifest(place).migrations == (1, 2)
        async with opened(prepared):
            pass
        with pytest.raises(BackupError, match="has tables of the versions 1, 2, 3, and the backup is of 1, 2"):
            await restore(prepared, place)
        await restore(target, place)
        async with opened(target) as store:
            assert len((await store.read_log({"e0": 0}))["e0"]) == 1
            assert (await store.read_headers(["e0"]))["e0"].restored
        assert await tables_of(target) == {*READ_IN_THIS_ORDER, "conclave_migrations"}


@pytest.mark.postgres
async def test_tables_of_a_newer_version_are_not_backed_up(postgres_url: str, tmp_path: Path) -> None:
    databases = Databases("postgres", postgres_url)
    async with databases.new() as source:
        async with opened(source):
            pass
        newer = "INSERT INTO conclave_migrations (version, name) VALUES (1000, 'what is to come')"
        await sql(source.database_url.partition("?")[0], newer)
        with pytest.raises(BackupError, match="version 1000, this Conclave knows 3 and earlier"):
            await create(source, tmp_path)
    assert backups_in(tmp_path) == []


@pytest.mark.postgres
async def test_a_backup_of_newer_tables_is_refused(
    postgres_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    databases = Databases("postgres", postgres_url)
    async with databases.new() as source, databases.new() as target:
        place = await filled_backup(source, tmp_path)
        monkeypatch.setattr(backup_postgres, "MIGRATIONS", MIGRATIONS[:2])
        with pytest.raises(BackupError, match="has tables of version 3, this Conclave knows 2 and earlier"):
            await restore(target, place)
        assert await tables_of(target) == set()


async def test_what_is_not_the_stores_is_named_and_left_out(source: Settings, tmp_path: Path) -> None:
    async with opened(source):
        pass
    if source.database_url.startswith("mongodb"):
        with MongoClient[Any](source.database_url) as client:
            client.get_default_database()["more"].insert_one({"x": 1})
    else:
        await sql(source.database_url.partition("?")[0], "CREATE TABLE more (x integer)")
    assert read_manifest(await create(source, tmp_path)).left_out == ("more",)


# ---- the command


async def test_the_command(
    databases: Databases,
    source: Settings,
    target: Settings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("DATABASE_URL", source.database_url)

    async def says(*arguments: str) -> tuple[int, str, str]:
        code = await asyncio.to_thread(backup.main, arguments)
        return code, *capsys.readouterr()

    async with opened(source) as store:
        await Life(store).everything()
    folder = tmp_path / "backups"
    capsys.readouterr()
    places = []
    for _ in range(3):
        code, out, err = await says("create", str(folder), "--keep", "2")
        assert (code, "... log" in err) == (0, True), err
        places.append(out.splitlines()[0])
    assert [str(path) for path in backups_in(folder)] == places[1:]
    code, out, _ = await says("list", str(folder))
    assert [line.split()[0] for line in out.splitlines()] == [Path(place).name for place in places[1:]]
    code, out, _ = await says("verify", "--quiet", places[2])
    assert (code, out[:7]) == (0, "whole: ")
    code, out, err = await says("restore", "--quiet", places[2])
    assert (code, out, "is not empty" in err, "--into NAME" in err) == (1, "", True, True)
    name = target.get_database_config()["database"]
    code, out, err = await says("restore", places[2], "--into", name)
    assert (code, f"restored into database {name}: " in out) == (0, True), err
    async with opened(target) as store:
        assert len((await store.read_log({"e0": 0}))["e0"]) == 2
    monkeypatch.setenv("DATABASE_URL", _elsewhere(source.database_url))
    code, out, err = await says("create", "--quiet", str(folder))
    assert (code, "backup: " in err) == (1, True)
    assert len(backups_in(folder)) == 2
    monkeypatch.setenv("DATABASE_URL", "redis://h")
    assert (await says("create", str(folder)))[0] == 2
    with pytest.raises(SystemExit):
        await says("create", str(folder), "--keep", "0")


async def test_a_disk_that_is_full_is_named_and_nothing_stays(source: Settings, tmp_path: Path) -> None:
    async with opened(source) as store:
        await Life(store).everything()
    environment = {**os.environ, "DATABASE_URL": source.database_url, "PYTHONDONTWRITEBYTECODE": "1"}
    words = f"ulimit -f 1; exec {sys.executable} scripts/backup.py create {tmp_path}"
    process = await asyncio.create_subprocess_exec(
        *("bash", "-c", words), cwd=ROOT, env=environment, stderr=asyncio.subprocess.PIPE
    )
    _, said = await process.communicate()
    assert process.returncode == 1
    assert re.search(rb"backup: \S+\.gz cannot be written: .*File too large", said), said
    assert backups_in(tmp_path) == unfinished_in(tmp_path) == []


def _elsewhere(url: str) -> str:
    parts = urlsplit(url)
    query = "serverSelectionTimeoutMS=500" if parts.scheme == "mongodb" else "connect_timeout=1"
    return parts._replace(netloc="127.0.0.1:1", query=query).geturl()

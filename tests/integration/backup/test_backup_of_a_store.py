"""Backups of real stores: what is in them, what is written meanwhile, and what a restore gives back."""

import asyncio
import gzip
import stat
import time
from pathlib import Path

from contracts.history import ExecutionEnded, ExecutionStarted, ExecutionStatus
from contracts.workflow import Workflow
from scripts import backup
from scripts.backups.manifest import read_manifest
from scripts.backups.order import PLACEHOLDER, READ_IN_THIS_ORDER
from services.auditor.verifying import TrustedSigner, verify
from services.orchestrator.payloads import references
from services.runtime.settings import Mode, Settings
from services.runtime.store.base import HeaderFilter, Page, Store
from services.runtime.store.encrypted import EncryptedStore
from tests.support.encryption import own_cipher
from tests.support.store_backups import (
    LARGE,
    Life,
    all_that_is_in,
    create,
    opened,
    restore,
    tables_of,
)

ROOT = Path(__file__).resolve().parents[3]


# ---- what is in it


async def test_every_collection_and_table_of_the_store_is_in_a_backup(source: Settings, tmp_path: Path) -> None:
    async with opened(source):
        made = await tables_of(source) - {"conclave_migrations"}
    assert made == set(READ_IN_THIS_ORDER)
    manifest = read_manifest(await create(source, tmp_path))
    assert tuple(one.collection for one in manifest.files) == READ_IN_THIS_ORDER
    assert manifest.left_out == ()


async def test_what_is_restored_is_what_was_there_and_open_executions_are_to_be_woken(
    source: Settings, target: Settings, tmp_path: Path
) -> None:
    async with opened(source) as store:
        life = Life(store)
        await life.everything()
        before = await all_that_is_in(store, life.begun)
    place = await create(source, tmp_path)
    manifest = backup.verify(place)
    assert {one.collection: one.rows for one in manifest.files} == {
        **dict.fromkeys(("dead_letters", "workflows", "agents", "hosts", "claims", "api_keys", "audit_checkpoints"), 1),
        **{"headers": 3, "log": 7, "payloads": 6, "definitions": 3, "audit": 3},
    }
    earliest = time.time()
    assert await restore(target, place) == 0
    async with opened(target) as store:
        after = await all_that_is_in(store, life.begun)
        found = await verify(store, {"a-key": TrustedSigner(life.key.key)})
    added = after["audit"].pop()
    for name, header in before["headers"].items():
        again = after["headers"].pop(name)
        if header.status.ended:
            assert again == header
        else:
            assert (again.restored, -again.wake_at >= earliest) == (True, True)
            assert again.model_copy(update={"wake_at": header.wake_at}) == header
    assert after == {**before, "headers": {}}
    assert (added.record.action, added.record.subject) == (backup.RESTORED, place.name)
    assert (found.whole, found.signed_to, found.entries) == (True, 3, 4)


async def test_what_is_encrypted_in_the_store_is_encrypted_in_its_backup(
    source: Settings, target: Settings, tmp_path: Path
) -> None:
    cipher = own_cipher(tmp_path)
    async with opened(source) as plain:
        life = Life(EncryptedStore(plain, cipher, required=True))
        execution_id = await life.begin()
        before = await life.store.read_log({execution_id: 0})
    place = await create(source, tmp_path / "backups")
    written = b"".join(gzip.decompress((place / one.file).read_bytes()) for one in read_manifest(place).files)
    assert execution_id.encode() in written
    # In PostgreSQL's files bytes are hexadecimal.
    assert not any(text in written for text in (LARGE[:100].encode(), LARGE[:100].encode().hex().encode()))
    # Where it is restored, the services' settings may be there without their keys.
    encrypting = {"message_encryption": Mode.REQUIRED, "encryption_keys": tmp_path / "elsewhere.json"}
    assert await restore(target.model_copy(update=encrypting), place) == 1
    async with opened(target) as plain:
        store = EncryptedStore(plain, cipher, required=True)
        assert await store.read_log({execution_id: 0}) == before
        assert await store.get_payloads(references(before[execution_id])) != {}


async def test_only_the_owner_can_read_a_backup(source: Settings, tmp_path: Path) -> None:
    async with opened(source):
        pass
    place = await create(source, tmp_path / "new")
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in place.iterdir()}
    assert set(modes.values()) == {0o600}
    assert [stat.S_IMODE(path.stat().st_mode) for path in (place, place.parent)] == [0o700, 0o700]


# ---- while the system runs


async def assert_could_be_after_a_crash(store: Store, life: Life, executions: list[str]) -> None:
    """What the design promises of a store, at whatever moment everything stops."""
    logs = await store.read_log(dict.fromkeys(executions, 0))
    entries = [entry for log in logs.values() for entry in log]
    wanted = references(entries)
    assert set(await store.get_payloads(wanted)) == wanted
    for entry in entries:
        for event in entry.events:
            if isinstance(event, ExecutionStarted):
                assert await store.get_definition(event.definition_hash) is not None, entry.execution_id
    headers = await store.read_headers(executions)
    for execution_id, log in logs.items():
        header = headers.get(execution_id)
        assert (header is None) == (log == []), execution_id
        if header is None:
            continue
        assert header.n <= len(log), f"the header of {execution_id} is ahead of its log"
        if not isinstance(log[-1].events[-1], ExecutionEnded):
            assert header.restored, f"nobody will look at {execution_id}"
        else:
            assert header.restored or header.status.ended, execution_id
    for workflow in (await store.list_workflows(Page()))[0]:
        assert await store.get_definition(workflow.definition_hash) is not None
    found = await verify(store, {"a-key": TrustedSigner(life.key.key)})
    assert found.whole, found.lines()


async def test_whatever_is_written_between_two_collections_a_restore_is_a_state_it_could_be_in(
    source: Settings, target: Settings, tmp_path: Path
) -> None:
    """Before each collection is read, executions begin, go on and end, and everything that refers to something is
    written with what it refers to."""
    loop = asyncio.get_running_loop()
    async with opened(source) as store:
        life = Life(store)
        lengths: dict[str, int] = {}

        async def live(moment: str) -> None:
            for execution_id, n in list(lengths.items()):
                if n == 4:
                    await life.end(execution_id, 5)
                    del lengths[execution_id]
                else:
                    lengths[execution_id] = n + 1
                    await life.go_on(execution_id, n + 1)
            for headed in (True, False):
                execution_id = await life.begin()
                lengths[execution_id] = 1
                if headed:
                    await life.head(execution_id)
            done = await life.begin()
            await life.head(done)
            await life.end(done, 2)
            workflow = Workflow(workflow_id=f"w-{moment}", name="w", definition_hash=f"h-{done}", created_at=1, steps=1)
            await store.put_workflow(workflow)
            await life.audit(2)

        for moment in ("one", "two"):
            await live(moment)
        there_before = list(life.begun)
        logs_before = await store.read_log(dict.fromkeys(there_before, 0))
        moments: list[str] = []

        def meanwhile(collection: str, rows: int) -> None:
            if rows == 0 and collection not in moments:
                moments.append(collection)
                asyncio.run_coroutine_threadsafe(live(collection), loop).result(60)

        place = await create(source, tmp_path, progress=meanwhile)
    assert moments == list(READ_IN_THIS_ORDER)
    added = await restore(target, place)
    async with opened(target) as store:
        await assert_could_be_after_a_crash(store, life, life.begun)
        logs = await store.read_log(dict.fromkeys(life.begun, 0))
        # Nothing of before the backup is missing.
        for execution_id, log in logs_before.items():
            assert logs[execution_id][: len(log)] == log
        headers = await store.read_headers(life.begun)
        names = {key for key, header in headers.items() if header.workflow_name == PLACEHOLDER}
        assert len(names) == added > 0
        assert all(headers[key].status is ExecutionStatus.RUNNING for key in names)


async def test_a_backup_under_load(source: Settings, target: Settings, tmp_path: Path) -> None:
    """Writers at full speed while it is made, so that collections change while each is read."""
    async with opened(source) as store:
        writers = [Life(store, prefix) for prefix in ("a", "a-", "a.b", "B")]
        stop = asyncio.Event()

        async def write(life: Life) -> None:
            while not stop.is_set():
                execution_id = await life.begin()
                await life.head(execution_id)
                for n in range(2, 4):
                    await life.go_on(execution_id, n)
                await life.end(execution_id, 4)
                if life is writers[0]:
                    await life.audit()

        tasks = [asyncio.create_task(write(life)) for life in writers]
        while sum(len(life.begun) for life in writers) < 40:
            await asyncio.sleep(0.01)
        there_before = [key for life in writers for key in life.begun[:-1]]
        place = await create(source, tmp_path)
        there_after = sum(len(life.begun) for life in writers)
        stop.set()
        await asyncio.gather(*tasks)
    await restore(target, place)
    everyone = [key for life in writers for key in life.begun]
    assert len(there_before) < there_after
    async with opened(target) as store:
        await assert_could_be_after_a_crash(store, writers[0], everyone)
        logs = await store.read_log(dict.fromkeys(there_before, 0))
        assert all(len(log) == 4 for log in logs.values())
        headers = await store.read_headers(there_before)
        assert all(header.status is ExecutionStatus.COMPLETED for header in headers.values())
        assert len(headers) == len(there_before)
        assert (await store.list_headers(HeaderFilter(), Page(limit=1)))[0] != []

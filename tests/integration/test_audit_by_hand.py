"""The audit log is verified with what ``docs/audit.md`` shows, and with the command."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from services.auditor.appending import ChainEnd
from services.auditor.checkpoints import Checkpoints
from services.runtime.security.key_files import trusted_path
from services.runtime.security.signing_keys import SigningKeys
from tests.support.audit_tampering import MongoTamperer, row_of
from tests.support.mongo import own_mongo_database
from tests.support.signing import add_key
from tests.support.store_operations import record
from tests.support.stores import mongo_patience, patient_mongo, started

pytestmark = pytest.mark.mongodb

PAGE = Path(__file__).resolve().parents[2] / "docs" / "audit.md"


class Log:
    """Nine entries in three batches, each with its checkpoint."""

    def __init__(self, server: str, database: str, keys: Path) -> None:
        self.url = f"{server.rsplit('/', 1)[0]}/{database}?{mongo_patience()}"
        self.server, self.database, self.keys = server, database, keys
        self.trusted = trusted_path(keys)
        self.tamperer = MongoTamperer(server, database)

    async def fill(self) -> None:
        async with started(patient_mongo(self.server, self.database)) as store:
            end = ChainEnd(store, Checkpoints(SigningKeys(self.keys, "auditor")), lambda: 1_700_000_000.0)
            for batch in range(3):
                await end.append([record(f"{batch}/{i}", at=float(i), detail='é\n"') for i in range(3)])
            self.entries = await store.read_audit(0, 100)

    def command(self, *options: str) -> tuple[int, str, str]:
        command = [sys.executable, "-m", "services", "audit", "verify", *options]
        environment = {**os.environ, "DATABASE_URL": self.url, "MESSAGE_KEYS": str(self.keys)}
        done = subprocess.run(
            command, cwd=PAGE.parents[1], env=environment, capture_output=True, text=True, timeout=180, check=False
        )
        return done.returncode, done.stdout, done.stderr

    def by_hand(self) -> subprocess.CompletedProcess[str]:
        (program,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
        command = [sys.executable, "-I", "-c", program, self.url, str(self.trusted)]
        return subprocess.run(command, capture_output=True, text=True, timeout=180, check=False)


@pytest.fixture
def log(mongo_url: str, tmp_path: Path) -> Iterator[Log]:
    add_key(tmp_path, "auditor")
    with own_mongo_database(mongo_url) as database:
        yield Log(mongo_url, database, tmp_path)


async def test_the_page_s_program_says_that_it_is_whole(log: Log) -> None:
    await log.fill()
    done = log.by_hand()
    assert (done.returncode, done.stdout) == (0, "9 entries, signed up to 9\n"), done.stderr


async def test_the_page_s_program_names_what_was_altered_removed_or_rewritten(log: Log) -> None:
    await log.fill()
    fifth = log.entries[4]
    await log.tamperer.write(row_of(fifth, record=row_of(fifth)["record"].replace("key:a", "key:b")))
    assert "entry 5 was altered" in log.by_hand().stderr
    await log.tamperer.delete(5)
    assert "entry 5 is missing" in log.by_hand().stderr
    for n in range(6, 10):
        await log.tamperer.delete(n)
    assert "entries 5 to 6 were removed" in log.by_hand().stderr


async def test_the_command(log: Log) -> None:
    await log.fill()

    run = log.command
    code, out, _ = run()
    assert (code, out.splitlines()[:2]) == (
        0,
        ["The audit log is whole: 9 entries read.", "Signed up to entry 9 by 3 checkpoints."],
    )
    code, out, _ = run("--expect", f"9:{'0' * 64}")
    assert (code, "REWRITTEN: Entries" in out) == (1, True)
    code, out, _ = run("--expect", f"9:{log.entries[8].hash}", "--trusted", str(log.trusted))
    assert code == 0
    code, _, err = run("--trusted", str(log.keys / "nowhere.json"))
    assert (code, "cannot be read" in err) == (2, True)

    await log.tamperer.delete(4)
    code, out, _ = run("--json")
    assert (code, json.loads(out)["entry_fault"]) == (
        1,
        {"kind": "removed", "first": 4, "last": 4, "text": "Entry 4 is missing."},
    )

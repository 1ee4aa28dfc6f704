"""A new installation over a real broker: two access services start at once, one key is printed once, and with it every
other is made, through the API and by hand."""

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

from tests.support.api_access import HASH_KEY
from tests.support.cluster import PATIENCE, Cluster

pytestmark = [pytest.mark.system, pytest.mark.rabbitmq, pytest.mark.mongodb]

ROOT = Path(__file__).resolve().parents[2]
KEY = re.compile(r"ck_[a-z0-9]{12}_[\w-]{43}")
NEW = {"INITIAL_ADMIN_KEY": ""}  # nobody has given it a key


def printed(cluster: Cluster, *names: str) -> list[str]:
    return [key for name in names for key in KEY.findall(cluster.log(name))]


def until_first_key(cluster: Cluster, *names: str) -> str:
    deadline = time.monotonic() + PATIENCE
    while not any("first admin key stored" in cluster.log(name) for name in names):
        assert time.monotonic() < deadline, [cluster.log(name) for name in names]
        time.sleep(0.1)
    (key,) = printed(cluster, *names)
    return key


def keys_command(*arguments: str, database_url: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "services", "keys", *arguments],
        cwd=ROOT,
        env={**os.environ, "DATABASE_URL": database_url, "API_KEY_HASH_KEY": HASH_KEY},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def get(cluster: Cluster, path: str, key: str) -> httpx.Response:
    return httpx.get(f"{cluster.url}{path}", headers={"X-API-Key": key}, timeout=30)


def post(cluster: Cluster, path: str, key: str, **body: object) -> httpx.Response:
    return httpx.post(f"{cluster.url}{path}", headers={"X-API-Key": key}, json=body, timeout=30)


def until(cluster: Cluster, key: str, status: int, path: str = "/executions") -> None:
    """An edge hears of a change of keys within seconds."""
    deadline = time.monotonic() + PATIENCE
    while (answer := get(cluster, path, key)).status_code != status:
        assert time.monotonic() < deadline, answer.text
        time.sleep(0.1)


def test_a_new_installation_has_one_key_and_everything_follows_from_it(cluster: Cluster) -> None:
    cluster.start("access#1", "access#2", extra=NEW)
    first = until_first_key(cluster, "access#1", "access#2")
    cluster.wait_until_started("access#1", "access#2")  # the key is there before anybody takes commands
    cluster.start("edge")
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            if get(cluster, "/executions", first).status_code == 200:
                break
        except httpx.TransportError:
            pass
        assert time.monotonic() < deadline, cluster.log("edge")
        time.sleep(0.1)

    made = post(cluster, "/keys", first, name="root", role="admin")
    assert made.status_code == 201, made.text
    admin = made.json()["key"]
    until(cluster, admin, 200, "/keys")
    gone = httpx.delete(f"{cluster.url}/keys/{first[:15]}", headers={"X-API-Key": admin}, timeout=30)
    assert gone.status_code == 200, gone.text
    until(cluster, first, 401)
    last = httpx.delete(f"{cluster.url}/keys/{admin[:15]}", headers={"X-API-Key": admin}, timeout=30)
    assert last.status_code == 409
    assert "the last valid admin key" in last.json()["detail"]

    rotated = post(cluster, f"/keys/{admin[:15]}/rotate", admin, overlap=0)
    assert rotated.status_code == 201, rotated.text
    until(cluster, rotated.json()["key"], 200, "/keys")
    until(cluster, admin, 401)

    by_hand = keys_command("create", "ci", "--role", "viewer", database_url=cluster.database_url)
    (viewer,) = KEY.findall(by_hand)
    until(cluster, viewer, 200)
    assert get(cluster, "/keys", viewer).status_code == 403
    keys_command("revoke", viewer[:15], database_url=cluster.database_url)
    until(cluster, viewer, 401)

    cluster.kill("access#1")
    cluster.kill("access#2")
    cluster.start("access#3", extra=NEW)
    cluster.wait_until_started("access#3")
    kept = post(cluster, "/keys", rotated.json()["key"], name="later", role="viewer")
    assert kept.status_code == 201, kept.text
    assert printed(cluster, "access#1", "access#2", "access#3", "edge") == [first]

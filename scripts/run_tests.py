"""Run the tests against a real RabbitMQ, Redis, document store and PostgreSQL; arguments go to pytest.

    python scripts/run_tests.py                     everything, in several processes
    python scripts/run_tests.py tests/unit -k retry

Makes the environment first, finds or starts the servers (``scripts/servers.py`` says in which order), and stops what
it started. Where no RabbitMQ, Redis or PostgreSQL can be had, its tests are reported as not run; with ``CI=true`` that
is a failure.
"""

from __future__ import annotations  # so that an older Python is told which one is needed

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from scripts.redis_server import find_redis
from scripts.servers import Server, ServerFailed, ServerNotFound, find_mongodb, find_postgresql, find_rabbitmq
from scripts.setup_environment import ROOT, run_in_environment

MOST_WORKERS = 4  # each may have a RabbitMQ of its own


def main(arguments: list[str]) -> int:
    environment = dict(os.environ)
    with contextlib.ExitStack() as servers:
        _say("looking for a document store")
        try:
            mongodb: Server = servers.enter_context(find_mongodb())
        except (ServerNotFound, ServerFailed) as error:
            _say(f"tests cannot run: {error}")
            return 1
        _say(f"document store: {mongodb.origin}")
        environment["DATABASE_URL"] = mongodb.url
        missing = {}
        for what, variable, find in (
            ("RabbitMQ", "RABBITMQ_URL", find_rabbitmq),
            ("Redis", "REDIS_URL", find_redis),
            ("PostgreSQL", "POSTGRES_URL", find_postgresql),
        ):
            _say(f"looking for {what} (on Debian, as root, its package is installed if need be)")
            try:
                server = servers.enter_context(find(install=True))
                _say(f"{what}: {server.origin}")
                environment[variable] = server.url
            except (ServerNotFound, ServerFailed) as error:
                missing[what] = str(error)
                _say(f"no {what}, so its tests will not run: {error}")
        code = _pytest([*_side_by_side(arguments), *arguments], environment)
    for what, reason in missing.items():
        _say(f"NOT RUN: the tests that need {what}. {reason}")
    if missing and os.environ.get("CI") == "true" and code == 0:
        _say("CI=true, so that is a failure")
        return 1
    return code


def _side_by_side(arguments: list[str]) -> list[str]:
    """Options that run everything in one process more than there are processors, since most tests wait for servers; a
    choice of tests runs in one."""
    chosen = any((ROOT / argument.partition("::")[0]).exists() for argument in arguments)
    if chosen or any(argument.startswith("-n") for argument in arguments):
        return []
    return ["-n", str(min((os.cpu_count() or 1) + 1, MOST_WORKERS)), "--dist", "loadscope"]


def _pytest(arguments: list[str], environment: dict[str, str]) -> int:
    """Run pytest in a process of its own; an interrupt is pytest's to handle, and the servers outlive it."""
    command = [sys.executable, "-m", "pytest", *arguments]
    with subprocess.Popen(command, cwd=ROOT, env=environment) as pytest:
        while True:
            try:
                return pytest.wait()
            except KeyboardInterrupt:
                continue
            except SystemExit:
                pytest.terminate()
                raise


def _end_in_good_order(number: int, _frame: object) -> None:
    raise SystemExit(128 + number)


def _say(text: str) -> None:
    print(f"run_tests: {text}", flush=True)


if __name__ == "__main__":
    run_in_environment(__file__)
    signal.signal(signal.SIGTERM, _end_in_good_order)
    sys.exit(main(sys.argv[1:]))

"""Run the tests against a real RabbitMQ, Redis, document store and PostgreSQL; arguments go to pytest.

    python scripts/run_tests.py                     everything
    python scripts/run_tests.py tests/unit -k retry

Makes the environment first, finds or starts the servers (``scripts/servers.py`` says in which order), and stops what
it started. Where no RabbitMQ, Redis, PostgreSQL or Prometheus can be had, its tests are reported as not run; with
``CI=true`` that is a failure. Tests that need kubectl and run where there is none are reported, too, as not run.

Everything is run in three parts. First, in several processes, all but the two that follow. Then, one after the other,
those of whole systems: each starts up to a dozen processes, and two of them at a time would have what is to happen
within seconds wait for a processor. At last, one after the other, those that need Docker, with an engine that runs or
that can be started (``scripts/docker_engine.py``). Where there is none they are reported as not run, and that is no
failure.
"""

from __future__ import annotations  # so that an older Python is told which one is needed

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree  # nosec B405
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from scripts.docker_engine import DockerFailed, EngineNotFound, docker_engine
from scripts.prometheus_tools import find_prometheus_tools
from scripts.redis_server import find_redis
from scripts.servers import Server, ServerFailed, ServerNotFound, find_mongodb, find_postgresql, find_rabbitmq
from scripts.setup_environment import ROOT, run_in_environment

MOST_WORKERS = 4  # each may have a RabbitMQ of its own
WHOLE_SYSTEMS = "tests/system"
NEED_DOCKER = "tests/containers"
IN_TURN = ("-n", "0")
NOTHING_CHOSEN = 5  # pytest's code where no test was run
WENT_ON = (NOTHING_CHOSEN, 0, 1)  # its codes where it was not interrupted and could work at all, the worst last


class CannotRun(Exception):
    """What no test can do without is missing; the message says what and why."""


def main(arguments: list[str]) -> int:
    try:
        return _run(arguments)
    except CannotRun as error:
        _say(f"tests cannot run: {error}")
        return 1


def _run(arguments: list[str]) -> int:
    need_docker = ROOT / NEED_DOCKER
    chosen = _chosen(arguments)
    if any(path.is_relative_to(need_docker) or need_docker.is_relative_to(path) for path in chosen):
        return _with_servers(arguments, _with_docker)
    if chosen:
        return _with_servers(arguments, _pytest)
    with tempfile.TemporaryDirectory(prefix="conclave-results-") as folder:
        reports = [Path(folder) / f"{part}.xml" for part in ("most", "systems", "docker")]
        most, systems, docker = ([f"--junit-xml={report}", *arguments] for report in reports)

        def without_docker(others: list[str], environment: Mapping[str, str]) -> int:
            code = _pytest(others, environment)
            return _after(code, lambda: _pytest([WHOLE_SYSTEMS, *systems, *IN_TURN], environment))

        others = [f"--ignore={WHOLE_SYSTEMS}", f"--ignore={NEED_DOCKER}", *_side_by_side(arguments), *most]
        code = _with_servers(others, without_docker)
        code = _after(code, lambda: _with_docker([NEED_DOCKER, *docker, *IN_TURN], os.environ))
        # The last line that counts tests speaks of all parts, whichever of them failed.
        if totals := sum(map(_results, reports), Counter[str]()):
            counts = (f"{totals[what]} {what}" for what in ("passed", "failed", "skipped"))
            print(f"tests: {', '.join(counts)}", flush=True)
    return code


def _with_servers(arguments: list[str], run: Callable[[list[str], Mapping[str, str]], int]) -> int:
    """Have ``run`` run pytest, with the servers that most tests need."""
    environment = dict(os.environ)
    with contextlib.ExitStack() as servers:
        _say("looking for a document store")
        try:
            mongodb: Server = servers.enter_context(find_mongodb())
        except (ServerNotFound, ServerFailed) as error:
            raise CannotRun(str(error)) from error
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
        try:
            # Those who need them find them where they are kept.
            _say(f"Prometheus: {find_prometheus_tools(download=True).origin}")
        except ServerNotFound as error:
            missing["Prometheus"] = str(error)
            _say(f"no Prometheus, so its tests will not run: {error}")
        code = run(arguments, environment)
    for what, reason in missing.items():
        _say(f"NOT RUN: the tests that need {what}. {reason}")
    if shutil.which("kubectl") is None:
        _say("NOT RUN: the tests that need kubectl. There is none on the PATH")
    if missing and os.environ.get("CI") == "true" and code == 0:
        _say("CI=true, so that is a failure")
        return 1
    return code


def _with_docker(arguments: list[str], environment: Mapping[str, str]) -> int:
    """Run pytest with a Docker engine; without one, the tests that need it are skipped."""
    _say("looking for a Docker engine (on Debian, as root, its package is installed if need be)")
    missing, code = "", 1
    try:
        with contextlib.ExitStack() as stack:
            try:
                engine = stack.enter_context(docker_engine(install=True))
                _say(f"Docker: {engine.origin}")
                environment = {**environment, **engine.variables()}
            except EngineNotFound as error:
                missing = str(error)
            code = _pytest(arguments, environment)
    except DockerFailed as error:
        # No test of ours: what they said holds.
        _say(f"the Docker engine that was started for the tests still runs: {error}")
    if missing:
        _say(f"NOT RUN: the tests that need Docker. {missing}")
    return code


def _after(first: int, then: Callable[[], int]) -> int:
    """Run the next part, unless the one before was interrupted or could not work at all; returns the code of both: that
    of one that was, else of one that failed."""
    if first not in WENT_ON:
        return first
    second = then()
    return max(first, second, key=WENT_ON.index) if second in WENT_ON else second


def _results(report: Path) -> Counter[str]:
    """How many tests passed, failed and were skipped, by the report that our own pytest has written, if it has."""
    if not report.exists():
        return Counter()
    counts: Counter[str] = Counter()
    for suite in ElementTree.parse(report).iter("testsuite"):  # nosec B314
        failed = int(suite.get("failures", 0)) + int(suite.get("errors", 0))
        skipped = int(suite.get("skipped", 0))
        counts.update(failed=failed, skipped=skipped, passed=int(suite.get("tests", 0)) - failed - skipped)
    return counts


def _chosen(arguments: list[str]) -> list[Path]:
    """The files and folders among the arguments."""
    places = [ROOT / argument.partition("::")[0] for argument in arguments if not argument.startswith("-")]
    return [place.resolve() for place in places if place.exists()]


def _side_by_side(arguments: list[str]) -> list[str]:
    """Options that run tests in as many processes as there are processors: with one more, tests that wait for servers
    are done sooner, and more of them wait in vain. What was chosen runs in one."""
    if any(argument.startswith("-n") for argument in arguments):
        return []
    return ["-n", str(min(os.cpu_count() or 1, MOST_WORKERS)), "--dist", "loadscope"]


def _pytest(arguments: list[str], environment: Mapping[str, str]) -> int:
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

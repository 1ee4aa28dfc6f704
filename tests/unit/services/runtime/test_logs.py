"""Every log line is one line, says whose work it is about, and holds no secret, whoever wrote it and in whichever
form."""

import asyncio
import gc
import io
import json
import logging
import math
import pickle
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from enum import StrEnum
from typing import Any

import pytest
import structlog

from services.runtime import logs
from services.runtime.correlation import holding
from services.runtime.security.api_keys import new_key_text
from services.runtime.settings import Settings
from tests.support.cluster import ROOT
from tests.support.log_capture import captured_lines, logging_to

Lines = Callable[[str], io.StringIO]
PASSWORD = "hunter2-of-ann"
URL = f"amqp://ann:{PASSWORD}@broker:5672/"


@pytest.fixture
def written() -> Iterator[Lines]:
    """Begins logging in a form and returns where it goes."""
    with ExitStack() as stack:

        def begin(log_format: str) -> io.StringIO:
            stream = io.StringIO()
            stack.enter_context(logging_to(stream, log_format))
            return stream

        yield begin


class Broken:
    def __str__(self) -> str:
        raise RuntimeError("no words")

    __repr__ = __str__


class Connection:
    def __repr__(self) -> str:
        return f"Connection({URL})"


def log_secrets() -> None:
    log = structlog.get_logger("test")
    log.info(f"connecting to {URL}", api_key=str(new_key_text()), at=Connection(), nested={"of": [Connection()]})
    log.warning("refused", headers={"X-Api-Key": PASSWORD, "n": 1}, password=PASSWORD, because=ValueError(URL))
    logging.getLogger("aiormq.connection").error("cannot connect to %s", URL)
    logging.getLogger("uvicorn.error").error("Exception: password=%s", PASSWORD)
    logging.getLogger("faststream").warning("token is %r", {"token": PASSWORD})
    try:
        raise ConnectionError(f"no way to {URL}") from ValueError(f"secret={PASSWORD}")
    except ConnectionError as error:
        log.exception("failed")
        logging.getLogger("uvicorn.error").error("Exception in ASGI application", exc_info=error)


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_no_line_holds_a_secret(written: Lines, log_format: str) -> None:
    stream = written(log_format)
    log_secrets()
    text = stream.getvalue()
    assert PASSWORD not in text
    assert "ck_" not in text
    assert text.count("***") >= 14
    assert text.count("no way to amqp://ann:***@broker") == 2, "of a traceback only the secret is masked"


@pytest.mark.parametrize("name", ["uvicorn", "uvicorn.error", "uvicorn.access", "faststream"])
def test_libraries_that_print_by_themselves_do_so_no_more(written: Lines, name: str) -> None:
    own = io.StringIO()
    logging.getLogger(name).addHandler(logging.StreamHandler(own))
    logging.getLogger(name).propagate = False
    stream = written("json")
    logging.getLogger(name).error("password=%s", PASSWORD)
    assert own.getvalue() == ""
    assert json.loads(stream.getvalue())["event"] == "password=***"


FORGED = "\n2026-01-01T00:00:00Z [info] forged\r\x1b[2K\x1b]0;title\x07\u2028\u202e\x85\x9b\ud800"


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_nothing_that_is_logged_can_begin_a_line_or_steer_a_terminal(written: Lines, log_format: str) -> None:
    stream = written(log_format)
    log = structlog.get_logger("test")
    log.info(f"event {FORGED}", name=f"value {FORGED}", **{f"key {FORGED}": 1}, many=[FORGED, {FORGED: FORGED}])
    logging.getLogger("uvicorn.error").error("foreign %s", FORGED)
    text = stream.getvalue()
    assert len(text.splitlines()) == 2
    assert not set(text) & set(FORGED.replace("\n", "").replace(" ", "")) - set(map(chr, range(32, 127)))


def test_a_traceback_on_the_console_looks_like_no_line_of_its_own(written: Lines) -> None:
    stream = written("console")
    try:
        raise ValueError(FORGED)
    except ValueError:
        structlog.get_logger("test").exception("failed")
    first, *below = stream.getvalue().rstrip("\n").split("\n")
    assert "failed" in first
    assert all(line.startswith("    ") or not line for line in below)
    assert any("forged" in line for line in below)
    assert "\x1b]0" not in stream.getvalue()


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_a_value_that_has_no_words_does_not_cost_the_line(written: Lines, log_format: str) -> None:
    stream = written(log_format)
    ring: list[Any] = []
    ring.append(ring)
    structlog.get_logger("test").info("odd", one=Broken(), two=[Broken()], three=ring, four={1: b"\xff"})
    assert "cannot be put into words: RuntimeError" in stream.getvalue()


def test_a_long_value_is_cut_in_the_middle_and_not_in_a_secret(written: Lines) -> None:
    stream = written("json")
    half = logs.LONGEST_VALUE // 2
    text = "a" * (half - 10) + f" {URL} " + "b" * 2 * half + " the end"
    structlog.get_logger("test").info("long", text=text, many=[text])
    line = json.loads(stream.getvalue())
    for shown in (line["text"], line["many"][0]):
        assert len(shown) < logs.LONGEST_VALUE + 100
        assert shown.endswith("the end")
        assert "characters more" in shown
        assert PASSWORD[:5] not in shown


class Odd(StrEnum):
    NAME = "an enumeration's"


WORK = {"correlation_id": "c1", "execution_id": "e1", "step": "s1", "attempt": 2, "agent_type": "t", "agent_id": "a"}


def held(line: dict[str, Any]) -> dict[str, Any]:
    return {name: line[name] for name in WORK if name in line}


async def test_every_line_says_whose_work_it_is_about() -> None:
    with captured_lines(service="conclave") as lines:
        log = structlog.get_logger("test")
        log.info("nobody's")
        with holding("data_agent", **WORK):  # type: ignore[arg-type]
            log.info("ours")
            logging.getLogger("pymongo").error("a library's")
            await asyncio.to_thread(log.info, "in a thread")
            await asyncio.to_thread(logging.getLogger("duckdb").warning, "a library's, in a thread")
            await asyncio.create_task(said_later(log))
    assert [(line["event"], line["service"]) for line in lines] == [
        ("nobody's", "conclave"),
        *((event, "data_agent") for event in ("ours", "a library's", "in a thread", "a library's, in a thread")),
        ("in a task", "data_agent"),
    ]
    assert [held(line) for line in lines] == [{}, *[WORK] * 5]
    assert [line.get("logger") for line in lines] == [None, None, "pymongo", None, "duckdb", None]


async def said_later(log: Any) -> None:
    log.info("in a task")


def test_what_a_line_says_itself_goes_before_what_is_in_hand_and_nothing_before_what_is_ours() -> None:
    with captured_lines() as lines, holding("data_agent", **WORK):  # type: ignore[arg-type]
        structlog.get_logger("test").info("x", execution_id="e2", service="forged", level="forged", timestamp="forged")
        logging.getLogger("test").warning("x", extra={"service": "forged", "timestamp": "forged", "step": "s2"})
    own, foreign = lines
    assert (own["execution_id"], own["service"], own["level"]) == ("e2", "data_agent", "info")
    assert (foreign["step"], foreign["service"], foreign["level"]) == ("s2", "data_agent", "warning")
    assert own["timestamp"][:2] == foreign["timestamp"][:2] == "20"


def test_what_clients_call_their_requests_is_masked_too() -> None:
    with captured_lines() as lines, holding("edge", correlation_id=f"token={PASSWORD}", execution_id=URL):
        structlog.get_logger("test").info("x")
    assert (lines[0]["correlation_id"], lines[0]["execution_id"]) == ("token=***", "amqp://ann:***@broker:5672/")


def test_what_was_harmless_under_one_name_is_masked_under_another() -> None:
    with captured_lines() as lines:
        log = structlog.get_logger("test")
        for _ in range(2):
            log.info("x", nickname=PASSWORD, password=PASSWORD, note=f"pwd={PASSWORD}")
    assert [(line["nickname"], line["password"], line["note"]) for line in lines] == [(PASSWORD, "***", "pwd=***")] * 2


ODD = [
    math.nan,
    [math.inf],
    10**5_000,
    {"deep": -math.inf},
    "\ud800",
    {1, 2},
    object,
    Odd.NAME,
    [Odd.NAME, "é", math.nan],
]


@pytest.mark.parametrize("value", ODD, ids=map(str, range(len(ODD))))
def test_every_line_is_json_whatever_it_says(value: Any) -> None:
    stream = io.StringIO()
    with logging_to(stream):
        structlog.get_logger("test").info("odd", value=value)

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    assert json.loads(stream.getvalue(), parse_constant=refuse)["level"] == "info"


class Hostile(dict[str, Any]):
    def items(self) -> Any:
        raise RuntimeError("no items")


def test_what_cannot_be_shown_is_said_to_be_there() -> None:
    with captured_lines() as lines, holding("data_agent"):
        structlog.get_logger("test").info("odd", one=Hostile(a=1))
        logging.getLogger("test").warning("%d of %d", "x")
    assert (lines[0]["event"], lines[0]["service"]) == ("a log line cannot be shown", "data_agent")
    assert lines[0]["fault"] == "RuntimeError"
    assert lines[1]["event"].startswith("%d of %d (its arguments do not fit: TypeError")


def test_a_line_that_cannot_be_written_costs_nothing_else() -> None:
    stream = io.StringIO()
    with logging_to(stream):
        stream.close()
        structlog.get_logger("test").info("nobody reads this")
        logging.getLogger("test").error("nor this")


def test_what_is_logged_within_a_line_comes_after_it() -> None:
    """As by the garbage collector, which may run while a line is written and log what it finds."""

    class Collecting(io.StringIO):
        def __init__(self) -> None:
            super().__init__()
            self.found = ["by a library", "by us"]

        def write(self, text: str) -> int:
            half = len(text) // 2
            super().write(text[:half])
            if self.found:
                what = self.found.pop()
                (logging.getLogger("test") if "library" in what else structlog.get_logger("test")).error(what)
            return super().write(text[half:])

    stream = Collecting()

    def log_in_a_thread() -> None:
        structlog.get_logger("test").info("first")
        structlog.get_logger("test").info("last")

    with logging_to(stream):
        thread = threading.Thread(target=log_in_a_thread, daemon=True)
        thread.start()
        thread.join(10)
        assert not thread.is_alive(), "it waits for itself"
    events = [json.loads(line)["event"] for line in stream.getvalue().splitlines()]
    assert events == ["first", "by us", "by a library", "last"]


def test_two_threads_that_log_in_both_ways_wait_for_neither() -> None:
    """One logs a library's record, the other writes a line of ours that the library logs into."""
    at_the_handler, within_a_line = threading.Event(), threading.Event()

    class Slow:
        def __str__(self) -> str:
            at_the_handler.set()
            within_a_line.wait(10)
            return "from a library"

    class Collecting(io.StringIO):
        def write(self, text: str) -> int:
            if not within_a_line.is_set():
                at_the_handler.wait(10)
                within_a_line.set()
                logging.getLogger("test").error("within a line")
            return super().write(text)

    stream = Collecting()
    with logging_to(stream):
        threads = [
            threading.Thread(target=lambda: logging.getLogger("test").error("%s", Slow()), daemon=True),
            threading.Thread(target=lambda: structlog.get_logger("test").info("a line"), daemon=True),
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(10)
        assert not any(thread.is_alive() for thread in threads), "they wait for each other"
    events = {json.loads(line)["event"] for line in stream.getvalue().splitlines()}
    assert events == {"a line", "within a line", "from a library"}


def test_a_librarys_record_keeps_what_it_says_and_loses_its_colours() -> None:
    with captured_lines() as lines:
        logging.getLogger("uvicorn.error").warning("up %s", 1, extra={"color_message": "\x1b[1mup", "port": 80})
        logging.getLogger("test").warning("where", stack_info=True)
    assert lines[0]["event"] == "up 1"
    assert lines[0]["port"] == 80
    assert "color_message" not in lines[0]
    assert "test_logs.py" in lines[1]["stack"]


async def test_what_nobody_caught_is_a_line() -> None:
    async def fail() -> None:
        raise LookupError(f"a task's {URL}")

    def fail_in_a_thread() -> None:
        raise LookupError("a thread's")

    class Ill:
        def __del__(self) -> None:
            raise LookupError("a finalizer's")

    with captured_lines() as lines:
        warnings.warn("a warning", UserWarning, stacklevel=1)
        thread = threading.Thread(target=fail_in_a_thread, name="weaver")
        thread.start()
        thread.join()
        Ill()
        task = asyncio.create_task(fail())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        del task
        gc.collect()
        asyncio.get_running_loop().call_exception_handler({"message": "a callback's"})
    warned, threads, finalizers, tasks, callbacks = lines
    assert (warned["level"], warned["kind"], warned["text"]) == ("warning", "UserWarning", "a warning")
    assert "test_logs.py" in warned["where"]
    assert (threads["level"], threads["thread"]) == ("error", "weaver")
    assert threads["exception"].endswith("LookupError: a thread's")
    assert finalizers["exception"].endswith("LookupError: a finalizer's")
    assert (tasks["level"], tasks["logger"]) == ("error", "asyncio")
    assert tasks["exception"].endswith("LookupError: a task's amqp://ann:***@broker:5672/")
    assert callbacks["event"].startswith("a callback's")


FAILING = """
import sys
from services.runtime.logs import configure_logging
from services.runtime.settings import Settings
configure_logging(Settings(log_format=sys.argv[1]), "edge")
raise LookupError("password=hunter2-of-ann")
"""


def test_what_ends_the_process_is_a_line() -> None:
    done = subprocess.run(
        [sys.executable, "-c", FAILING, "json"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    (line,) = [json.loads(line) for line in done.stderr.splitlines()]
    assert (done.returncode, line["level"], line["service"]) == (1, "critical", "edge")
    assert line["exception"].endswith("LookupError: password=***")


def test_a_child_process_can_log_as_its_parent_does() -> None:
    settings = Settings(log_format="json", log_level="WARNING", rabbitmq_url=URL)
    pickled = pickle.dumps(logs.logging_elsewhere(settings, "data_agent"))
    assert PASSWORD.encode() not in pickled, "no more of the settings than that goes there"
    code = "import pickle, sys, structlog; pickle.loads(bytes.fromhex(sys.argv[1]))(); log = structlog.get_logger()"
    code += "; log.info('unseen'); log.warning('seen')"
    command = [sys.executable, "-c", code, pickled.hex()]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    line = json.loads(done.stderr)
    assert (line["event"], line["service"], done.stdout) == ("seen", "data_agent", "")


class Counted(io.StringIO):
    """A stream that counts how often it was written to."""

    writes = 0

    def write(self, text: str, /) -> int:
        self.writes += 1
        return super().write(text)


async def test_what_one_turn_of_the_loop_says_is_one_write_and_a_warning_waits_for_nothing() -> None:
    stream = Counted()
    with logging_to(stream, "json"):
        await say_and_look(stream)


async def say_and_look(stream: Counted) -> None:
    log = structlog.get_logger("tests")

    def events() -> list[str]:
        return [json.loads(line)["event"] for line in stream.getvalue().splitlines()]

    for name in ("one", "two"):
        log.info(name)
    logging.getLogger("library").info("three")
    assert events() == []
    await asyncio.sleep(0)
    assert (events(), stream.writes) == (["one", "two", "three"], 1)
    log.info("four")
    log.warning("five")
    assert (events(), stream.writes) == (["one", "two", "three", "four", "five"], 2)
    await asyncio.to_thread(log.info, "in a thread")
    assert events()[-1] == "in a thread"
    await asyncio.sleep(0)
    assert len(events()) == 6

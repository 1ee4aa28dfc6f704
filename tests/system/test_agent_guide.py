"""``docs/agent_development_guide.md``, typed in from the top to the bottom by somebody who believes every word.

What a code block is, the word after its language says:

- a file name: what is saved under that name;
- ``sh``: a command for the second terminal, which must succeed; ``sh terminal``: what the first terminal runs from
  here on, after Ctrl-C for what it ran before; ``sh prepare``: not run, the test does the same in its own way;
- ``json answer``: what the command before it prints last. What it leaves out may be anything, and so may ``"..."``.

Ports differ, and pip installs into a folder of the test's own, from nothing but this machine.
"""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from scripts.servers import free_port

pytestmark = pytest.mark.system

ROOT = Path(__file__).resolve().parents[2]
GUIDE = ROOT / "docs" / "agent_development_guide.md"
PATIENCE = 150.0
BLOCK = re.compile(r"^```(?P<language>\w+)(?: (?P<use>\S+))?\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
ELSEWHERE = ("DATABASE_URL", "RABBITMQ_URL", "REDIS_URL", "COMMUNICATION_PROTOCOL", "COMM_PROTOCOL", "PLUGIN_FOLDER")
ACCESS = ("API_KEY_HASH_KEY", "INITIAL_ADMIN_KEY", "AGENT_POLICY", "RATE_LIMIT")  # which the tests get in with


@dataclass(frozen=True)
class Block:
    language: str
    use: str
    text: str
    line: int


def blocks() -> list[Block]:
    guide = GUIDE.read_text(encoding="utf-8")
    return [
        Block(found["language"], found["use"] or "", found["text"], guide[: found.start()].count("\n") + 1)
        for found in BLOCK.finditer(guide)
    ]


class Reader:
    """Somebody with two terminals in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.printed = ""
        self._port = free_port()
        self._running: subprocess.Popen[bytes] | None = None
        self._starts = 0
        kept = {name: value for name, value in os.environ.items() if name not in (*ELSEWHERE, *ACCESS)}
        self._environment = {
            **kept,
            "CONCLAVE": str(ROOT),
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), kept["PATH"]]),
            "PYTHONPATH": str(ROOT),
            "API_PORT": str(self._port),
            "api": f"http://127.0.0.1:{self._port}/api/v1",
            "PIP_TARGET": str(folder / "site"),
            "PIP_NO_INDEX": "1",
            "PIP_NO_BUILD_ISOLATION": "0",  # pip's way to say that there is to be none
            "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        }

    def do(self, block: Block) -> None:
        match block.language, block.use:
            case "sh", "":
                self._run(block)
            case "sh", "terminal":
                self._restart(block.text)
            case "json", "answer":
                assert_is(json.loads(block.text), last_json(self.printed))
            case (("python" | "json"), name) if name:
                path = self.folder / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(block.text, encoding="utf-8")
            case ("sh", "prepare") | ("toml", ""):
                pass
            case _:
                raise AssertionError(f"line {block.line}: nobody knows what to do with this block")

    def close(self) -> None:
        if self._running is not None:
            self._running.send_signal(signal.SIGINT)
            self._running.wait(60)

    @property
    def log(self) -> str:
        return self._output.read_text(encoding="utf-8", errors="replace")

    def _run(self, block: Block) -> None:
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", block.text],
            cwd=self.folder,
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        assert done.returncode == 0, f"line {block.line}: {done.stdout}{done.stderr}"
        self.printed = done.stdout

    def _restart(self, command: str) -> None:
        self.close()
        self._starts += 1
        self._output = self.folder / f"terminal-{self._starts}.txt"
        with self._output.open("wb") as out:
            self._running = subprocess.Popen(
                ["bash", "-c", f"exec env {command}"],
                cwd=self.folder,
                env=self._environment,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                # Tests that run in the background of a shell ignore Ctrl-C, and children inherit that.
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
            )
        deadline = time.monotonic() + PATIENCE
        while "Conclave is up" not in self.log:
            assert self._running.poll() is None, self.log
            assert time.monotonic() < deadline, self.log
            time.sleep(0.1)
        key = (self.folder / "data" / "secrets" / "admin-key").read_text(encoding="utf-8").strip()
        self._environment["key"] = f"X-API-Key: {key}"


def last_json(printed: str) -> Any:
    """The last JSON value of the last line: curl ends no line."""
    line = printed.strip().splitlines()[-1]
    decoder, place, value = json.JSONDecoder(), 0, None
    while place < len(line):
        value, place = decoder.raw_decode(line, place)
    return value


def assert_is(expected: Any, actual: Any, path: str = "$") -> None:
    if expected == "...":
        return
    if isinstance(expected, dict):
        assert isinstance(actual, dict), f"{path}: {actual}"
        for key, value in expected.items():
            assert key in actual, f"{path} has no {key}: {actual}"
            assert_is(value, actual[key], f"{path}.{key}")
    elif isinstance(expected, list):
        assert isinstance(actual, list), f"{path}: {actual}"
        assert len(actual) == len(expected), f"{path}: {actual}"
        for i, (one, other) in enumerate(zip(expected, actual, strict=True)):
            assert_is(one, other, f"{path}[{i}]")
    else:
        assert actual == expected, f"{path}: {actual!r}, and the guide says {expected!r}"


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[Reader]:
    reader = Reader(tmp_path)
    yield reader
    reader.close()


def test_the_guide_works_as_it_stands(reader: Reader) -> None:
    todo = blocks()
    assert len(todo) > 30
    for block in todo:
        try:
            reader.do(block)
        except AssertionError as error:
            raise AssertionError(f"{GUIDE.name}, line {block.line}: {error}\n{reader.printed}") from error
    assert (reader.folder / "ledger").read_text(encoding="utf-8").count("\n") == 1
    assert (reader.folder / "site" / "stock_level" / "agent.py").exists()


@pytest.mark.parametrize(
    ("expected", "actual"),
    [({"a": 1}, {"a": 2}), ({"a": "..."}, {}), ([1], [1, 2]), ({"a": {}}, {"a": []}), ([{"b": 1}], [{"b": None}])],
)
def test_an_answer_that_differs_is_seen(expected: Any, actual: Any) -> None:
    with pytest.raises(AssertionError):
        assert_is(expected, actual)


def test_an_answer_may_be_shown_shortened() -> None:
    assert_is({"a": [{"b": 1}], "c": "..."}, {"a": [{"b": 1, "more": 2}], "c": None, "d": 3})
    assert last_json('data: {"x": 1}\n\n{"y": 2}{"z": [3]}') == {"z": [3]}

"""What a run writes down, as JSON lines in a folder: enough to judge it again without the system."""

import json
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, TextIO

Row = dict[str, Any]


@dataclass
class Records:
    """Everything known of a run, one list for each file ``NAME.jsonl``.

    - ``run``: one row: seed, minutes, store, in flight; what starts were answered (``answers``).
    - ``schedule``, ``faults``: what was planned, and what was done, with the seconds since the beginning.
    - ``executions``: one for each accepted start: ``execution_id``, ``way``, ``shape``, ``status`` and ``steps`` that
      are expected (step -> ``needs``, ``outcome``, ``failing``, ``effect``).
    - ``starts``: starts that were refused or never accepted.
    - ``ledger``: calls of the ledger, in order (see ``ledger.py``).
    - ``log``: every entry of every execution as the store has it: ``execution_id``, ``n``, ``at``, ``applied`` and
      ``events``.
    - ``headers``: as the store has them.
    - ``events``: as the listener heard them: ``kind`` ``advanced`` (``execution_id``, ``n``, ``applied``) or ``ended``
      (``execution_id``, ``status``).
    - ``queues``: ``name`` and ``messages`` left at the end (null: there is no such queue).
    - ``dead_letters``: what lay there, with its reason.
    - ``copies``: ids of the messages that were published a second time.
    - ``services``: processes that ended by themselves or not in good order: ``name``, ``what``, ``detail``.
    """

    run: list[Row] = field(default_factory=list)
    schedule: list[Row] = field(default_factory=list)
    faults: list[Row] = field(default_factory=list)
    executions: list[Row] = field(default_factory=list)
    starts: list[Row] = field(default_factory=list)
    ledger: list[Row] = field(default_factory=list)
    log: list[Row] = field(default_factory=list)
    headers: list[Row] = field(default_factory=list)
    events: list[Row] = field(default_factory=list)
    queues: list[Row] = field(default_factory=list)
    dead_letters: list[Row] = field(default_factory=list)
    copies: list[Row] = field(default_factory=list)
    services: list[Row] = field(default_factory=list)


NAMES = tuple(one.name for one in fields(Records))


class BadRecords(Exception):
    """A folder that holds no recorded run."""


def read_records(folder: Path) -> Records:
    """A recorded run.

    Raises:
        BadRecords: a file is missing, or a line of one is no JSON object.
    """
    return Records(**{name: _rows(folder / f"{name}.jsonl") for name in NAMES})


class Recorder:
    """Writes rows as they come. Use as a context manager; a folder holds one run."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._files: dict[str, TextIO] = {name: (folder / f"{name}.jsonl").open("w") for name in NAMES}

    def __enter__(self) -> "Recorder":
        return self

    def __exit__(self, *_: object) -> None:
        for file in self._files.values():
            file.close()

    def add(self, name: str, *rows: Row) -> None:
        file = self._files[name]
        for row in rows:
            file.write(json.dumps(row, separators=(",", ":")) + "\n")


def _rows(path: Path) -> list[Row]:
    try:
        lines = path.read_text().splitlines()
    except OSError as error:
        raise BadRecords(f"{path.parent} holds no recorded run: {error}") from error
    rows: list[Row] = []
    for number, line in enumerate(lines, 1):
        try:
            rows.append(json.loads(line))
        except ValueError as error:
            raise BadRecords(f"{path}:{number} is no JSON: {error}") from error
    return rows

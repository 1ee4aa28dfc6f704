"""Check the committed JSON Schemas of the messages against the code, or write them.

    python scripts/schemas.py check      exits 1 with every difference
    python scripts/schemas.py write      writes what may change; refuses what would break services already running

``write`` refuses an incompatible change: make a new version of the message instead. ``--readers-first`` accepts a
widening, which is safe only if every reader is replaced before the first writer; ``--force`` accepts anything and is
meant for messages that no released version has sent.
"""

import argparse
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from contracts.compatibility import Change, Impact, compare, worst
from contracts.json_schema import (
    SCHEMAS_FOLDER,
    JsonSchema,
    committed_schemas,
    current_schemas,
    render,
    schema_path,
)


@dataclass(frozen=True, slots=True)
class Difference:
    """One message whose committed schema is not what the code says. ``schema`` is the code's, None if it has none;
    ``impact`` is None where nobody who reads or writes the message notices."""

    kind: str
    what: str
    impact: Impact | None
    schema: JsonSchema | None
    changes: tuple[Change, ...] = ()

    def __str__(self) -> str:
        lines = [f"{self.kind}: {self.what}", *(f"  {change}" for change in self.changes)]
        return "\n".join(lines)


def differences(current: Mapping[str, JsonSchema], folder: Path) -> list[Difference]:
    """Every message, of the code or of the folder, whose two schemas are not the same to the byte."""
    committed = committed_schemas(folder)
    found = [
        _difference(kind, schema, committed.get(kind), folder)
        for kind, schema in sorted(current.items())
        if kind not in committed or schema_path(kind, folder).read_text(encoding="utf-8") != render(schema)
    ]
    return found + [_gone(kind, current) for kind in sorted(committed.keys() - current.keys())]


def write(difference: Difference, folder: Path) -> None:
    """Make the committed schema what the code says: write its file, or remove it where the message is gone."""
    path = schema_path(difference.kind, folder)
    if difference.schema is None:
        path.unlink()
        return
    folder.mkdir(parents=True, exist_ok=True)
    path.write_text(render(difference.schema), encoding="utf-8")


def _difference(kind: str, schema: JsonSchema, committed: JsonSchema | None, folder: Path) -> Difference:
    if committed is None:
        return Difference(kind, f"has no committed schema in {folder}", None, schema)
    changes = tuple(compare(committed, schema))
    impact = worst(changes)
    what = f"changed, {impact}" if impact else "changed, compatibly"
    return Difference(kind, what, impact, schema, changes)


def _gone(kind: str, current: Mapping[str, JsonSchema]) -> Difference:
    """A message may go once a later version of it has come; before that, someone may still send it."""
    name, _, version = kind.rpartition(".v")
    newer = [
        other
        for other in current
        if other.startswith(f"{name}.v") and int(other.rpartition(".v")[2]) > int(version or "0")
    ]
    if newer:
        return Difference(kind, f"is gone, replaced by {', '.join(sorted(newer))}", None, None)
    return Difference(kind, "is gone from the catalog, and no newer version took its place", Impact.INCOMPATIBLE, None)


def main(arguments: list[str] | None = None, folder: Path = SCHEMAS_FOLDER) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=("check", "write"))
    parser.add_argument("--readers-first", action="store_true", help="accept changes that need readers replaced first")
    parser.add_argument("--force", action="store_true", help="accept incompatible changes")
    options = parser.parse_args(arguments)
    found = differences(current_schemas(), folder)
    for difference in found:
        print(difference)
    if not found:
        print(f"{folder}: every message has its committed schema, and none differs")
        return 0
    if options.command == "check":
        print("run: python scripts/schemas.py write")
        return 1
    refused = [one for one in found if not _accepted(one, options.readers_first, options.force)]
    for difference in found:
        if difference not in refused:
            write(difference, folder)
            print(f"written: {difference.kind}")
    if refused:
        print(f"not written: {', '.join(one.kind for one in refused)}")
        print("make a new version of the message, or see --readers-first and --force in --help")
    return 1 if refused else 0


def _accepted(difference: Difference, readers_first: bool, force: bool) -> bool:
    match difference.impact:
        case None:
            return True
        case Impact.READERS_FIRST:
            return readers_first or force
        case Impact.INCOMPATIBLE:
            return force


if __name__ == "__main__":
    sys.exit(main())

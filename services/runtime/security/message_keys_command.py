"""``python -m services message-keys``: the keys with which services and clients sign their messages.

create NAME     a first key for a service, an agent service or a client
create-all      one for each of Conclave's services that has none
list            every key that is trusted, and which are here to sign with
rotate NAME     another key; the one before stays valid for a while, so that nothing has to restart
retire KID      trust a key no more, at once

The keys are in the folder that MESSAGE_KEYS names: NAME.private.json, which only that service may have, and
trusted.json, which every service reads. Services notice changes within seconds.
"""

import argparse
import re
import sys
import time
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from services.runtime.security import key_ring
from services.runtime.security.key_files import PublicEntry, private_path, trusted_path
from services.runtime.security.key_ring import KeyRing, NoSuchKey
from services.runtime.security.policy import open_policy
from services.runtime.security.principal import ANY_TYPE, SenderKind
from services.runtime.settings import BadSettings, Settings, load_settings

SERVICES = ("access", "auditor", "dead_letters", "edge", "monitor", "orchestrator", "registry")
_NO_SERVICE = ("runtime",)
_UNITS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
_SERVICES_FOLDER = Path(__file__).resolve().parents[2]


def main(arguments: list[str]) -> int:
    """Returns the exit code: 2 for what was asked wrongly, 1 for what could not be done."""
    wanted = _parser().parse_args(arguments)
    try:
        settings = load_settings()
        with key_ring.opened(settings.message_keys, time.time()) as ring:
            print("\n".join(_run(wanted, settings, ring)))
    except (BadSettings, NoSuchKey, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def _run(wanted: argparse.Namespace, settings: Settings, ring: KeyRing) -> Iterable[str]:
    match wanted.command:
        case "create":
            types = wanted.agent_types
            return _create(ring, wanted.name, _kind(wanted.name, wanted.kind, types), types, settings)
        case "create-all":
            return _create_all(ring, settings)
        case "list":
            return _table(ring)
        case "rotate":
            return _rotate(ring, wanted.name, wanted.overlap, wanted.after, wanted.agent_types)
        case _:
            return _retire(ring, wanted.kid)


def _create(
    ring: KeyRing, name: str, kind: SenderKind, agent_types: Sequence[str] | None, settings: Settings
) -> list[str]:
    types = _types(name, kind, agent_types, settings)
    entry = ring.create(name, kind, types)
    holder = f"only {kind.value} {name} may have it"
    said = [
        f"{entry.kid}: made for {kind.value} {name}",
        f"  private key  {private_path(ring.folder, name)}  ({holder})",
        f"  trusted in   {trusted_path(ring.folder)}  (every service needs it; copy it first)",
    ]
    if kind is SenderKind.AGENT:
        said.append(_says_types(name, types))
    return said


def _create_all(ring: KeyRing, settings: Settings) -> list[str]:
    said: list[str] = []
    for name in _service_names():
        if ring.of(name):
            said.append(f"{name}: has a key")
        else:
            kind = SenderKind.SERVICE if name in SERVICES else SenderKind.AGENT
            said += _create(ring, name, kind, None, settings)
    return [*said, "Now give each service MESSAGE_KEYS and its own private key, and set MESSAGE_SIGNING=required."]


def _rotate(ring: KeyRing, name: str, overlap: int, after: int, agent_types: Sequence[str] | None) -> list[str]:
    before = ring.of(name)
    entry = ring.rotate(name, overlap=overlap, after=after, agent_types=agent_types)
    begins = f"from {_moment(entry.iat)} on" if after else "from now on"
    said = [
        f"{entry.kid}: {entry.kind.value} {name} signs with it {begins}",
        *(f"{old.kid}: valid until {_moment(old.exp)}" for old in ring.of(name) if old.kid != entry.kid and old.exp),
        f"Where services have copies of the folder: copy {trusted_path(ring.folder).name} to all of them first, then",
        f"{private_path(ring.folder, name).name} to {name}. Nothing has to be restarted.",
    ]
    if not after and len(before) == 1:
        said.append("(--after 10m would have left time for that: the new key is used only then.)")
    return said


def _retire(ring: KeyRing, kid: str) -> list[str]:
    entry = ring.retire(kid)
    said = [f"{kid} of {entry.kind.value} {entry.name} is trusted no more; what it signed becomes a dead letter"]
    if not ring.of(entry.name):
        said.append(f"{entry.name} has no key now: `python -m services message-keys create {entry.name}` makes one")
    return said


def _table(ring: KeyRing) -> list[str]:
    if not ring.trusted:
        return [f"{trusted_path(ring.folder)} has no keys; `python -m services message-keys create-all` makes them"]
    head = ("KEY", "NAME", "KIND", "AGENT TYPES", "MADE", "UNTIL", "")
    rows = [head, *(_row(ring, entry) for entry in ring.trusted)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
    return ["  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _row(ring: KeyRing, entry: PublicEntry) -> tuple[str, ...]:
    if entry.exp is not None and entry.exp <= ring.now:
        state = "expired"
    elif entry.kid == ring.signing(entry.name):
        state = "signs"
    else:
        state = "private key here" if ring.has_private(entry) else ""
    types = ",".join(entry.agent_types) or "-"
    until = "-" if entry.exp is None else _moment(entry.exp)
    return entry.kid, entry.name, entry.kind.value, types, _moment(entry.iat), until, state


def _kind(name: str, wanted: str | None, agent_types: Sequence[str] | None) -> SenderKind:
    """What it is, where that is known: nobody else may have a service's name."""
    if name in _service_names():
        known = SenderKind.SERVICE if name in SERVICES else SenderKind.AGENT
        if wanted is not None and wanted != known.value:
            raise BadSettings(f"{name} is one of Conclave's services, of kind {known.value}, not {wanted}")
        return known
    if wanted is not None:
        return SenderKind(wanted)
    if agent_types:
        return SenderKind.AGENT
    raise BadSettings(f"{name} is none of Conclave's services: say --kind agent (with --agent-types) or --kind client")


def _types(name: str, kind: SenderKind, wanted: Sequence[str] | None, settings: Settings) -> tuple[str, ...]:
    if kind is not SenderKind.AGENT:
        if wanted:
            raise BadSettings(f"--agent-types is for agents, and {name} is of kind {kind.value}")
        return ()
    if wanted is not None:
        return tuple(wanted)
    if name != "plugin_agent":
        return (name,)
    own = {other for other in _service_names() if other != name}
    return tuple(sorted(open_policy(settings.agent_policy).agents.keys() - own - {ANY_TYPE}))


def _says_types(name: str, types: Sequence[str]) -> str:
    if types:
        return f"  answers for  {', '.join(types)}"
    return (
        f"  answers for  no agent type: name the types of your plugins in AGENT_POLICY, and give them to it with"
        f" `python -m services message-keys rotate {name} --agent-types TYPE,...`"
    )


def _service_names() -> list[str]:
    return sorted({*SERVICES, *(app.parent.name for app in _SERVICES_FOLDER.glob("*/app.py"))} - set(_NO_SERVICE))


def _moment(seconds: int | None) -> str:
    return "-" if seconds is None else datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%SZ")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m services message-keys",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    create = commands.add_parser("create", help="a first key")
    create.add_argument("name", type=_name)
    create.add_argument("--kind", choices=[kind.value for kind in SenderKind])
    create.add_argument("--agent-types", type=_list, metavar="TYPE,...", help="which a host of agents answers for")
    commands.add_parser("create-all", help="one for each of Conclave's services that has none")
    commands.add_parser("list", help="every trusted key")
    rotate = commands.add_parser("rotate", help="another key, and a while in which both are valid")
    rotate.add_argument("name", type=_name)
    rotate.add_argument(
        "--overlap", type=_duration, default="24h", help="how long the old key is valid, such as 90m or 7d; default 24h"
    )
    rotate.add_argument(
        "--after",
        type=_duration,
        default="0",
        help="when the new key begins to sign, so that files can be copied before; default now",
    )
    rotate.add_argument("--agent-types", type=_list, metavar="TYPE,...", help="others than before")
    commands.add_parser("retire", help="trust a key no more").add_argument("kid")
    return parser


def _name(text: str) -> str:
    if not key_ring.is_name(text):
        raise argparse.ArgumentTypeError(f"{text!r} is no name: letters, digits, _ and -, first no digit, at most 64")
    return text


def _list(text: str) -> list[str]:
    names = [part.strip() for part in text.split(",") if part.strip()]
    for name in names:
        if name != ANY_TYPE:
            _name(name)
    return names


def _duration(text: str) -> int:
    found = re.fullmatch(r"([0-9]{1,9})([smhd]?)", text)
    if found is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no time: seconds, or a number with s, m, h or d, such as 24h")
    return int(found[1]) * _UNITS[found[2] or "s"]

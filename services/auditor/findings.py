"""What verifying an audit log finds, and how it is said."""

from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any, Final


class Kind(StrEnum):
    ALTERED = "altered"  # an entry is not what its own hash is over
    REMOVED = "removed"
    PUT_IN = "put-in"
    MOVED = "moved"  # an entry stands where another stood
    REWRITTEN = "rewritten"  # entries were changed and their hashes made anew
    BAD_CHECKPOINT = "bad-checkpoint"  # it is not the auditor's, or not what it signed
    LOST_CHECKPOINT = "lost-checkpoint"  # a later one says that it was there


@dataclass(frozen=True, slots=True)
class Finding:
    """Entries ``first`` to ``last`` (checkpoints at them, for what is found of checkpoints), and what is wrong."""

    kind: Kind
    first: int
    last: int
    text: str


LIMITS: Final = (
    "What this cannot know: whether the first entry was ever preceded by others or the whole log replaced together with"
    " the auditor's key; what was rewritten behind the last checkpoint; what was put in at the end by whoever can write"
    " to the store, before the auditor went on from there; and what never came to the auditor."
    " Checkpoints that are kept elsewhere (the auditor logs them) are compared with --expect N:HASH."
)


@dataclass(slots=True)
class Report:
    """``entries`` were read, the last of them ``end`` with hash ``end_hash``; genuine checkpoints vouch for those up to
    ``signed_to`` (0: for none). ``entry_fault`` is the first that is wrong with entries; after it nothing was read."""

    entries: int = 0
    end: int = 0
    end_hash: str = ""
    checkpoints: int = 0
    signed_to: int = 0
    signer_known: bool = True
    entry_fault: Finding | None = None
    checkpoint_faults: list[Finding] = field(default_factory=list)
    more_checkpoint_faults: int = 0

    @property
    def whole(self) -> bool:
        return self.entry_fault is None and not self.checkpoint_faults

    def add(self, fault: Finding) -> None:
        if len(self.checkpoint_faults) < 20:
            self.checkpoint_faults.append(fault)
        else:
            self.more_checkpoint_faults += 1

    def as_json(self) -> dict[str, Any]:
        return {"whole": self.whole, **asdict(self), "limits": LIMITS}

    def lines(self) -> list[str]:
        lines = [f"The audit log is {'whole' if self.whole else 'NOT whole'}: {_count(self.entries, 'entry')} read."]
        if self.entry_fault is not None:
            lines.append(f"{self.entry_fault.kind.value.upper()}: {self.entry_fault.text}")
        lines += [f"{fault.kind.value.upper()}: {fault.text}" for fault in self.checkpoint_faults]
        if self.more_checkpoint_faults:
            lines.append(f"... and {self.more_checkpoint_faults} more faults of checkpoints")
        return [*lines, self._signed(), LIMITS]

    def _signed(self) -> str:
        if not self.signer_known:
            return (
                "NOT SIGNED, as far as this can tell: no key is trusted as the auditor's (--trusted FILE, or"
                " trusted.json in MESSAGE_KEYS). Whoever writes to the store can have rewritten everything."
            )
        if self.signed_to == 0:
            return (
                "NOT SIGNED: there is no checkpoint of the auditor's. Whoever writes to the store can have rewritten"
                " everything."
            )
        signed = f"Signed up to entry {self.signed_to} by {_count(self.checkpoints, 'checkpoint')}"
        if self.entry_fault is not None or self.signed_to >= self.end:
            return signed + "."
        first, behind = self.signed_to + 1, self.end - self.signed_to
        what = f"entry {first}" if behind == 1 else f"entries {first} to {self.end}"
        return f"{signed}; {what} not yet, and can have been rewritten by whoever writes to the store."


def _count(count: int, what: str) -> str:
    many = "entries" if what == "entry" else what + "s"
    return f"{count:,} {what if count == 1 else many}"

"""Something that must not be."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Violation:
    """``kind`` says what is wrong; ``execution_id`` and ``step`` where, as far as it is of one."""

    kind: str
    execution_id: str = ""
    step: str = ""
    detail: str = ""

    def __str__(self) -> str:
        where = "/".join(part for part in (self.execution_id, self.step) if part)
        return ": ".join(part for part in (self.kind, where, self.detail) if part)

"""Work that expressions may take, counted in units of about a microsecond, three at the worst, where it was measured.

Work is counted and not time, so that the same expression on the same values gives the same answer on every machine: the
engine is replayed. It bounds for how long a condition or an input can hold up everything else: the library holds the
interpreter's lock while it runs and cannot be interrupted.
"""

# The condition and all inputs of one step.
STEP_WORK = 250_000
# All steps that one message makes ready.
MESSAGE_WORK = 2_500_000
# All constant expressions of a definition that is checked: whoever sent it waits for the answer.
CHECK_WORK = 500_000


class OutOfWork(Exception):
    """A budget is spent; the message says which."""


class Budget:
    """``units`` that may be spent, within those of the budget that this one is ``part_of``."""

    __slots__ = ("_of", "_part_of", "_units", "left")

    def __init__(self, units: int = STEP_WORK, of: str = "one step's expressions", part_of: "Budget | None" = None):
        self.left = units
        self._units = units
        self._of = of
        self._part_of = part_of

    def spend(self, units: int) -> None:
        """
        Raises:
            OutOfWork: there are not as many left.
        """
        self.left -= units
        if self.left < 0:
            raise OutOfWork(
                f"more than {self._units:,} units of work for {self._of} (values read, times the elements gone over): "
                "let an agent do this, or read less"
            )
        if self._part_of is not None:
            self._part_of.spend(units)

    def for_a_step(self) -> "Budget":
        """A step's own budget within this one."""
        return Budget(part_of=self)


def message_budget() -> Budget:
    """For all steps that one message makes ready."""
    return Budget(MESSAGE_WORK, "the steps that became ready together")

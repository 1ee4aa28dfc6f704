"""The commit protocol as a Hypothesis state machine, over the real engine and committer."""

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tests.support.protocol.checks import check_now
from tests.support.protocol.schedule import finish, pass_time
from tests.support.protocol.world import World

INDEX = st.integers(min_value=0, max_value=1_000)
REPLICA = st.integers(min_value=0, max_value=1)


class Protocol(RuleBasedStateMachine):
    """Two replicas, a store, a broker and hosts, with everything that may go wrong between any two awaits."""

    world: World

    @initialize(seed=st.integers(min_value=0, max_value=2**32))
    def begin(self, seed: int) -> None:
        self.world = World(seed)

    @precondition(lambda self: self.world.gates)
    @rule(index=INDEX, count=st.integers(min_value=1, max_value=6))
    def go_on(self, index: int, count: int) -> None:
        for _ in range(min(count, len(self.world.gates))):
            self.world.open_gate(index)

    @precondition(lambda self: self.world.shard)
    @rule(replica=REPLICA, index=st.one_of(st.just(0), INDEX))
    def deliver(self, replica: int, index: int) -> None:
        self.world.deliver(self.world.replicas[replica], index)

    @precondition(lambda self: self.world.shard)
    @rule(index=INDEX)
    def duplicate_a_message(self, index: int) -> None:
        self.world.duplicate(self.world.shard, index)

    @precondition(lambda self: self.world.commands)
    @rule(index=INDEX)
    def duplicate_a_command(self, index: int) -> None:
        self.world.duplicate(self.world.commands, index)

    @precondition(lambda self: self.world.commands)
    @rule(index=INDEX)
    def host_takes(self, index: int) -> None:
        self.world.host_takes(index, alone=False)

    @precondition(lambda self: self.world.quarantined)
    @rule(index=INDEX)
    def quarantine_takes(self, index: int) -> None:
        self.world.host_takes(index, alone=True)

    @precondition(lambda self: self.world.runs)
    @rule(index=INDEX)
    def host_finishes(self, index: int) -> None:
        self.world.host_finishes(index)

    @precondition(lambda self: self.world.runs)
    @rule(index=INDEX)
    def host_reports(self, index: int) -> None:
        self.world.host_reports(index)

    @precondition(lambda self: self.world.runs)
    @rule(index=INDEX)
    def host_dies(self, index: int) -> None:
        self.world.host_dies(index)

    @rule(replica=REPLICA)
    def crash(self, replica: int) -> None:
        self.world.crash(self.world.replicas[replica])

    @rule(replica=REPLICA)
    def cut(self, replica: int) -> None:
        self.world.cut(self.world.replicas[replica])

    @rule(index=INDEX)
    def forge(self, index: int) -> None:
        executions = list(self.world.executions)
        self.world.forge(executions[index % len(executions)])

    @rule()
    def lose_an_answer(self) -> None:
        self.world.lose_next_answer = True

    @rule(execution=INDEX)
    def start_again(self, execution: int) -> None:
        self.world.start(self._execution(execution))

    @rule(execution=INDEX)
    def cancel(self, execution: int) -> None:
        self.world.cancel(self._execution(execution))

    @rule(seconds=st.sampled_from([1.0, 5.0, 20.0, 100.0]))
    def tick(self, seconds: float) -> None:
        pass_time(self.world, seconds)

    @invariant()
    def holds(self) -> None:
        if hasattr(self, "world"):
            check_now(self.world)

    def teardown(self) -> None:
        if hasattr(self, "world"):
            try:
                finish(self.world)
            finally:
                self.world.close()

    def _execution(self, index: int) -> str:
        executions = list(self.world.executions)
        return executions[index % len(executions)]


Protocol.TestCase.settings = settings(
    max_examples=150,
    stateful_step_count=60,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
TestProtocol = Protocol.TestCase

"""Where results are asked for."""

from contracts.topology import shard_key
from services.orchestrator.affinity import Affinity


def test_before_anything_is_heard_each_execution_has_the_shard_of_its_hash() -> None:
    affinity = Affinity()
    ids = [f"e{i}" for i in range(50)]
    assert [affinity.reply_key(one) for one in ids] == [shard_key(one) for one in ids]
    assert len({affinity.reply_key(one) for one in ids}) > 1


def test_afterwards_all_have_the_shard_that_was_heard_from_last() -> None:
    affinity = Affinity()
    affinity.heard_from("shard.1")
    affinity.heard_from("shard.3")
    assert {affinity.reply_key(f"e{i}") for i in range(50)} == {"shard.3"}

"""Affinity: to which shard the results of an execution are sent, so that whoever holds its state gets them.

Any shard is right: two owners at once are slow, never wrong. A replica that hears from a shard is its active consumer,
so it asks for results there. They come together then, instead of divided over the shards by a hash; and an execution
stays with the replica that took its start.
"""

from contracts.topology import shard_key


class Affinity:
    """The shard this replica last heard from; before it has heard from any, each execution's own by its hash."""

    def __init__(self) -> None:
        self._home: str | None = None

    def heard_from(self, key: str) -> None:
        self._home = key

    def reply_key(self, execution_id: str) -> str:
        return self._home or shard_key(execution_id)

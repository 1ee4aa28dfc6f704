"""Affinity: to which shard the results of an execution are sent, so that whoever holds its state gets them.

Any shard is right: two owners at once are slow, never wrong. A replica that hears from a shard is its active consumer,
so it asks for results there. They come together then, instead of divided over the shards by a hash; and an execution
stays with the replica that took its start.
"""

from typing import Final

from contracts.topology import shard_key

HEARD_WITHIN: Final = 12  # looks; a shard that brings no result for so long may have gone to another replica


class Affinity:
    """The shards that this replica hears from. Its home is the one among them that it has heard from for longest, and
    stays so when others bring results: they may be those of a shard on its way to a replica that has none."""

    def __init__(self) -> None:
        self._heard: dict[str, int] = {}  # the look after which it last brought something, in the order they first did
        self._looks = 0

    def heard_from(self, key: str) -> None:
        self._heard[key] = self._looks

    def left(self, key: str) -> None:
        """This replica gives that shard to others."""
        self._heard.pop(key, None)

    def look(self) -> tuple[str, ...]:
        """The shards heard from lately, home first; called again and again, it forgets the others."""
        self._looks += 1
        self._heard = {key: at for key, at in self._heard.items() if self._looks - at <= HEARD_WITHIN}
        return tuple(self._heard)

    def reply_key(self, execution_id: str) -> str:
        """Home; without one, each execution's own shard by its hash."""
        return next(iter(self._heard), None) or shard_key(execution_id)

"""A store whose values are encrypted at rest.

Encrypted are whole log entries, payloads, definitions, workflows' descriptions, agents' configurations and errors, and
dead letters' bodies, headers and details. Plain stay ids, names, types, states and times, by which things are found and
listed; the hashes of API keys; and the audit log, which has nobody's values in it and is verified without these keys.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from contracts.agents import AgentRecord
from contracts.dead_letters import DeadLetter
from contracts.history import LogEntry, entry_id
from contracts.registry import AgentFilter
from contracts.workflow import Workflow, content_hash
from services.runtime.security.encryption import Cipher, digest, is_encrypted
from services.runtime.store import documents
from services.runtime.store.around import StoreAround
from services.runtime.store.base import DeadLetterFilter, Page, Store, Unreadable
from services.runtime.store.sealing import AGENT, ENCRYPTED_LETTER, ENTRY, LETTER, WORKFLOW, Sealing


class EncryptedStore(StoreAround):
    """What is read is exactly what was written; what was altered or moved in between raises Unreadable by its name.

    Args:
        required: values that are not encrypted are refused; else they are read as they are, as those of a time before.
    """

    def __init__(self, inner: Store, cipher: Cipher, *, required: bool) -> None:
        super().__init__(inner)
        self._sealing = Sealing(cipher, required=required)

    # ---- the log

    async def append(self, entries: Sequence[LogEntry]) -> set[str]:
        return await self.inner.append([self._sealing.model(ENTRY, entry) for entry in entries])

    async def read_log(self, after: Mapping[str, int]) -> dict[str, list[LogEntry]]:
        found = await self.inner.read_log(after)
        return {
            execution_id: [
                self._sealing.opened(ENTRY, entry_id(execution_id, n), stored)
                for n, stored in enumerate(entries, after[execution_id] + 1)
            ]
            for execution_id, entries in found.items()
        }

    async def put_payloads(self, payloads: Mapping[str, Any]) -> None:
        await self.inner.put_payloads(
            {
                key: self._sealing.value("payload", key, documents.payload_json(key, value))
                for key, value in payloads.items()
            }
        )

    async def get_payloads(self, ids: Collection[str]) -> dict[str, Any]:
        found = await self.inner.get_payloads(ids)
        return {key: self._payload(key, stored) for key, stored in found.items()}

    def _payload(self, key: str, stored: Any) -> Any:
        json = self._sealing.opened_value("payload", key, stored)
        return stored if json is None else documents.payload_of_json(key, json)

    # ---- definitions and workflows

    async def put_definition(self, definition_hash: str, definition: Mapping[str, Any]) -> None:
        json = documents.definition_json(definition_hash, definition)
        await self.inner.put_definition(definition_hash, self._sealing.value("definition", definition_hash, json))

    async def get_definition(self, definition_hash: str) -> dict[str, Any] | None:
        stored = await self.inner.get_definition(definition_hash)
        if stored is None:
            return None
        if self._sealing.is_plain(stored) and content_hash(stored) == definition_hash:
            # From before there was encryption. It is written once, and cannot have been altered.
            return stored
        json = self._sealing.opened_value("definition", definition_hash, stored)
        return stored if json is None else documents.definition_of_json(definition_hash, json)

    async def put_workflow(self, workflow: Workflow) -> bool:
        return await self.inner.put_workflow(self._sealing.model(WORKFLOW, workflow))

    async def get_workflow(self, workflow_id: str) -> Workflow | None:
        stored = await self.inner.get_workflow(workflow_id)
        return None if stored is None else self._sealing.opened(WORKFLOW, workflow_id, stored)

    async def list_workflows(self, page: Page, name: str | None = None) -> tuple[list[Workflow], str | None]:
        found, cursor = await self.inner.list_workflows(page, name)
        return [self._sealing.opened(WORKFLOW, stored.workflow_id, stored) for stored in found], cursor

    # ---- agents

    async def add_agent(self, agent: AgentRecord) -> bool:
        return await self.inner.add_agent(self._sealing.model(AGENT, agent))

    async def write_agent(self, agent: AgentRecord) -> bool:
        return await self.inner.write_agent(self._sealing.model(AGENT, agent))

    async def get_agent(self, agent_id: str) -> AgentRecord | None:
        stored = await self.inner.get_agent(agent_id)
        return None if stored is None else self._sealing.opened(AGENT, agent_id, stored)

    async def list_agents(self, filter: AgentFilter, page: Page) -> tuple[list[AgentRecord], str | None]:
        found, cursor = await self.inner.list_agents(filter, page)
        return [self._sealing.opened(AGENT, stored.agent_id, stored) for stored in found], cursor

    # ---- dead letters

    async def put_dead_letter(self, letter: DeadLetter) -> None:
        """A body that travelled encrypted is stored as it came; what is encrypted with the rest is its digest."""
        if not _travelled_encrypted(letter):
            await self.inner.put_dead_letter(self._sealing.model(LETTER, letter))
            return
        stored = self._sealing.model(ENCRYPTED_LETTER, _with_body(letter, digest(letter.body)))
        await self.inner.put_dead_letter(_with_body(stored, letter.body))

    async def get_dead_letter(self, letter_id: str) -> DeadLetter | None:
        stored = await self.inner.get_dead_letter(letter_id)
        return None if stored is None else self._letter(letter_id, stored)

    async def list_dead_letters(self, filter: DeadLetterFilter, page: Page) -> tuple[list[DeadLetter], str | None]:
        found, cursor = await self.inner.list_dead_letters(filter, page)
        return [self._letter(stored.id, stored) for stored in found], cursor

    def _letter(self, letter_id: str, stored: DeadLetter) -> DeadLetter:
        if LETTER.token(stored) is None or not stored.body:
            return self._sealing.opened(LETTER, letter_id, stored)
        letter = self._sealing.opened(ENCRYPTED_LETTER, letter_id, _with_body(stored, ""))
        if letter.body != digest(stored.body):
            raise Unreadable(f"dead letter {letter_id} was altered: it had another body")
        return _with_body(letter, stored.body)


def _travelled_encrypted(letter: DeadLetter) -> bool:
    return not letter.encoded and is_encrypted(letter.body.encode(errors="surrogatepass"))


def _with_body(letter: DeadLetter, body: str) -> DeadLetter:
    return letter.model_copy(update={"body": body})

"""The agent of the benchmarks: it gives back what it gets, so that only what a step costs around its work is seen."""

from pydantic import BaseModel

from benchmarks.definitions import ACTION, AGENT_TYPE
from services.runtime.agent import BaseAgent, capability


class Echoed(BaseModel):
    payload: str


class EchoAgent(BaseAgent):
    """Gives back what it gets."""

    agent_type = AGENT_TYPE

    @capability(ACTION)
    async def echo(self, request: Echoed) -> Echoed:
        """Answer with the request."""
        return request

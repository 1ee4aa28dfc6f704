"""Whether this edge, and all that runs beside it in its process, is ready."""

from contracts.monitoring import ServiceState
from services.runtime.telemetry.health import Checked, Health


class Readiness:
    """``health`` is the process's and watches its services. The edge, ``service``, looks after itself where it is not
    among them, as in a program that serves this application itself."""

    def __init__(self, health: Health, service: Checked) -> None:
        self._health = health
        self._service = service

    @property
    def service(self) -> str:
        """What this edge is called among the states."""
        return self._service.name

    async def states(self) -> tuple[ServiceState, ...]:
        states = await self._health.states()
        if any(state.service == self._service.name for state in states):
            return states
        return (await self._health.state_of(self._service), *states)

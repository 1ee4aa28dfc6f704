"""The data agent and its four actions."""

import asyncio
from collections.abc import Mapping
from typing import Any, ClassVar, TypeVar

from pydantic import BaseModel

from services.data_agent.config import DataAgentConfig
from services.data_agent.requests import (
    ProcessDataInput,
    ProcessDataOutput,
    ProfileInput,
    ProfileOutput,
    QueryInput,
    QueryOutput,
    ValidateDataInput,
    ValidateDataOutput,
)
from services.data_agent.workers import Workers
from services.runtime.agent import BaseAgent, capability

Output = TypeVar("Output", bound=BaseModel)


class DataAgent(BaseAgent):
    """Reads, transforms, queries, checks and describes tabular data.

    The configuration is a ``DataAgentConfig``: the data folder, and the limits of one call. The work is done by
    processes that this agent starts when it first needs them and ends when it stops.
    """

    agent_type: ClassVar[str] = "data_agent"
    config_model: ClassVar[type[BaseModel] | None] = DataAgentConfig
    # Or whoever may create agents could read any folder, and take as much of the machine as there is.
    fixed_config: ClassVar[frozenset[str]] = frozenset({"data_folder", "memory_limit_mb", "threads", "workers"})

    def __init__(self, agent_id: str, config: Mapping[str, Any] | None = None) -> None:
        super().__init__(agent_id, config)
        self._workers = Workers(self.settings)

    async def on_start(self) -> None:
        self._workers.open()

    async def on_stop(self) -> None:
        await asyncio.to_thread(self._workers.close)

    @capability("process_data")
    def process_data(self, request: ProcessDataInput) -> ProcessDataOutput:
        """Read data and apply operations one after the other: filter, select, derive, aggregate, join, sort, limit,
        deduplicate, fill."""
        return self._work("process_data", request, ProcessDataOutput)

    @capability("query")
    def query(self, request: QueryInput) -> QueryOutput:
        """Run one SQL SELECT over data, with no access to anything else."""
        return self._work("query", request, QueryOutput)

    @capability("validate_data")
    def validate_data(self, request: ValidateDataInput) -> ValidateDataOutput:
        """Check data against rules for its columns and across them, and list what breaks them."""
        return self._work("validate_data", request, ValidateDataOutput)

    @capability("profile")
    def profile(self, request: ProfileInput) -> ProfileOutput:
        """Describe data column by column: type, nulls, distinct values, range, mean, deviation, quantiles, commonest
        values."""
        return self._work("profile", request, ProfileOutput)

    def _work(self, name: str, request: BaseModel, output: type[Output]) -> Output:
        time_limit = getattr(request, "timeout_seconds", None)
        return output.model_validate(self._workers.run(name, request.model_dump(by_alias=True), time_limit))

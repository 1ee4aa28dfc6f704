"""The agent's work by name: what a worker process can be asked to do."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from services.data_agent.config import DataAgentConfig
from services.data_agent.processing import process_data
from services.data_agent.profiling import profile
from services.data_agent.querying import query
from services.data_agent.requests import ProcessDataInput, ProfileInput, QueryInput, ValidateDataInput
from services.data_agent.sandbox import Sandbox
from services.data_agent.validation import validate_data


@dataclass(frozen=True, slots=True)
class Job:
    request: type[BaseModel]
    run: Callable[[Any, DataAgentConfig, Sandbox], BaseModel]


JOBS: Mapping[str, Job] = {
    "process_data": Job(ProcessDataInput, process_data),
    "query": Job(QueryInput, query),
    "validate_data": Job(ValidateDataInput, validate_data),
    "profile": Job(ProfileInput, profile),
}

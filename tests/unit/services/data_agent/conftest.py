"""A sandbox with a data folder, and a way to run a job in it as a worker process would."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from services.data_agent.config import DataAgentConfig
from services.data_agent.jobs import JOBS
from services.data_agent.sandbox import Sandbox
from services.runtime.agent import CapabilityError

Run = Callable[..., dict[str, Any]]
Refused = Callable[..., CapabilityError]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "data"
    path.mkdir()
    return path


LIMITS = DataAgentConfig(max_input_rows=200_000, memory_limit_mb=256)


@pytest.fixture
def config(folder: Path) -> DataAgentConfig:
    return LIMITS.model_copy(update={"data_folder": folder})


@pytest.fixture(scope="session")
def sandbox() -> Iterator[Sandbox]:
    """One for all tests, as one serves all calls of a worker: what a test leaves behind would show."""
    made = Sandbox(LIMITS)
    yield made
    made.close()


@pytest.fixture
def run(config: DataAgentConfig, sandbox: Sandbox) -> Run:
    """Run a job on plain JSON and give back plain JSON, as it travels."""

    def run_job(name: str, limits: DataAgentConfig | None = None, **request: Any) -> dict[str, Any]:
        job = JOBS[name]
        output = job.run(job.request.model_validate(request), limits or config, sandbox)
        return json.loads(output.model_dump_json(), parse_constant=_no_constant)

    return run_job


@pytest.fixture
def refused(run: Run) -> Refused:
    """The error with which a job is refused."""

    def run_refused(name: str, **request: Any) -> CapabilityError:
        with pytest.raises(CapabilityError) as caught:
            run(name, **request)
        return caught.value

    return run_refused


def _no_constant(name: str) -> None:
    raise AssertionError(f"the output holds {name}, which is no JSON")

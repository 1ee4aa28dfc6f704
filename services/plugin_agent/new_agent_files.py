"""The files of a new agent package: path -> text, with ``$name``, ``$package``, ``$cls`` and ``$group`` to be
filled in."""

from typing import Final

_PYPROJECT = """\
[build-system]
requires = ["setuptools>=77"]
build-backend = "setuptools.build_meta"

[project]
name = "$package"
version = "0.1.0"
description = "An agent type for Conclave."
requires-python = ">=3.11"
# What your agent needs. Conclave itself is not listed: it is there wherever agents run.
dependencies = []

# This is how the plugin agent finds the class once the package is installed.
[project.entry-points."$group"]
$name = "$name.agent:$cls"

[tool.setuptools.packages.find]
where = ["src"]

[tool.pytest.ini_options]
pythonpath = ["src"]
testpaths = ["tests"]
asyncio_default_fixture_loop_scope = "function"
"""

_README = """\
# $package

The agent type `$name` for Conclave. `src/$name/agent.py` is all of it.

    python -m pytest .                                          # its test
    PLUGIN_FOLDER=path/to/this/src python scripts/start_dev.py  # run it from its source
    python -m pip install -e .                                  # or install it where the plugin agent runs
"""

_INIT = '''\
"""The agent type ``$name`` for Conclave."""

from .agent import $cls as $cls
'''

_AGENT = '''\
"""The agent: what it takes, what it gives, and what it does."""

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from services.runtime.agent import BaseAgent, CapabilityError, Mail, capability, on_message, report_progress


class ${cls}Config(BaseModel):
    """What an agent of this type can be configured with. Every field has a default, so that an agent runs without."""

    model_config = ConfigDict(extra="forbid")

    limit: float = Field(default=100.0, description="Values above it stand out.")


class CheckInputs(BaseModel):
    """What ``check`` takes. ``limit`` wins over the agent's own."""

    model_config = ConfigDict(extra="forbid")

    values: list[float] = Field(min_length=1, max_length=100_000)
    limit: float | None = None


class CheckOutput(BaseModel):
    """What ``check`` gives."""

    mean: float
    above: list[float]
    limit: float


class Ask(BaseModel):
    """The body of the message ``is_above``."""

    value: float


class $cls(BaseAgent):
    """Says which values are above a limit. The API shows this text: write here what your agents do."""

    agent_type = "$name"
    config_model = ${cls}Config

    @capability("check")
    def check(self, request: CheckInputs) -> CheckOutput:
        """The mean of the values, and those above the limit."""
        limit = self.settings.limit if request.limit is None else request.limit
        above: list[float] = []
        for done, value in enumerate(request.values, start=1):
            if value > limit:
                above.append(value)
            report_progress(done / len(request.values), f"{done} of {len(request.values)} values")
        mean = sum(request.values) / len(request.values)
        if mean in (float("inf"), float("-inf")):
            raise CapabilityError("the values are too large to add up", code="TooLarge")
        return CheckOutput(mean=mean, above=above, limit=limit)

    @on_message("is_above")
    def is_above(self, message: Mail) -> dict[str, bool]:
        """Whether ``{"value": ...}`` is above this agent's limit."""
        try:
            asked = Ask.model_validate(message.body)
        except ValidationError as error:
            raise CapabilityError(str(error), code="InvalidMessage") from error  # trying again would not help
        return {"above": asked.value > self.settings.limit}
'''

_TEST = '''\
"""The agent as its host calls it: started, given work and messages, stopped."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import pytest
from $name import $cls

from services.runtime.agent import CapabilityError, Mail


def on_agent(work: Callable[[$cls], Awaitable[Any]], config: Mapping[str, Any] | None = None) -> Any:
    """What ``work`` gives on an agent that runs."""

    async def running() -> Any:
        agent = $cls("test", config)
        await agent.start()
        try:
            return await work(agent)
        finally:
            await agent.stop()

    return asyncio.run(running())


def test_check_gives_the_mean_and_what_is_above_the_limit() -> None:
    answer = on_agent(lambda agent: agent.perform("check", {"values": [50, 150, 250]}))
    assert answer == {"mean": 150.0, "above": [150.0, 250.0], "limit": 100.0}


def test_an_agent_of_its_own_configuration_has_its_own_limit() -> None:
    answer = on_agent(lambda agent: agent.perform("check", {"values": [50, 150, 250]}), {"limit": 200})
    assert answer["above"] == [250.0]


def test_inputs_that_do_not_fit_are_refused() -> None:
    with pytest.raises(CapabilityError, match="values") as refused:
        on_agent(lambda agent: agent.perform("check", {"values": []}))
    assert refused.value.code == "InvalidInputs"


def test_a_message_is_answered() -> None:
    assert on_agent(lambda agent: agent.receive(Mail({"value": 101}, message_type="is_above"))) == {"above": True}


def test_a_message_that_does_not_fit_is_refused() -> None:
    with pytest.raises(CapabilityError) as refused:
        on_agent(lambda agent: agent.receive(Mail({"value": "much"}, message_type="is_above")))
    assert not refused.value.retryable
'''

FILES: Final = {
    "pyproject.toml": _PYPROJECT,
    "README.md": _README,
    "src/$name/__init__.py": _INIT,
    "src/$name/agent.py": _AGENT,
    "tests/test_$name.py": _TEST,
}

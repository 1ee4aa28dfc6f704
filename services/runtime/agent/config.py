"""The configuration of an agent: what its type declares of it, and what is wrong with one that does not fit."""

from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import BaseModel, ValidationError

from contracts.workflow import Fault
from services.runtime.agent.capability import CapabilityError
from services.runtime.agent.error_text import text_of

ROOT = "config"


class FixedConfig(CapabilityError):
    """A configuration sets what only the service may set."""

    def __init__(self, keys: Iterable[str], agent_type: str) -> None:
        self.keys = tuple(sorted(keys))
        super().__init__(
            f"{', '.join(self.keys)} of a {agent_type} is set by its service and not by an agent's configuration",
            code="FixedConfiguration",
        )


def config_schema(model: type[BaseModel] | None, fixed: Iterable[str]) -> dict[str, Any] | None:
    """The JSON Schema of what an instance's configuration may hold: the ``fixed`` keys are not in it."""
    if model is None:
        return None
    schema = model.model_json_schema(mode="validation")
    left_out = set(fixed)
    schema["properties"] = {k: v for k, v in schema.get("properties", {}).items() if k not in left_out}
    if "required" in schema:
        schema["required"] = [key for key in schema["required"] if key not in left_out]
    return schema


def check_not_fixed(config: Mapping[str, Any], fixed: frozenset[str], agent_type: str) -> None:
    """
    Raises:
        FixedConfig: an instance's configuration has a key that only the service may set.
    """
    wrong = fixed.intersection(config)
    if wrong:
        raise FixedConfig(wrong, agent_type)


def config_faults(error: BaseException) -> tuple[Fault, ...]:
    """What an agent's refusal to be made or to start says about its configuration, with paths below ``config``."""
    if isinstance(error, FixedConfig):
        return tuple(Fault(path=f"{ROOT}.{key}", code="fixed", message=str(error)) for key in error.keys)
    found = error if isinstance(error, ValidationError) else error.__cause__
    if isinstance(found, ValidationError) and isinstance(error, ValidationError | CapabilityError):
        return tuple(
            Fault(path=_path(fault["loc"]), code=fault["type"], message=fault["msg"])
            for fault in found.errors(include_url=False, include_context=False, include_input=False)
        )
    code = error.code if isinstance(error, CapabilityError) else type(error).__name__
    return (Fault(path=ROOT, code=code, message=text_of(error) or type(error).__name__),)


def _path(location: Iterable[str | int]) -> str:
    return ROOT + "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in location)

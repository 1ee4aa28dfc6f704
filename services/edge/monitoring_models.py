"""What the monitor answers, as the API shows it: the contracts' own views, but that times of day are ISO 8601 in UTC,
as everywhere in the API, where messages have epoch seconds, and that figures are rounded to six digits."""

from datetime import datetime
from enum import IntEnum
from types import UnionType
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin

from pydantic import AfterValidator, BaseModel, BeforeValidator, Field, create_model
from pydantic.fields import FieldInfo

from contracts.envelope import Contract
from contracts.monitoring import WINDOWS
from contracts.monitoring_health import AgentsView, HealthView, QueuesView, WorkflowsView
from contracts.monitoring_views import MetricsView, SystemView
from services.edge.models import View, utc
from services.runtime.masking import masked_text

Moment = Annotated[datetime, BeforeValidator(lambda told: utc(told) if isinstance(told, int | float) else told)]

Figure = Annotated[float, AfterValidator(lambda told: float(f"{told:.6g}"))]

PREFIX: Final = "Monitoring"  # of these models' names, some of which others have too
_TIMES: Final = ("at", "since")
_TIME_ENDINGS: Final = ("_at", "_since")
_TOLD: Final = ("fault", "error", "what")


class Window(IntEnum):
    """Seconds over which figures are shown."""

    MINUTE, FIVE_MINUTES, QUARTER, HOUR = WINDOWS


def shown(contract: type[Contract], **more: Any) -> type[View]:
    """The model that shows a contract, with ``more`` fields, as ``pydantic.create_model`` takes them."""
    return _Showing().model_of(contract, more)


def is_time(name: str, annotation: Any) -> bool:
    """Whether a contract's field is a time of day: by the names that all of them have."""
    return float in (annotation, *get_args(annotation)) and (name in _TIMES or name.endswith(_TIME_ENDINGS))


class _Showing:
    """One conversion; a contract that is met twice is one model."""

    def __init__(self) -> None:
        self._made: dict[type[Contract], type[View]] = {}

    def model_of(self, contract: type[Contract], more: dict[str, Any]) -> type[View]:
        if contract not in self._made:
            own = {name: self._field(name, field) for name, field in contract.model_fields.items()}
            fields: dict[str, Any] = {**own, **more}
            self._made[contract] = create_model(
                f"{PREFIX}{contract.__name__}", __base__=View, __doc__=contract.__doc__, **fields
            )
        return self._made[contract]

    def _field(self, name: str, field: FieldInfo) -> tuple[Any, FieldInfo]:
        annotation = field.annotation
        kept: dict[str, Any] = {"description": field.description, "default_factory": field.default_factory}
        if field.default_factory is None:
            kept["default"] = field.default
        if is_time(name, annotation):
            return (Moment if annotation is float else Moment | None), Field(**kept)
        return self._type(annotation), Field(**kept)

    def _type(self, annotation: Any) -> Any:
        if isinstance(annotation, type) and issubclass(annotation, Contract):
            return self.model_of(annotation, {})
        if annotation is float:
            return Figure
        parts = get_args(annotation)
        if not parts or get_origin(annotation) is Literal:
            return annotation
        changed = tuple(part if part is Ellipsis else self._type(part) for part in parts)
        if get_origin(annotation) in (Union, UnionType):
            return Union[changed]  # noqa: UP007 - the members are only known here
        return get_origin(annotation)[changed]


AnsweredBy = Literal["monitor", "edge"]

MonitoringHealth = shown(
    HealthView,
    answered_by=(
        AnsweredBy,
        Field(description="`edge`: the monitor did not answer, and this is what the edge knows by itself."),
    ),
)
MonitoringMetrics = shown(MetricsView)
MonitoringAgents = shown(AgentsView)
MonitoringWorkflows = shown(WorkflowsView)
MonitoringSystem = shown(SystemView)
MonitoringQueues = shown(QueuesView)


def show(model: type[View], view: BaseModel, **more: Any) -> View:
    """A view of the monitor's as ``model``, which shows its contract. What agents and services said of their faults is
    shown without secrets."""
    return model.model_validate({**_without_secrets(view.model_dump()), **more})


def _without_secrets(value: Any, name: str = "") -> Any:
    if isinstance(value, dict):
        return {key: _without_secrets(one, str(key)) for key, one in value.items()}
    if isinstance(value, tuple | list):
        return [_without_secrets(one) for one in value]
    return masked_text(value) if name in _TOLD and isinstance(value, str) else value

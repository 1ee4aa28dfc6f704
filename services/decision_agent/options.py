"""From a request and the agent's configuration to one complete set of options for one method."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, get_args

from pydantic import JsonValue, ValidationError

from services.decision_agent.refusal import listed, refuse
from services.decision_agent.request_models import CriterionSpec, MakeDecision, Method

_EVERY_METHOD = frozenset({"data", "method", "alternatives", "top"})
_CRITERIA = frozenset({"criteria", "costs", "weights", "missing"})
_OWN_OPTIONS: dict[str, frozenset[str]] = {
    "weighted_sum": frozenset({"normalisation"}),
    "topsis": frozenset({"normalisation"}),
    "vikor": frozenset({"v"}),
    "promethee_ii": frozenset({"preference"}),
    "threshold": frozenset({"normalisation", "thresholds", "require", "score_threshold"}),
    "rules": frozenset({"table", "graph", "facts", "rank_by", "rank_order"}),
}


@dataclass
class Notes:
    """What an answer has to own up to: conventions and assumptions, and warnings."""

    conventions: dict[str, JsonValue] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)

    def warn(self, text: str) -> None:
        if text not in self.warnings:
            self.warnings.append(text)


def allowed_options(method: str) -> frozenset[str]:
    shared = _EVERY_METHOD if method == "rules" else _EVERY_METHOD | _CRITERIA
    return shared | _OWN_OPTIONS[method]


def read_configuration(config: Mapping[str, Any]) -> MakeDecision:
    """The defaults that an agent's configuration gives: any field of a request but ``data`` and ``facts``.

    Raises:
        CapabilityError: ``InvalidConfiguration``, naming the key and what is allowed.
    """
    own = sorted(set(MakeDecision.model_fields) - {"data", "facts"})
    unknown = [key for key in config if key not in own]
    if unknown:
        raise refuse(
            "InvalidConfiguration",
            f"the configuration of a decision agent has no {listed(unknown)}; it may have {', '.join(own)}",
        )
    try:
        return MakeDecision.model_validate(dict(config))
    except ValidationError as error:
        faults = error.errors(include_url=False, include_context=False, include_input=False)
        text = "; ".join(f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in faults)
        raise refuse("InvalidConfiguration", f"the configuration of a decision agent does not fit: {text}") from error


def resolve(request: MakeDecision, defaults: MakeDecision, notes: Notes) -> tuple[Method, MakeDecision]:
    """The method, and the request completed by those defaults that belong to it. The request's own values win.

    Raises:
        CapabilityError: ``InvalidInputs`` where the request has an option that its method does not know.
    """
    asked = _given(request)
    configured = _given(defaults)
    method = _choose_method(asked, configured, notes)
    allowed = allowed_options(method)
    wrong = sorted(set(asked) - allowed)
    if wrong:
        raise refuse(
            "InvalidInputs",
            f"method {method} has no option {listed(wrong)}; it has {', '.join(sorted(allowed - {'method'}))}",
        )
    usable = {name: value for name, value in configured.items() if name in allowed and name != "method"}
    if configured.get("method", method) != method:
        # A default such as "normalisation" was meant for the configured method, not for the one asked for.
        usable = {name: value for name, value in usable.items() if name not in _OWN_OPTIONS[method]}
    _let_request_win(asked, usable)
    taken = sorted(set(usable) - set(asked))
    if taken:
        notes.conventions["from_configuration"] = list(taken)
    merged = {**usable, **asked}
    merged.pop("method", None)
    _check_preferences(method, asked)
    return method, MakeDecision.model_construct(**dict.fromkeys(MakeDecision.model_fields) | merged)


def _given(model: MakeDecision) -> dict[str, Any]:
    return {name: getattr(model, name) for name in MakeDecision.model_fields if getattr(model, name) is not None}


def _choose_method(asked: Mapping[str, Any], configured: Mapping[str, Any], notes: Notes) -> Method:
    for source, values in (("the request", asked), ("the agent's configuration", configured)):
        method: Method | None = values.get("method")
        if method is not None:
            notes.conventions["method_from"] = source
            return method
        for implied, marks in (
            ("rules", ("table", "graph", "facts")),
            ("threshold", ("thresholds", "score_threshold")),
        ):
            found = next((mark for mark in marks if mark in values), None)
            if found:
                notes.conventions["method_from"] = f"'{found}' in {source}"
                return next(m for m in get_args(Method) if m == implied)
    notes.conventions["method_from"] = "default: no method was named"
    return "weighted_sum"


def _let_request_win(asked: Mapping[str, Any], usable: dict[str, Any]) -> None:
    """Where a request's weights or criteria meet configured ones, what the request says about them is the whole."""
    weights, criteria = usable.get("weights"), asked.get("criteria")
    if criteria is not None:
        usable.pop("costs", None)
        names = [c if isinstance(c, str) else c.name for c in criteria]
        if any(isinstance(c, CriterionSpec) and c.weight is not None for c in criteria):
            usable.pop("weights", None)
        elif isinstance(weights, dict):
            usable["weights"] = {name: weight for name, weight in weights.items() if name in names}
    if "weights" in asked and "criteria" in usable:
        usable["criteria"] = [
            c.model_copy(update={"weight": None}) if isinstance(c, CriterionSpec) else c for c in usable["criteria"]
        ]


def _check_preferences(method: str, asked: Mapping[str, Any]) -> None:
    named = [c.name for c in asked.get("criteria", []) if isinstance(c, CriterionSpec) and c.preference is not None]
    if named and method != "promethee_ii":
        raise refuse(
            "InvalidInputs",
            f"criteria {listed(named)} have a preference function, which method {method} does not use; "
            "promethee_ii does",
        )

"""The decision agent and its one capability."""

from collections.abc import Mapping
from typing import Any, ClassVar

from services.decision_agent.answer_models import Decision
from services.decision_agent.options import Notes, read_configuration, resolve
from services.decision_agent.ranked_choice import choose
from services.decision_agent.request_models import MakeDecision
from services.decision_agent.rule_choice import judge
from services.decision_agent.threshold import screen
from services.runtime.agent import BaseAgent, capability


class DecisionAgent(BaseAgent):
    """Decides: ranks alternatives, screens them by thresholds, or applies rules, and explains the outcome.

    Its configuration gives defaults for any field of a request but ``data`` and ``facts``, for example
    ``{"method": "topsis", "weights": {"price": 2, "range": 1}}``. A request's own values win.

    Raises:
        CapabilityError: ``InvalidConfiguration``, when the configuration names an unknown option or a bad value.
    """

    agent_type: ClassVar[str] = "decision_agent"

    def __init__(self, agent_id: str, config: Mapping[str, Any] | None = None) -> None:
        super().__init__(agent_id, config)
        self._defaults = read_configuration(self.own_config)

    @capability("make_decision")
    def make_decision(self, request: MakeDecision) -> Decision:
        """Choose by criteria (weighted_sum, topsis, vikor, promethee_ii), by threshold, or by rules.

        The answer carries the ranking, the scores, each criterion's contribution, how far each weight can move
        before the winner changes, a rationale in plain language, and the conventions used.
        """
        notes = Notes()
        method, complete = resolve(request, self._defaults, notes)
        if method == "rules":
            return judge(complete, notes)
        if method == "threshold":
            return screen(complete, notes)
        return choose(method, complete, notes)

"""The coordinator agent: what several agents said becomes one answer."""

from services.coordinator_agent import aggregation, voting
from services.coordinator_agent.aggregate_models import AggregateAnswer, AggregateInputs
from services.coordinator_agent.vote_models import VoteAnswer, VoteInputs
from services.runtime.agent import BaseAgent
from services.runtime.capability import capability


class CoordinatorAgent(BaseAgent):
    """Joins the outputs of parallel steps, and holds votes over them."""

    agent_type = "coordinator_agent"

    @capability("aggregate")
    def aggregate(self, request: AggregateInputs) -> AggregateAnswer:
        """Join several steps' outputs into one: by_name, list, merge, by_key or numeric.

        Nulls, such as the outputs of skipped steps, are left out and named unless asked otherwise; where items
        disagree about a field, that is an error unless a policy is chosen, and it is listed in either case.
        """
        return aggregation.aggregate(request)

    @capability("vote")
    def vote(self, request: VoteInputs) -> VoteAnswer:
        """Decide by ballots: majority, weighted, borda, condorcet or quorum.

        - majority: most first choices, one vote a voter; more than half of the votes, or plurality.
        - weighted: the same with the voters' weights.
        - borda: m-1 points for the first of m alternatives, 0 for the last, times the voter's weight.
        - condorcet: whoever beats every other in pairs, by weight; otherwise the fallback, if one is chosen.
        - quorum: enough voters must have voted, and the winner needs a share of the weight.

        The answer has the winner or the reason why there is none, the counts, and who dissented.
        """
        return voting.vote(request)

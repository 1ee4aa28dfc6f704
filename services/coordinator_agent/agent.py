"""The coordinator agent: several agents or several answers, and one result."""

from services.coordinator_agent import aggregation, delegation, voting
from services.coordinator_agent.aggregate_models import AggregateAnswer, AggregateInputs
from services.coordinator_agent.consensus import consensus
from services.coordinator_agent.consensus_models import ConsensusAnswer, ConsensusInputs
from services.coordinator_agent.contract_net import contract_net
from services.coordinator_agent.contract_net_models import ContractNetAnswer, ContractNetInputs
from services.coordinator_agent.delegate_models import DelegateAnswer, DelegateInputs
from services.coordinator_agent.vote_models import VoteAnswer, VoteInputs
from services.runtime.agent import BaseAgent, capability


class CoordinatorAgent(BaseAgent):
    """Joins the outputs of parallel steps, holds votes over them, awards tasks by bids, brings agents to a consensus,
    and delegates to other workflows."""

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

    @capability("contract_net", waits=True)
    async def contract_net(self, request: ContractNetInputs) -> ContractNetAnswer:
        """Have a task done by the agent that offers it best (Smith's contract net, 1980).

        All agents with the task's action, or those that are chosen, are called to bid a cost and a confidence; when
        all have answered, or at the deadline, the task is awarded by the rule: lowest_cost, highest_confidence,
        best_ratio (confidence / cost) or weighted. If the awarded agent fails, the next best gets it. The output of the
        task is the ``result``; the record has every bid, and why it was not chosen.
        """
        return await contract_net(self, request)

    @capability("consensus", waits=True)
    async def consensus(self, request: ConsensusInputs) -> ConsensusAnswer:
        """Ask several agents the same question until enough of them agree, in one round or more.

        From the second round on each agent is shown what the others answered, and why. A quorum must answer, and the
        threshold, a share of the answers by weight, must agree. The answer has every round and the dissent; no
        consensus and no quorum are outcomes, not errors.
        """
        return await consensus(self, request)

    @capability("delegate", waits=True)
    async def delegate(self, request: DelegateInputs) -> DelegateAnswer:
        """Start another workflow, report its progress as this step's, and wait for its end.

        The step that runs again finds the execution it had started. If the step is cancelled, so is that execution.
        """
        return await delegation.delegate(self, request)

"""The rules that a vote was held under, in words: they travel with its answer."""

from services.coordinator_agent.vote_models import Method, VoteInputs

_ALL = (
    "An abstention counts towards the turnout, not towards the votes; a ballot of null is a voter who did not vote.",
    "Alternatives that a ranking leaves out are level, below all that it names.",
)
_LEVEL_FIRSTS = "A ballot with several alternatives level in first place gives each an equal part of its vote."
_HALF = "The winner needs more than half of the votes, abstentions not counted (Robert's Rules of Order, 1915, s. 48)."
_PAIRWISE = (
    "An alternative beats another where the ballots that put it above weigh more than those that put it below; a "
    "Condorcet winner beats every other."
)

_SCORES = {
    "borda": "The score is the Borda count: m-1 points for the first of m alternatives down to 0 for the last; level "
    "alternatives share the points of their places equally.",
    "copeland": "The score is Copeland's: alternatives beaten, plus half of those drawn with.",
    "schulze": "The score is the number of alternatives later in the order of Schulze (2011), by winning votes.",
}


def conventions(request: VoteInputs) -> list[str]:
    """Every convention that this vote's outcome depends on, one sentence or two each."""
    return [*_of_the_method(request), *_ALL, *_of_the_options(request)]


def _of_the_method(request: VoteInputs) -> list[str]:
    if request.method is Method.BORDA:
        return [_SCORES["borda"]]
    if request.method is Method.CONDORCET:
        ranked = f"Where there is a Condorcet winner: {_SCORES['copeland']}"
        if request.fallback is None:
            return [_PAIRWISE, _SCORES["copeland"], "Without a Condorcet winner nothing is decided."]
        otherwise = f"Without a Condorcet winner {request.fallback} decides: {_SCORES[request.fallback]}"
        return [_PAIRWISE, ranked, otherwise]
    unit = "the number of voters" if request.method is Method.MAJORITY else "the weight of the voters"
    return [f"The score is {unit} whose first choice it is.", _LEVEL_FIRSTS, _share_needed(request)]


def _share_needed(request: VoteInputs) -> str:
    if request.method is not Method.QUORUM:
        return _HALF if request.majority == "absolute" else "The winner needs more than any other (plurality)."
    if request.threshold is None:
        return _HALF
    return f"The winner needs at least {request.threshold} of the votes, abstentions not counted, and more than others."


def _of_the_options(request: VoteInputs) -> list[str]:
    options = []
    if request.quorum is not None:
        options.append("The quorum counts voters, not weights.")
    if request.tie_break:
        options.append(f"A tie goes to the first tied alternative of: {', '.join(request.tie_break)}.")
    return options

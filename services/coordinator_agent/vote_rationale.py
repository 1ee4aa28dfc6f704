"""A vote's answer in plain language, built from its figures alone. Alternatives stand in quotes, voters do not."""

from collections.abc import Sequence

from services.coordinator_agent.vote_models import Method, Outcome, Pairwise, VoteAnswer, VoteInputs

_SHOWN = 5


def rationale(request: VoteInputs, answer: VoteAnswer) -> str:
    sentences = [_result(request, answer), _margin(request, answer), _turnout(answer), _dissent(answer)]
    return " ".join(sentence for sentence in sentences if sentence)


def _result(request: VoteInputs, answer: VoteAnswer) -> str:
    match answer.outcome:
        case Outcome.DECIDED:
            return f"'{answer.winner}' wins{_how(request, answer, answer.winner or '')}."
        case Outcome.NO_VOTES:
            return "Nothing is decided: nobody voted for any alternative."
        case Outcome.NO_QUORUM:
            turnout = answer.turnout
            return (
                f"Nothing is decided: {turnout.cast} of {turnout.entitled} entitled voted, and the quorum is "
                f"{turnout.quorum}."
            )
        case Outcome.TIE:
            score = _score(request, answer, answer.tied[0])
            return f"Nothing is decided: {_quoted(answer.tied)} are level with {score}."
        case Outcome.NO_MAJORITY:
            most = answer.tally[0].share
            leading = _quoted([line.alternative for line in answer.tally if line.share == most])
            return f"Nothing is decided: {leading} with {most:.1%} of the votes lead, and {_needed(request)} is needed."
        case Outcome.NO_CONDORCET_WINNER:
            return "Nothing is decided: no alternative beats every other in pairs."


def _how(request: VoteInputs, answer: VoteAnswer, winner: str) -> str:
    if answer.decided_by == "tie_break":
        return f": {_quoted(answer.tied)} are level, and the tie-break order puts it before the others"
    if answer.decided_by == "condorcet":
        return ": it beats every other in pairs" if len(answer.ranking) > 1 else ": it is the only alternative"
    by = f" by {_rule(request, answer.decided_by or '')} with {_score(request, answer, winner)}"
    return f"{by}, because no alternative beats every other in pairs" if request.method is Method.CONDORCET else by


def _rule(request: VoteInputs, decided_by: str) -> str:
    if decided_by in (Method.MAJORITY, Method.WEIGHTED):
        return "absolute majority" if request.majority == "absolute" else "plurality"
    return "the votes of a quorum" if decided_by == Method.QUORUM else decided_by.capitalize()


def _margin(request: VoteInputs, answer: VoteAnswer) -> str:
    if answer.outcome is not Outcome.DECIDED or answer.decided_by == "tie_break":
        return ""
    others = [line for line in answer.tally if line.alternative != answer.winner]
    if not others:
        return ""
    if answer.decided_by == "condorcet" and answer.pairwise:
        return _closest_pair(answer.winner or "", answer.pairwise)
    second = [line.alternative for line in others if line.score == others[0].score]
    return f"Next: {_quoted(second)} with {_score(request, answer, second[0])}."


def _closest_pair(winner: str, pairwise: Pairwise) -> str:
    names, preferred = pairwise.alternatives, pairwise.preferred
    me = names.index(winner)
    closest = min((i for i in range(len(names)) if i != me), key=lambda i: preferred[me][i] - preferred[i][me])
    return f"Its closest pair is with '{names[closest]}': {preferred[me][closest]:g} to {preferred[closest][me]:g}."


def _turnout(answer: VoteAnswer) -> str:
    if answer.outcome is Outcome.NO_QUORUM:
        return ""
    turnout = answer.turnout
    parts = [f"{turnout.cast} of {turnout.entitled} entitled voted"]
    if answer.absent:
        parts.append(f"without {_listed(answer.absent)}")
    if answer.abstained:
        parts.append(f"{_listed(answer.abstained)} abstaining")
    if turnout.quorum is not None:
        parts.append(f"the quorum is {turnout.quorum}")
    return f"{', '.join(parts)}."


def _dissent(answer: VoteAnswer) -> str:
    if answer.outcome is not Outcome.DECIDED:
        return ""
    if not answer.dissent:
        return "Nobody dissents."
    said = [f"{d.voter} (first choice {_quoted(d.first)})" for d in answer.dissent[:_SHOWN]]
    more = len(answer.dissent) - _SHOWN
    return f"Dissent: {'; '.join(said)}{f'; and {more} more' if more > 0 else ''}."


def _score(request: VoteInputs, answer: VoteAnswer, alternative: str) -> str:
    line = next(line for line in answer.tally if line.alternative == alternative)
    if request.method is Method.BORDA or answer.decided_by == "borda":
        return _count(line.score, "Borda point")
    if request.method is Method.CONDORCET:
        return f"a score of {line.score:g}"
    if request.method is Method.MAJORITY:
        return f"{_count(line.score, 'vote')} ({line.share:.1%})"
    return f"a weight of {line.score:g} ({line.share:.1%})"


def _needed(request: VoteInputs) -> str:
    return "more than half" if request.threshold is None else f"at least {request.threshold}"


def _count(number: float, what: str) -> str:
    return f"{number:g} {what}{'' if number == 1 else 's'}"


def _quoted(names: Sequence[str]) -> str:
    return _listed([f"'{name}'" for name in names])


def _listed(names: Sequence[str]) -> str:
    if len(names) > _SHOWN:
        return f"{', '.join(names[:_SHOWN])} and {len(names) - _SHOWN} more"
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"

"""The agent: what it takes and gives."""

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from services.runtime.agent import BaseAgent, CapabilityError, Mail, capability, on_message, report_progress

from .matching import best_matches, key_of, similarity


class NameMatcherConfig(BaseModel):
    """Of an agent. ``threshold``: from which score on a candidate is a match. ``ignored_words``: words that say nothing
    about who is meant, in lower case."""

    model_config = ConfigDict(extra="forbid")

    threshold: float = Field(default=0.85, ge=0, le=1)
    ignored_words: tuple[str, ...] = (
        *("ab", "ag", "bv", "co", "company", "corp", "corporation", "gmbh", "inc", "incorporated", "limited", "llc"),
        *("llp", "ltd", "nv", "oy", "plc", "pty", "sa", "sarl", "spa", "srl", "the"),
    )


class MatchInputs(BaseModel):
    """``threshold`` wins over that of the agent's configuration."""

    model_config = ConfigDict(extra="forbid")

    names: list[str] = Field(max_length=10_000)
    candidates: list[str] = Field(min_length=1, max_length=10_000)
    threshold: float | None = Field(default=None, ge=0, le=1)


class Match(BaseModel):
    """``score`` is that of the best candidate, which is named only where the score reaches the threshold."""

    name: str
    candidate: str | None
    score: float


class Matches(BaseModel):
    matches: list[Match]
    unmatched: int
    threshold: float


class Pair(BaseModel):
    one: str
    other: str


class Verdict(BaseModel):
    score: float
    same: bool


class NameMatcher(BaseAgent):
    """Finds which company or person is meant by a name that is spelled in another way."""

    agent_type = "name_matcher"
    config_model = NameMatcherConfig

    @capability("match")
    def match(self, request: MatchInputs) -> Matches:
        """For each name the candidate most like it, if it is like enough.

        score = 2 * M / T: M characters in matching blocks, T characters of both, after case, accents, punctuation,
        the order of the words and legal forms are taken away.
        """
        threshold = self.settings.threshold if request.threshold is None else request.threshold
        everyone = len(request.names)
        found = best_matches(
            request.names,
            request.candidates,
            self.settings.ignored_words,
            lambda done: report_progress(done / everyone, f"{done} of {everyone} names"),
        )
        matches = [
            Match(
                name=name,
                candidate=request.candidates[best.place]
                if best.place is not None and best.score >= threshold
                else None,
                score=round(best.score, 4),
            )
            for name, best in zip(request.names, found, strict=True)
        ]
        return Matches(
            matches=matches, unmatched=sum(match.candidate is None for match in matches), threshold=threshold
        )

    @on_message("same")
    def same(self, message: Mail) -> Verdict:
        """Whether ``{"one": ..., "other": ...}`` mean the same."""
        try:
            pair = Pair.model_validate(message.body)
        except ValidationError as error:
            raise CapabilityError(str(error), code="InvalidMessage") from error  # trying it again would not help
        ignored = self.settings.ignored_words
        score = similarity(key_of(pair.one, ignored), key_of(pair.other, ignored))
        return Verdict(score=round(score, 4), same=score >= self.settings.threshold)

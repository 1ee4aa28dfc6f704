"""What ``vote`` takes and gives."""

from enum import StrEnum
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, field_validator, model_validator

Name = Annotated[str, Field(min_length=1, max_length=500)]
Weight = Annotated[float, Field(gt=0, le=1e12, allow_inf_nan=False)]
Share = Annotated[float, Field(gt=0, le=1)] | Annotated[str, Field(pattern=r"^[1-9]\d{0,8}/[1-9]\d{0,8}$")]

MAX_ALTERNATIVES = 100
MAX_BALLOTS = 10_000


class Method(StrEnum):
    MAJORITY = "majority"
    WEIGHTED = "weighted"
    BORDA = "borda"
    CONDORCET = "condorcet"
    QUORUM = "quorum"


class Outcome(StrEnum):
    """``decided`` alone comes with a winner."""

    DECIDED = "decided"
    TIE = "tie"
    NO_QUORUM = "no_quorum"
    NO_MAJORITY = "no_majority"
    NO_CONDORCET_WINNER = "no_condorcet_winner"
    NO_VOTES = "no_votes"


class Place(BaseModel):
    """One alternative's place in a ranking: rank 1 is best, equal ranks are a tie, gaps do not matter."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    alternative: Name
    rank: float = Field(ge=0, allow_inf_nan=False)


class Ballot(BaseModel):
    """One voter's ballot.

    ``choice`` names one alternative; ``ranking`` lists alternatives best first (a list inside the list is a tie), or
    as objects with ``alternative`` and ``rank``. What a ranking leaves out is below all it names. A ``choice`` of
    null or an empty ranking is an abstention. With both, the choice must be among the ranking's first.
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", json_schema_extra={"anyOf": [{"required": ["choice"]}, {"required": ["ranking"]}]}
    )

    voter: Name | None = None
    choice: Name | None = None
    ranking: list[Name | list[Name] | Place] | None = None
    weight: Weight | None = None
    reason: str = ""

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if not {"choice", "ranking"} & self.model_fields_set:
            raise ValueError("a ballot needs a 'choice' or a 'ranking'; write choice: null to abstain")
        return self


class DecisionBallot(BaseModel):
    """The output of a ``make_decision`` or of another ``vote``, used as a ballot: its ranking is the voter's
    ranking, its rationale the reason. Without a winner it is an abstention. Alternatives level in first place stay
    level, unless a tie-break decided between them. Whatever else it holds is ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    voter: Name | None = None
    winner: Name | None
    ranking: list[Place]
    weight: Weight | None = None
    rationale: str = ""
    decided_by: str | None = None


def _form(value: Any) -> str:
    if value is None:
        return "absent"
    if isinstance(value, str):
        return "choice"
    if isinstance(value, DecisionBallot) or (isinstance(value, dict) and "winner" in value):
        return "decision"
    return "ballot"


AnyBallot = Annotated[
    Annotated[Name, Tag("choice")]
    | Annotated[Ballot, Tag("ballot")]
    | Annotated[DecisionBallot, Tag("decision")]
    | Annotated[None, Tag("absent")],
    Discriminator(_form),
]


class Quorum(BaseModel):
    """How many of those entitled must have voted: a number of ``voters``, or a ``fraction`` (0.5 or "2/3"; rounded
    up to whole voters). Abstentions count as having voted, ballots of null do not; weights play no part."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    voters: int | None = Field(default=None, ge=1)
    fraction: Share | None = None

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        if (self.voters is None) == (self.fraction is None):
            raise ValueError("a quorum needs exactly one of 'voters' and 'fraction'")
        return self


class VoteInputs(BaseModel):
    """Ballots and the rule that decides.

    Fields:
        ballots: voter -> ballot, or a list of ballots. A ballot is the name of the alternative chosen, a ``Ballot``,
            the output of a decision, or null: entitled but did not vote, such as a skipped step. In a list, a ballot
            without ``voter`` is called by its position, ``#1`` the first.
        method: see the agent's documentation of each.
        weights: voter -> weight, for ballots that do not carry one; 1 otherwise.
        majority: for ``majority`` and ``weighted``: ``absolute`` needs more than half of the votes, ``plurality``
            only more than anyone else.
        quorum: the turnout needed; required by the method ``quorum``, possible with every other.
        threshold: for ``quorum``: the share of the votes that the winner needs at least; more than half if not given.
        fallback: for ``condorcet``: what decides when nobody beats everyone.
        tie_break: alternatives in order of preference; among tied ones the first listed wins.
        alternatives: what may be voted for; the alternatives that the ballots name, if not given.
        electorate: how many are entitled to vote; the number of ballots, if not given.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    ballots: dict[Name, AnyBallot] | list[AnyBallot] = Field(max_length=MAX_BALLOTS)
    method: Method
    weights: dict[str, Weight] = Field(default_factory=dict)
    majority: Literal["absolute", "plurality"] = "absolute"
    quorum: Quorum | None = None
    threshold: Share | None = None
    fallback: Literal["copeland", "schulze", "borda"] | None = None
    tie_break: list[Name] = Field(default_factory=list)
    alternatives: list[Name] | None = Field(default=None, min_length=1, max_length=MAX_ALTERNATIVES)
    electorate: int | None = Field(default=None, ge=1)

    @field_validator("alternatives", "tie_break")
    @classmethod
    def _once_each(cls, value: list[str] | None) -> list[str] | None:
        repeated = sorted({name for name in value or [] if (value or []).count(name) > 1})
        if repeated:
            raise ValueError(f"named more than once: {', '.join(repeated)}")
        return value

    @model_validator(mode="after")
    def _options_belong_to_the_method(self) -> Self:
        given = self.model_fields_set
        belongs = {
            "majority": (Method.MAJORITY, Method.WEIGHTED),
            "threshold": (Method.QUORUM,),
            "fallback": (Method.CONDORCET,),
        }
        for option, methods in belongs.items():
            if option in given and self.method not in methods:
                raise ValueError(f"{option!r} belongs to {' and '.join(methods)}, not to {self.method}")
        if self.method is Method.QUORUM and self.quorum is None:
            raise ValueError("the method 'quorum' needs 'quorum': {'voters': n} or {'fraction': share}")
        return self


class TallyLine(BaseModel):
    """One alternative's count. ``score`` is the method's measure (its unit is named in the answer's conventions);
    ``first_choices`` the weight of the ballots that put it first, an equal part of those that tie it with others;
    ``share`` is ``first_choices`` over the weight of all votes; ``supporters`` are who put it first."""

    alternative: str
    score: float
    first_choices: float
    share: float
    supporters: list[str]


class RankedAlternative(BaseModel):
    """Ranks as in sport: 1, 2, 2, 4."""

    alternative: str
    rank: int
    score: float


class Pairwise(BaseModel):
    """``preferred[i][j]`` is the weight of the ballots that put alternative i above alternative j."""

    alternatives: list[str]
    preferred: list[list[float]]


class Dissent(BaseModel):
    """A voter who did not put the winner first. ``rank_of_winner`` is where they had it, null if they left it out."""

    voter: str
    first: list[str]
    rank_of_winner: int | None
    weight: float
    reason: str


class Turnout(BaseModel):
    """Heads, not weights. ``cast`` = ``valid`` + ``abstained``; ``share`` = ``cast`` / ``entitled``."""

    entitled: int
    cast: int
    valid: int
    abstained: int
    share: float
    quorum: int | None
    quorum_met: bool


class VoteAnswer(BaseModel):
    """``winner`` is null unless ``outcome`` is ``decided``; ``tied`` lists who is level when it is ``tie`` (or was,
    before the tie-break). ``decided_by`` is the method, the fallback, or ``tie_break``."""

    method: Method
    outcome: Outcome
    winner: str | None
    decided_by: str | None
    tied: list[str]
    ranking: list[RankedAlternative]
    tally: list[TallyLine]
    pairwise: Pairwise | None
    dissent: list[Dissent]
    abstained: list[str]
    absent: list[str]
    turnout: Turnout
    rationale: str
    conventions: list[str]

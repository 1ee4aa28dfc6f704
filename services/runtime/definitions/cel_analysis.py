"""What an expression reads, found from its tokens: the steps it names, its free variables, its macros.

Each macro (``list.map(x, body)``) is taken out: its body becomes a part of its own, and in its place stands a call of
``HOOK`` with the macro's number and the variables of enclosing macros that the body reads. ``expressions`` answers that
call. The library's own macros are not used because it copies the list so far for each element (1,000 records took half
a second, 100,000 numbers six minutes), goes over maps in random order, and cannot be stopped.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import cel

from services.runtime.definitions.cel_syntax import BadExpression, Token

HOOK = "macro__"
ROOTS = ("steps", "inputs")
STEP_FIELDS = ("output", "status")
MACROS = {"all": (2,), "exists": (2,), "exists_one": (2,), "existsOne": (2,), "filter": (2,), "map": (2, 3)}
FUNCTIONS = frozenset(
    {"has", "size", "int", "uint", "double", "string", "bytes", "timestamp", "duration", "type", "dyn"}
)
METHODS = frozenset(
    {"size", "contains", "startsWith", "endsWith", "matches"}
    | {"getFullYear", "getMonth", "getDate", "getDayOfMonth", "getDayOfWeek", "getDayOfYear"}
    | {"getHours", "getMinutes", "getSeconds", "getMilliseconds"}
)
TYPES = frozenset({"int", "uint", "double", "bool", "string", "bytes", "list", "map", "null_type", "type"})
LEAST_REGEX_WORK = 50
MOST_REGEX_WORK = 20_000
_COUNTED = re.compile(r"\{(\d{1,9}),?(\d{0,9})\}")
_KEYWORDS = frozenset({"true", "false", "null", "in"})

Path = tuple[str, ...]


@dataclass(slots=True)
class Part:
    """A piece of an expression that the library runs by itself.

    ``text`` is CEL; ``reads`` are the paths below ``steps`` and ``inputs`` that it needs, as far as they are fixed;
    ``bound`` the variables of enclosing macros; ``uses`` counts how often it names any of these;
    ``size`` is its number of tokens, ``match_work`` the work of compiling its regular expressions, see ``regex_work``,
    and ``match_states`` the states they may be in at once while a text is matched.
    """

    text: str = ""
    reads: list[Path] = field(default_factory=list)
    bound: dict[str, None] = field(default_factory=dict)
    size: int = 0
    uses: int = 0
    additions: int = 0
    match_work: int = 0
    match_states: int = 0
    calls_macros: bool = False


@dataclass(frozen=True, slots=True)
class Macro:
    """``kind`` over a list: ``variable`` stands for each element in ``bodies`` (two in a map with a condition)."""

    kind: str
    variable: str
    bodies: tuple[Part, ...]
    captured: tuple[str, ...]


@dataclass(frozen=True)
class Analysis:
    main: Part
    macros: tuple[Macro, ...]
    variables: frozenset[str]

    @cached_property
    def parts(self) -> tuple[Part, ...]:
        return (self.main, *(body for macro in self.macros for body in macro.bodies))

    @cached_property
    def step_ids(self) -> frozenset[str]:
        return frozenset(path[1] for part in self.parts for path in part.reads if path[0] == "steps")


def analyse(tokens: list[Token]) -> Analysis:
    """Analyse the tokens of an expression that the library has accepted.

    Raises:
        BadExpression: a step that cannot be told before the run, an unknown function, a macro used wrongly.
    """
    walk = _Walk(tokens)
    main = walk.part(0, len(tokens), frozenset())
    return Analysis(main, tuple(walk.macros), frozenset(walk.variables))


class _Walk:
    def __init__(self, tokens: list[Token]) -> None:
        self.tokens = tokens
        self.macros: list[Macro] = []
        self.variables: set[str] = set()
        self._closing = _pairs(tokens)

    def part(self, start: int, end: int, bound: frozenset[str]) -> Part:
        """The part between two tokens; ``bound`` are the variables of the macros around it."""
        part = Part(size=end - start)
        texts: list[str] = []
        at = start
        while at < end:
            after, text = self._next(part, at, bound)
            texts.append(text or " ".join(token.text for token in self.tokens[at:after]))
            at = after
        part.text = " ".join(texts)
        return part

    def _next(self, part: Part, at: int, bound: frozenset[str]) -> tuple[int, str | None]:
        """Take what stands at a token: returns where to go on, and what to write instead of it, if anything."""
        token = self.tokens[at]
        if self._is_member(at):
            return self._method(part, at, bound) if self._text(at + 1) == "(" else (at + 1, None)
        if token.kind == "name" and token.text not in _KEYWORDS:
            return self._name(part, at, bound), None
        part.additions += token.text == "+"
        return at + 1, None

    def _name(self, part: Part, at: int, bound: frozenset[str]) -> int:
        """A name that is no member of anything: a function, a variable or a type."""
        name, following = self.tokens[at].text, self._text(at + 1)
        if self._text(at - 1) == ".":
            raise BadExpression(f"'.{name}': a name may not begin with a dot")
        if following == "{":
            raise BadExpression(f"'{name}{{': messages cannot be built here; a map is written {{'key': value}}")
        if following == "(":
            if name not in FUNCTIONS:
                raise BadExpression(_unknown_function(name))
        elif name in bound:
            part.bound[name] = None
            part.uses += 1
        elif name in ROOTS:
            return self._read(part, at)
        elif name not in TYPES:
            self.variables.add(name)
        return at + 1

    def _read(self, part: Part, at: int) -> int:
        """``steps`` or ``inputs``, and as much of the path below it as is fixed."""
        root = self.tokens[at].text
        path, after = [root], at + 1
        while segment := self._segment(after):
            name, after = segment
            path.append(name)
        if root == "steps":
            self._check_step(path, after)
        part.reads.append(tuple(path))
        part.uses += 1
        return after

    def _segment(self, at: int) -> tuple[str, int] | None:
        """The fixed key that is selected at ``at``, if one is, and where it ends."""
        if self._text(at) == "." and self._text(at + 2) != "(":
            return self._text(at + 1), at + 2
        if self._text(at) == "[" and self._text(at + 2) == "]" and self.tokens[at + 1].kind == "string":
            return _literal(self._text(at + 1)), at + 3
        return None

    def _check_step(self, path: list[str], after: int) -> None:
        if len(path) == 1:
            how = "write steps.NAME or steps['NAME']"
            if self._text(after) == "[":
                raise BadExpression(f"which step this reads is known only at run time, too late to wait for it; {how}")
            raise BadExpression(f"'steps' by itself names no step to wait for; {how}")
        if len(path) > 2 and path[2] not in STEP_FIELDS:
            fields = " and ".join(STEP_FIELDS)
            raise BadExpression(f"'steps.{path[1]}.{path[2]}': a step has {fields}, nothing else")

    def _method(self, part: Part, at: int, bound: frozenset[str]) -> tuple[int, str | None]:
        name = self.tokens[at].text
        if name in MACROS:
            return self._closing[at + 1] + 1, self._macro(part, at, bound)
        if name not in METHODS:
            raise BadExpression(_unknown_function(name))
        if name == "matches":
            alone = self._text(at + 3) == ")" and self.tokens[at + 2].kind == "string"
            pattern = _literal(self._text(at + 2)) if alone else None
            part.match_work += MOST_REGEX_WORK if pattern is None else regex_work(pattern)
            part.match_states += MOST_REGEX_WORK if pattern is None else regex_states(pattern)
        return at + 1, None

    def _macro(self, part: Part, at: int, bound: frozenset[str]) -> str:
        kind = self.tokens[at].text
        arguments = self._arguments(at + 1)
        name = self.tokens[arguments[0][0]].text if arguments else ""
        if len(arguments) not in MACROS[kind] or arguments[0][1] - arguments[0][0] != 1:
            raise BadExpression(f"{kind} is written list.{kind}(x, expression), where x is a name of your choice")
        bodies = tuple(self.part(start, end, bound | {name}) for start, end in arguments[1:])
        captured = tuple(dict.fromkeys(other for body in bodies for other in body.bound if other != name))
        part.bound.update(dict.fromkeys(captured))
        part.uses += len(captured)
        part.calls_macros = True
        self.macros.append(Macro(kind, name, bodies, captured))
        return self._call(len(self.macros) - 1, captured)

    def _call(self, number: int, captured: tuple[str, ...]) -> str:
        # The answer is a list of one value; an empty one makes the index fail, which is how a macro reports an error:
        # an exception in the hook would be logged by the library each time.
        variables = ", ".join(f'"{name}": {name}' for name in captured)
        return f"{HOOK}({number}, {{{variables}}})[0]"

    def _arguments(self, opening: int) -> list[tuple[int, int]]:
        """Where each argument of a call begins and ends."""
        closing = self._closing[opening]
        found, start, at = [], opening + 1, opening + 1
        while at < closing:
            if self.tokens[at].text == ",":
                found.append((start, at))
                start = at + 1
            at = self._closing.get(at, at) + 1
        return [*found, (start, closing)] if start < closing else found

    def _is_member(self, at: int) -> bool:
        """Whether the token is the name after a dot that follows a value."""
        if self.tokens[at].kind != "name" or self._text(at - 1) != ".":
            return False
        before = self.tokens[at - 2] if at >= 2 else None
        if before is None:
            return False
        if before.kind == "sign":
            return before.text in (")", "]", "}")
        return before.text != "in"

    def _text(self, at: int) -> str:
        return self.tokens[at].text if 0 <= at < len(self.tokens) else ""


def regex_work(pattern: str) -> int:
    """About the microseconds that it takes to compile a pattern, which is done at each use.

    Measured: 0.01 to 0.07 ms for most, 27 ms for ``\\w{100}``, and as long until one that would grow too large is
    refused.
    """
    size = regex_states(pattern)
    if "\\" in pattern or "(?" in pattern:
        size *= 20  # classes hold hundreds of ranges of Unicode
    return max(LEAST_REGEX_WORK, min(size, MOST_REGEX_WORK))


def regex_states(pattern: str) -> int:
    """At most as many: counts are taken to stand within each other, where they may stand side by side."""
    size = len(pattern)
    for least, most in _COUNTED.findall(pattern):
        size *= max(1, min(int(most or least), MOST_REGEX_WORK))
    return min(size, MOST_REGEX_WORK)


def _literal(token: str) -> str:
    return str(cel.compile(token).execute())


def _pairs(tokens: list[Token]) -> Mapping[int, int]:
    """The position of each opening bracket's closing one."""
    pairs: dict[int, int] = {}
    open_at: list[int] = []
    for at, token in enumerate(tokens):
        if token.text in ("(", "[", "{"):
            open_at.append(at)
        elif token.text in (")", "]", "}"):
            pairs[open_at.pop()] = at
    return pairs


def _unknown_function(name: str) -> str:
    known = ", ".join(sorted(FUNCTIONS | METHODS | MACROS.keys()))
    return f"there is no function {name!r}; there are {known}"

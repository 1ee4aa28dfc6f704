"""The commands that a page shows, taken apart as a shell would."""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_BLOCK = re.compile(r"^```sh\n(.*?)^```", re.MULTILINE | re.DOTALL)
_FENCED = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
_SPAN = re.compile(r"`([^`\n]+)`")
_COMMENT = re.compile(r"(^|\s)#\s.*$", re.MULTILINE)
_ASSIGNMENT = re.compile(r"[A-Za-z_]\w*=")
_BEFORE_A_COMMAND = {"do", "then", "else", "sudo", "!"}
_INLINE = re.compile(r"([A-Z_]+=\S+ )*(docker compose [\w-]|docker-compose [\w-]|kubectl \S+ \S|python \S|tilt \w)")


@dataclass(frozen=True, slots=True)
class Command:
    """``words`` without redirections and without the variables that are set for it, which are ``variables``."""

    words: tuple[str, ...]
    variables: tuple[str, ...]

    def __str__(self) -> str:
        return " ".join(self.words)


def blocks(page: Path) -> list[str]:
    """What stands between ```sh and ```."""
    return _BLOCK.findall(page.read_text(encoding="utf-8"))


def spans(text: str) -> list[str]:
    """What stands between backticks in running text."""
    return _SPAN.findall(_FENCED.sub("", text))


def commands(page: Path) -> list[Command]:
    """Those of the blocks, and those of the running text that begin like one."""
    inline = [span for span in spans(page.read_text(encoding="utf-8")) if _INLINE.match(span)]
    return [command for text in (*blocks(page), *inline) for command in _of(text)]


def _of(text: str) -> Iterator[Command]:
    for line in _COMMENT.sub("", text.replace("\\\n", " ")).splitlines():
        lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
        lexer.wordchars += "$/{}[]@:,!^%+"
        lexer.commenters = ""
        words: list[str] = []
        for token in [*lexer, ";"]:
            if set(token) <= set("();|&"):
                if (command := _command(words)) is not None:
                    yield command
                words = []
            else:
                words.append(token)


def _command(words: list[str]) -> Command | None:
    variables = []
    rest = iter(_without_redirections(words))
    kept: list[str] = []
    for word in rest:
        if not kept and (word in _BEFORE_A_COMMAND or word.endswith("=$")):
            continue
        if not kept and _ASSIGNMENT.match(word):
            variables.append(word.partition("=")[0])
            continue
        kept.append(word)
    if not kept or kept[0] in ("for", "done"):
        return None
    return Command(tuple(kept), tuple(variables))


def _without_redirections(words: list[str]) -> Iterator[str]:
    skip = False
    for word in words:
        if skip:
            skip = False
        elif set(word) <= set("<>"):
            skip = True
        else:
            yield word

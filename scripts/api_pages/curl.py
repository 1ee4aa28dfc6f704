"""The examples of routes as commands for curl: written, and read again by whoever runs them."""

import json
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urlencode

EDGE_VARIABLE = "$edge"
_VARIABLE = re.compile(r"\$([a-z_]+)")
LONGEST_LINE = 110  # characters


@dataclass(frozen=True, slots=True)
class Request:
    """What a command for curl asks; ``$name`` in its URL or its headers stands for a value that is known
    when it is run; its body is as it is."""

    method: str
    url: str
    headers: Mapping[str, str] = field(default_factory=dict)
    body: str | None = None

    def with_values(self, values: Mapping[str, str]) -> "Request":
        """
        Raises:
            KeyError: a variable has no value.
        """
        return Request(
            self.method,
            _filled(self.url, values),
            {name: _filled(text, values) for name, text in self.headers.items()},
            self.body,
        )


def _filled(text: str, values: Mapping[str, str]) -> str:
    return _VARIABLE.sub(lambda found: values[found[1]], text)


def path_of(template: str, parameters: Mapping[str, str], query: Mapping[str, Any]) -> str:
    """The path of a route with its parameters in place; a parameter may be a ``$variable``."""
    path = template
    for name, value in parameters.items():
        path = path.replace(f"{{{name}}}", quote(value, safe="$"))
    if "{" in path:
        raise ValueError(f"{template} needs a value for each of its parameters, and has them for {sorted(parameters)}")
    return f"{path}?{urlencode(query, safe='$:/')}" if query else path


def curl_of(request: Request) -> str:
    """A command that does it, as one types it into a shell."""
    words = ["curl", f'"{request.url}"']
    if request.method != ("GET" if request.body is None else "POST"):
        words[1:1] = ["-X", request.method]
    for name, text in request.headers.items():
        quoted = f'"{name}: {text}"' if _VARIABLE.search(text) else f"'{name}: {text}'"
        words.append(f"-H {quoted}")
    if request.body is not None:
        words.append(f"-d {shlex.quote(request.body)}")
    return _broken(words)


def _broken(words: list[str]) -> str:
    lines = [""]
    for word in words:
        if lines[-1] and len(lines[-1]) + len(word) >= LONGEST_LINE:
            lines.append("    " + word)
        else:
            lines[-1] += f" {word}" if lines[-1] else word
    return " \\\n".join(lines)


def request_of(command: str) -> Request:
    """What a command for curl would ask, if it was written by ``curl_of`` or by hand in its manner.

    Raises:
        ValueError: it is no such command, or has an option that is not known here.
    """
    # What is left of a line's end behind a backslash is a word of its own to shlex, and none to a shell.
    words = [word for word in shlex.split(command) if word != "\n"]
    if not words or words[0] != "curl":
        raise ValueError(f"not a command for curl: {command[:60]!r}")
    method, url, body, headers = "", "", None, {}
    following = iter(words[1:])
    for word in following:
        match word:
            case "-X":
                method = next(following)
            case "-H":
                name, _, text = next(following).partition(": ")
                headers[name] = text
            case "-d" | "--data-binary":
                body = next(following)
            case _ if word.startswith("-") or url:
                raise ValueError(f"{word!r} is not known here; known are a URL, -X, -H and -d")
            case _:
                url = word
    if body is not None and "Content-Type" not in headers:
        headers["Content-Type"] = "application/x-www-form-urlencoded"
    return Request(method or ("GET" if body is None else "POST"), url, headers, body)


def json_text(value: Any, indent: int = 0, before: int = 0) -> str:
    """JSON as a person writes it: what fits on a line stands on one. ``before``: characters that stand on the first
    line already."""
    short = json.dumps(value, ensure_ascii=False)
    if indent + before + len(short) <= LONGEST_LINE or not isinstance(value, dict | list) or not value:
        return short
    deeper = " " * (indent + 2)
    if isinstance(value, dict):
        names = [f"{json.dumps(key, ensure_ascii=False)}: " for key in value]
        parts = zip(names, value.values(), strict=True)
        lines = [name + json_text(one, indent + 2, len(name)) for name, one in parts]
        opening, closing = "{", "}"
    else:
        lines = [json_text(one, indent + 2) for one in value]
        opening, closing = "[", "]"
    return f"{opening}\n" + ",\n".join(deeper + line for line in lines) + f"\n{' ' * indent}{closing}"

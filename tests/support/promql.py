"""What a PromQL expression names: metrics and labels. Whether it is one at all is promtool's to say."""

import re
from collections.abc import Iterator

_STRING = re.compile(r'"(?:[^"\\]|\\.)*"')
_MATCHERS = re.compile(r"\{([^}]*)\}")
_LISTS = re.compile(r"\b(?:by|without|on|ignoring|group_left|group_right)\s*\(([^)]*)\)")
_RANGE = re.compile(r"\[[^\]]*\]")
_OFFSET = re.compile(r"\boffset\s+-?\w+")
_WORD = re.compile(r"[A-Za-z_:][A-Za-z0-9_:]*")
_KEYWORDS = {"and", "or", "unless", "bool", "by", "without", "on", "ignoring", "group_left", "group_right", "atan2"}
_NUMBERS = {"inf", "nan"}
_SUFFIXES = ("_bucket", "_sum", "_count")


def metrics_in(expression: str) -> set[str]:
    """The samples that it selects, as they are called: ``..._bucket`` and the like included."""
    return set(_metrics_in(expression))


def labels_in(expression: str) -> set[str]:
    """The labels that it matches, groups by or joins on."""
    bare = _STRING.sub('""', expression)
    matched = [
        part.strip().partition("=")[0].partition("!")[0] for text in _MATCHERS.findall(bare) for part in text.split(",")
    ]
    listed = [part for found in _LISTS.findall(bare) for part in found.split(",")]
    return {label.strip() for label in (*matched, *listed) if label.strip()}


def family_of(sample: str, families: set[str]) -> str | None:
    """The metric that a sample belongs to: a histogram's samples have other names than it has."""
    if sample in families:
        return sample
    return next((base for suffix in _SUFFIXES if (base := sample.removesuffix(suffix)) in families), None)


def without_variables(expression: str) -> str:
    """A dashboard's expression as Grafana might ask it."""
    return expression.replace("$__rate_interval", "5m").replace("$__range", "1h")


def _metrics_in(expression: str) -> Iterator[str]:
    bare = _LISTS.sub("", _MATCHERS.sub("", _STRING.sub('""', expression)))
    bare = _OFFSET.sub("", _RANGE.sub("", bare))
    for found in _WORD.finditer(bare):
        word = found.group()
        called = bare[found.end() :].lstrip().startswith("(")
        number = bare[: found.start()][-1:].isdigit()  # 5m, 1e3
        if not called and not number and word not in _KEYWORDS and word.lower() not in _NUMBERS:
            yield word

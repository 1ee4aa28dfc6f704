"""How long, as people write it."""

import pytest

from services.access.durations import BadDuration, in_words, seconds_in


@pytest.mark.parametrize(
    ("text", "seconds"), [("1s", 1), ("90m", 5_400), ("24h", 86_400), ("30d", 2_592_000), ("2w", 1_209_600), ("0s", 0)]
)
def test_durations_are_read(text: str, seconds: float) -> None:
    assert seconds_in(text, least=0, most=10_000_000) == seconds


@pytest.mark.parametrize(
    "text", ["", "30", "d", "-1d", "1.5h", "1 d", "1y", "1D", "1d1h", "9" * 10 + "s", "²d", "1d\n"]
)
def test_what_is_no_duration_is_named(text: str) -> None:
    with pytest.raises(BadDuration, match="is no duration: a whole number and s, m, h, d or w"):
        seconds_in(text, least=0, most=1e12)


def test_what_is_too_short_or_too_long_says_what_is_allowed() -> None:
    with pytest.raises(BadDuration, match=r"^91d is not from 1s to 90d$"):
        seconds_in("91d", least=1, most=90 * 86_400)
    with pytest.raises(BadDuration, match=r"^0s is not from 1s to 90d$"):
        seconds_in("0s", least=1, most=90 * 86_400)


def test_seconds_in_words() -> None:
    assert [in_words(s) for s in (0, 1, 60, 5_400, 86_400, 1_209_600)] == ["0s", "1s", "1m", "90m", "1d", "2w"]

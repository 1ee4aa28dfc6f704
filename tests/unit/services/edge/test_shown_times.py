"""Times as they are shown: also those that are none."""

from datetime import UTC, datetime

import pytest

from services.edge.models import utc

EARLIEST = datetime(1970, 1, 1, tzinfo=UTC)
LATEST = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (1.5, datetime(1970, 1, 1, 0, 0, 1, 500_000, tzinfo=UTC)),
        (-1.0, EARLIEST),
        (-1e300, EARLIEST),
        (float("nan"), EARLIEST),
        (float("-inf"), EARLIEST),
        (1e14, LATEST),
        (1e300, LATEST),
        (float("inf"), LATEST),
    ],
)
def test_what_is_no_date_is_shown_as_the_nearest(seconds: float, shown: datetime) -> None:
    assert utc(seconds) == shown

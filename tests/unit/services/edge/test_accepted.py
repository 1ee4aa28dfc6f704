import pytest

from services.edge.accepted import preferred

JSON, TEXT = "application/json", "text/plain"


@pytest.mark.parametrize(
    ("accept", "wanted"),
    [
        ("", JSON),
        ("*/*", JSON),
        ("application/json", JSON),
        ("text/plain", TEXT),
        ("Text/Plain; charset=utf-8", TEXT),
        ("text/*", TEXT),
        ("text/html, text/plain;q=0.9, */*;q=0.1", TEXT),
        ("text/plain;q=0.5, application/json", JSON),
        ("text/plain;q=0.5, */*", JSON),
        ("text/plain, application/json", JSON),
        ("application/json;q=0, text/plain;q=0.1", TEXT),
        ("application/*;q=0.2, text/plain;q=0.3", TEXT),
        ("image/png", JSON),
        ("text/plain;q=many", JSON),
        (";;;,,,q=1;\x00", JSON),
    ],
)
def test_the_form_of_the_highest_weight_is_given(accept: str, wanted: str) -> None:
    assert preferred(accept, (JSON, TEXT)) == wanted

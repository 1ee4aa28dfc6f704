"""What every store must do with dead letters, over the store in memory, MongoDB's protocol and PostgreSQL."""

import asyncio
import random
from collections.abc import AsyncIterator
from typing import Any

import pytest

from contracts.dead_letters import DeadLetter
from services.runtime.store.base import BadCursor, DeadLetterFilter, HeaderFilter, Page, Store, Unstorable
from services.runtime.store.documents import dead_letter_json
from services.runtime.store.letter_pages import MAX_PAGE_BYTES
from tests.support.stores import ENCRYPTED, STORES, largest, opened_store

HARD_TEXT = ["\0", "a\0b", "\\", "\\0", "é'\"%$1{}", "\U0001d11e", "", "x" * 5_000, "x" * 4_999 + "y"]


@pytest.fixture(params=[*STORES, *ENCRYPTED])
async def store(request: pytest.FixtureRequest) -> AsyncIterator[Store]:
    async with opened_store(request) as store:
        yield store


def letter(key: str, died_at: float = 1.0, **fields: Any) -> DeadLetter:
    given: dict[str, Any] = {"reason": "rejected", "body": "{}", "size": 2, **fields}
    return DeadLetter(id=key, died_at=died_at, **given)


def sized(key: str, size: int) -> DeadLetter:
    """A letter whose JSON has this many bytes."""
    padding = size - len(dead_letter_json(letter(key, body="")))
    return letter(key, body="x" * padding)


def ids(letters: list[DeadLetter]) -> list[str]:
    return [found.id for found in letters]


async def all_pages(store: Store, filter: DeadLetterFilter, limit: int) -> list[str]:
    found: list[str] = []
    cursor = None
    while True:
        letters, cursor = await store.list_dead_letters(filter, Page(limit, cursor))
        assert not set(ids(letters)) & set(found), "a page shows what an earlier one showed"
        found += ids(letters)
        if cursor is None:
            return found
        assert len(letters) == limit


async def test_a_letter_comes_back_as_it_was(store: Store) -> None:
    written = letter(
        "a/b",
        1_763_800_000.123456,
        reason="agent-failed",
        detail="line\nline\0",
        queue="q",
        exchange="e",
        routing_key="a.b",
        message_id="m",
        type="agent.mail.v1",
        correlation_id="c",
        reply_to="r",
        headers={"x-death": "1", "\0": "\U0001d11e", "a.b": "$set"},
        body='{"text": "\\u0000 é \0"}',
        encoded=True,
        size=17,
    )
    await store.put_dead_letter(written)
    assert await store.get_dead_letter("a/b") == written
    assert await store.list_dead_letters(DeadLetterFilter(), Page()) == ([written], None)
    assert await store.get_dead_letter("a") is None


async def test_a_letter_of_the_same_id_is_written_over(store: Store) -> None:
    await store.put_dead_letter(letter("a", 5.0, reason="first", queue="q"))
    await store.put_dead_letter(letter("a", 3.0, reason="second"))
    assert await store.list_dead_letters(DeadLetterFilter(), Page()) == ([letter("a", 3.0, reason="second")], None)
    assert await store.list_dead_letters(DeadLetterFilter(reason="first"), Page()) == ([], None)
    assert await store.list_dead_letters(DeadLetterFilter(queue="q"), Page()) == ([], None)


async def test_many_writers_of_one_letter_at_once_all_succeed_and_one_of_them_stays(store: Store) -> None:
    for turn in range(5):
        written = [letter(f"x{turn}", detail=str(i)) for i in range(8)]
        await asyncio.gather(*map(store.put_dead_letter, written))
        assert await store.get_dead_letter(f"x{turn}") in written
    assert len(await all_pages(store, DeadLetterFilter(), 50)) == 5


async def test_a_deleted_letter_is_gone(store: Store) -> None:
    await store.put_dead_letter(letter("a"))
    await store.put_dead_letter(letter("b"))
    assert await store.delete_dead_letter("a") is True
    assert await store.delete_dead_letter("a") is False
    assert await store.get_dead_letter("a") is None
    assert await store.list_dead_letters(DeadLetterFilter(), Page()) == ([letter("b")], None)
    await store.put_dead_letter(letter("a", detail="again"))
    assert await store.get_dead_letter("a") == letter("a", detail="again")


# ---- lists


async def many_letters(store: Store) -> list[DeadLetter]:
    """In no order, several of a moment."""
    letters = [
        letter(f"x{i:03d}", 1000.0 + i // 7, reason=f"r{i % 3}", type=f"t{i % 4}", queue=f"q{i % 5}")
        for i in range(120)
    ]
    await asyncio.gather(*map(store.put_dead_letter, random.Random(2).sample(letters, len(letters))))
    return letters


FILTERS = {
    "all": DeadLetterFilter(),
    "reason": DeadLetterFilter(reason="r1"),
    "no such reason": DeadLetterFilter(reason="r"),
    "type": DeadLetterFilter(type="t3"),
    "queue": DeadLetterFilter(queue="q4"),
    "no queue": DeadLetterFilter(queue=""),
    "everything": DeadLetterFilter(reason="r2", type="t2", queue="q4"),
}


@pytest.mark.parametrize("filter", FILTERS.values(), ids=FILTERS.keys())
async def test_letters_are_filtered_and_latest_first_in_pages_of_any_size(
    store: Store, filter: DeadLetterFilter
) -> None:
    expected = [
        found.id
        for found in sorted(await many_letters(store), key=lambda x: (x.died_at, x.id), reverse=True)
        if filter.reason in (None, found.reason)
        and filter.type in (None, found.type)
        and filter.queue in (None, found.queue)
    ]
    for limit in (4, 50, 120):
        assert await all_pages(store, filter, limit) == expected


async def test_a_filter_may_be_any_text(store: Store) -> None:
    """Letters are of strangers, too: nothing that stands in one may keep it from being kept."""
    for i, text in enumerate(HARD_TEXT):
        await store.put_dead_letter(letter(f"x{i}", reason=text, type=text, queue=text))
    for i, text in enumerate(HARD_TEXT):
        for filter in (DeadLetterFilter(reason=text), DeadLetterFilter(type=text), DeadLetterFilter(None, text, text)):
            assert await all_pages(store, filter, 2) == [f"x{i}"]


async def test_any_text_may_be_an_id(store: Store) -> None:
    keys = ["\0", "a\0b", "\\", "\\0", "é'\"%$1{}", "\U0001d11e", "x" * 500]
    for key in keys:
        await store.put_dead_letter(letter(key))
    assert sorted(await all_pages(store, DeadLetterFilter(), 2)) == sorted(keys)
    for key in keys:
        assert await store.get_dead_letter(key) == letter(key)
        assert await store.delete_dead_letter(key) is True


async def test_a_page_is_not_moved_by_letters_that_come_and_go_meanwhile(store: Store) -> None:
    for i in range(10):
        await store.put_dead_letter(letter(f"x{i}", float(i // 2)))
    first, cursor = await store.list_dead_letters(DeadLetterFilter(), Page(3))
    await store.put_dead_letter(letter("new", 50.0))
    await store.delete_dead_letter("x7")
    await store.delete_dead_letter("x4")
    second, end = await store.list_dead_letters(DeadLetterFilter(), Page(20, cursor))
    assert (ids(first), ids(second)) == (["x9", "x8", "x7"], ["x6", "x5", "x3", "x2", "x1", "x0"])
    assert end is None


@pytest.mark.parametrize("text", ["", "x", "!", "WzEsMiwzXQ", "é", "a" * 10_000])
async def test_a_text_that_is_no_cursor_of_letters_is_refused(store: Store, text: str) -> None:
    with pytest.raises(BadCursor, match="is not a cursor of dead letters"):
        await store.list_dead_letters(DeadLetterFilter(), Page(10, text))


async def test_a_cursor_of_letters_is_none_of_another_list(store: Store) -> None:
    for i in range(3):
        await store.put_dead_letter(letter(f"x{i}"))
    _, cursor = await store.list_dead_letters(DeadLetterFilter(), Page(1))
    assert cursor is not None
    with pytest.raises(BadCursor):
        await store.list_headers(HeaderFilter(), Page(1, cursor))


# ---- sizes


async def test_a_letter_at_the_limit_is_stored_and_one_above_is_refused_with_both_sizes(store: Store) -> None:
    limit = largest(store)
    fits = sized("fits", limit)
    await store.put_dead_letter(fits)
    assert await store.get_dead_letter("fits") == fits
    refused = rf"dead letter above is {limit + 1:,} bytes .* limit is {limit:,}"
    with pytest.raises(Unstorable, match=refused):
        await store.put_dead_letter(sized("above", limit + 1))
    assert await store.get_dead_letter("above") is None


async def test_a_page_of_large_letters_ends_where_a_reader_has_enough_and_the_next_goes_on(store: Store) -> None:
    for i in range(5):
        await store.put_dead_letter(letter(f"x{i}", body=str(i) * 12_000_000))
    pages: list[list[tuple[str, str, int]]] = []
    cursor = None
    while not pages or cursor:
        found, cursor = await store.list_dead_letters(DeadLetterFilter(), Page(4, cursor))
        pages.append([(row.id, row.body[0], len(row.body)) for row in found])
    of = {i: (f"x{i}", str(i), 12_000_000) for i in range(5)}
    assert pages == [[of[4], of[3]], [of[2], of[1]], [of[0]]]
    assert MAX_PAGE_BYTES // 12_000_000 == 2


async def test_letters_are_counted_up_to_a_limit_and_from_a_moment_on(store: Store) -> None:
    assert await store.count_dead_letters(5) == 0
    for number in range(7):
        await store.put_dead_letter(letter(f"c{number}", died_at=100.0 + number))
    assert [await store.count_dead_letters(limit) for limit in (1, 6, 7, 8, 1000)] == [1, 6, 7, 7, 7]
    assert [await store.count_dead_letters(10, after) for after in (100.0, 104.0, 104.5, 107.0)] == [7, 3, 2, 0]
    assert await store.count_dead_letters(2, 104.0) == 2
    await store.delete_dead_letter("c6")
    assert await store.count_dead_letters(10, 104.0) == 2

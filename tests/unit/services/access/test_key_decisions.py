"""What becomes of API keys, and what is refused."""

from typing import Any

import pytest

from contracts.access import ApiKey, Role, RotateApiKey
from services.access.key_decisions import KeyRefused, created, revoked, rotated

NOW = 1_000_000.0
DAY = 86_400.0
OLD, NEW = "ck_old000000000", "ck_new000000000"


def key(key_id: str = OLD, **fields: Any) -> ApiKey:
    values = {"id": key_id, "name": "ann", "role": "operator", "secret_hash": "a" * 64, "created_at": NOW - 10 * DAY}
    return ApiKey.model_validate(values | fields)


def rotation(**fields: Any) -> RotateApiKey:
    values = {"id": OLD, "new_id": NEW, "new_secret_hash": "b" * 64, "overlap": DAY}
    return RotateApiKey.model_validate(values | fields)


def refused(code: str, words: str, decide: Any, *arguments: Any, **options: Any) -> None:
    with pytest.raises(KeyRefused, match=words) as raised:
        decide(*arguments, **options)
    assert raised.value.refused.code == code
    assert raised.value.refused.message == str(raised.value)


# ---- creating


def test_a_new_key_is_stored_as_it_is() -> None:
    assert created(key(), None, NOW) == key()


def test_the_same_key_again_is_the_stored_one_whatever_became_of_it() -> None:
    for became in ({}, {"revoked_at": NOW}, {"expires_at": NOW + DAY, "replaced_by": NEW}):
        assert created(key(), key(**became), NOW) == key(**became)


@pytest.mark.parametrize("other", [{"secret_hash": "c" * 64}, {"name": "bob"}, {"role": "admin"}, {"created_at": 1.0}])
def test_an_id_is_taken_once(other: dict[str, Any]) -> None:
    refused("already_exists", OLD, created, key(**other), key(), NOW)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"expires_at": NOW}, "expires in the future"),
        ({"expires_at": NOW - 1}, "expires in the future"),
        ({"revoked_at": NOW}, "neither revoked nor replaced"),
        ({"replaced_by": NEW}, "neither revoked nor replaced"),
    ],
)
def test_a_key_that_would_never_be_valid_is_refused(fields: dict[str, Any], words: str) -> None:
    refused("invalid", words, created, key(**fields), None, NOW)


# ---- rotating


def test_a_rotation_keeps_who_it_is_and_ends_the_old_key_after_the_overlap() -> None:
    new, old = rotated(rotation(), key(role="admin", rate_limit=7), None, NOW, by="key:root")
    assert (new.id, new.secret_hash, new.created_at, new.created_by) == (NEW, "b" * 64, NOW, "key:root")
    assert (new.name, new.role, new.rate_limit, new.expires_at) == ("ann", Role.ADMIN, 7, None)
    assert old == key(role="admin", rate_limit=7, expires_at=NOW + DAY, replaced_by=NEW)
    assert old.valid(NOW + DAY - 1)
    assert not old.valid(NOW + DAY)


def test_an_overlap_makes_no_life_longer() -> None:
    assert rotated(rotation(), key(expires_at=NOW + 60), None, NOW)[1].expires_at == NOW + 60


def test_without_an_overlap_the_old_key_ends_now() -> None:
    new, old = rotated(rotation(overlap=0), key(), None, NOW)
    assert not old.valid(NOW)
    assert new.valid(NOW)


def test_a_new_key_lives_as_long_as_the_old_one_was_meant_to() -> None:
    thirty_days = key(created_at=NOW - 29 * DAY, expires_at=NOW + DAY)
    assert rotated(rotation(), thirty_days, None, NOW)[0].expires_at == NOW + 30 * DAY
    assert rotated(rotation(expires_at=NOW + 5), thirty_days, None, NOW)[0].expires_at == NOW + 5


@pytest.mark.parametrize("half_done", [False, True])
def test_the_same_rotation_again_gives_the_same_keys(half_done: bool) -> None:
    """Half done: the new key is stored, and the old one not changed yet."""
    new, old = rotated(rotation(), key(), None, NOW)
    stored = key() if half_done else old
    again = rotated(rotation(), stored, new, NOW + (0 if half_done else 2 * DAY))
    assert again == (new, old)


@pytest.mark.parametrize(
    ("old", "code", "words"),
    [
        (None, "not_found", "no API key"),
        (key(revoked_at=NOW - 1), "conflict", "is revoked"),
        (key(expires_at=NOW - 1), "conflict", "has expired"),
        (key(replaced_by="ck_else00000000"), "conflict", "ck_else00000000 took its place"),
    ],
)
def test_what_cannot_be_rotated(old: ApiKey | None, code: str, words: str) -> None:
    refused(code, words, rotated, rotation(), old, None, NOW)


def test_a_new_id_that_is_taken_by_another_is_refused() -> None:
    for other in (key(NEW), key(NEW, secret_hash="b" * 64, name="bob"), key(NEW, secret_hash="b" * 64, role="admin")):
        refused("already_exists", NEW, rotated, rotation(), key(), other, NOW)


def test_a_new_key_that_has_expired_is_refused() -> None:
    refused("invalid", "expires in the future", rotated, rotation(expires_at=NOW), key(), None, NOW)


# ---- revoking


def test_a_key_is_revoked_once() -> None:
    first = revoked(OLD, [key(), key(NEW)], NOW)
    assert first == key(revoked_at=NOW)
    assert revoked(OLD, [first], NOW + 5) == first


def test_an_unknown_key_cannot_be_revoked() -> None:
    refused("not_found", "no API key ck_x", revoked, "ck_x", [key()], NOW)


@pytest.mark.parametrize(
    "others",
    [
        [],
        [key(NEW, role="operator")],
        [key(NEW, role="admin", revoked_at=NOW - 1)],
        [key(NEW, role="admin", expires_at=NOW - 1)],
        [key(NEW, role="admin", expires_at=NOW + DAY, replaced_by="ck_else00000000")],
    ],
)
def test_the_last_lasting_admin_key_is_not_revoked_by_accident(others: list[ApiKey]) -> None:
    admin = key(role="admin")
    refused("conflict", "Create another first.*--force", revoked, OLD, [admin, *others], NOW)
    assert revoked(OLD, [admin, *others], NOW, force=True).revoked_at == NOW


def test_an_admin_key_beside_another_is_revoked() -> None:
    assert revoked(OLD, [key(role="admin"), key(NEW, role="admin")], NOW).revoked_at == NOW


def test_a_replaced_or_expired_admin_key_is_revoked_even_as_the_last() -> None:
    for gone in ({"replaced_by": NEW}, {"expires_at": NOW - 1}):
        assert revoked(OLD, [key(role="admin", **gone)], NOW).revoked_at == NOW

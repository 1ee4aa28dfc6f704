"""API keys as people read them: everything but the hash."""

from contracts.access import ApiKey
from services.access.keys_table import shown, table

NOW = 1_000_000.0


def key(name: str, **fields: object) -> ApiKey:
    values = {"id": f"ck_{name:0<12}", "name": name, "role": "viewer", "secret_hash": "5ec2e7" + "0" * 58}
    return ApiKey.model_validate(values | {"created_at": NOW} | fields)


def test_every_key_is_a_line_with_its_state() -> None:
    keys = [
        key("late", created_at=NOW + 60),
        key("plain", created_by="cli:me@here", rate_limit=60),
        key("gone", created_at=NOW - 60, revoked_at=NOW),
        key("old", created_at=NOW - 30, expires_at=NOW - 1),
        key("out", created_at=NOW - 20, expires_at=NOW + 60, replaced_by="ck_in0000000000"),
    ]
    head, *lines = table(keys, NOW).splitlines()
    assert head.split() == ["id", "name", "role", "status", "created", "created", "by", "expires", "requests/min"]
    assert [line.split()[1] for line in lines] == ["gone", "old", "out", "plain", "late"]
    assert [head.index("status")] * 5 == [line.index(state) for line, state in zip(
        lines, ("revoked", "expired", "valid, replaced by ck_in0000000000", "valid", "valid"), strict=True
    )]  # fmt: skip
    assert lines[2].endswith("1970-01-12 13:47:40Z")
    assert lines[3].endswith("cli:me@here  never                 60")
    assert "5ec2e7" not in table(keys, NOW)


def test_as_json_there_is_no_hash() -> None:
    told = shown(key("ann", expires_at=NOW), NOW)
    assert "secret_hash" not in told
    assert (told["name"], told["role"], told["valid"], told["expires_at"]) == ("ann", "viewer", False, NOW)

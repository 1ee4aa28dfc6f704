"""The hash key and the admin key that ``start_dev.py`` makes, or takes as they are given."""

import os
import stat
from pathlib import Path
from typing import Any

import pytest

from scripts.dev_secrets import in_words, protect
from services.runtime.security.api_keys import new_key_text, read_key_text
from services.runtime.settings import Settings


def test_both_are_made_once_for_their_owner_alone(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        environment: dict[str, str] = {}
        protection = protect(tmp_path / "x" / "secrets", environment)
    finally:
        os.umask(before)
    assert environment.keys() == {"API_KEY_HASH_KEY_FILE", "INITIAL_ADMIN_KEY_FILE"}
    hash_key, admin_key = (Path(environment[name]).read_text().strip() for name in sorted(environment))
    assert len(hash_key) >= 32
    assert read_key_text(admin_key) is not None
    folder = tmp_path / "x" / "secrets"
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (folder, *folder.iterdir())}
    assert modes == {"secrets": 0o700, "hash-key": 0o600, "admin-key": 0o600}
    again: dict[str, str] = {}
    assert protect(folder, again) == protection
    assert again == environment
    assert Path(again["INITIAL_ADMIN_KEY_FILE"]).read_text().strip() == admin_key
    assert admin_key not in f"{protection}{environment}"


def test_files_that_others_could_read_are_closed(tmp_path: Path) -> None:
    environment: dict[str, str] = {}
    protect(tmp_path, environment)
    tmp_path.chmod(0o755)
    for path in tmp_path.iterdir():
        path.chmod(0o644)
    protect(tmp_path, {})
    assert {stat.S_IMODE(path.stat().st_mode) for path in (tmp_path, *tmp_path.iterdir())} == {0o700, 0o600}


def test_a_curl_line_works_from_a_folder_with_a_blank(tmp_path: Path) -> None:
    line = protect(tmp_path / "my data", {}).curl("X-Key")
    assert line == f"""curl -H "X-Key: $(cat '{tmp_path}/my data/admin-key')\""""


@pytest.mark.parametrize("given", ["value", "file"])
def test_what_is_given_is_left_as_it_is(tmp_path: Path, given: str) -> None:
    key = str(new_key_text())
    if given == "value":
        environment = {"API_KEY_HASH_KEY": "h" * 32, "INITIAL_ADMIN_KEY": key}
        shown = "$INITIAL_ADMIN_KEY"
    else:
        environment = {"API_KEY_HASH_KEY_FILE": "/run/h", "INITIAL_ADMIN_KEY_FILE": "/run/k"}
        shown = "$(cat /run/k)"
    before = dict(environment)
    protection = protect(tmp_path / "secrets", environment)
    assert environment == before
    assert not (tmp_path / "secrets").exists()
    assert protection.key_in_shell == shown
    assert key not in repr(protection)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"api_host": "127.0.0.1"}, "the API listens on 127.0.0.1 only"),
        ({"api_host": "0.0.0.0"}, "on 0.0.0.0, without TLS: other machines may reach it"),
        ({"communication_protocol": "direct"}, "messages do not leave the process"),
        ({"communication_protocol": "redis"}, "messages over redis are neither signed nor encrypted"),
        (
            {"communication_protocol": "rabbitmq", "message_signing": "required"},
            "messages over rabbitmq: signing required, encryption off",
        ),
    ],
)
def test_it_says_how_it_is_protected(tmp_path: Path, settings: dict[str, Any], words: str) -> None:
    protection = protect(tmp_path, {})
    lines = in_words(Settings(**settings), protection)
    assert any(words in line for line in lines), lines
    assert any(f"the admin key is in {tmp_path / 'admin-key'}" in line for line in lines)

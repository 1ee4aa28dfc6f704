import json
import stat
from pathlib import Path
from typing import Any

import pytest

from services.runtime.security.encryption_keys import (
    BadEncryptionKeys,
    new_key,
    newest_first,
    read_encryption_keys,
    write_encryption_keys,
)
from services.runtime.security.encryption_keys_command import main

SECRET = "A" * 43
KEY = {"kty": "oct", "k": SECRET, "kid": "k1", "iat": 1}


def written(folder: Path, content: Any) -> Path:
    path = folder / "keys.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    path.chmod(0o600)
    return path


def test_keys_come_back_as_they_were_written(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "keys.json"
    keys = (new_key(5), new_key(6))
    write_encryption_keys(path, keys)
    assert read_encryption_keys(path) == keys
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [file.name for file in path.parent.iterdir()] == ["keys.json"]


def test_every_key_has_256_bits_and_a_name_of_its_own(tmp_path: Path) -> None:
    keys = [new_key(1) for _ in range(50)]
    assert {len(key.key.raw_value) for key in keys} == {32}
    assert len({key.k for key in keys}) == len({key.kid for key in keys}) == 50


def test_a_key_shows_its_secret_to_nobody() -> None:
    key = new_key(1)
    assert key.k not in repr(key)


def test_a_file_of_another_program_is_taken(tmp_path: Path) -> None:
    path = written(tmp_path, {"keys": [{**KEY, "use": "enc", "alg": "A256GCM", "key_ops": ["encrypt", "decrypt"]}]})
    (key,) = read_encryption_keys(path)
    assert (key.kid, key.key.raw_value) == ("k1", bytes(32))


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("{", "Invalid JSON"),
        ("[]", "the file: Input should be an object"),
        ({"keys": []}, "keys: Tuple should have at least 1 item"),
        ({"keys": [KEY], "x": 1}, "x: Extra inputs are not permitted"),
        ({"keys": [KEY, KEY]}, "two keys have the kid 'k1'"),
        ({"keys": [{**KEY, "kty": "RSA"}]}, r"keys\.0\.kty: Input should be 'oct'"),
        ({"keys": [{**KEY, "k": SECRET[1:]}]}, r"keys\.0\.k: String should match"),
        ({"keys": [{**KEY, "k": SECRET[:-1] + "B"}]}, r"keys\.0\.k: String should match"),
        ({"keys": [{**KEY, "k": SECRET + "A"}]}, r"keys\.0\.k: String should match"),
        ({"keys": [{**KEY, "alg": "A128GCM"}]}, r"keys\.0\.alg: Input should be 'dir' or 'A256GCM'"),
        ({"keys": [{**KEY, "kid": "a b"}]}, r"keys\.0\.kid"),
        ({"keys": [{name: KEY[name] for name in ("kty", "k", "kid")}]}, r"keys\.0\.iat: Field required"),
        ({"keys": [{**KEY, "iat": "soon"}]}, r"keys\.0\.iat"),
        ({"keys": [{**KEY, "exp": -1}]}, r"keys\.0\.exp"),
        ({"keys": [{**KEY, "d": "x"}]}, r"keys\.0\.d: Extra inputs"),
    ],
)
def test_a_wrong_file_is_refused_with_its_fault_and_without_its_secrets(tmp_path: Path, content: Any, why: str) -> None:
    path = written(tmp_path, content)
    with pytest.raises(BadEncryptionKeys, match=why) as fault:
        read_encryption_keys(path)
    assert str(path) in str(fault.value)
    assert SECRET[1:] not in str(fault.value)
    assert fault.value.__cause__ is None


@pytest.mark.parametrize("mode", [0o604, 0o602, 0o644, 0o666])
def test_a_file_that_everybody_may_read_is_refused(tmp_path: Path, mode: int) -> None:
    path = written(tmp_path, {"keys": [KEY]})
    path.chmod(mode)
    with pytest.raises(BadEncryptionKeys, match=f"everybody on this machine.*chmod 600 {path}"):
        read_encryption_keys(path)


def test_a_missing_file_is_told_with_how_to_make_it(tmp_path: Path) -> None:
    with pytest.raises(BadEncryptionKeys, match=r"No such file.*ENCRYPTION_KEYS names.*encryption-keys create"):
        read_encryption_keys(tmp_path / "keys.json")


# ---- the command


class Command:
    def __init__(self, path: Path, output: pytest.CaptureFixture[str]) -> None:
        self.path = path
        self.now = 1_800_000_000.0
        self._output = output

    def __call__(self, *arguments: str) -> tuple[int, str]:
        code = main(list(arguments), lambda: self.now)
        said = self._output.readouterr()
        assert not said.err or code == 2
        return code, said.out + said.err

    def kids(self) -> list[str]:
        return [key.kid for key in newest_first(read_encryption_keys(self.path))]


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    path = tmp_path / "keys" / "encryption.json"
    monkeypatch.setenv("ENCRYPTION_KEYS", str(path))
    return Command(path, capsys)


def test_create_makes_one_key_once(command: Command) -> None:
    code, said = command("create")
    assert (code, len(command.kids())) == (0, 1)
    assert command.kids()[0] in said
    before = command.path.read_bytes()
    code, said = command("create")
    assert (code, command.path.read_bytes()) == (2, before)
    assert "is there already" in said


def test_rotate_adds_a_key_that_encrypts_and_list_says_so(command: Command) -> None:
    command("create")
    command.now += 86_400
    code, said = command("rotate")
    new, old = command.kids()
    assert code == 0
    assert f"{new} is added, and encrypts from now on. 1 older can still decrypt" in said
    _, listed = command("list")
    assert f"{new}  made 2027-01-16 08:00:00 UTC: encrypts and decrypts" in listed
    assert f"{old}  made 2027-01-15 08:00:00 UTC: decrypts\n" in listed
    assert all(key.k not in said + listed for key in read_encryption_keys(command.path))


def test_rotate_after_leaves_time_for_the_file_to_reach_every_service(command: Command) -> None:
    command("create")
    code, said = command("rotate", "--after", "600")
    new, old = command.kids()
    assert code == 0
    assert f"{new} is added, and encrypts from 2027-01-15 08:10:00 UTC on" in said
    _, listed = command("list")
    assert f"{new}  made 2027-01-15 08:10:00 UTC: decrypts; encrypts from 2027-01-15 08:10:00 UTC on" in listed
    assert f"{old}  made 2027-01-15 08:00:00 UTC: encrypts and decrypts" in listed
    for kid in (new, old):
        code, said = command("retire", kid, "--yes")
        assert (code, "is the key that encrypts" in said) == (2, True)


def test_retire_says_what_becomes_unreadable_and_does_it_when_told_to(command: Command) -> None:
    command("create")
    command.now += 86_400
    command("rotate")
    new, old = command.kids()
    code, said = command("retire", old)
    assert (code, command.kids()) == (1, [new, old])
    assert "from 2027-01-15 08:00:00 UTC on until 2027-01-16 08:00:00 UTC: inputs, outputs" in said
    assert "Nothing is done yet" in said
    code, said = command("retire", old, "--yes")
    assert (code, command.kids()) == (0, [new])
    assert f"{old} is removed" in said


def test_the_newest_and_an_unknown_key_are_not_retired(command: Command) -> None:
    command("create")
    (only,) = command.kids()
    code, said = command("retire", only, "--yes")
    assert (code, command.kids()) == (2, [only])
    assert f"{only} is the key that encrypts; `encryption-keys rotate` first" in said
    code, said = command("retire", "nothing", "--yes")
    assert (code, command.kids()) == (2, [only])
    assert f"has no key nothing; it has {only}" in said


@pytest.mark.parametrize("arguments", [["rotate"], ["list"], ["retire", "k", "--yes"]])
def test_without_a_file_there_is_nothing_to_do(command: Command, arguments: list[str]) -> None:
    code, said = command(*arguments)
    assert code == 2
    assert f"{command.path}: the encryption keys cannot be read" in said


@pytest.mark.parametrize(
    "arguments", [[], ["delete"], ["retire"], ["rotate", "--after", "-1"], ["rotate", "--after", "x"]]
)
def test_what_is_no_command_is_refused(command: Command, arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as end:
        command(*arguments)
    assert end.value.code == 2

import base64
import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from joserfc import jwe
from joserfc.jwk import OctKey, RSAKey

from services.runtime.security import watched_file
from services.runtime.security.encryption import MAX_HEADER, Cipher, Undecryptable, digest, is_encrypted, open_cipher
from services.runtime.security.encryption_keys import (
    BadEncryptionKeys,
    EncryptionKey,
    new_key,
    read_encryption_keys,
    write_encryption_keys,
)
from services.runtime.settings import Mode, Settings
from tests.support.encryption import key_file, own_cipher, retired, rotated

SHARED = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return key_file(tmp_path)


@pytest.fixture
def cipher(path: Path) -> Cipher:
    return Cipher(path)


@pytest.fixture(autouse=True)
def _always_look(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watched_file, "EVERY", 0.0)


def header_of(value: bytes) -> dict[str, Any]:
    text = value.split(b".")[0]
    found: dict[str, Any] = json.loads(base64.urlsafe_b64decode(text + b"=" * (-len(text) % 4)))
    return found


def with_header(value: bytes, header: Any) -> bytes:
    return b".".join([encoded(json.dumps(header).encode()), *value.split(b".")[1:]])


def encoded(content: bytes) -> bytes:
    return base64.urlsafe_b64encode(content).rstrip(b"=")


# ---- what is encrypted


@SHARED
@given(st.binary(max_size=2_000), st.none() | st.text(max_size=100))
def test_what_was_encrypted_is_decrypted_as_it_was(cipher: Cipher, content: bytes, place: str | None) -> None:
    value = cipher.encrypt(content, place=place)
    assert is_encrypted(value)
    assert cipher.decrypt(value, place=place) == content


@pytest.mark.parametrize("size", [0, 1, 65_536, 65_537, 20_000_000])
def test_the_size_does_not_matter(cipher: Cipher, size: int) -> None:
    content = os.urandom(size)
    assert cipher.decrypt(cipher.encrypt(content)) == content


def test_a_value_is_a_compact_jwe_with_the_keys_id_and_shows_nothing_else(cipher: Cipher, path: Path) -> None:
    value = cipher.encrypt(b"marker" * 10, place="payload marker")
    (key,) = read_encryption_keys(path)
    assert header_of(value) == {"alg": "dir", "enc": "A256GCM", "kid": key.kid, "place": digest("payload marker")}
    assert b"marker" not in base64.urlsafe_b64decode(value.replace(b".", b"") + b"==")
    parts = value.split(b".")
    assert (len(parts), parts[1], len(parts[2]), len(parts[4])) == (5, b"", 16, 22)


def test_another_program_can_read_it(cipher: Cipher, path: Path) -> None:
    (entry,) = read_encryption_keys(path)
    assert jwe.decrypt_compact(cipher.encrypt(b"content"), entry.key).plaintext == b"content"


def test_the_same_content_is_never_the_same_value(cipher: Cipher) -> None:
    assert len({cipher.encrypt(b"x") for _ in range(200)}) == 200


def test_what_repeats_is_not_shorter(cipher: Cipher) -> None:
    assert len(cipher.encrypt(b"x" * 30_000)) == len(cipher.encrypt(os.urandom(30_000)))


@pytest.mark.parametrize(
    "value", [b"", b"{}", b'{"a": "eyJ...."}', b"eyJ", b"eyJhIjoxfQ.a.b.c", b"null", b"[]", b"a.b.c.d.e", b"\xff" * 9]
)
def test_what_is_not_encrypted_is_told_from_what_is(cipher: Cipher, value: bytes) -> None:
    assert not is_encrypted(value)
    with pytest.raises(Undecryptable, match="it is not encrypted"):
        cipher.decrypt(value)


# ---- what is refused


@SHARED
@given(st.data())
def test_no_changed_byte_is_decrypted(cipher: Cipher, data: st.DataObject) -> None:
    value = cipher.encrypt(b"some content", place="p")
    at = data.draw(st.integers(0, len(value) - 1))
    other = data.draw(st.integers(0, 255).filter(lambda byte: byte != value[at]))
    with pytest.raises(Undecryptable):
        cipher.decrypt(value[:at] + bytes([other]) + value[at + 1 :], place="p")


@SHARED
@given(st.data())
def test_nothing_cut_off_or_put_on_is_decrypted(cipher: Cipher, data: st.DataObject) -> None:
    value = cipher.encrypt(b"some content")
    cut = data.draw(st.integers(0, len(value) - 1))
    for wrong in (value[:cut], value[cut + 1 :], value + b"A", value + b"=", value + b"\n", b" " + value):
        with pytest.raises(Undecryptable):
            cipher.decrypt(wrong)


@SHARED
@given(st.binary(max_size=200))
def test_no_noise_is_decrypted(cipher: Cipher, noise: bytes) -> None:
    for value in (noise, b"eyJ" + noise + b"....", encoded(b'{"a' + noise) + b"...."):
        with pytest.raises(Undecryptable):
            cipher.decrypt(value)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"enc": "A128GCM"}, "alg 'dir' and enc 'A128GCM'"),
        ({"enc": "A256CBC-HS512"}, "enc 'A256CBC-HS512'"),
        ({"enc": None}, "no object of texts"),
        ({"alg": "none"}, "alg 'none'"),
        ({"alg": "A256KW"}, "alg 'A256KW'"),
        ({"alg": "PBES2-HS256+A128KW"}, "alg 'PBES2"),
        ({"alg": "RSA-OAEP"}, "alg 'RSA-OAEP'"),
        ({"alg": "ECDH-ES"}, "alg 'ECDH-ES'"),
        ({"zip": "DEF"}, "'zip', which is not taken"),
        ({"crit": ["exp"]}, "no object of texts"),
        ({"jku": "https://example.com/keys"}, "'jku', which is not taken"),
        ({"jwk": {"kty": "oct", "k": "AAAA"}}, "no object of texts"),
        ({"kid": "other"}, "there is no key other in "),
        ({"kid": ["a"]}, "no object of texts"),
        ({"a": "x" * 400}, f"its header has [0-9]+ bytes; the limit is {MAX_HEADER}"),
    ],
)
def test_another_header_is_refused_by_name(cipher: Cipher, changes: dict[str, Any], why: str) -> None:
    value = cipher.encrypt(b"content")
    with pytest.raises(Undecryptable, match=why):
        cipher.decrypt(with_header(value, header_of(value) | changes))


@pytest.mark.parametrize("name", ["alg", "enc", "kid"])
def test_a_header_without_what_it_needs_is_refused(cipher: Cipher, name: str) -> None:
    value = cipher.encrypt(b"content")
    header = header_of(value)
    del header[name]
    with pytest.raises(Undecryptable, match=r"says alg|names no key"):
        cipher.decrypt(with_header(value, header))


@pytest.mark.parametrize("header", [[], "x", 1, None, [{"alg": "dir"}]])
def test_a_header_that_is_no_object_is_refused(cipher: Cipher, header: Any) -> None:
    value = b"eyJ" + with_header(cipher.encrypt(b"content"), header)
    with pytest.raises(Undecryptable, match="its header is no"):
        cipher.decrypt(value)


def test_a_value_of_other_algorithms_made_with_the_very_key_is_refused(cipher: Cipher, path: Path) -> None:
    """Whoever has a key of ours may still not choose how it is used."""
    (entry,) = read_encryption_keys(path)
    wrapped = jwe.encrypt_compact({"alg": "A256KW", "enc": "A256GCM", "kid": entry.kid}, b"x", entry.key)
    zipped = jwe.encrypt_compact({"alg": "dir", "enc": "A256GCM", "kid": entry.kid, "zip": "DEF"}, b"x", entry.key)
    public = RSAKey.generate_key(2048)
    sent = jwe.encrypt_compact({"alg": "RSA-OAEP", "enc": "A256GCM", "kid": entry.kid}, b"x", public)
    for value in (wrapped, zipped, sent):
        with pytest.raises(Undecryptable, match=r"which is not taken|only dir with A256GCM is taken"):
            cipher.decrypt(value.encode())


def test_another_key_of_the_same_id_does_not_decrypt(cipher: Cipher, path: Path) -> None:
    (entry,) = read_encryption_keys(path)
    header = {"alg": "dir", "enc": "A256GCM", "kid": entry.kid}
    forged = jwe.encrypt_compact(header, b"x", OctKey.generate_key(256)).encode()
    with pytest.raises(Undecryptable, match=f"altered, or encrypted with another key called {entry.kid}"):
        cipher.decrypt(forged)


def test_a_fault_shows_nothing_of_the_content(cipher: Cipher) -> None:
    value = cipher.encrypt(b"x")
    with pytest.raises(Undecryptable) as fault:
        cipher.decrypt(value[:-30] + b"A" * 30)
    assert value.split(b".")[3].decode() not in str(fault.value)


# ---- places


def test_a_value_is_of_one_place_alone(cipher: Cipher) -> None:
    stored, sent = cipher.encrypt(b"x", place="payload a"), cipher.encrypt(b"x")
    with pytest.raises(Undecryptable, match="it was encrypted for another place"):
        cipher.decrypt(stored, place="payload b")
    with pytest.raises(Undecryptable, match="it was encrypted for another place"):
        cipher.decrypt(stored)
    with pytest.raises(Undecryptable, match="it was not encrypted to be stored"):
        cipher.decrypt(sent, place="payload a")


def test_the_place_in_the_header_cannot_be_exchanged(cipher: Cipher) -> None:
    value = cipher.encrypt(b"x", place="payload a")
    moved = with_header(value, header_of(value) | {"place": digest("payload b")})
    with pytest.raises(Undecryptable, match="it was altered"):
        cipher.decrypt(moved, place="payload b")


def test_a_place_may_be_any_text(cipher: Cipher) -> None:
    for place in ("", "x" * 100_000, "\0", "\ud800", "é"):
        assert cipher.decrypt(cipher.encrypt(b"x", place=place), place=place) == b"x"


# ---- keys


def test_the_newest_key_encrypts_and_all_decrypt(cipher: Cipher, path: Path) -> None:
    before = cipher.encrypt(b"before")
    added = rotated(path)
    after = cipher.encrypt(b"after")
    assert header_of(before)["kid"] != header_of(after)["kid"] == added.kid
    assert [cipher.decrypt(before), cipher.decrypt(after)] == [b"before", b"after"]


def test_what_a_retired_key_encrypted_is_refused_by_its_name(cipher: Cipher, path: Path) -> None:
    value = cipher.encrypt(b"x")
    kid = header_of(value)["kid"]
    rotated(path)
    retired(path, kid)
    with pytest.raises(Undecryptable, match=f"there is no key {kid} in {path}"):
        cipher.decrypt(value)


def test_a_key_that_another_service_has_just_begun_to_use_is_looked_for(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watched_file, "EVERY", 3_600.0)
    cipher, other = Cipher(path), Cipher(path)
    added = rotated(path)
    assert header_of(cipher.encrypt(b"x"))["kid"] != added.kid
    value = Cipher(path).encrypt(b"x")
    assert header_of(value)["kid"] == added.kid
    assert other.decrypt(value) == b"x"


def test_a_key_encrypts_from_its_time_on_and_until_its_end(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    first, second = new_key(100), EncryptionKey(**(new_key(200).model_dump() | {"exp": 300}))
    write_encryption_keys(path, [first, second])
    times = [150.0, 199.9, 200.0, 299.9, 300.0]
    now = times[0]
    cipher = Cipher(path, clock=lambda: now)
    used = []
    for at in times:
        now = at
        value = cipher.encrypt(b"x")
        used.append(header_of(value)["kid"])
        assert cipher.decrypt(value) == b"x"
    assert used == [first.kid, first.kid, second.kid, second.kid, first.kid]


def test_of_two_keys_of_one_second_the_later_encrypts(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    first, second = new_key(100), new_key(100)
    write_encryption_keys(path, [first, second])
    assert header_of(Cipher(path).encrypt(b"x"))["kid"] == second.kid


def test_without_a_key_that_may_encrypt_nothing_is_encrypted(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    write_encryption_keys(path, [EncryptionKey(**(new_key(100).model_dump() | {"exp": 200}))])
    with pytest.raises(BadEncryptionKeys, match="no key may encrypt now"):
        Cipher(path, clock=lambda: 200.0)
    now = 150.0
    cipher = Cipher(path, clock=lambda: now)
    value = cipher.encrypt(b"x")
    now = 200.0
    with pytest.raises(BadEncryptionKeys, match=r"no key may encrypt now.*rotate"):
        cipher.encrypt(b"x")
    assert cipher.decrypt(value) == b"x"


def test_a_file_that_becomes_unreadable_leaves_the_keys_that_were_read(cipher: Cipher, path: Path) -> None:
    value = cipher.encrypt(b"x")
    path.write_text("{")
    assert cipher.decrypt(value) == b"x"
    assert cipher.decrypt(cipher.encrypt(b"y")) == b"y"


def test_the_settings_say_whether_there_is_a_cipher(tmp_path: Path) -> None:
    path = tmp_path / "encryption.json"
    assert open_cipher(Settings(encryption_keys=path)) is None  # type: ignore[call-arg]
    for mode in (Mode.OPTIONAL, Mode.REQUIRED):
        asked = Settings(message_encryption=mode, encryption_keys=path)  # type: ignore[call-arg]
        with pytest.raises(BadEncryptionKeys, match="encryption-keys create"):
            open_cipher(asked)
    own_cipher(tmp_path)
    opened = open_cipher(asked)
    assert opened is not None
    assert opened.decrypt(opened.encrypt(b"x")) == b"x"

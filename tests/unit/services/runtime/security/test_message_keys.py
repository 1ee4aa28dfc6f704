"""Message keys: the files, who is trusted by them, and the command that makes them."""

import json
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from services.__main__ import main as services_main
from services.runtime.security.key_files import BadKeys, private_path, read_private, read_public, trusted_path
from services.runtime.security.message_keys_command import main
from services.runtime.security.policy import AgentPolicy, Grants
from services.runtime.security.principal import Principal, SenderKind
from services.runtime.security.signing_keys import SigningKeys
from services.runtime.security.trusted_keys import TrustedKeys
from tests.support.signing import add_key

POLICY = AgentPolicy(agents={"clerk": Grants(start_workflows=True, message=("data_agent",))})


@pytest.fixture
def keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "keys"
    monkeypatch.setenv("MESSAGE_KEYS", str(folder))
    return folder


def change(path: Path, edit: Callable[[dict[str, Any]], object]) -> None:
    content = json.loads(path.read_text())
    edit(content)
    path.write_text(json.dumps(content))


def said(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> str:
    assert main(list(arguments)) == code
    captured = capsys.readouterr()
    return captured.err if code else captured.out


# ---- who is trusted


def test_a_key_tells_who_holds_it_and_what_the_policy_grants(keys: Path) -> None:
    service = add_key(keys, "edge")
    host = add_key(keys, "clerk", SenderKind.AGENT, ["clerk"])
    other = add_key(keys, "other", SenderKind.AGENT, ["other"])
    client = add_key(keys, "shop", SenderKind.CLIENT)
    trusted = TrustedKeys(keys, POLICY)
    found = [trusted.find(entry.kid) for entry in (service, host, other, client)]
    assert [key.principal for key in found if key] == [
        Principal("edge", SenderKind.SERVICE, service.kid),
        Principal("clerk", SenderKind.AGENT, host.kid, frozenset({"clerk"}), True, frozenset({"data_agent"})),
        Principal("other", SenderKind.AGENT, other.kid, frozenset({"other"})),
        Principal("shop", SenderKind.CLIENT, client.kid),
    ]
    assert trusted.find("nobody") is None


def test_a_key_that_is_new_is_found_with_its_first_message(keys: Path) -> None:
    add_key(keys, "edge")
    trusted = TrustedKeys(keys, POLICY)
    new = add_key(keys, "shop", SenderKind.CLIENT)
    assert trusted.find(new.kid) is not None


def test_the_newest_key_whose_time_has_come_signs(keys: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = add_key(keys, "edge")
    said(capsys, "rotate", "edge", "--after", "1h")
    second = read_public(trusted_path(keys))[-1]
    assert second.kid != first.kid
    assert SigningKeys(keys, "edge", clock=lambda: second.iat - 1).current.key_id == first.kid
    assert SigningKeys(keys, "edge", clock=lambda: second.iat).current.key_id == second.kid


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (lambda keys: keys["keys"][0].update(d="A" * 43), "d: Extra inputs"),
        (lambda keys: keys["keys"][0].pop("kind"), "kind: Field required"),
        (lambda keys: keys["keys"][0].update(kind="root"), "service"),
        (lambda keys: keys["keys"][0].update(agent_types=["x"]), "agent_types are for kind agent"),
        (lambda keys: keys["keys"][0].update(agent_type="x"), "agent_type"),
        (lambda keys: keys["keys"][0].update(crv="Ed448"), "Ed25519"),
        (lambda keys: keys["keys"][0].update(x="short"), "x"),
        (lambda keys: keys["keys"].append(keys["keys"][0]), "two keys have the kid"),
        (lambda keys: keys.update(more=1), "more"),
    ],
)
def test_what_must_not_be_in_trusted_json_is_refused_by_name(
    keys: Path, edit: Callable[[dict[str, Any]], object], words: str
) -> None:
    add_key(keys, "edge")
    change(trusted_path(keys), edit)
    with pytest.raises(BadKeys, match=words) as refused:
        TrustedKeys(keys, POLICY)
    assert "trusted.json" in str(refused.value)


# ---- a service's own


def test_a_private_key_is_for_its_owner_alone(keys: Path) -> None:
    add_key(keys, "edge")
    path = private_path(keys, "edge")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(keys.stat().st_mode) == 0o700
    path.chmod(0o604)
    with pytest.raises(BadKeys, match="everybody"):
        SigningKeys(keys, "edge")


def test_halves_that_do_not_fit_are_refused_and_never_shown(keys: Path) -> None:
    add_key(keys, "edge")
    add_key(keys, "registry")
    secret = read_private(private_path(keys, "edge"))[0].d
    other = read_private(private_path(keys, "registry"))[0].x
    change(private_path(keys, "edge"), lambda content: content["keys"][0].update(x=other))
    with pytest.raises(BadKeys, match="public half") as refused:
        SigningKeys(keys, "edge")
    assert secret not in str(refused.value)
    change(private_path(keys, "edge"), lambda content: content["keys"][0].update(d=secret + "="))
    with pytest.raises(BadKeys) as refused:
        SigningKeys(keys, "edge")
    assert secret not in str(refused.value)
    assert secret not in repr(read_private(private_path(keys, "registry")))


# ---- the command


def test_create_all_makes_a_key_for_each_service_once(keys: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "MESSAGE_SIGNING=required" in said(capsys, "create-all")
    made = read_public(trusted_path(keys))
    kinds = {entry.name: (entry.kind, entry.agent_types) for entry in made}
    assert kinds["edge"] == kinds["orchestrator"] == (SenderKind.SERVICE, ())
    assert {"access", "auditor", "dead_letters", "registry"} <= kinds.keys()
    assert kinds["data_agent"] == (SenderKind.AGENT, ("data_agent",))
    assert kinds["plugin_agent"] == (SenderKind.AGENT, ())
    assert "runtime" not in kinds
    assert all(private_path(keys, entry.name).exists() for entry in made)
    assert "edge: has a key" in said(capsys, "create-all")
    assert read_public(trusted_path(keys)) == made


def test_the_plugin_host_answers_for_the_types_that_the_policy_names(
    keys: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    policy = tmp_path / "policy.toml"
    policy.write_text('[agents.data_agent]\n[agents.fx]\n[agents.clerk]\n[agents."*"]\n')
    monkeypatch.setenv("AGENT_POLICY", str(policy))
    assert "answers for  clerk, fx" in said(capsys, "create", "plugin_agent")


def test_create_says_what_is_missing_and_what_is_there(keys: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "--kind client" in said(capsys, "create", "shop", code=1)
    assert "of kind service, not client" in said(capsys, "create", "edge", "--kind", "client", code=1)
    assert "--agent-types is for agents" in said(
        capsys, "create", "shop", "--kind", "client", "--agent-types", "x", code=1
    )
    said(capsys, "create", "shop", "--kind", "client")
    assert "rotate shop" in said(capsys, "create", "shop", "--kind", "client", code=1)
    with pytest.raises(SystemExit):
        main(["create", "../shop", "--kind", "client"])
    with pytest.raises(SystemExit):
        main(["rotate", "shop", "--overlap", "soon"])


def test_rotate_leaves_two_valid_keys_and_one_that_signs(keys: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = add_key(keys, "edge")
    assert "valid until" in said(capsys, "rotate", "edge", "--overlap", "2h")
    old, new = read_public(trusted_path(keys))
    assert (old.kid, old.exp) == (first.kid, new.iat + 7_200)
    assert new.exp is None
    assert SigningKeys(keys, "edge", clock=lambda: new.iat).current.key_id == new.kid
    listed = said(capsys, "list").splitlines()
    assert [new.kid in line for line in listed if line.endswith("signs")] == [True]


def test_rotate_may_change_the_types_of_a_host(keys: Path, capsys: pytest.CaptureFixture[str]) -> None:
    add_key(keys, "clerk", SenderKind.AGENT, ["clerk"])
    said(capsys, "rotate", "clerk", "--agent-types", "clerk,cashier")
    assert read_public(trusted_path(keys))[-1].agent_types == ("clerk", "cashier")
    assert "has no valid key" in said(capsys, "rotate", "nobody", code=1)


def test_retire_takes_a_key_out_of_both_files(keys: Path, capsys: pytest.CaptureFixture[str]) -> None:
    key = add_key(keys, "edge")
    assert "no key 'x'" in said(capsys, "retire", "x", code=1)
    assert "trusted no more" in said(capsys, "retire", key.kid)
    assert read_public(trusted_path(keys)) == ()
    assert not private_path(keys, "edge").exists()
    assert "create-all" in said(capsys, "list")


def test_a_service_without_its_key_does_not_start_and_says_what_makes_it(
    keys: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MESSAGE_SIGNING", "required")
    monkeypatch.setenv("COMMUNICATION_PROTOCOL", "rabbitmq")
    assert services_main(["registry"]) == 2
    assert "message-keys create-all" in capsys.readouterr().err
    add_key(keys, "edge")
    assert services_main(["registry"]) == 2
    error = capsys.readouterr().err
    assert str(private_path(keys, "registry")) in error
    assert "python -m services message-keys create registry" in error

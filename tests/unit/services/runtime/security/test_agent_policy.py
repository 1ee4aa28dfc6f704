"""The agent policy: what a file grants, what is refused in one, and what holds without one."""

from pathlib import Path

import pytest

from services.coordinator_agent.agent import CoordinatorAgent
from services.data_agent.agent import DataAgent
from services.decision_agent.agent import DecisionAgent
from services.runtime.agent import BaseAgent
from services.runtime.security.policy import BUILT_IN, AgentPolicy, BadPolicy, Grants, may_message, open_policy
from services.runtime.settings import BadSettings

FILE = """
[agents.invoice_agent]
capabilities = ["read_invoice", "check_*", "v[12]"]
start_workflows = true
message = ["data_agent", "clerk-7"]

[agents.listener]

[agents."*"]
capabilities = ["ping"]
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "policy.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_file_grants_what_it_says_and_nothing_else(tmp_path: Path) -> None:
    policy = open_policy(written(tmp_path, FILE))
    grants = policy.grants_of("invoice_agent")
    asked = ["read_invoice", "read_invoices", "check_vat", "check_", "Check_vat", "recheck_vat", "v1", "v3"]
    assert [name for name in asked if grants.capability(name)] == ["read_invoice", "check_vat", "check_", "v1"]
    assert (grants.start_workflows, grants.message) == (True, ("data_agent", "clerk-7"))
    assert policy.grants_of("listener") == Grants()
    assert policy.grants_of("stranger") == Grants(capabilities=("ping",))
    assert policy.grants_of("data_agent") == policy.grants_of("stranger"), "a file is the whole policy"
    assert all(policy.admits(kind) for kind in ("invoice_agent", "listener", "stranger"))


def test_an_empty_file_grants_nothing(tmp_path: Path) -> None:
    policy = open_policy(written(tmp_path, ""))
    assert policy.grants_of("data_agent") == Grants()
    assert not policy.admits("data_agent")
    assert policy.rights_of(["data_agent", "*"]) == (False, frozenset())


def test_a_fallback_that_grants_nothing_admits_nobody(tmp_path: Path) -> None:
    assert not open_policy(written(tmp_path, '[agents."*"]\ncapabilities = []')).admits("stranger")


@pytest.mark.parametrize("agent", [DataAgent, DecisionAgent, CoordinatorAgent])
def test_without_a_file_conclaves_own_types_have_exactly_their_capabilities(
    agent: type[BaseAgent], tmp_path: Path
) -> None:
    grants = open_policy(None).grants_of(agent.agent_type)
    made = agent(agent.agent_type, {"data_folder": str(tmp_path)} if agent is DataAgent else {})
    assert sorted(grants.capabilities) == made.capabilities


def test_without_a_file_only_the_coordinator_starts_and_messages_and_plugins_have_nothing() -> None:
    assert BUILT_IN.rights_of(["data_agent", "decision_agent"]) == (False, frozenset())
    assert BUILT_IN.rights_of(["coordinator_agent"]) == (True, frozenset({"*"}))
    assert not BUILT_IN.admits("unit_converter")
    assert BUILT_IN.why_not("unit_converter", "convert") != ""


def test_a_host_has_what_any_of_its_types_has(tmp_path: Path) -> None:
    policy = open_policy(written(tmp_path, FILE))
    assert policy.rights_of(["listener", "invoice_agent"]) == (True, frozenset({"data_agent", "clerk-7"}))
    assert policy.rights_of([]) == (False, frozenset())


def test_answering_for_every_type_is_not_having_every_types_rights(tmp_path: Path) -> None:
    policy = open_policy(written(tmp_path, FILE))
    assert policy.rights_of(["*"]) == (False, frozenset())
    assert BUILT_IN.rights_of(["*"]) == (False, frozenset())


def test_whom_a_grant_names() -> None:
    assert may_message(("clerk",), "ann", "clerk")
    assert may_message(("ann",), "ann", "clerk")
    assert may_message(("*",), "ann", "clerk")
    assert not may_message(("clerks", "an"), "ann", "clerk")
    assert not may_message((), "ann", "clerk")


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("roles = 1", "roles"),
        ("agents = 3", "agents"),
        ("[agents]\na = 1", "agents.a"),
        ("[[agents]]\nx = 1", "agents"),
        ("[agents.a]\ncapabilties = []", "agents.a.capabilties: not known; allowed are capabilities, start_workflows"),
        ('[agents.a]\ncapabilities = "query"', "agents.a.capabilities: 'query'"),
        ('[agents.a]\ncapabilities = ["ok", "a b"]', "agents.a.capabilities.1: 'a b'"),
        ('[agents.a]\ncapabilities = ["[ab"]', "agents.a.capabilities.0"),
        ('[agents.a]\ncapabilities = [""]', "agents.a.capabilities.0"),
        ("[agents.a]\ncapabilities = [7]", "agents.a.capabilities.0: 7"),
        (
            '[agents.a]\nstart_workflows = "yes"',
            "agents.a.start_workflows: 'yes' is not allowed; expected true or false",
        ),
        ("[agents.a]\nstart_workflows = 1", "agents.a.start_workflows"),
        ('[agents.a]\nmessage = ["clerk-*"]', "agents.a.message.0: 'clerk-*'"),
        ('[agents.a]\nmessage = "*"', "agents.a.message"),
        ('[agents."9lives"]', "agents.9lives: expected an agent type"),
        ('[agents."a*"]', "agents.a*: expected an agent type"),
        ("[agents.a", "is no TOML"),
        ("[agents.a]\n[agents.a]", "is no TOML"),
    ],
)
def test_what_a_file_must_not_say_is_refused_by_its_place(text: str, named: str, tmp_path: Path) -> None:
    path = written(tmp_path, text)
    with pytest.raises(BadPolicy) as caught:
        open_policy(path)
    assert f"AGENT_POLICY={path}: " in str(caught.value)
    assert named in str(caught.value)


@pytest.mark.parametrize("name", ["absent.toml", "."])
def test_a_file_that_cannot_be_read_is_an_error_at_start(name: str, tmp_path: Path) -> None:
    with pytest.raises(BadSettings, match=r"AGENT_POLICY=.*cannot be read: "):
        open_policy(tmp_path / name)
    (tmp_path / "latin").write_bytes(b"# \xe9")
    with pytest.raises(BadSettings, match="not UTF-8"):
        open_policy(tmp_path / "latin")


def test_the_reason_names_the_entry_that_is_missing(tmp_path: Path) -> None:
    policy = open_policy(written(tmp_path, FILE))
    assert policy.why_not("invoice_agent", "check_vat") == ""
    assert "[agents.invoice_agent]" in policy.why_not("invoice_agent", "pay")
    assert str(tmp_path) in policy.why_not("invoice_agent", "pay")
    assert "AGENT_POLICY is not set" in BUILT_IN.left_out("unit_converter")


def test_a_policy_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="frozen"):
        AgentPolicy().source = "me"  # type: ignore[misc]

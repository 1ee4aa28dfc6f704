"""``docs/agent_policy.md`` and ``examples/policy.toml``, held against the code."""

import re
from pathlib import Path

from services.runtime.security.policy import BUILT_IN, AgentPolicy, Grants, open_policy

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "agent_policy.md"
EXAMPLE = ROOT / "examples" / "policy.toml"


def of_the_page(folder: Path) -> AgentPolicy:
    (text,) = re.findall(
        r"^```toml policy\.toml\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
    )
    path = folder / "policy.toml"
    path.write_text(text, encoding="utf-8")
    return open_policy(path)


def test_the_pages_example_is_a_policy_that_grants_what_it_says(tmp_path: Path) -> None:
    policy = of_the_page(tmp_path)
    assert {name: policy.grants_of(name) for name in BUILT_IN.agents} == BUILT_IN.agents
    invoices = policy.grants_of("invoices")
    assert [invoices.capability(name) for name in ("check", "book_it", "pay")] == [True, True, False]
    assert invoices.message == ("exchange", "archive-7")
    assert (policy.admits("night_watch"), policy.grants_of("night_watch")) == (True, Grants())
    assert not policy.admits("stranger")


def test_the_page_names_every_field_and_no_other() -> None:
    rows = re.findall(r"^\| `(\w+)` \|", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert rows == list(Grants.model_fields)


def test_the_example_for_development_grants_everything_and_its_commented_part_is_a_policy(tmp_path: Path) -> None:
    granted = open_policy(EXAMPLE).grants_of("whatever")
    assert (granted.capability("anything"), granted.start_workflows, granted.message) == (True, True, ("*",))
    lines = EXAMPLE.read_text(encoding="utf-8").splitlines()
    begin = next(i for i, line in enumerate(lines) if line.startswith("# [agents."))
    path = tmp_path / "uncommented.toml"
    path.write_text("\n".join(line.removeprefix("#").removeprefix(" ") for line in lines[begin:]), encoding="utf-8")
    policy = open_policy(path)
    assert {name: policy.grants_of(name) for name in BUILT_IN.agents} == BUILT_IN.agents

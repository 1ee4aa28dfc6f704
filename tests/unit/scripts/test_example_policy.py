"""``examples/policy.toml``: what it allows while one develops, and what it advises for production."""

import re
from pathlib import Path

from services.runtime.security.policy import BUILT_IN, read_policy

POLICY = Path(__file__).resolve().parents[3] / "examples" / "policy.toml"


def test_while_one_develops_every_type_may_do_everything() -> None:
    policy = read_policy(POLICY)
    for agent_type in ("a_plugin", *BUILT_IN.agents):
        grants = policy.grants_of(agent_type)
        assert grants.capability("anything")
        assert (grants.start_workflows, grants.message) == (True, ("*",))


def test_what_the_comments_advise_is_the_built_in_policy_and_a_plugin(tmp_path: Path) -> None:
    comments = [line.removeprefix("# ") for line in POLICY.read_text().splitlines() if line.startswith("# ")]
    advised = [line for line in comments if re.match(r"\[agents\.|\w+ = ", line)]
    (tmp_path / "policy.toml").write_text("\n".join(advised))
    agents = dict(read_policy(tmp_path / "policy.toml").agents)
    assert agents.pop("unit_converter").capabilities == ("convert",)
    assert agents == BUILT_IN.agents

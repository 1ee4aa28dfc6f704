"""What is asked of a plugin's agent class before it is hosted."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from services.plugin_agent.checking import built_in_names, reserved_words
from services.plugin_agent.loading import Loaded, load_plugins
from services.plugin_agent.sources import folder_plugins, installed_plugins
from tests.unit.services.plugin_agent.conftest import good

Load = Callable[[dict[str, str]], Loaded]

HEAD = """
from pydantic import BaseModel, Field

from services.runtime.agent import BaseAgent, capability


class In(BaseModel):
    x: int = 0

"""


def agent(body: str, agent_type: str = "'bad'", before: str = "") -> str:
    lines = "\n".join(f"    {line}" for line in body.splitlines())
    return f"{HEAD}\n{before}\n\nclass Bad(BaseAgent):\n    agent_type = {agent_type}\n\n{lines}\n"


WORKS = "@capability('do')\ndef do(self, request: In) -> In:\n    return request"


@pytest.mark.parametrize(
    ("text", "error"),
    [
        pytest.param(
            agent("@capability('do')\ndef do(self, request):\n    return request"),
            "CapabilityDeclarationError: Bad.do (capability 'do') must take exactly one argument",
            id="no models",
        ),
        pytest.param(
            agent("@capability('do')\ndef do(self, request: In):\n    return request"),
            "must be annotated with the Pydantic model it returns",
            id="no output model",
        ),
        pytest.param(
            agent("@capability('do')\ndef do(self, request: Nowhere) -> In: ...".replace("Nowhere", "'Nowhere'")),
            "NameError: name 'Nowhere' is not defined",
            id="unknown annotation",
        ),
        pytest.param(agent("pass"), "it can do nothing", id="no capability"),
        pytest.param(
            agent(WORKS.replace("'do'", "'do.it'")), "capability 'do.it' is no name: letters, digits", id="action name"
        ),
        pytest.param(
            agent(
                WORKS.replace("In", "Odd"),
                before="class Odd(BaseModel):\n    y: int = Field(0, json_schema_extra={'type': 'wholes'})",
            ),
            "the input schema of 'do' is no JSON Schema: 'wholes' is not valid under any of the given schemas",
            id="no schema",
        ),
        pytest.param(
            agent(
                WORKS.replace("In", "Odd"),
                before="class Odd(BaseModel):\n    y: int = Field(0, json_schema_extra={'extra': float('nan')})",
            ),
            "the input schema of 'do' is no JSON: Out of range float values",
            id="schema that is no JSON",
        ),
        pytest.param(
            agent(
                WORKS.replace("In", "Odd"),
                before="from collections.abc import Callable\n\nclass Odd(BaseModel):\n    y: Callable[[], int] = int",
            ),
            "PydanticInvalidForJsonSchema",
            id="no schema can be made",
        ),
        pytest.param(agent(WORKS, "'two words'"), "agent_type 'two words' is no name", id="bad name"),
        pytest.param(agent(WORKS, "'line\\n'"), "is no name", id="line break"),
        pytest.param(agent(WORKS, "7"), "it has no agent_type", id="no text"),
        pytest.param(HEAD + "class Bad(BaseAgent):\n    pass\n", "it has no agent_type", id="no type"),
        pytest.param(agent(WORKS, "'any'"), "is a reserved word: any, ", id="reserved"),
        pytest.param(agent(WORKS, "'data_agent'"), "is the name of a service of Conclave", id="built in"),
        pytest.param(
            agent("def __init__(self, agent_id, config=None):\n    raise OSError('no licence')\n" + WORKS),
            "OSError: no licence",
            id="cannot be made",
        ),
        pytest.param(
            agent(f"config_model = Config\n{WORKS}", before="class Config(BaseModel):\n    key: str"),
            "give every field of config_model a default",
            id="configuration without defaults",
        ),
        pytest.param(
            f"{HEAD}\ndef make():\n    class Bad(BaseAgent):\n        agent_type = 'b'\n    return Bad\n\nBad = make()",
            "an agent class stands at the top of its module",
            id="not at the top",
        ),
    ],
)
def test_a_bad_declaration_is_a_fault_and_the_others_go_on(load: Load, text: str, error: str) -> None:
    loaded = load({"a.py": good("a"), "bad.py": text, "c.py": good("c")})
    assert list(loaded.classes) == ["a", "c"]
    (fault,) = loaded.faults
    assert fault.plugin == "bad"
    assert fault.error.startswith("Bad: ")
    assert error in fault.error
    assert "Traceback" in fault.traceback


def test_of_two_plugins_with_one_type_the_first_stays(load: Load) -> None:
    loaded = load(
        {"a.py": good("same"), "b.py": good("same", "Later") + "\n\n" + "class Own(Later):\n    agent_type = 'own'\n"}
    )
    assert {kind: cls.__name__ for kind, cls in loaded.classes.items()} == {"same": "Counter", "own": "Own"}
    (fault,) = loaded.faults
    assert fault.plugin == "b"
    assert re.search(
        r"'same' is taken by another plugin, which was loaded before: \S+/plugins/a\.py; rename one$", fault.error
    )


def test_a_plugin_that_is_installed_as_well_is_told_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What happens to whoever installs a package and then works on its source."""
    site, folder = tmp_path / "site", tmp_path / "src"
    info = site / "word_counter-1.2.dist-info"
    for path in (info, site / "installed_counter", folder / "counter"):
        path.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: word-counter\nVersion: 1.2\n", encoding="utf-8")
    (info / "entry_points.txt").write_text("[conclave.agents]\ncounter = installed_counter:Counter\n", encoding="utf-8")
    (site / "installed_counter" / "__init__.py").write_text(good("counter"), encoding="utf-8")
    (folder / "counter" / "__init__.py").write_text(good("counter"), encoding="utf-8")
    monkeypatch.syspath_prepend(str(site))
    mine = [plugin for plugin in installed_plugins() if plugin.package == "word-counter"]
    loaded = load_plugins([*mine, *folder_plugins(folder)])
    assert {kind: cls.__module__ for kind, cls in loaded.classes.items()} == {"counter": "installed_counter"}
    (fault,) = loaded.faults
    assert fault.plugin == "counter"
    assert "installed package, which was loaded before: word-counter 1.2, entry point counter = " in fault.error
    assert "If this is the same plugin, uninstall that one (python -m pip uninstall word-counter)" in fault.error
    assert fault.error.endswith("if they are two, rename one")


def test_a_subclass_that_forgets_its_own_type_is_a_fault(load: Load) -> None:
    loaded = load({"a.py": good("a") + "\n\nclass More(Counter):\n    pass\n"})
    assert list(loaded.classes) == ["a"]
    assert [fault.error.partition(":")[0] for fault in loaded.faults] == ["More"]


def test_names_that_mean_something_else_are_reserved() -> None:
    assert {"any", "mail", "quarantine", "registry", "orchestrator", "dead-letters"} <= reserved_words()
    assert {"types", "broadcast"} <= reserved_words()
    assert {"data_agent", "decision_agent", "coordinator_agent", "edge", "registry"} <= built_in_names()

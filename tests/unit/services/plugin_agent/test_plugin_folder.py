"""A folder of plugins: what counts as one, and how each is loaded apart."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from services.plugin_agent.loading import Loaded, load_plugins
from services.plugin_agent.sources import folder_plugins
from tests.unit.services.plugin_agent.conftest import good

Load = Callable[[dict[str, str]], Loaded]


def test_files_and_packages_are_plugins_and_the_rest_is_left_out(load: Load) -> None:
    loaded = load(
        {
            "one.py": good("one"),
            "two/__init__.py": "from .agent import Counter as Counter\n",
            "two/agent.py": good("two"),
            "_helper.py": "raise RuntimeError('never imported')",
            ".hidden.py": "raise RuntimeError('never imported')",
            "__pycache__/old.py": "raise RuntimeError('never imported')",
            "no_package/agent.py": good("three"),
            "notes.txt": "no code",
        }
    )
    assert sorted(loaded.classes) == ["one", "two"]
    assert loaded.faults == ()


def test_every_public_agent_class_of_a_plugin_is_a_type(load: Load) -> None:
    base = "class _Base(BaseAgent):\n    pass\n\n\nclass Second(Counter):\n    agent_type = 'second'\n"
    loaded = load({"several.py": good("first") + base, "importing.py": good("third")})
    assert sorted(loaded.classes) == ["first", "second", "third"]
    assert loaded.faults == ()


def test_a_class_that_is_only_imported_is_no_type(load: Load) -> None:
    loaded = load({"a.py": good("a"), "b.py": "from .a import Counter\n"})
    assert list(loaded.classes) == ["a"]
    (fault,) = loaded.faults
    assert (fault.plugin, "no agent class" in fault.error) == ("b", True)


@pytest.mark.parametrize(
    ("text", "error"),
    [
        pytest.param("import not_there_at_all", "ModuleNotFoundError: No module named 'not_there_at_all'", id="import"),
        pytest.param("1 / 0", "ZeroDivisionError: division by zero", id="exception"),
        pytest.param("raise SystemExit(3)", "SystemExit: 3", id="exit"),
        pytest.param("import asyncio\nraise asyncio.CancelledError", "CancelledError", id="cancelled"),
        pytest.param("def f(:\n", "SyntaxError: invalid syntax", id="syntax"),
        pytest.param("x = 1", "no agent class", id="nothing in it"),
        pytest.param("raise ValueError('\\ud800')", "ValueError", id="text that cannot be encoded"),
        pytest.param(
            "class E(Exception):\n    def __str__(self): raise KeyError\nraise E", "<exception str() failed>", id="mute"
        ),
    ],
)
def test_a_plugin_that_cannot_be_imported_is_a_fault_and_the_others_go_on(load: Load, text: str, error: str) -> None:
    loaded = load({"a.py": good("a"), "broken.py": text, "c.py": good("c")})
    assert list(loaded.classes) == ["a", "c"]
    (fault,) = loaded.faults
    assert fault.plugin == "broken"
    assert fault.source.endswith("plugins/broken.py")
    assert error in fault.error
    assert "Traceback" in fault.traceback or "SyntaxError" in fault.traceback
    fault.model_dump_json().encode()


def test_the_traceback_leads_into_the_plugin(load: Load) -> None:
    (fault,) = load({"deep.py": "def f():\n    raise OSError('here')\n\n\nf()\n"}).faults
    assert "deep.py\", line 2, in f\n    raise OSError('here')" in fault.traceback


def test_an_interrupt_while_loading_is_obeyed(load: Load) -> None:
    with pytest.raises(KeyboardInterrupt):
        load({"interrupted.py": "raise KeyboardInterrupt"})


def test_a_fault_is_cut_to_a_size_that_travels(load: Load) -> None:
    (fault,) = load({"loud.py": "raise ValueError('x' * 100_000)"}).faults
    assert len(fault.error) == 2_000
    assert len(fault.traceback) == 8_000


def test_a_plugin_shadows_nothing_whatever_it_is_called(load: Load) -> None:
    import json

    loaded = load({"json.py": "import json\nassert json.dumps\n" + good("j"), "services.py": good("s")})
    assert sorted(loaded.classes) == ["j", "s"]
    assert sys.modules["json"] is json
    assert "no_such_plugin" not in sys.modules
    assert all(cls.__module__.startswith("conclave_folder_") for cls in loaded.classes.values())


def test_plugins_share_helpers_that_are_no_plugins(load: Load) -> None:
    loaded = load(
        {
            "_names.py": "TYPE = 'shared'\n",
            "a.py": good("x") + "\nfrom . import _names\n\nCounter.agent_type = _names.TYPE\n",
        }
    )
    assert list(loaded.classes) == ["shared"]


def test_a_name_with_a_dot_is_a_fault(load: Load) -> None:
    (fault,) = load({"a.b.py": good("a")}).faults
    assert (fault.plugin, "no dots" in fault.error) == ("a.b", True)


def test_a_file_that_a_package_of_the_same_name_hides_is_a_fault(load: Load) -> None:
    loaded = load({"a.py": good("file"), "a/__init__.py": good("package")})
    assert list(loaded.classes) == ["package"]
    (fault,) = loaded.faults
    assert fault.source.endswith("a.py")
    assert "a/__init__.py has the same name, and hides it" in fault.error


def test_a_folder_that_is_not_there_is_a_fault_by_the_settings_name(tmp_path: Path) -> None:
    loaded = load_plugins(folder_plugins(tmp_path / "nowhere"))
    assert loaded.classes == {}
    (fault,) = loaded.faults
    assert fault.plugin == "PLUGIN_FOLDER"
    assert (
        fault.error == f"PLUGIN_FOLDER names {tmp_path / 'nowhere'}, which cannot be listed: No such file or directory"
    )


def test_two_folders_do_not_mix(tmp_path: Path) -> None:
    for name in ("x", "y"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "same.py").write_text(good(f"type_{name}"), encoding="utf-8")
    found = [load_plugins(folder_plugins(tmp_path / name)).classes for name in ("x", "y")]
    assert [list(classes) for classes in found] == [["type_x"], ["type_y"]]

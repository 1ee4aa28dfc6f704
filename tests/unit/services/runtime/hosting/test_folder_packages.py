"""Modules of a folder under a name of their own, and classes on their way to another process."""

import importlib
import pickle
import sys
from pathlib import Path

import pytest

from services.runtime.hosting.folder_packages import Portable, is_importable, package_of


def test_a_folder_has_one_name_and_its_modules_shadow_nothing(tmp_path: Path) -> None:
    (tmp_path / "json.py").write_text("class Thing:\n    class Part:\n        pass\n", encoding="utf-8")
    name = package_of(tmp_path)
    assert name == package_of(tmp_path / ".." / tmp_path.name)
    assert name != package_of(tmp_path.parent)
    module = importlib.import_module(f"{name}.json")
    assert module is not importlib.import_module("json")
    assert pickle.loads(pickle.dumps(Portable(module.Thing.Part))) is module.Thing.Part


def test_a_class_comes_to_a_process_that_does_not_know_its_folder(tmp_path: Path) -> None:
    (tmp_path / "thing.py").write_text("class Thing:\n    pass\n", encoding="utf-8")
    name = package_of(tmp_path)
    sent = pickle.dumps(Portable(importlib.import_module(f"{name}.thing").Thing))
    for known in [module for module in sys.modules if module.startswith(name)]:
        del sys.modules[known]
    assert pickle.loads(sent).__module__ == f"{name}.thing"


def test_a_class_that_nobody_else_can_import_is_not_sent() -> None:
    class Hidden:
        pass

    assert not is_importable(Hidden)
    with pytest.raises(pickle.PicklingError, match="Hidden"):
        pickle.dumps(Portable(Hidden))
    assert pickle.loads(pickle.dumps(Portable(Path))) is Path

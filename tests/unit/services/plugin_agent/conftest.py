"""Folders of plugins, written for a test."""

from collections.abc import Callable
from pathlib import Path

import pytest

from services.plugin_agent.loading import Loaded, load_plugins
from services.plugin_agent.sources import folder_plugins

GOOD = '''
from pydantic import BaseModel

from services.runtime.agent import BaseAgent, capability


class Words(BaseModel):
    text: str


class Count(BaseModel):
    words: int


class {name}(BaseAgent):
    """Counts words."""

    agent_type = "{agent_type}"

    @capability("count")
    def count(self, request: Words) -> Count:
        """Count the words of a text."""
        return Count(words=len(request.text.split()))
'''


def good(agent_type: str, name: str = "Counter") -> str:
    """The text of a plugin that works."""
    return GOOD.format(agent_type=agent_type, name=name)


@pytest.fixture
def load(tmp_path: Path) -> Callable[[dict[str, str]], Loaded]:
    """Write files, path -> text, into a folder and load what is there."""

    def write_and_load(files: dict[str, str]) -> Loaded:
        folder = tmp_path / "plugins"
        folder.mkdir(exist_ok=True)
        for name, text in files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        return load_plugins(folder_plugins(folder))

    return write_and_load

"""docs/operations.md names what there is: paths, settings, problems, sections of its own, files."""

import ast
import re
from pathlib import Path

from scripts.dashboards import ROOT
from services.edge.app import create_application
from services.runtime.bus.direct import DirectBus
from services.runtime.bus.direct_broker import DirectBroker
from services.runtime.settings import Settings
from tests.support.memory_store import MemoryStore
from tests.support.metrics_of_the_code import all_metrics

PAGE = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
# What the monitor calls a problem of something that it needs itself: made of the thing's name.
OF_COMPONENTS = {"store_unavailable", "bus_unavailable"}


def codes_of_the_monitor() -> set[str]:
    found: set[str] = set()
    for path in sorted((ROOT / "services" / "monitor").glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Finding":
                first = node.args[0]
                if isinstance(first, ast.Constant):
                    found.add(str(first.value))
    return found


def test_every_problem_of_the_monitor_is_listed() -> None:
    rows = re.findall(r"^\| ((?:`[a-z_]+`(?:, )?)+) \| \[Conclave", PAGE, re.MULTILINE)
    listed = [code for row in rows for code in re.findall(r"`(\w+)`", row)]
    assert len(set(listed)) == len(listed)
    assert set(listed) == codes_of_the_monitor() | OF_COMPONENTS


def test_links_within_the_page_lead_to_sections() -> None:
    headings = re.findall(r"^#+ (.+)$", PAGE, re.MULTILINE)
    anchors = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
    assert set(re.findall(r"\]\(#([^)]+)\)", PAGE)) <= anchors


def test_paths_of_the_api_are_served() -> None:
    app = create_application(Settings(), MemoryStore(), DirectBus(DirectBroker()))
    served = set(app.openapi()["paths"])
    named = {re.sub(r"\{\w+\}|\$EXECUTION", "{}", path) for path in re.findall(r"/api/v1/[\w/{}$-]+", PAGE)}
    assert named
    assert named <= {re.sub(r"\{\w+\}", "{}", path) for path in served}


def test_settings_exist() -> None:
    known = {str(field.validation_alias) for field in Settings.model_fields.values()}
    named = set(re.findall(r"\b[A-Z]+(?:_[A-Z]+)+\b", PAGE)) - {"CONCLAVE_KEY"}
    assert named <= known


def test_metrics_exist() -> None:
    assert set(re.findall(r"`(conclave_\w+)`", PAGE)) <= set(all_metrics())


def test_files_exist() -> None:
    folder = ROOT / "k8s" / "monitoring"
    table = PAGE[PAGE.index("| file | is |") :].partition("\n\n")[0]
    for pattern in re.findall(r"^\| `([^`]+)` \|", table, re.MULTILINE):
        assert list(folder.glob(pattern)), pattern
    named = set(re.findall(r"scripts/\w+\.py", PAGE))
    assert named
    assert [path for path in named if not Path(ROOT / path).exists()] == []

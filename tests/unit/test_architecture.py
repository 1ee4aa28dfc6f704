"""The rules of the tree: who imports whom, how large a module grows, what an import does, who spells names."""

import ast
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from contracts import topology

ROOT = Path(__file__).resolve().parents[2]
MAX_LINES = 500
NOT_SERVICES = {"runtime"}
PLUGIN_HOST = "plugin_agent"
CODE_FOLDERS = ("contracts", "services", "scripts", "tests", "benchmarks", "examples")
IMPORT_WATCH = Path(__file__).parent / "import_watch.py"


def python_files(*folders: str, root: Path = ROOT) -> list[Path]:
    return sorted(path for folder in folders for path in (root / folder).rglob("*.py"))


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def services() -> list[str]:
    """A service is a folder with modules in it, other than the runtime."""
    folders = (path for path in (ROOT / "services").iterdir() if path.is_dir() and list(path.glob("*.py")))
    return sorted(path.name for path in folders if path.name not in NOT_SERVICES)


def imported_modules(path: Path) -> Iterator[str]:
    """The full names that a file imports, wherever in the file; ``from a import b`` counts as ``a.b``."""
    package = path.relative_to(ROOT).parent.parts
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else ()
            base = ".".join((*above, *filter(None, [node.module])))
            yield from (f"{base}.{alias.name}" for alias in node.names)


def is_within(name: str, *packages: str) -> bool:
    return any(name == package or name.startswith(f"{package}.") for package in packages)


def is_ours(name: str) -> bool:
    return is_within(name, *CODE_FOLDERS)


def foreign_imports(path: Path, *allowed: str) -> list[str]:
    return sorted({name for name in imported_modules(path) if is_ours(name) and not is_within(name, *allowed)})


# ---- imports


@pytest.mark.parametrize("path", python_files("contracts"), ids=module_name)
def test_contracts_import_only_pydantic_and_the_standard_library(path: Path) -> None:
    allowed = {*sys.stdlib_module_names, "pydantic", "contracts"}
    assert {name.split(".")[0] for name in imported_modules(path)} - allowed == set()


@pytest.mark.parametrize("path", python_files("services/runtime"), ids=module_name)
def test_runtime_imports_only_contracts(path: Path) -> None:
    assert foreign_imports(path, "contracts", "services.runtime") == []


@pytest.mark.parametrize("service", services())
def test_a_service_imports_only_contracts_runtime_and_itself(service: str) -> None:
    found = {
        module_name(path): foreign_imports(path, "contracts", "services.runtime", f"services.{service}")
        for path in python_files(f"services/{service}")
    }
    assert {name: imports for name, imports in found.items() if imports} == {}


def test_only_the_mongo_store_names_motor() -> None:
    importers = {
        module_name(path)
        for path in python_files(*CODE_FOLDERS)
        if any(is_within(name, "motor") for name in imported_modules(path))
    }
    assert importers <= {"services.runtime.store.mongo"}


def test_only_the_postgres_store_names_asyncpg() -> None:
    importers = {
        module_name(path)
        for path in python_files(*CODE_FOLDERS)
        if any(is_within(name, "asyncpg") for name in imported_modules(path))
    }
    within = {name for name in importers if name.startswith("services.runtime.store.postgres")}
    assert within
    assert {name for name in importers - within if is_within(name, "contracts", "services", "scripts")} == set()


def test_opening_one_store_does_not_import_the_drivers_of_the_other() -> None:
    script = (
        "import sys\n"
        "from services.runtime.settings import Settings\n"
        "from services.runtime.store.open import open_store\n"
        "open_store(Settings(database_url=sys.argv[1]))\n"
        "print({'motor', 'asyncpg'} & {*sys.modules})"
    )
    for url, driver in (("mongodb://h/x", "motor"), ("postgresql://h/x", "asyncpg")):
        command = [sys.executable, "-c", script, url]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=60)
        assert done.stdout.strip() == str({driver})


def test_nothing_imports_the_embedded_store() -> None:
    """But what stands in for mongod in an image of its own, where it is the server."""
    importers = [
        module_name(path)
        for path in python_files(*CODE_FOLDERS)
        if "stand_ins" not in path.parts and any(name.lower().startswith("secantus") for name in imported_modules(path))
    ]
    assert importers == []


# ---- size and names


def test_no_module_is_longer_than_500_lines() -> None:
    lengths = {
        str(path.relative_to(ROOT)): len(path.read_text(encoding="utf-8").splitlines())
        for path in python_files(*CODE_FOLDERS)
    }
    assert lengths
    assert {name: lines for name, lines in lengths.items() if lines > MAX_LINES} == {}


@pytest.mark.parametrize("service", services())
def test_a_service_has_an_app_that_is_a_factory(service: str) -> None:
    app = ROOT / "services" / service / "app.py"
    assert app.exists()
    functions = {node.name for node in ast.parse(app.read_text(encoding="utf-8")).body if hasattr(node, "name")}
    assert "app" in functions, f"{app} needs a function app() that builds the application"


def agent_types_declared_in(service: str) -> set[object]:
    return {
        node.value.value
        for path in python_files(f"services/{service}")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Assign | ast.AnnAssign) and isinstance(node.value, ast.Constant)
        if isinstance(node.value.value, str)
        for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
        if isinstance(target, ast.Name) and target.id == "agent_type"
    }


@pytest.mark.parametrize("service", [name for name in services() if name.endswith("_agent") and name != PLUGIN_HOST])
def test_an_agent_type_is_called_as_its_folder(service: str) -> None:
    assert agent_types_declared_in(service) == {service}


def test_the_host_of_plugins_has_no_type_of_its_own() -> None:
    assert agent_types_declared_in(PLUGIN_HOST) == set()


# ---- names of the broker


SPELLED = tuple(exchange.value for exchange in topology.Exchange if exchange.value)
QUEUES = (
    topology.orchestrator_commands().name,
    topology.orchestrator_starts().name,
    topology.orchestrator_crashed().name,
    topology.dead_letters().name,
)
# Plugins are found by an entry-point group, which happens to be called as the exchange is.
ENTRY_POINTS = ("services.plugin_agent.sources", "'conclave.agents'")
PIECES = ("orchestrator.shard", "shard.", "quarantine.", "mail.", "crashed.")
INSIDE = (f".{topology.ANY_AGENT}.", ".quarantine")


def literals(tree: ast.AST) -> Iterator[ast.Constant]:
    """Every string in the code that is not documentation."""
    documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
    bodies = [node.body for node in ast.walk(tree) if isinstance(node, documented)]
    documentation = {id(line.value) for body in bodies for line in body if isinstance(line, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in documentation:
            yield node


def names_of_the_broker(source: str) -> list[str]:
    return [
        f"{node.lineno}: {node.value!r}"
        for node in literals(ast.parse(source))
        if any(name in node.value for name in (*SPELLED, *INSIDE))
        or node.value in QUEUES
        or node.value.startswith(PIECES)
    ]


def test_only_the_topology_spells_exchanges_queues_and_keys() -> None:
    found = {
        module_name(path): names_of_the_broker(path.read_text(encoding="utf-8"))
        for path in python_files("contracts", "services")
        if module_name(path) != "contracts.topology"
    }
    group = [line for line in found[ENTRY_POINTS[0]] if line.endswith(ENTRY_POINTS[1])]
    assert len(group) == 1
    found[ENTRY_POINTS[0]].remove(group[0])
    assert {name: spelled for name, spelled in found.items() if spelled} == {}


@pytest.mark.parametrize(
    "source",
    ['x = "conclave.agents"', 'x = f"{kind}.any.{action}"', 'x = f"orchestrator.shard.{i}"', 'q("dead-letters")'],
)
def test_a_spelled_name_is_found(source: str) -> None:
    assert len(names_of_the_broker(source)) == 1


def test_documentation_may_name_the_broker() -> None:
    assert names_of_the_broker('"""Publishes to conclave.agents."""\ndef f():\n    """See dead-letters."""\n') == []


# ---- effects of an import


def effects_of_importing(modules: list[str], root: Path) -> dict[str, list[str]]:
    """Import the modules in a process of its own and report what that did, by module."""
    command = [sys.executable, "-B", str(IMPORT_WATCH), str(root), *modules]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    effects: dict[str, list[str]] = json.loads(done.stdout.splitlines()[-1])
    return effects


def test_importing_any_module_has_no_effect() -> None:
    modules = [module_name(path) for path in python_files("contracts", "services", "scripts")]
    assert len(modules) > 10
    assert effects_of_importing(modules, ROOT) == {}


@pytest.mark.parametrize(
    ("source", "effect"),
    [
        pytest.param("import os\nX = os.environ.get('HOME')", "environment read", id="environment"),
        pytest.param("import os\nX = os.getenv('HOME')", "environment read", id="getenv"),
        pytest.param(
            "from pydantic_settings import BaseSettings\nX = BaseSettings()", "environment read", id="settings"
        ),
        pytest.param("import socket\nX = socket.socket()", "socket.__new__", id="socket"),
        pytest.param("import asyncio\nX = asyncio.new_event_loop()", "socket.__new__", id="event loop"),
        pytest.param("X = open('made-by-import', 'w')", "open for writing", id="file"),
        pytest.param("import os\nos.mkdir('made-by-import')", "os.mkdir", id="folder"),
        pytest.param("import subprocess\nsubprocess.run(['true'])", "subprocess.Popen", id="process"),
        pytest.param("import threading\nthreading.Thread(target=int).start()", "thread started", id="thread"),
        pytest.param("import logging\nlogging.basicConfig()", "logging configured", id="logging"),
    ],
)
def test_an_effect_of_an_import_is_found(
    source: str, effect: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "offender.py").write_text(source, encoding="utf-8")
    found = effects_of_importing(["offender"], tmp_path)
    assert any(effect in line for line in found.get("offender", [])), found


def test_an_import_of_a_library_is_no_effect_of_ours(tmp_path: Path) -> None:
    (tmp_path / "innocent.py").write_text("import aio_pika, uvicorn\nX = 1\n", encoding="utf-8")
    assert effects_of_importing(["innocent"], tmp_path) == {}


# ---- addresses


def files_of_the_project() -> list[Path]:
    """What git has or would add; in a tree without git, everything but caches."""
    listing = ["git", "-C", str(ROOT), "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    done = subprocess.run(listing, capture_output=True, text=True, check=False)
    if done.returncode == 0:
        paths = [ROOT / name for name in done.stdout.split("\0") if name]
    else:
        hidden = {".git", ".venv", ".conclave"}
        paths = [path for path in ROOT.rglob("*") if not hidden & {*path.relative_to(ROOT).parts}]
    return [path for path in paths if path.is_file()]


# Spelled apart, so that this file is no exception to its own rule.
PACKAGE_HOSTS = tuple(
    ".".join(parts)
    for parts in (
        ("pypi", "org"),
        ("pythonhosted", "org"),
        ("registry", "npmjs", "org"),
        ("deb", "debian", "org"),
        # Alone it is also what Debian calls its package of the engine.
        ("docker", "io/"),
        ("index", "docker", "io"),
        ("registry-1", "docker", "io"),
    )
)


def test_no_file_names_the_host_of_a_package_registry() -> None:
    files = files_of_the_project()
    assert len(files) > 20
    naming = [
        f"{path.relative_to(ROOT)}: {host}"
        for path in files
        for host in PACKAGE_HOSTS
        if host in path.read_text(encoding="utf-8", errors="ignore")
    ]
    assert naming == []


# Homes and workplaces that files of this project must not lead into; spelled apart for the same reason.
PRIVATE_FOLDER = re.compile(r"(?<![\w.])/(?:" + "|".join(("ro" + "ot", "wo" + "rk", "tmp/scr" + "atch")) + r")/")


def test_no_file_names_a_folder_of_the_machine_it_was_written_on() -> None:
    naming = [
        f"{path.relative_to(ROOT)}: {found[0]}"
        for path in files_of_the_project()
        if (found := PRIVATE_FOLDER.search(path.read_text(encoding="utf-8", errors="ignore")))
    ]
    assert naming == []

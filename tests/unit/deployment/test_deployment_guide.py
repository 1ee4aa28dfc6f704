"""docs/deployment_guide.md against what there is: every script with its options, every file, object, service, variable,
route, link and error message that it names exists."""

import ast
import importlib
import pkgutil
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from fastapi import APIRouter

import services.edge
from scripts.deployed_services import deployed_services
from tests.support.dockerfile_stages import copied_into, images
from tests.support.kustomize import K8S, ROOT, built, kubectl, objects_of, of_kind
from tests.support.shell_commands import Command, blocks, commands, spans
from tests.unit.test_documents import settings_by_variable

PAGE = ROOT / "docs" / "deployment_guide.md"
TEXT = PAGE.read_text(encoding="utf-8")
COMMANDS = commands(PAGE)
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
WRITTEN_BY_THE_PAGE = {"applied.yaml", "admin-key", "password.txt"}
OTHERS_VARIABLES = {"FORWARDED_ALLOW_IPS", "DOCKER_BUILDKIT", "COMPOSE_DOCKER_CLI_BUILD"}  # uvicorn's, Docker's
KNOWN_TO_A_SHELL = {"base64", "curl", "docker", "docker-compose", "export", "git", "kubectl", "python", "rm", "tilt"}


def of_program(*words: str) -> list[Command]:
    return [command for command in COMMANDS if command.words[: len(words)] == words]


def ids(commands: Sequence[Command]) -> list[str]:
    return [re.sub(r"\W+", "-", str(command))[:80] for command in commands]


# ---- shell


@pytest.mark.parametrize("number", range(len(blocks(PAGE))))
def test_a_shell_can_read_the_block(number: int) -> None:
    parsed = subprocess.run(["bash", "-n"], input=blocks(PAGE)[number], capture_output=True, text=True, check=False)
    assert parsed.returncode == 0, parsed.stderr


def test_every_command_is_of_a_program_that_this_test_knows() -> None:
    assert len(COMMANDS) > 60
    assert {command.words[0] for command in COMMANDS} == KNOWN_TO_A_SHELL


# ---- our scripts


@pytest.mark.parametrize("command", of_program("python"), ids=str)
def test_a_script_exists_and_takes_the_options(command: Command) -> None:
    check_python(command.words)


def check_python(words: Sequence[str]) -> None:
    program = list(words[1:3]) if words[1] == "-m" else list(words[1:2])
    rest = list(words[1 + len(program) :])
    if program[0] == "/usr/local/lib/conclave/health_check.py":
        assert program[0].removeprefix("/usr/local/lib/conclave/") in {
            Path(source).name for source in copied_into("orchestrator")
        }
        return
    options = [word.partition("=")[0] for word in rest if word.startswith("--")]
    leading: list[str] = []
    for word in rest:
        if word.startswith("-"):
            break
        leading.append(word)
    shown = help_of((*program, *leading))
    assert set(options) <= set(re.findall(r"--[a-z][a-z-]*", shown)), shown


@cache
def help_of(program: tuple[str, ...]) -> str:
    done = subprocess.run([sys.executable, *program, "--help"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


# ---- Compose and images


@pytest.mark.parametrize("command", [*of_program("docker", "compose"), *of_program("docker-compose")], ids=str)
def test_compose_has_the_services_profiles_and_variables(command: Command) -> None:
    words = list(command.words[1 if command.words[0] == "docker-compose" else 2 :])
    profiles = [words[i + 1] for i, word in enumerate(words) if word == "--profile"]
    assert set(profiles) <= {profile for one in COMPOSE["services"].values() for profile in one.get("profiles", [])}
    scaled = [words[i + 1].partition("=")[0] for i, word in enumerate(words) if word == "--scale"]
    values = {"--profile", "--scale", "--env-file", "--tail"}
    plain = [word for i, word in enumerate(words) if not word.startswith("-") and words[i - 1] not in values]
    verb, named = plain[0], plain[1:]
    assert verb in ("build", "down", "exec", "logs", "ps", "restart", "run", "up")
    services = named[:1] if verb in ("exec", "run") else named
    assert {*services, *scaled} <= COMPOSE["services"].keys()
    assert set(command.variables) <= compose_variables()


def test_settings_of_the_compose_table_are_variables_of_the_file() -> None:
    table = TEXT[TEXT.index("| share work among more hosts") : TEXT.index("With Compose 1.29")]
    asked = set(re.findall(r"\b([A-Z][A-Z_]+)=", table))
    assert len(asked) >= 8
    assert asked <= compose_variables()


def test_all_images_are_built_and_all_services_rolled() -> None:
    loops = [re.findall(r"[\w-]+", found) for found in re.findall(r"for \w+ in (.*?);", TEXT.replace("\\\n", " "))]
    assert set(loops[0]) == images()
    assert set(loops[-1]) == {service.label for service in deployed_services().values()}
    labels = {one["metadata"]["name"] for one in of_kind(objects_of("prod"), "Deployment")}
    assert all(set(loop) <= labels for loop in loops[1:])


def test_what_is_applied_before_the_services_is_all_but_them() -> None:
    """ConfigMaps and the broker's queues among it: new pods need them."""
    assert "--selector '!app.kubernetes.io/name'" in TEXT
    without = [one for one in objects_of("prod") if "app.kubernetes.io/name" not in one["metadata"].get("labels", {})]
    assert of_kind(without, "Deployment") == []
    for kind in ("ConfigMap", "Queue", "Permission", "RabbitmqCluster", "MongoDBCommunity", "NetworkPolicy"):
        assert of_kind(without, kind) == of_kind(objects_of("prod"), kind) != []


# ---- Kubernetes


@pytest.mark.parametrize("command", of_program("kubectl"), ids=str)
def test_what_is_asked_of_kubectl_exists(command: Command, secrets: set[str]) -> None:
    words = list(command.words[1:])
    if "--" in words:
        inside = words[words.index("--") + 1 :]
        words = words[: words.index("--")]
        check_inside(inside)
    options = {words[i]: words[i + 1] for i in range(len(words) - 1) if words[i].startswith("--")}
    verb = next(word for i, word in enumerate(words) if not word.startswith("-") and words[i - 1] != "--namespace")
    below = {"rollout": 1, "create": 2}.get(verb, 0)
    given = {word for word in words if word.startswith("--")} - {"--namespace"}
    assert given <= options_of_kubectl(tuple(words[words.index(verb) :][: below + 1]))
    assert options.get("--namespace", "conclave") in ("conclave", "rabbitmq-system")
    if (path := options.get("--filename", "-")) not in {"-", *WRITTEN_BY_THE_PAGE}:
        assert (ROOT / path).is_file()
    for path in (options.get("--kustomize"), words[words.index("kustomize") + 1] if verb == "kustomize" else None):
        assert path is None or built(ROOT / path)
    if "=" in (selector := options.get("--selector", "")) and "$" not in selector:
        check_selector(selector, options["--namespace"])
    check_names(words, secrets)


@cache
def options_of_kubectl(verbs: tuple[str, ...]) -> set[str]:
    shown = subprocess.run([kubectl(), *verbs, "--help"], capture_output=True, text=True, check=True).stdout
    return set(re.findall(r"--[a-z][a-z-]*", shown))


def check_inside(words: Sequence[str]) -> None:
    """A command in a container: our own programs, or the broker's."""
    if words[0] == "python":
        check_python(words)
    else:
        assert words[0] in ("rabbitmqctl", "rabbitmq-queues")


def check_selector(selector: str, namespace: str) -> None:
    if namespace != "conclave":
        return
    key, _, value = selector.partition("=")
    assert [one for one in of_kind(objects_of("prod"), "Deployment") if one["metadata"]["labels"].get(key) == value]


def check_names(words: Sequence[str], secrets: set[str]) -> None:
    kinds = {
        "deployment": "Deployment",
        "service": "Service",
        "rabbitmqclusters": "RabbitmqCluster",
        "mongodbcommunity": "MongoDBCommunity",
    }
    everything = [*objects_of("prod"), *objects_of("dev")]
    for word in words:
        kind, slash, name = word.partition("/")
        if slash and kind in kinds and "$" not in name:
            assert name in {one["metadata"]["name"] for one in of_kind(everything, kinds[kind])}
    for i, word in enumerate(words[:-1]):
        if word == "secret" and words[i + 1] not in ("tls", "generic"):
            assert words[i + 1] in secrets
        if word == "users.rabbitmq.com":
            assert words[-2] in {one["metadata"]["name"] for one in of_kind(everything, "User")}
    pods = {word for word in words if re.fullmatch(r"[a-z-]+-\d", word)}
    made = {f"{one['metadata']['name']}-0" for one in of_kind(everything, "StatefulSet")}
    made |= {f"{one['metadata']['name']}-server-0" for one in of_kind(everything, "RabbitmqCluster")}
    assert pods <= made


@pytest.fixture(scope="module")
def secrets(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """The names of the Secrets that are there: those that the script makes, the Topology Operator's copies, and the one
    for the API's certificate."""
    folder = tmp_path_factory.mktemp("guide") / "secrets"
    command = [sys.executable, "scripts/deployment_secrets.py", str(folder), "--kubernetes", "conclave", "--tls"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    made = {one["metadata"]["name"] for one in yaml.safe_load_all(done.stdout) if one is not None}
    users = {one["metadata"]["name"] for one in of_kind(objects_of("prod"), "User")}
    installation = yaml.safe_load((K8S / "overlays" / "prod" / "installation.yaml").read_text(encoding="utf-8"))
    return made | {f"{user}-user-credentials" for user in users} | {installation["data"]["certificate"]}


def test_secrets_named_in_the_text_are_made(secrets: set[str]) -> None:
    named = {span for span in spans(TEXT) if re.fullmatch(r"[a-z-]+-(secrets|rabbitmq)", span)}
    assert {"backup-secrets", "keda-rabbitmq"} == named <= secrets


# ---- Tilt


def test_tilt_is_asked_for_services_that_there_are() -> None:
    asked = [command.words[command.words.index("--") + 1 :] for command in of_program("tilt") if "--" in command.words]
    assert len(asked) == 2
    assert {name for names in asked for name in names} <= deployed_services().keys()


# ---- names in the text


def test_every_path_exists() -> None:
    starts = ("k8s/", "scripts/", "docs/", "contracts/", "services/", "compose/", "tests/")
    paths = {span for span in spans(TEXT) if span.startswith(starts) and " " not in span}
    assert len(paths) >= 8
    assert [path for path in sorted(paths) if not (ROOT / path).exists()] == []


def test_every_variable_is_a_setting() -> None:
    named = set(re.findall(r"\b[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+\b", TEXT))
    files = {f"{name}_FILE" for name in settings_by_variable()}
    assert named
    assert (
        named - settings_by_variable().keys() - files - compose_variables() - build_arguments() - OTHERS_VARIABLES
        == set()
    )


def test_every_route_is_one_of_the_api() -> None:
    named = {path.partition("?")[0] for path in re.findall(r"(?:GET|POST)\s+/api/v1(/[\w/{}?=-]+)", TEXT)}
    assert len(named) >= 5
    shapes = {re.sub(r"\{\w+\}", "{}", path) for path in routes()}
    assert [path for path in sorted(named) if re.sub(r"\{\w+\}", "{}", path) not in shapes] == []


def test_every_link_leads_to_a_heading() -> None:
    for target, anchor in re.findall(r"\]\(([^)#\s]*)#([^)\s]+)\)", TEXT):
        page = PAGE if not target else (PAGE.parent / target).resolve()
        assert anchor in headings(page), f"{target}#{anchor}"


# ---- troubleshooting


@pytest.mark.parametrize("section", ["A service says", "A client is told", "The scripts say"])
def test_every_message_is_one_that_the_code_says(section: str) -> None:
    part = TEXT[TEXT.index(f"### {section}") :].partition("\n### ")[0]
    messages = [span for line in rows(part) for span in re.findall(r"`([^`]+)`", line.split("|")[1])]
    assert len(messages) >= 4
    said = everything_said()
    missing = [message for message in messages if not any(pattern(message).search(text) for text in said)]
    assert missing == []


def test_what_tilt_says_of_unknown_names_is_in_the_tiltfile() -> None:
    assert "`unknown: ...; there are ...`" in TEXT
    assert "'unknown: %s; there are %s'" in (ROOT / "Tiltfile").read_text(encoding="utf-8")


# ---- helpers


def compose_variables() -> set[str]:
    return set(re.findall(r"\$\{([A-Z_]+)", (ROOT / "docker-compose.yml").read_text(encoding="utf-8")))


def build_arguments() -> set[str]:
    lines = re.findall(r"^ARG (.*)$", (ROOT / "Dockerfile").read_text(encoding="utf-8"), re.MULTILINE)
    return {argument.partition("=")[0] for line in lines for argument in line.split()}


def routes() -> set[str]:
    found: set[str] = set()
    for module in pkgutil.walk_packages(services.edge.__path__, "services.edge."):
        router = getattr(importlib.import_module(module.name), "router", None)
        if isinstance(router, APIRouter):
            found |= {getattr(route, "path", "") for route in router.routes}
    return found


@cache
def headings(page: Path) -> set[str]:
    found = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in found}


def rows(part: str) -> list[str]:
    """Of a table, without its head."""
    return [line for line in part.splitlines() if line.startswith("|")][2:]


def pattern(message: str) -> re.Pattern[str]:
    """``...`` stands for whatever is put in."""
    return re.compile(".*".join(re.escape(part) for part in message.split("...")))


@cache
def everything_said() -> tuple[str, ...]:
    """Every text of the code, with ``...`` where something is put in."""
    files = [path for folder in ("services", "scripts", "contracts") for path in (ROOT / folder).rglob("*.py")]
    return tuple(text for path in files for text in texts(ast.parse(path.read_text(encoding="utf-8"))))


def texts(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value
        elif isinstance(node, ast.JoinedStr):
            yield "".join(part.value if isinstance(part, ast.Constant) else "..." for part in node.values)

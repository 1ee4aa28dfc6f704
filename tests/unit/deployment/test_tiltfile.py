"""What ``tilt up`` would do, held against k8s/, the Dockerfile and the services: the Tiltfile is evaluated, with Tilt's
built-ins recorded and its commands really run."""

import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import starlark
import yaml

from scripts.deployed_services import API_PORT, deployed_services
from services.edge import system
from tests.support.dockerfile_stages import copied_into, images, needed_for, start_of
from tests.support.kustomize import ROOT, containers, objects_of, of_kind, pod_template
from tests.support.starlark_tilt import Tilt, evaluate
from tests.support.tilt_records import FallBackOn, Image, Resource, Run, Sync, TiltfileError

TILTFILE = ROOT / "Tiltfile"
SECRETS = ".conclave/tilt"
BUTTONS = {"example", "unit_tests", "tests"}
SERVICES = deployed_services()


@pytest.fixture(scope="module")
def run_local(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Sequence[str]], str]:
    """Runs what ``local`` asks for with this Python, once each, and keeps secrets out of the checkout."""
    folder = tmp_path_factory.mktemp("tilt")

    @cache
    def answer(command: tuple[str, ...]) -> str:
        if command == ("python3", "scripts/setup_environment.py"):
            return ""  # this is it
        python, *arguments = (str(folder / "secrets") if part == SECRETS else part for part in command)
        assert python == ".venv/bin/python"
        done = subprocess.run([sys.executable, *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return lambda command: answer(tuple(command))


@pytest.fixture(scope="module")
def tilt(run_local: Callable[[Sequence[str]], str]) -> Tilt:
    return evaluate(TILTFILE, run_local)


# ---- images


def test_every_image_of_ours_in_the_overlay_is_built_and_no_other(tilt: Tilt) -> None:
    deployed = {container["image"].partition(":")[0] for _, pod in pods() for container in containers(pod)}
    ours = {image for image in deployed if image.startswith("conclave/")}
    assert tilt.images.keys() == ours
    assert ours >= {f"conclave/{name}" for name in SERVICES}


def test_every_image_is_the_dockerfiles_target_of_its_name(tilt: Tilt) -> None:
    assert {ref: image.target for ref, image in tilt.images.items()} == {
        ref: ref.removeprefix("conclave/") for ref in tilt.images
    }
    assert {image.target for image in tilt.images.values()} <= images()


@pytest.mark.parametrize("name", [*SERVICES, "tools"])
def test_an_image_is_made_of_what_the_dockerfile_copies_and_of_nothing_else(tilt: Tilt, name: str) -> None:
    """More would have it built anew where nothing of its own has changed, less would fail the build."""
    assert set(image_of(tilt, name).only) == needed_for(name)
    assert image_of(tilt, name).context == "."


def test_a_change_of_one_service_is_no_business_of_another(tilt: Tilt) -> None:
    for changed in SERVICES:
        path = f"services/{changed}"
        assert [name for name in SERVICES if path in image_of(tilt, name).only] == [changed]


@pytest.mark.parametrize("name", SERVICES)
def test_the_process_is_started_as_the_image_starts_it(tilt: Tilt, name: str) -> None:
    assert list(image_of(tilt, name).entrypoint) == start_of(name)


def test_containers_are_given_no_arguments_that_tilt_would_append(tilt: Tilt) -> None:
    ours = [one for name, pod in pods() if name in labels() for one in containers(pod)]
    assert len(ours) == len(SERVICES)
    assert [one["name"] for one in ours if one.get("command") or one.get("args")] == []


def test_base_image_and_package_index_may_be_ones_own(run_local: Callable[[Sequence[str]], str]) -> None:
    own = {"BASE_IMAGE": "registry.example/python:3.11", "PIP_INDEX_URL": "https://index.example/simple"}
    assert evaluate(TILTFILE, run_local, environment=own).images["conclave/edge"].build_args == {
        **own,
        "SOURCES_OWNER": "10001",
    }


# ---- live update


@pytest.mark.parametrize("name", SERVICES)
def test_python_sources_go_where_the_dockerfile_copies_them(tilt: Tilt, name: str) -> None:
    synced = {step.local: step.remote for step in image_of(tilt, name).live_update if isinstance(step, Sync)}
    sources = {path: place for path, place in copied_into(name).items() if is_source(path)}
    assert synced == sources
    assert all((ROOT / path).exists() for path in synced)


@pytest.mark.parametrize("name", SERVICES)
def test_everything_that_packages_are_made_from_has_the_image_built_anew(tilt: Tilt, name: str) -> None:
    steps = image_of(tilt, name).live_update
    fallbacks = {path for step in steps if isinstance(step, FallBackOn) for path in step.paths}
    assert fallbacks == {"pyproject.toml", "requirements/image.lock", f"requirements/{name}.lock"}
    assert fallbacks <= set(image_of(tilt, name).only)


def test_the_process_is_started_again_by_a_file_that_its_user_may_write(tilt: Tilt) -> None:
    assert tilt.extensions == ["ext://restart_process"]
    for name, service in SERVICES.items():
        image = image_of(tilt, name)
        assert isinstance(image.live_update[-1], Run)
        mounted = [mount["mountPath"] for one in service_containers(service.label) for mount in one["volumeMounts"]]
        assert mounted
        assert not [path for path in mounted if Path(image.restart_file).is_relative_to(path)]
        assert str(Path(image.restart_file).parent) in {str(Path(place).parent) for place in copied_into(name).values()}


def test_sources_belong_to_the_user_that_runs_them(tilt: Tilt) -> None:
    users = {image.build_args["SOURCES_OWNER"] for image in tilt.images.values() if image.live_update}
    running = {
        str((pod["spec"].get("securityContext") or {}).get("runAsUser", "10001"))
        for name, pod in pods()
        if name in labels()
    }
    assert users == running == {"10001"}


def test_only_files_of_live_updated_containers_can_be_written(tilt: Tilt) -> None:
    """What k8s/ says of a container holds with Tilt too, but for its file system."""
    deployed = {one["metadata"]["name"]: one for one in of_kind(tilt.objects, "Deployment")}
    for one in of_kind(objects_of("dev"), "Deployment"):
        name = one["metadata"]["name"]
        changed = deployed[name]
        for container in one["spec"]["template"]["spec"]["containers"]:
            if container["image"].startswith("conclave/"):
                assert container["securityContext"]["readOnlyRootFilesystem"] is True
                container["securityContext"]["readOnlyRootFilesystem"] = False
        assert changed == one


# ---- what is deployed


def test_the_whole_overlay_is_deployed_and_every_secret_that_its_pods_read(tilt: Tilt) -> None:
    assert {identity(one) for one in objects_of("dev")} <= {identity(one) for one in tilt.objects}
    made = {one["metadata"]["name"] for one in of_kind(tilt.objects, "Secret")}
    assert read_secrets() <= made


def test_secrets_are_not_shown_and_hold_no_plain_word_that_tilt_would_mask(tilt: Tilt) -> None:
    asked = [command for command in tilt.commands if "scripts/deployment_secrets.py" in command]
    assert len(asked) == 1
    assert set(asked) <= tilt.quiet
    names = [one["metadata"]["name"] for one in of_kind(tilt.objects, "Secret")]
    assert names
    assert [name for name in names if name.startswith("rabbitmq-user-")] == []


def test_tilt_keeps_to_local_clusters() -> None:
    assert "allow_k8s_contexts" not in TILTFILE.read_text(encoding="utf-8")


# ---- resources


def test_every_workload_is_a_resource_under_its_services_name(tilt: Tilt) -> None:
    workloads = {name for name, _ in pods()}
    assert {one.workload for one in tilt.resources.values()} == workloads
    for name, service in SERVICES.items():
        assert tilt.resources[name].workload == service.label
    assert {"rabbitmq", "mongodb", "grafana"} <= tilt.resources.keys()


def test_every_resource_is_in_the_group_of_its_component(tilt: Tilt) -> None:
    groups = {one["metadata"]["name"]: one["metadata"]["labels"] for one in objects_of("dev") if pod_template(one)}
    assert {one.workload: one.labels for one in tilt.resources.values()} == {
        name: (labels["app.kubernetes.io/component"],) for name, labels in groups.items()
    }
    assert {label for one in tilt.buttons.values() for label in one.labels} == {"buttons"}


def test_a_service_waits_for_the_servers_that_it_needs(tilt: Tilt) -> None:
    needed = {
        name: {"rabbitmq", "mongodb-setup"} if service.store else {"rabbitmq"} for name, service in SERVICES.items()
    }
    assert {name: set(tilt.resources[name].deps) for name in SERVICES} == needed
    assert tilt.resources["mongodb-setup"].deps == ("mongodb",)
    assert tilt.resources["rabbitmq"].deps == tilt.resources["mongodb"].deps == ()


def test_what_is_done_once_is_not_done_again_whenever_a_source_changes(tilt: Tilt) -> None:
    with_tools = {name for name, pod in pods() for one in containers(pod) if one["image"].startswith("conclave/tools:")}
    assert with_tools == {one.workload for one in tilt.resources.values() if one.manual} == {"mongodb-setup"}


def test_the_api_rabbitmqs_management_and_grafana_are_forwarded(tilt: Tilt) -> None:
    assert forwarded(tilt) == {"edge": [API_PORT], "rabbitmq": [15672], "grafana": [3000]}
    assert tilt.resources["edge"].ports[0].link_path in {route.path for route in system.router.routes}


def test_every_forwarded_port_is_one_that_its_pod_opens(tilt: Tilt) -> None:
    opened = {
        name: {port["containerPort"] for one in containers(pod) for port in one.get("ports", [])}
        for name, pod in pods()
    }
    for resource in tilt.resources.values():
        asked = {port.container for port in resource.ports}
        assert asked <= opened[resource.workload], resource.name


# ---- a subset


def test_services_that_are_asked_for_run_with_what_they_need(run_local: Callable[[Sequence[str]], str]) -> None:
    running = evaluate(TILTFILE, run_local, ["data_agent", "edge"]).running()
    assert {"data_agent", "edge", "rabbitmq", "mongodb"} | BUTTONS <= running
    assert running & SERVICES.keys() == {"data_agent", "edge"}
    agents = evaluate(TILTFILE, run_local, ["data_agent"]).running()
    assert "mongodb" not in agents


def test_without_arguments_everything_runs(tilt: Tilt) -> None:
    assert tilt.running() == tilt.resources.keys() | BUTTONS


def test_an_unknown_service_is_refused_with_those_that_there_are(run_local: Callable[[Sequence[str]], str]) -> None:
    with pytest.raises(starlark.StarlarkError) as refused:
        evaluate(TILTFILE, run_local, ["edge", "orchestra"])
    assert "unknown: orchestra; there are " in str(refused.value)
    assert all(name in str(refused.value) for name in SERVICES)


# ---- buttons


def test_buttons_do_nothing_until_somebody_presses_them(tilt: Tilt) -> None:
    assert tilt.buttons.keys() == BUTTONS
    assert all(one.manual and not one.auto_init for one in tilt.buttons.values())


@pytest.mark.parametrize("name", sorted(BUTTONS))
def test_a_buttons_command_exists_and_takes_its_arguments(tilt: Tilt, name: str) -> None:
    python, script, *arguments = tilt.buttons[name].command
    assert python in (".venv/bin/python", "python3")
    assert (ROOT / script).is_file()
    if script == "scripts/run_tests.py":  # its arguments are pytest's
        assert all((ROOT / argument).exists() for argument in arguments)
        return
    shown = subprocess.run([sys.executable, script, "--help"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert shown.returncode == 0
    assert all(argument in shown.stdout for argument in arguments if argument.startswith("--"))


def test_the_example_asks_the_forwarded_api_with_the_key_that_was_made(
    tilt: Tilt, run_local: Callable[[Sequence[str]], str]
) -> None:
    options = dict(zip(tilt.buttons["example"].command[2::2], tilt.buttons["example"].command[3::2], strict=True))
    assert options["--api"] == f"http://localhost:{tilt.resources['edge'].ports[0].local}"
    key = next(one for one in of_kind(tilt.objects, "Secret") if one["metadata"]["name"] == "admin-key")
    assert Path(options["--key-file"]).parts[:3] == (*Path(SECRETS).parts, "master")
    assert list(key["data"]) == [Path(options["--key-file"]).name]


# ---- the world itself


@pytest.mark.parametrize(
    ("added", "said"),
    [
        ("docker_build('a', '.', targets='edge')", "targets"),
        ("k8s_resource('edge', new_name='other', resource_deps=['rabbit'])", "unknown dependency: rabbit"),
        ("k8s_resource('nobody')", "unknown workload: nobody"),
        ("docker_build('conclave/edge', '.')", "already been defined"),
        ("docker_build('a', '.', live_update=[sync('a', '/a'), fall_back_on('b')])", "first fall_back_on"),
        ("sync('a', '/a')", "no live update uses"),
        ("docker_build('a', '.', build_args={'A': 1})", "expected string values"),
        ("local_resource('tests', 'true')", "resource tests is there twice"),
        ("k8s_yaml(kustomize('k8s/overlays/dev'))", "Duplicate YAML"),
        ("x = f'{1}'", "f-strings"),
        ("allow_k8s_contexts('production')", "allow_k8s_contexts"),
    ],
)
def test_what_tilt_refuses_is_refused(
    tmp_path: Path, run_local: Callable[[Sequence[str]], str], added: str, said: str
) -> None:
    changed = tmp_path / "Tiltfile"
    changed.write_text(TILTFILE.read_text(encoding="utf-8") + added + "\n", encoding="utf-8")
    (tmp_path / "k8s").symlink_to(ROOT / "k8s")
    with pytest.raises((TiltfileError, starlark.StarlarkError)) as refused:
        evaluate(changed, run_local)
    assert said in str(refused.value)


# ---- helpers


def image_of(tilt: Tilt, service: str) -> Image:
    return tilt.images[f"conclave/{service}"]


def pods() -> Iterator[tuple[str, dict[str, Any]]]:
    """Workload -> the pod that it makes, in the dev overlay."""
    for one in objects_of("dev"):
        if (pod := pod_template(one)) is not None:
            yield one["metadata"]["name"], pod


def labels() -> set[str]:
    return {service.label for service in SERVICES.values()}


def service_containers(label: str) -> list[dict[str, Any]]:
    return [one for name, pod in pods() if name == label for one in containers(pod)]


def is_source(path: str) -> bool:
    return path.partition("/")[0] in ("contracts", "services")


def forwarded(tilt: Tilt) -> Mapping[str, list[int]]:
    def ports(one: Resource) -> list[int]:
        assert all(port.local == port.container for port in one.ports)
        return [port.local for port in one.ports]

    return {name: ports(one) for name, one in tilt.resources.items() if one.ports}


def identity(one: Mapping[str, Any]) -> tuple[str, str]:
    return one["kind"], one["metadata"]["name"]


def read_secrets() -> set[str]:
    """The names of Secrets that pods of the overlay read, wherever they say so."""

    def named(node: Any) -> Iterator[str]:
        if isinstance(node, dict):
            if "secretName" in node:
                yield node["secretName"]
            for key in ("secretKeyRef", "secretRef", "secret"):
                if isinstance(node.get(key), dict) and "name" in node[key]:
                    yield node[key]["name"]
            for value in node.values():
                yield from named(value)
        elif isinstance(node, list):
            for value in node:
                yield from named(value)

    return {name for _, pod in pods() for name in named(yaml.safe_load(yaml.safe_dump(pod)))}

"""kustomize builds every overlay and every folder that one is made of, the same each time, and uses every file."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from scripts.deployed_services import deployed_services
from scripts.prometheus_tools import find_prometheus_tools
from tests.conftest import found_or_not_run, in_ci
from tests.support import kustomize
from tests.support.kustomize import K8S, OVERLAYS, BuildFailed, built, identity, named, objects_of

FOLDERS = tuple(
    str(path.parent.relative_to(K8S))
    for folder in ("base", "overlays")
    for path in sorted((K8S / folder).rglob("kustomization.yaml"))
)
LARGEST_ANNOTATION = 256 * 1024  # bytes: what `kubectl apply` may note of an object


def test_the_overlays_are_those_that_there_are_to_be() -> None:
    assert OVERLAYS == ("dev", "prod")


@pytest.mark.parametrize("folder", FOLDERS)
def test_every_folder_builds(folder: str) -> None:
    objects = built(K8S / folder)
    assert objects != []
    assert len({(one["apiVersion"], identity(one)) for one in objects}) == len(objects)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_what_is_built_is_the_same_each_time(overlay: str) -> None:
    command = [kustomize.kubectl(), "kustomize", str(K8S / "overlays" / overlay)]
    again = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    assert list(yaml.load_all(again.stdout, Loader=yaml.CSafeLoader)) == objects_of(overlay)
    assert again.stderr == ""  # no deprecated field


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_object_is_small_enough_for_apply(overlay: str) -> None:
    sizes = {identity(one): len(json.dumps(json.dumps(one))) for one in objects_of(overlay)}
    assert {name: size for name, size in sizes.items() if size > LARGEST_ANNOTATION} == {}


def used_files(folder: Path) -> set[Path]:
    """What a kustomization names, and what those that it is made of do."""
    content = yaml.safe_load((folder / "kustomization.yaml").read_text(encoding="utf-8"))
    names = [*content.get("resources", []), *content.get("components", [])]
    names += [patch["path"] for patch in content.get("patches", []) if "path" in patch]
    for generator in content.get("configMapGenerator", []):
        names += [*generator.get("files", []), *generator.get("envs", [])]
    found = {folder / "kustomization.yaml"}
    for path in ((folder / name).resolve() for name in names):
        found |= used_files(path) if path.is_dir() else {path}
    return found


def test_every_file_is_used() -> None:
    there = {path for folder in ("base", "overlays") for path in (K8S / folder).rglob("*") if path.is_file()}
    used = {path for overlay in OVERLAYS for path in used_files(K8S / "overlays" / overlay)}
    assert sorted(there - used) == []
    assert len(used & there) > 40


def test_a_folder_that_names_what_is_not_there_says_so(tmp_path: Path) -> None:
    shutil.copytree(K8S / "base", tmp_path / "base")
    (tmp_path / "base" / "edge" / "service.yaml").unlink()
    with pytest.raises(BuildFailed, match=r"service\.yaml"):
        built(tmp_path / "base")


def test_a_service_added_as_the_readme_says_is_whole(tmp_path: Path) -> None:
    """One folder more, made of another's: everything else comes from ``every_service``."""
    shutil.copytree(K8S / "base", tmp_path / "base")
    new = tmp_path / "base" / "night_agent"
    shutil.copytree(K8S / "base" / "coordinator_agent", new)
    for path in new.iterdir():
        text = path.read_text(encoding="utf-8")
        path.write_text(text.replace("coordinator", "night"), encoding="utf-8")
    kustomization = tmp_path / "base" / "kustomization.yaml"
    text = kustomization.read_text(encoding="utf-8")
    kustomization.write_text(text.replace("resources:\n", "resources:\n  - night_agent\n", 1), encoding="utf-8")
    objects = built(tmp_path / "base")
    assert len(objects) == len(built(K8S / "base")) + 3
    for kind in ("Deployment", "ServiceAccount", "PodDisruptionBudget"):
        assert named(objects, kind, "night-agent")
    container = named(objects, "Deployment", "night-agent")["spec"]["template"]["spec"]["containers"][0]
    (settings,) = [one["metadata"]["name"] for one in objects if one["metadata"]["name"].startswith("settings-")]
    assert container["envFrom"] == [{"configMapRef": {"name": settings}}]


# ---- the dev overlay's Prometheus


def test_prometheus_takes_its_configuration(tmp_path: Path) -> None:
    promtool = found_or_not_run(lambda: find_prometheus_tools(download=in_ci())).promtool
    original = K8S / "overlays" / "dev" / "prometheus" / "prometheus.yml"
    text = original.read_text(encoding="utf-8")
    copy = tmp_path / "prometheus.yml"
    copy.write_text(text.replace("/etc/conclave/alerts/", f"{K8S}/monitoring/"), encoding="utf-8")
    done = subprocess.run([promtool, "check", "config", copy], capture_output=True, text=True, check=False)
    if "kubernetes_sd_configs not found" in done.stderr + done.stdout:  # Debian builds it without
        configuration = yaml.safe_load(copy.read_text(encoding="utf-8"))
        (job,) = configuration["scrape_configs"]
        del job["kubernetes_sd_configs"]
        copy.write_text(yaml.safe_dump(configuration), encoding="utf-8")
        done = subprocess.run([promtool, "check", "config", copy], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_prometheus_looks_for_the_pods_as_they_are_labelled() -> None:
    text = (K8S / "overlays" / "dev" / "prometheus" / "prometheus.yml").read_text(encoding="utf-8")
    (job,) = yaml.safe_load(text)["scrape_configs"]
    assert job["job_name"] == "conclave"
    (search,) = job["kubernetes_sd_configs"]
    (selector,) = search["selectors"]
    key, _, value = selector["label"].partition("=")
    container, _, port = job["relabel_configs"][0]["regex"].partition(";")
    found = []
    for service in deployed_services().values():
        template = named(objects_of("dev"), "Deployment", service.label)["spec"]["template"]
        assert template["metadata"]["labels"][key] == value
        found += [
            (one["name"], opened["name"])
            for one in template["spec"]["containers"]
            for opened in one["ports"]
            if opened["containerPort"] == service.ports["metrics"]
        ]
    assert set(found) == {(container, port)}
    assert len(found) == len(deployed_services())

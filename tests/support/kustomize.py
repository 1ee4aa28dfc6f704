"""What ``kubectl kustomize`` makes of a folder below k8s/, as objects."""

import shutil
import subprocess
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

Object = dict[str, Any]

ROOT = Path(__file__).resolve().parents[2]
K8S = ROOT / "k8s"
OVERLAYS = tuple(sorted(path.parent.name for path in (K8S / "overlays").glob("*/kustomization.yaml")))
_LONGEST_BUILD = 120.0  # seconds


class BuildFailed(Exception):
    """kustomize refused; the message is what it said."""


def kubectl() -> str:
    """The path of kubectl. Where there is none the test that asks is skipped."""
    if (found := shutil.which("kubectl")) is None:
        pytest.skip("not run: there is no kubectl on the PATH, and kustomize is part of it")
    return found


def objects_of(overlay: str) -> list[Object]:
    """Every object of ``k8s/overlays/OVERLAY``, in kustomize's order; the caller's own to change."""
    return built(K8S / "overlays" / overlay)


def built(folder: Path) -> list[Object]:
    """Every object of any folder with a kustomization.

    Raises:
        BuildFailed: with what kustomize said.
    """
    documents = yaml.load_all(_output(folder.resolve()), Loader=yaml.CSafeLoader)
    return [document for document in documents if document is not None]


def of_kind(objects: Iterable[Object], *kinds: str) -> list[Object]:
    return [one for one in objects if one["kind"] in kinds]


def named(objects: Iterable[Object], kind: str, name: str) -> Object:
    """The one object of that kind and name."""
    found = [one for one in objects if (one["kind"], one["metadata"]["name"]) == (kind, name)]
    assert len(found) == 1, f"{len(found)} objects {kind} {name}"
    return found[0]


def pod_template(one: Object) -> Object | None:
    """The pod that an object makes, if it makes any: ``{"metadata": ..., "spec": ...}``."""
    match one["kind"]:
        case "Pod":
            return one
        case "Deployment" | "StatefulSet" | "DaemonSet" | "Job":
            return dict(one["spec"]["template"])
        case "CronJob":
            return dict(one["spec"]["jobTemplate"]["spec"]["template"])
        case _:
            return None


def containers(pod: Object) -> Iterator[Object]:
    """Of a pod or its template: the containers, those that come first included."""
    yield from pod["spec"].get("initContainers", [])
    yield from pod["spec"]["containers"]


def identity(one: Object) -> str:
    """``Kind/name``, as messages and test ids name it."""
    return f"{one['kind']}/{one['metadata']['name']}"


@cache
def _output(folder: Path) -> str:
    command = [kubectl(), "kustomize", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=_LONGEST_BUILD, check=False)
    if done.returncode != 0:
        raise BuildFailed(f"kubectl kustomize {folder}: {done.stderr.strip()}")
    return done.stdout

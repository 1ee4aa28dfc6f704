"""Custom resources held against the published schemas of their kinds."""

import os
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from tests.support.kustomize import ROOT, Object

_NEXT_TO_THE_PROJECT = ROOT.parent / "shared" / "crds"


def crd_folder() -> Path:
    """Where the schemas are. Where there are none the test that asks is skipped."""
    named = os.environ.get("CONCLAVE_CRDS")
    folder = Path(named) if named else _NEXT_TO_THE_PROJECT
    if not any(folder.glob("*.yaml")):
        pytest.skip(f"not run: no custom resource definitions in {folder}; CONCLAVE_CRDS names their folder")
    return folder


def is_custom(one: Object) -> bool:
    """Whether an object's kind is an operator's and not Kubernetes' own."""
    group = one["apiVersion"].rpartition("/")[0]
    return "." in group and not group.endswith(".k8s.io")


def custom_faults(one: Object) -> list[str]:
    """What is wrong with a custom resource: ``path: what``. Fields that its schema does not know are faults, as they
    are for ``kubectl apply --validate=strict``; rules in CEL (x-kubernetes-validations) are not evaluated."""
    validator = _validators(crd_folder()).get((one["apiVersion"], one["kind"]))
    if validator is None:
        return [f"$: there is no definition of {one['kind']} of {one['apiVersion']}"]
    found = [f"{error.json_path}: {error.message}" for error in validator.iter_errors(one)]
    return found + list(_repeated(one, validator.schema, "$"))


def closed(schema: Mapping[str, Any]) -> dict[str, Any]:
    """A structural schema as JSON Schema that refuses unknown fields where Kubernetes would drop them, and takes null
    where Kubernetes does."""
    made: dict[str, Any] = dict(schema)
    if "properties" in made:
        made["properties"] = {name: closed(one) for name, one in made["properties"].items()}
        if not made.get("x-kubernetes-preserve-unknown-fields"):
            made.setdefault("additionalProperties", False)
    if isinstance(made.get("additionalProperties"), Mapping):
        made["additionalProperties"] = closed(made["additionalProperties"])
    if "items" in made:
        made["items"] = closed(made["items"])
    return {"anyOf": [{"type": "null"}, made]} if made.pop("nullable", False) else made


@cache
def _validators(folder: Path) -> dict[tuple[str, str], jsonschema.Draft202012Validator]:
    found = {}
    for path in sorted(folder.glob("*.yaml")):
        for definition in yaml.load_all(path.read_text(encoding="utf-8"), Loader=yaml.CSafeLoader):
            spec = definition["spec"]
            for version in spec["versions"]:
                schema = closed(version["schema"]["openAPIV3Schema"])
                # Of every object Kubernetes itself checks these.
                schema["properties"] |= {
                    "apiVersion": {"type": "string"},
                    "kind": {"type": "string"},
                    "metadata": {"type": "object"},
                }
                key = f"{spec['group']}/{version['name']}", spec["names"]["kind"]
                found[key] = jsonschema.Draft202012Validator(schema)
    return found


def _repeated(value: Any, schema: Any, path: str) -> Iterator[str]:
    """Entries of lists that Kubernetes reads as maps, under a key that another entry has."""
    if not isinstance(schema, Mapping):
        return
    if isinstance(value, dict):
        for name, one in value.items():
            below = schema.get("properties", {}).get(name, schema.get("additionalProperties"))
            yield from _repeated(one, below, f"{path}.{name}")
    elif isinstance(value, list):
        if schema.get("x-kubernetes-list-type") == "map":
            names = [tuple(one.get(key) for key in schema["x-kubernetes-list-map-keys"]) for one in value]
            yield from (f"{path}: {name} stands there twice" for name in sorted(set(names)) if names.count(name) > 1)
        for i, one in enumerate(value):
            yield from _repeated(one, schema.get("items"), f"{path}[{i}]")

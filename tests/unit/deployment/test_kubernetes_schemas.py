"""Every object of every overlay is what Kubernetes, in its newest versions, and the operators take."""

import copy
from collections.abc import Mapping
from functools import cache
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import referencing
from kubernetes_validate.utils import all_versions, schema_contents
from packaging.version import Version

from tests.support.custom_resources import closed, custom_faults, is_custom
from tests.support.kustomize import OVERLAYS, Object, identity, named, objects_of

VERSIONS = tuple(sorted(set(all_versions()), key=Version)[-4:])


def native_faults(objects: list[Object], version: str) -> list[str]:
    """What that version of Kubernetes refuses, unknown fields among it."""
    found = []
    for one in objects:
        if (validator := _validator(version, one["apiVersion"], one["kind"])) is None:
            found.append(f"{identity(one)}: Kubernetes {version} has no {one['kind']} of {one['apiVersion']}")
        else:
            found += [f"{identity(one)}: {error.json_path}: {error.message}" for error in validator.iter_errors(one)]
    return found


@cache
def _validator(version: str, api_version: str, kind: str) -> jsonschema.Draft202012Validator | None:
    """As ``kubernetes_validate.validate(..., strict=True)`` makes it anew for each object."""
    group, _, name = api_version.rpartition("/")
    file = "-".join(part for part in (kind.lower(), group.partition(".")[0], name) if part)
    try:
        schema = schema_contents(f"{_folder(version)}/{file}.json", version)
    except FileNotFoundError:
        return None
    return jsonschema.Draft202012Validator(schema, registry=_definitions(version))


@cache
def _definitions(version: str) -> referencing.Registry:
    contents = schema_contents(f"{_folder(version)}/_definitions.json", version)
    return (referencing.Resource.from_contents(contents) @ referencing.Registry()).crawl()


def _folder(version: str) -> str:
    return f"kubernetes-json-schema/v{version}-local-strict"


def test_four_versions_are_looked_at() -> None:
    assert len(VERSIONS) == 4
    assert VERSIONS[-1] == kubernetes_validate.latest_version()


@pytest.mark.parametrize("version", VERSIONS)
def test_an_object_is_judged_as_the_library_does(version: str) -> None:
    good = named(objects_of("dev"), "Deployment", "edge")
    bad = edited("dev", "Deployment", "edge", "spec.replicas", "two")
    unknown = good | {"apiVersion": "apps/v9"}
    assert kubernetes_validate.validate(good, version, strict=True) == version.rpartition(".")[0]
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(bad, version, strict=True)
    with pytest.raises(kubernetes_validate.SchemaNotFoundError):
        kubernetes_validate.validate(unknown, version, strict=True)
    assert [bool(native_faults([one], version)) for one in (good, bad, unknown)] == [False, True, True]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("overlay", OVERLAYS)
def test_kubernetes_takes_every_object_of_its_own_kinds(overlay: str, version: str) -> None:
    native = [one for one in objects_of(overlay) if not is_custom(one)]
    assert len(native) > 40
    assert native_faults(native, version) == []


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_operators_take_every_custom_resource(overlay: str) -> None:
    custom = [one for one in objects_of(overlay) if is_custom(one)]
    assert [f"{identity(one)}: {fault}" for one in custom for fault in custom_faults(one)] == []
    kinds = {one["kind"] for one in custom}
    if overlay == "dev":
        assert kinds == set()
    else:
        assert {"MongoDBCommunity", "RabbitmqCluster", "ScaledObject", "ServiceMonitor"} <= kinds


# What operators lay over the StatefulSets that they make; the definitions leave some of it open.
LAID_OVER = {
    "MongoDBCommunity": ("spec", "statefulSet", "spec"),
    "RabbitmqCluster": ("spec", "override", "statefulSet", "spec"),
}


@pytest.mark.parametrize("version", VERSIONS)
def test_what_is_laid_over_a_stateful_set_is_part_of_one(version: str) -> None:
    looked_at = 0
    for one in objects_of("prod"):
        if path := LAID_OVER.get(one["kind"]):
            looked_at += 1
            assert partial_faults(one, path, version) == []
    assert looked_at == len(LAID_OVER)


def partial_faults(one: Object, path: tuple[str, ...], version: str) -> list[str]:
    """What would be wrong with it in a StatefulSet, but that something is missing, which the operator adds."""
    spec: Any = one
    for name in path:
        spec = spec[name]
    validator = _validator(version, "apps/v1", "StatefulSet")
    assert validator is not None
    errors = validator.iter_errors({"apiVersion": "apps/v1", "kind": "StatefulSet", "spec": spec})
    return [f"{error.json_path}: {error.message}" for error in errors if error.validator != "required"]


# ---- the checks see what they are there to see


def edited(overlay: str, kind: str, name: str, path: str, value: Any) -> Object:
    """One object with another value at a path of names and positions."""
    one = copy.deepcopy(named(objects_of(overlay), kind, name))
    *way, last = [int(part) if part.isdigit() else part for part in path.split(".")]
    place: Any = one
    for part in way:
        place = place[part]
    place[last] = value
    return one


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        ("spec.template.spec.containers.0.readynessProbe", {}, "readynessProbe"),
        ("spec.strategy.rollingUpdate.maxSurge", [1], "[1]"),
        ("spec.template.spec.containers.0.ports.0.containerPort", "9090", "'9090'"),
        ("spec.template.spec.securityContext.runAsUser", "conclave", "'conclave'"),
    ],
)
def test_a_wrong_field_of_kubernetes_is_seen(version: str, path: str, value: Any, said: str) -> None:
    (fault,) = native_faults([edited("dev", "Deployment", "data-agent", path, value)], version)
    assert said in fault


@pytest.mark.parametrize(
    ("kind", "name", "path", "value", "said"),
    [
        ("ScaledObject", "data-agent", "spec.scaleTargetRef.nam", "data-agent", "'nam' was unexpected"),
        ("ScaledObject", "data-agent", "spec.maxReplicaCount", "20", "is not of type 'integer'"),
        ("RabbitmqCluster", "rabbitmq", "spec.replica", 3, "'replica' was unexpected"),
        ("MongoDBCommunity", "mongodb", "spec.members", "three", "is not of type 'integer'"),
        ("ServiceMonitor", "conclave", "spec.endpoints.0.prot", "metrics", "'prot' was unexpected"),
        ("User", "edge", "spec.importCredentialsSecret", "rabbitmq-user-edge", "is not of type 'object'"),
    ],
)
def test_a_wrong_field_of_a_custom_resource_is_seen(kind: str, name: str, path: str, value: Any, said: str) -> None:
    faults = custom_faults(edited("prod", kind, name, path, value))
    assert [said in fault for fault in faults] == [True], faults


@pytest.mark.parametrize(
    ("kind", "name", "path"),
    [
        ("MongoDBCommunity", "mongodb", "spec.statefulSet.spec.template.spec.priorityClas"),
        ("RabbitmqCluster", "rabbitmq", "spec.override.statefulSet.spec.template.spec.priorityClas"),
    ],
)
def test_a_wrong_field_laid_over_a_stateful_set_is_seen(kind: str, name: str, path: str) -> None:
    one = edited("prod", kind, name, path, "x")
    faults = [*partial_faults(one, LAID_OVER[kind], VERSIONS[-1]), *custom_faults(one)]
    assert any("priorityClas" in fault for fault in faults), faults


def test_a_schema_is_closed_where_kubernetes_drops_fields_and_nowhere_else() -> None:
    schema: Mapping[str, Any] = {
        "properties": {
            "open": {"properties": {"a": {}}, "x-kubernetes-preserve-unknown-fields": True},
            "map": {"additionalProperties": {"properties": {"b": {"type": "string", "nullable": True}}}},
        }
    }
    validator = jsonschema.Draft202012Validator(closed(schema))
    assert validator.is_valid({"open": {"z": 1}, "map": {"any": {"b": None}}})
    assert not validator.is_valid({"opened": {}})
    assert not validator.is_valid({"map": {"any": {"z": 1}}})
    assert not validator.is_valid({"map": {"any": {"b": 1}}})

"""The job that makes backups in a cluster: Kubernetes takes it, it is confined as every pod, reaches the store alone,
and runs what is there."""

import os
import tomllib
from pathlib import Path

import pytest
from kubernetes_validate import latest_version, validate

from scripts import backup
from services.runtime.settings import Settings
from tests.support.deployment_secrets_made import secrets_for
from tests.support.kubernetes_pods import confinement_faults, image_faults, resource_faults
from tests.support.kustomize import K8S, ROOT, Object, built, named, of_kind, pod_template
from tests.support.network_arrows import Party, allowed_arrows

COMPONENTS = ("mongodb_cluster", "backup")
SECRETS = "/run/secrets/conclave"
DNS = Party("dns", {"k8s-app": "kube-dns"}, "kube-system", (53,))


@pytest.fixture(scope="module")
def objects(tmp_path_factory: pytest.TempPathFactory) -> list[Object]:
    """The base with this component and the one of its store."""
    folder = tmp_path_factory.mktemp("backup").resolve()
    base, *components = (
        os.path.relpath(K8S / path, folder) for path in ("base", *(f"components/{name}" for name in COMPONENTS))
    )
    (folder / "kustomization.yaml").write_text(
        "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nnamespace: conclave\n"
        f"resources: [{base}]\ncomponents: [{', '.join(components)}]\n"
    )
    return built(folder)


@pytest.fixture(scope="module")
def job(objects: list[Object]) -> Object:
    return named(objects, "CronJob", "backup")


@pytest.fixture(scope="module")
def pod(job: Object) -> Object:
    template = pod_template(job)
    assert template is not None
    return dict(template["spec"])


def test_kubernetes_takes_it_and_makes_one_backup_at_a_time(objects: list[Object], job: Object) -> None:
    for one in (job, named(objects, "PersistentVolumeClaim", "backups")):
        validate(one, latest_version(), strict=True)
    assert job["spec"]["concurrencyPolicy"] == "Forbid"


def test_it_is_confined_as_every_pod(job: Object, pod: Object) -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    assert confinement_faults([job]) == []
    assert resource_faults([job]) == []
    assert image_faults([job], ["tools"], version) == []
    kinds = [next(iter(volume.keys() - {"name"})) for volume in pod["volumes"]]
    assert sorted(kinds) == ["emptyDir", "persistentVolumeClaim", "secret"]


def test_it_runs_the_script_with_arguments_that_this_takes(pod: Object) -> None:
    (container,) = pod["containers"]
    script, *arguments = container["args"]
    assert (ROOT / script).samefile(backup.__file__)
    options = backup.parsed(arguments)
    assert (options.command, options.keep) == ("create", 14)
    written = {mount["mountPath"] for mount in container["volumeMounts"] if not mount.get("readOnly")}
    assert written == {"/tmp", "/backups"}
    assert Path("/backups") in options.folder.parents


def test_it_is_given_settings_and_no_more_than_it_needs(objects: list[Object], pod: Object) -> None:
    (container,) = pod["containers"]
    variables = {str(field.validation_alias) for field in Settings.model_fields.values()}
    given = {one["name"].removesuffix("_FILE"): one for one in container["env"]}
    assert given.keys() == {"DATABASE_URL", "TLS_CA"} <= variables
    assert "envFrom" not in container
    reference = given["TLS_CA"]["valueFrom"]["configMapKeyRef"]
    assert reference["optional"] is True
    assert reference["name"] in {one["metadata"]["name"] for one in of_kind(objects, "ConfigMap")}


@pytest.mark.parametrize(("overlay", "expected"), [("dev", {"database-url"}), ("prod", {"database-url", "ca.crt"})])
def test_its_secret_is_one_that_is_made_for_it_alone(
    pod: Object, tmp_path: Path, overlay: str, expected: set[str]
) -> None:
    (volume,) = [one["secret"] for one in pod["volumes"] if "secret" in one]
    assert secrets_for(overlay, tmp_path)[volume["secretName"]].keys() == expected
    (container,) = pod["containers"]
    assert [one["value"] for one in container["env"] if "value" in one] == [f"{SECRETS}/database-url"]
    assert SECRETS in {mount["mountPath"] for mount in container["volumeMounts"]}


def test_it_reaches_the_store_and_nothing_else(objects: list[Object]) -> None:
    arrows = {arrow for arrow in allowed_arrows(objects, [DNS]) if "backup" in arrow[:2]}
    assert arrows == {("backup", "mongodb", 27017), ("backup", "dns", 53)}

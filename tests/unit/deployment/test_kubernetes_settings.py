"""Each pod's environment, as its process would read it: with the real settings, and the real secrets in its folder."""

import shutil
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import uvicorn
from pydantic import AliasChoices, SecretStr
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from scripts.deployed_services import deployed_services
from services.runtime.security.encryption_keys import read_encryption_keys
from services.runtime.security.policy import open_policy
from services.runtime.security.signing_keys import SigningKeys
from services.runtime.security.trusted_keys import TrustedKeys
from services.runtime.settings import BadSettings, Mode, Settings, load_settings
from tests.support.deployment_secrets_made import Secrets, secrets_for
from tests.support.kubernetes_pods import is_service, service_container
from tests.support.kustomize import OVERLAYS, Object, identity, named, objects_of, of_kind

MOUNTED = "/run/secrets/conclave"
SERVICES = tuple(sorted(deployed_services()))


UVICORN = frozenset({"FORWARDED_ALLOW_IPS"})  # the edge's HTTP server reads it itself


def setting_names() -> frozenset[str]:
    """Every variable that the settings read, those that name a file with a secret among them."""
    found = set()
    for field in Settings.model_fields.values():
        alias = field.validation_alias
        names = [str(one) for one in alias.choices] if isinstance(alias, AliasChoices) else [str(alias)]
        found.update(names)
        if field.annotation is SecretStr or names[0] in ("DATABASE_URL", "RABBITMQ_URL", "REDIS_URL"):
            found.add(f"{names[0]}_FILE")
    return frozenset(found)


def environment(objects: list[Object], deployment: Object) -> dict[str, str]:
    """Of its container: what its ConfigMaps hold, and over that its own."""
    container = service_container(deployment)
    found: dict[str, str] = {}
    for source in container.get("envFrom", []):
        found |= named(objects, "ConfigMap", source["configMapRef"]["name"])["data"]
    return found | {variable["name"]: variable["value"] for variable in container.get("env", [])}


def variable_faults(objects: list[Object], known: Collection[str]) -> list[str]:
    """Variables of services that no setting reads."""
    return [
        f"{identity(one)}: there is no setting {name}"
        for one in filter(is_service, objects)
        for name in sorted(environment(objects, one).keys() - set(known))
    ]


def ending_faults(objects: list[Object], margin: float = 10.0) -> list[str]:
    """Services that Kubernetes kills before they may have ended, or waits for much longer."""
    found = []
    for one in filter(is_service, objects):
        given = environment(objects, one)
        needed = float(given["SHUTDOWN_DELAY"]) + float(given["SHUTDOWN_TIMEOUT"]) + margin
        grace = one["spec"]["template"]["spec"]["terminationGracePeriodSeconds"]
        if grace != needed:
            found.append(f"{identity(one)}: has {grace} seconds to end and needs {needed:g}")
    return found


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Secrets]:
    return {overlay: secrets_for(overlay, tmp_path_factory.mktemp(overlay)) for overlay in OVERLAYS}


@pytest.fixture
def mounted(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "conclave"
    folder.mkdir()
    yield folder
    shutil.rmtree(folder)


def settings_of(overlay: str, service: str, secrets: Secrets, mounted: Path, patch: pytest.MonkeyPatch) -> Settings:
    """As the process of a service reads them in its pod."""
    objects = objects_of(overlay)
    label = deployed_services()[service].label
    for key, text in secrets[f"{label}-secrets"].items():
        (mounted / key).write_text(text, encoding="utf-8")
        (mounted / key).chmod(0o440)
    for name in setting_names():
        patch.delenv(name, raising=False)
    for name, value in environment(objects, named(objects, "Deployment", label)).items():
        patch.setenv(name, value.replace(MOUNTED, str(mounted)))
    return load_settings()


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_variable_is_a_setting(overlay: str) -> None:
    assert variable_faults(objects_of(overlay), setting_names() | UVICORN) == []


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_service_has_time_to_end(overlay: str) -> None:
    assert ending_faults(objects_of(overlay)) == []


@pytest.mark.parametrize("service", SERVICES)
@pytest.mark.parametrize("overlay", OVERLAYS)
def test_a_process_finds_its_settings_and_secrets(
    overlay: str, service: str, made: Mapping[str, Secrets], mounted: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = settings_of(overlay, service, made[overlay], mounted, monkeypatch)
    own = deployed_services()[service]

    assert (settings.metrics_host, settings.metrics_port) == ("0.0.0.0", own.ports["metrics"])
    assert settings.api_port == own.ports.get("api", 8000)
    broker = urlsplit(settings.rabbitmq_url)
    assert (broker.username, broker.hostname) == (service, "rabbitmq")
    assert (broker.scheme, broker.port) == (("amqps", 5671) if overlay == "prod" else ("amqp", 5672))
    assert broker.password

    default = Settings.model_fields["database_url"].default
    assert (settings.database_url != default) is own.store
    assert bool(settings.api_key_hash_key.get_secret_value()) is own.api_keys
    assert bool(settings.initial_admin_key.get_secret_value()) is (service == "access")

    assert settings.message_signing is (Mode.REQUIRED if overlay == "prod" else Mode.OPTIONAL)
    assert SigningKeys(settings.message_keys, service).current.key_id
    assert TrustedKeys(settings.message_keys, open_policy(None))
    assert len(read_encryption_keys(settings.encryption_keys)) == 1
    assert (settings.tls_ca is not None and settings.tls_ca.is_file()) is (overlay == "prod")


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_store_is_reached_where_it_is(
    overlay: str, made: Mapping[str, Secrets], mounted: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = settings_of(overlay, "orchestrator", made[overlay], mounted, monkeypatch).database_url
    options = urlsplit(address).query
    if overlay == "dev":
        (port,) = named(objects_of("dev"), "Service", "mongodb")["spec"]["ports"]
        assert f"@mongodb:{port['port']}/conclave" in address
        arguments = named(objects_of("dev"), "StatefulSet", "mongodb")["spec"]["template"]["spec"]["containers"][0][
            "args"
        ]
        assert "--replSet=rs0" in arguments
        assert "replicaSet=rs0" in options
        assert "tls" not in options
    else:
        (store,) = of_kind(objects_of("prod"), "MongoDBCommunity")
        members = [f"{store['metadata']['name']}-{i}." for i in range(store["spec"]["members"])]
        hosts = address.partition("@")[2].partition("/")[0].split(",")
        assert [host.partition(".")[0] + "." for host in hosts] == members
        assert f"replicaSet={store['metadata']['name']}" in options
        assert "tls=true" in options


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_only_the_edge_works_on_until_it_has_left_its_service(overlay: str) -> None:
    objects = objects_of(overlay)
    delays = {
        one["metadata"]["name"]: environment(objects, one)["SHUTDOWN_DELAY"] for one in filter(is_service, objects)
    }
    assert {name for name, delay in delays.items() if float(delay) > 0} == {"edge"}
    assert float(delays["edge"]) >= 5


def test_the_ingress_takes_bodies_as_large_as_the_edge() -> None:
    annotations = named(objects_of("prod"), "Ingress", "edge")["metadata"]["annotations"]
    size = annotations["nginx.ingress.kubernetes.io/proxy-body-size"]
    assert int(size.removesuffix("m")) * 2**20 == Settings.model_fields["max_body_bytes"].default


def test_the_edge_believes_what_the_ingress_says_of_clients(monkeypatch: pytest.MonkeyPatch) -> None:
    given = environment(objects_of("prod"), named(objects_of("prod"), "Deployment", "edge"))
    monkeypatch.setenv("FORWARDED_ALLOW_IPS", given["FORWARDED_ALLOW_IPS"])
    proxies = ProxyHeadersMiddleware(_nobody, uvicorn.Config(_nobody).forwarded_allow_ips).trusted_hosts
    assert "10.1.2.3" in proxies
    assert "203.0.113.7" not in proxies


async def _nobody(*_: object) -> None:
    """An application that does nothing."""


# ---- what does not fit is seen


def test_a_setting_that_the_code_no_longer_has_is_seen() -> None:
    without = (setting_names() | UVICORN) - {"MESSAGE_SIGNING"}
    faults = variable_faults(objects_of("prod"), without)
    assert len(faults) == len(SERVICES)
    assert faults[0] == "Deployment/access: there is no setting MESSAGE_SIGNING"


def test_a_misspelt_variable_is_seen() -> None:
    objects = objects_of("dev")
    named(objects, "Deployment", "data-agent")["spec"]["template"]["spec"]["containers"][0]["env"][0]["name"] = "AGENTS"
    assert variable_faults(objects, setting_names()) == ["Deployment/data-agent: there is no setting AGENTS"]


def test_too_little_time_to_end_is_seen() -> None:
    objects = objects_of("prod")
    named(objects, "Deployment", "edge")["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] = 30
    assert ending_faults(objects) == ["Deployment/edge: has 30 seconds to end and needs 35"]


def test_a_secret_file_that_is_not_made_stops_the_process(
    made: Mapping[str, Secrets], mounted: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = {key: text for key, text in made["dev"]["edge-secrets"].items() if key != "database-url"}
    with pytest.raises(BadSettings, match="DATABASE_URL_FILE"):
        settings_of("dev", "edge", {"edge-secrets": own}, mounted, monkeypatch)

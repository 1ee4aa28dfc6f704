"""docker-compose.yml says what the code says: services, ports, settings, secrets; and each container is kept small."""

import os
import re
import shlex
import shutil
import subprocess
from functools import cache
from pathlib import Path

import pytest
import yaml

from scripts.deployed_services import API_PORT, METRICS_PORT, deployed_services
from scripts.deployment_secrets import main as deployment_secrets
from scripts.stand_in_images import OFFICIAL_IMAGES
from services.runtime.settings import Settings, load_settings
from tests.support.compose_file import (
    COMPOSE_FILE,
    DEPLOYMENT,
    ROOT,
    SECRETS,
    Service,
    interpolated,
    mounts,
    raw,
    secret_files,
    services,
    variables_with_defaults,
)
from tests.support.dockerfile_stages import images

DEPLOYED = deployed_services()
ONE_TIME = {"setup": "tools", "mongodb_setup": "tools", "client": "tools"}
SERVERS = {"rabbitmq", "mongodb", "redis", "balancer", "prometheus", "grafana"}
PROFILES = {
    "redis": ["redis"],
    "client": ["client"],
    "balancer": ["scale"],
    "prometheus": ["monitoring"],
    "grafana": ["monitoring"],
}
PUBLISHED = {"edge": API_PORT, "balancer": API_PORT, "prometheus": 9090, "grafana": 3000}
STORE = {name for name, service in DEPLOYED.items() if service.store} | {"mongodb", "mongodb_setup"}

SETTINGS = {
    alias if isinstance(alias := field.validation_alias, str) else "COMMUNICATION_PROTOCOL"
    for field in Settings.model_fields.values()
}
FROM_FILES = {"RABBITMQ_URL", "REDIS_URL", "DATABASE_URL", "API_KEY_HASH_KEY", "INITIAL_ADMIN_KEY"}
FIXED = {
    **{"MESSAGE_KEYS": SECRETS, "ENCRYPTION_KEYS": f"{SECRETS}/encryption.json"},
    **{f"{name}_FILE": f"{SECRETS}/{name.lower().replace('_', '-')}" for name in FROM_FILES},
}
OF_THE_IMAGE = {"API_HOST", "METRICS_HOST", "METRICS_PORT", "DATA_FOLDER"}
# What an installation that wants it sets in a file of its own beside this one.
LEFT_OUT = {
    "API_PORT": "here the port on the host; in its container the edge has the default",
    "JWT_SECRET_KEY": "a secret is no variable of a shell",
    "TLS_CA": "nothing leaves the machine",
    "TLS_CERTIFICATE": "nothing leaves the machine",
    "TLS_KEY": "nothing leaves the machine",
}


UVICORN = {"FORWARDED_ALLOW_IPS"}  # the edge's HTTP server reads it itself


def of(name: str) -> Service:
    return services()[name]


# ---- what there is


def test_every_service_is_there_under_its_own_name_and_nothing_unknown() -> None:
    assert services().keys() == {*DEPLOYED, *ONE_TIME, *SERVERS}


def test_only_what_a_profile_is_for_is_in_one() -> None:
    assert {name: one["profiles"] for name, one in services().items() if "profiles" in one} == PROFILES


@pytest.mark.parametrize("name", [*DEPLOYED, *ONE_TIME])
def test_each_image_of_ours_is_a_target_of_the_dockerfile(name: str) -> None:
    target = ONE_TIME.get(name, name)
    assert target in images()
    assert of(name)["build"]["target"] == target
    assert of(name)["build"]["context"] == "."
    assert of(name)["build"]["args"].keys() == {"BASE_IMAGE", "PIP_INDEX_URL", "VERSION"}
    assert raw()["services"][name]["image"] == f"conclave/{target}:${{CONCLAVE_VERSION:-0.1.0}}"
    assert of(name).get("command") or of(name).get("entrypoint") or target == name


def test_images_of_ours_are_made_here_and_never_somebody_elses_of_the_same_name() -> None:
    """Compose v2 looks for an image in the public registry before it builds, unless it is told otherwise."""
    built = {name for name, one in services().items() if "build" in one}
    assert built == {*DEPLOYED, *ONE_TIME}
    assert {raw()["services"][name]["pull_policy"] for name in built} == {"${PULL_POLICY:-build}"}


def test_every_target_is_used() -> None:
    assert {one["build"]["target"] for one in services().values() if "build" in one} == images()


def test_the_version_is_the_projects() -> None:
    (version,) = re.findall(r'^version = "(.+)"$', (ROOT / "pyproject.toml").read_text(encoding="utf-8"), re.MULTILINE)
    assert {default for name, default in variables_with_defaults() if name == "CONCLAVE_VERSION"} == {version}


def test_images_of_others_are_variables_with_a_pinned_default() -> None:
    defaults = {name: default for name, default in variables_with_defaults() if name.endswith("_IMAGE")}
    assert defaults.items() >= OFFICIAL_IMAGES.items()
    assert defaults.keys() - OFFICIAL_IMAGES.keys() == {"GRAFANA_IMAGE"}  # of which no stand-in can be made
    for image in defaults.values():
        assert re.fullmatch(r"[\w/.-]+:v?\d[\w.-]*", image), image
    for name in SERVERS:
        assert re.fullmatch(r"\$\{[A-Z]+_IMAGE:-.+\}", raw()["services"][name]["image"]), name
    assert "latest" not in COMPOSE_FILE.read_text(encoding="utf-8")
    dockerfile = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    assert f"ARG BASE_IMAGE={defaults['BASE_IMAGE']}\n" in dockerfile


# ---- how they run


@pytest.mark.parametrize("name", sorted(services()))
def test_each_container_is_confined_and_limited(name: str) -> None:
    one = of(name)
    assert one["read_only"] is True
    assert one["cap_drop"] == ["ALL"]
    assert one["security_opt"] == ["no-new-privileges:true"]
    assert "privileged" not in one
    assert any(place.startswith("/tmp:size=") for place in one["tmpfs"])
    assert re.fullmatch(r"\d+[mg]", one["mem_limit"])
    # More than a machine has is refused; one it has always.
    assert 0 < float(one["cpus"]) <= 1
    assert 0 < one["pids_limit"] <= 1024
    assert one["logging"]["options"].keys() == {"max-size", "max-file"}
    assert one["restart"] == ("no" if name in ONE_TIME else "unless-stopped")
    assert one.get("cap_add", []) == (["CHOWN", "DAC_OVERRIDE", "FOWNER"] if name == "setup" else [])


@pytest.mark.parametrize("name", sorted(services()))
def test_only_who_gives_secrets_away_is_root(name: str) -> None:
    """The services' images say themselves who runs them; of ``tools`` the image says nothing."""
    user = of(name).get("user")
    if name in DEPLOYED:
        assert user is None
        assert "USER 10001:10001" in (ROOT / "Dockerfile").read_text(encoding="utf-8")
    else:
        assert (user == "0:0") == (name == "setup")
        assert re.fullmatch(r"\d+:\d+", user)


@pytest.mark.parametrize("name", sorted(DEPLOYED))
def test_a_service_has_as_long_to_end_as_it_may_take(name: str) -> None:
    settings = Settings()
    assert of(name)["stop_grace_period"] == f"{settings.shutdown_delay + settings.shutdown_timeout + 10:.0f}s"


@pytest.mark.parametrize("name", sorted(services()))
def test_each_container_says_whether_it_is_well(name: str) -> None:
    one = of(name)
    if name in SERVERS:
        assert one["healthcheck"].keys() == {"test", "interval", "timeout", "retries", "start_period"}
    else:
        # The services' is the image's; one-time work says it by its exit code.
        assert "healthcheck" not in one
    dockerfile = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    service_stage = dockerfile.partition("FROM base AS service")[2].partition("\nFROM ")[0]
    assert "HEALTHCHECK" in service_stage


@pytest.mark.parametrize("name", sorted(services()))
def test_each_waits_for_what_it_cannot_begin_without(name: str) -> None:
    waits = {other: how["condition"] for other, how in of(name).get("depends_on", {}).items()}
    for other, condition in waits.items():
        assert condition == ("service_completed_successfully" if other in ONE_TIME else "service_healthy")
        # Compose refuses a dependency on what is not in any profile that is on.
        assert of(other).get("profiles", []) in ([], of(name).get("profiles", []))
    expected = set()
    if SECRETS in mounts(of(name)):
        expected |= {"setup"}
    if name in DEPLOYED or name == "client":
        expected |= {"rabbitmq"}
    if name in DEPLOYED and DEPLOYED[name].store:
        expected |= {"mongodb_setup"}
    others = {"mongodb_setup": {"mongodb"}, "balancer": {"edge"}, "grafana": {"prometheus"}}
    assert waits.keys() == expected | others.get(name, set())


# ---- who reaches whom


def test_only_who_has_a_store_reaches_it() -> None:
    reach = {name for name, one in services().items() if "store" in one.get("networks", ())}
    assert reach == STORE
    assert not reach & {name for name, service in DEPLOYED.items() if service.agents}


def test_every_service_reaches_the_broker_and_nothing_but_the_edge_the_world() -> None:
    networks = {name: set(one.get("networks", ())) for name, one in services().items()}
    assert {name for name, own in networks.items() if "broker" in own} == {
        *DEPLOYED,
        *("rabbitmq", "redis", "client", "prometheus"),
    }
    internal = {name for name, network in raw()["networks"].items() if network.get("internal")}
    assert internal == {"broker", "store"}
    outside = {name for name, own in networks.items() if own - internal}
    assert outside == {"edge", "balancer", "prometheus", "grafana"}
    assert networks["setup"] == set()
    assert of("setup")["network_mode"] == "none"
    # The balancer has no way but to the edge, Grafana none but to Prometheus.
    assert {name for name, own in networks.items() if own & networks["balancer"]} == {"edge", "balancer"}
    assert {name for name, own in networks.items() if own & networks["grafana"]} == {"prometheus", "grafana"}


def test_ports_are_published_on_this_machine_alone_and_are_the_codes() -> None:
    published = {}
    for name, one in services().items():
        for port in one.get("ports", ()):
            host, outside, inside = port.split(":")
            assert host == "127.0.0.1"
            assert outside.isdigit()
            published[name] = int(inside)
    assert published == PUBLISHED
    assert DEPLOYED["edge"].ports == {"api": API_PORT, "metrics": METRICS_PORT}


# ---- settings


def test_every_variable_of_a_service_is_a_setting() -> None:
    for name in DEPLOYED:
        for variable in of(name)["environment"]:
            known = variable.removesuffix("_FILE") if variable in FIXED else variable
            assert known in SETTINGS | UVICORN, f"{name}: {variable}"


def test_every_setting_can_be_made_or_is_left_out_for_a_reason() -> None:
    made = {variable for name in DEPLOYED for variable in of(name)["environment"]} - UVICORN
    given = {variable.removesuffix("_FILE") if variable in FIXED else variable for variable in made}
    assert given | OF_THE_IMAGE | LEFT_OUT.keys() == SETTINGS
    assert not given & LEFT_OUT.keys()
    assert not made & FROM_FILES  # a secret never stands in an environment, where `docker inspect` shows it


@pytest.mark.parametrize("name", sorted(DEPLOYED))
def test_defaults_are_those_of_the_settings(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    environment = of(name)["environment"]
    assert {variable: value for variable, value in environment.items() if variable in FIXED} == {
        variable: value for variable, value in FIXED.items() if variable in environment
    }
    for variable in [*os.environ]:
        if variable.removesuffix("_FILE") in SETTINGS:
            monkeypatch.delenv(variable)
    default = Settings()
    for variable, value in environment.items():
        if variable not in FIXED:
            monkeypatch.setenv(variable, value)
    # Where the variable is empty the setting counts as not made.
    assert load_settings() == default


def test_a_variable_of_the_shell_makes_the_setting_of_its_name() -> None:
    for name in DEPLOYED:
        for variable, value in raw()["services"][name]["environment"].items():
            if variable not in FIXED:
                assert re.fullmatch(rf"\$\{{{variable}:-[^}}]*\}}", value), f"{name}: {variable}: {value}"
                assert interpolated(value, {variable: "mine"}) == "mine"


def test_edge_and_access_know_the_hash_key_and_access_the_first_key() -> None:
    holders = {name for name in DEPLOYED if "API_KEY_HASH_KEY_FILE" in of(name)["environment"]}
    assert holders == {name for name, service in DEPLOYED.items() if service.api_keys}
    assert {name for name in DEPLOYED if "INITIAL_ADMIN_KEY_FILE" in of(name)["environment"]} == {"access"}
    assert {name for name in DEPLOYED if "DATABASE_URL_FILE" in of(name)["environment"]} == STORE & DEPLOYED.keys()


# ---- secrets


@cache
def setup_options() -> list[str]:
    script, _, *options = shlex.split(of("setup")["command"])
    assert (ROOT / script).is_file()
    return options


@pytest.fixture(scope="module")
def handed_out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `setup` makes, but for giving it away, which takes root."""
    folder = tmp_path_factory.mktemp("deployment")
    options = iter(setup_options())
    kept = [
        word for option in options for word in (option, next(options)) if option not in ("--owner", "--services-owner")
    ]
    assert deployment_secrets([str(folder), *kept]) == 0
    return folder


@pytest.mark.parametrize("name", sorted(services()))
def test_each_container_is_given_its_own_secrets_alone(name: str) -> None:
    secret = {place: mount for place, mount in mounts(of(name)).items() if mount[0].startswith(DEPLOYMENT)}
    if name == "setup":
        assert secret == {}
        place = shlex.split(of("setup")["command"])[1].replace("/conclave", mounts(of("setup"))["/conclave"][0])
        assert (place, mounts(of("setup"))["/conclave"][1]) == (DEPLOYMENT, "rw")
    elif name in ("balancer", "prometheus", "grafana"):
        assert secret == {}
    else:
        holder = "mongodb" if name == "mongodb_setup" else name
        assert secret == {SECRETS: (f"{DEPLOYMENT}/{holder}", "ro")}


@pytest.mark.parametrize("name", sorted(services()))
def test_the_secrets_that_are_asked_for_are_handed_out(name: str, handed_out: Path) -> None:
    holder = handed_out / ("mongodb" if name == "mongodb_setup" else name)
    wanted = secret_files(of(name)) - {"."}
    there = {path.name for path in holder.iterdir()} if holder.is_dir() else set()
    assert wanted <= there
    if name in DEPLOYED:
        unread = {"trusted.json", f"{name}.private.json"}  # found through MESSAGE_KEYS
        assert there - wanted == unread


def test_secrets_belong_to_who_runs_the_container() -> None:
    options = setup_options()
    pairs = [options[i + 1] for i, option in enumerate(options) if option == "--owner"]
    owners = dict(pair.split("=") for pair in pairs)
    assert options[options.index("--services-owner") + 1] == "10001"
    # The API's first key is for whoever has the checkout.
    assert mounts(of("setup"))[owners.pop("admin")] == ("./docker-compose.yml", "ro")
    assert {name: f"{owner}:{owner}" for name, owner in owners.items()} == {
        name: of(name)["user"] for name in ("rabbitmq", "mongodb", "redis", "client")
    }
    assert of("mongodb_setup")["user"] == of("mongodb")["user"]


def test_addresses_are_those_of_the_servers_here() -> None:
    options = setup_options()
    url = {name: options[options.index(f"--{name}-url") + 1] for name in ("rabbitmq", "database", "redis")}
    assert url["rabbitmq"] == "amqp://rabbitmq:5672/"
    assert url["redis"] == "redis://redis:6379/0"
    (replica_set,) = [word.removeprefix("--replSet=") for word in of("mongodb")["command"] if "--replSet" in word]
    assert url["database"] == f"mongodb://mongodb:27017/conclave?replicaSet={replica_set}&authSource=admin"
    assert of("mongodb_setup")["command"][1:] == ["--address", "mongodb:27017", "--replica-set", replica_set]
    assert (ROOT / of("mongodb_setup")["command"][0]).is_file()


# ---- volumes


@pytest.mark.parametrize("name", sorted(services()))
def test_what_is_mounted_is_in_the_checkout_and_cannot_be_changed(name: str) -> None:
    for source, mode in mounts(of(name)).values():
        if not source.startswith("./"):
            assert source in raw()["volumes"], f"{source} is no volume"
            assert mode == "rw"
        elif not DEPLOYMENT.startswith(source) and not source.startswith(DEPLOYMENT):
            assert (ROOT / source).exists(), source
            assert mode == "ro"


def test_servers_keep_their_data_in_volumes() -> None:
    kept = {name: place for name, one in services().items() for place, mount in mounts(one).items() if mount[0] == name}
    assert kept == {
        "rabbitmq": "/var/lib/rabbitmq",
        "mongodb": "/data/db",
        "redis": "/data",
        "prometheus": "/prometheus",
        "grafana": "/var/lib/grafana",
    }
    assert raw()["volumes"].keys() == kept.keys()
    assert of("rabbitmq")["hostname"] == "rabbitmq"  # its data's folder is named after it


def test_a_folder_of_data_and_one_of_plugins_can_be_given() -> None:
    assert mounts(of("data_agent"))["/data"] == ("./examples/data", "ro")
    assert "ENV DATA_FOLDER=/data" in (ROOT / "Dockerfile").read_text(encoding="utf-8")
    given = {"DATA_FOLDER_ON_HOST": "/srv/data", "PLUGINS_ON_HOST": "/srv/plugins", "POLICY_ON_HOST": "/srv/p.toml"}
    written = {name: mounts(interpolated(raw()["services"][name], given)) for name in DEPLOYED}
    assert written["data_agent"]["/data"] == ("/srv/data", "ro")
    assert written["plugin_agent"]["/plugins"] == ("/srv/plugins", "ro")
    for name in DEPLOYED:
        assert written[name]["/etc/conclave/policy.toml"] == ("/srv/p.toml", "ro"), name


# ---- Compose itself


@pytest.mark.skipif(shutil.which("docker-compose") is None, reason="not run: no docker-compose on the PATH")
def test_compose_takes_the_file() -> None:
    command = ["docker-compose", "--file", str(COMPOSE_FILE), "config"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""  # a variable that is not set, and has no default, would be named
    assert yaml.safe_load(done.stdout)["services"].keys() == services().keys()

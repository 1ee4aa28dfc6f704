"""The Compose stack, brought up as somebody does who has just cloned the project: it decides, shares work, survives the
death of any of its containers, and leaves nothing behind.

The tests are steps of one story, in the order in which they stand here.
"""

import io
import os
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import PurePosixPath

import httpx
import pytest
import yaml
from rich.console import Console

from scripts.debian_packages import is_root
from scripts.deployed_services import deployed_services
from scripts.dev_example import run_example, show_decision
from scripts.docker_engine import DockerFailed, Engine
from scripts.servers import free_port
from tests.support.compose import ROOT, Stack, copied_checkout, is_healthy, service_of, until
from tests.support.compose_load import Load, ended, executions_of, get, journey, outcomes, started, steady_load
from tests.support.docker_images import IMAGE_TAG
from tests.system.test_prometheus_scrape import Prometheus

pytestmark = [pytest.mark.docker, pytest.mark.timeout(1500)]

SERVICES = tuple(deployed_services())
SERVERS = ("rabbitmq", "mongodb")
ONE_TIME = ("setup", "mongodb_setup")
DECISION_AGENTS = 3
CHECKOUT_OWNER = 1000
NOTHING_BUT = {"execution_ended": 1, "step_succeeded data": 1, "step_succeeded decide_0": 1, "step_succeeded gather": 1}


@pytest.fixture(scope="module")
def stack(
    engine: Engine,
    images: Mapping[str, str],
    service_images: Mapping[str, str],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Stack]:
    """Up and healthy. Two of its images are built by Compose itself, from what ``service_images`` left in the cache."""
    folder = copied_checkout(tmp_path_factory.mktemp("checkout"))
    if is_root():
        os.chown(folder / "docker-compose.yml", CHECKOUT_OWNER, CHECKOUT_OWNER)
    variables = {
        **images,
        "CONCLAVE_VERSION": IMAGE_TAG,
        "API_PORT": str(free_port()),
        "PROMETHEUS_PORT": str(free_port()),
        "BALANCER_PORT": str(free_port()),
        "BUILD_NETWORK": "host" if images["BASE_IMAGE"].startswith("stand-in/") else "default",
    }
    stack = Stack(engine, engine.compose(install=True), folder, f"conclave-test-{free_port()}", variables)
    try:
        stack.compose("build", "setup", "edge")
        stack.up()
        stack.wait_until_healthy()
        yield stack
    finally:
        stack.compose("down", "--volumes", "--remove-orphans")
        stack.delete_kept()


@pytest.fixture
def api(stack: Stack) -> Iterator[httpx.Client]:
    with stack.client() as client:
        yield client


def test_every_service_is_there_and_healthy(stack: Stack) -> None:
    states = {service_of(one): one["State"] for one in stack.containers()}
    assert states.keys() == {*SERVICES, *SERVERS, *ONE_TIME}
    assert {name: states[name]["ExitCode"] for name in ONE_TIME} == dict.fromkeys(ONE_TIME, 0)
    assert all(is_healthy(stack.container(name)) for name in (*SERVICES, *SERVERS))


def test_containers_are_confined_and_limited(stack: Stack) -> None:
    for one in stack.containers():
        name, host = service_of(one), one["HostConfig"]
        assert host["ReadonlyRootfs"], name
        assert host["CapDrop"] == ["ALL"], name
        assert host["SecurityOpt"] == ["no-new-privileges:true"], name
        assert host["Memory"] > 0, name
        assert host["NanoCpus"] > 0, name
        assert host["PidsLimit"] > 0, name
        assert host["LogConfig"]["Config"] == {"max-size": "10m", "max-file": "5"}, name
        assert host["RestartPolicy"]["Name"] == ("no" if name in ONE_TIME else "unless-stopped"), name
        assert (one["Config"]["User"] in ("0:0", "root", "")) == (name == "setup"), name
        if name in SERVICES:
            assert one["Config"]["StopTimeout"] == 30, name
            assert stack.execute(one, "id", "-u") == "10001", name


def test_only_the_api_is_published_and_only_on_this_machine(stack: Stack) -> None:
    published = {
        (service_of(one), port, binding["HostIp"])
        for one in stack.containers()
        for port, bindings in one["NetworkSettings"]["Ports"].items()
        for binding in bindings or ()
    }
    assert published == {("edge", "8000/tcp", "127.0.0.1")}


def test_an_agent_reaches_the_broker_and_not_the_store(stack: Stack) -> None:
    reach = "import socket, sys; socket.create_connection((sys.argv[1], int(sys.argv[2])), 2).close(); print('reached')"
    networks = stack.container("mongodb")["NetworkSettings"]["Networks"]
    store = [network["IPAddress"] for network in networks.values()]
    agent, orchestrator = stack.container("decision_agent"), stack.container("orchestrator")
    assert stack.execute(agent, "python", "-c", reach, "rabbitmq", "5672") == "reached"
    assert stack.execute(orchestrator, "python", "-c", reach, store[0], "27017") == "reached"
    for address in ("mongodb", *store):
        with pytest.raises(DockerFailed, match=r"gaierror|TimeoutError|timed out|unreachable"):
            stack.execute(agent, "python", "-c", reach, address, "27017")


def test_each_container_has_its_own_secrets_alone(stack: Stack) -> None:
    kept = stack.kept()
    for name, service in deployed_services().items():
        mounted = {mount["Destination"]: mount for mount in stack.container(name)["Mounts"]}["/run/secrets/conclave"]
        folder = stack.folder / ".conclave" / "deployment" / name
        assert (mounted["Source"], mounted["RW"]) == (str(folder), False)
        seen = {PurePosixPath(path).name for path in kept if path.startswith(f"deployment/{name}/")}
        assert {"rabbitmq-url", "encryption.json", "trusted.json", f"{name}.private.json"} <= seen
        assert ("database-url" in seen) == service.store
        assert ("api-key-hash-key" in seen) == service.api_keys
        assert {one for one in seen if one.endswith(".private.json")} == {f"{name}.private.json"}
    agent = stack.container("decision_agent")
    assert "decision_agent.private.json" in stack.execute(agent, "ls", "/run/secrets/conclave")
    holders = {path: one for path, one in kept.items() if path.count("/") == 1}
    files = [one for path, one in kept.items() if path.count("/") == 2 and not path.startswith("deployment/master/")]
    assert {one.mode for one in holders.values()} == {"0o700"}
    assert {one.mode for one in files} == {"0o600"}
    assert {kept[path].owner for path in (".", "deployment/admin")} == {
        (stack.folder / "docker-compose.yml").stat().st_uid
    }


def test_rabbitmq_has_the_users_of_the_definitions_and_no_guest(stack: Stack) -> None:
    rabbitmq = stack.container("rabbitmq")
    users = stack.execute(rabbitmq, "rabbitmqctl", "--quiet", "list_users", "--no-table-headers").splitlines()
    names = {line.split("\t")[0] for line in users}
    assert names >= {*SERVICES, "client"}
    assert "guest" not in names
    lines = stack.execute(rabbitmq, "rabbitmqctl", "--quiet", "list_queues", "--no-table-headers", "name", "type")
    kinds = dict(line.split("\t") for line in lines.splitlines())
    lasting = {name: kind for name, kind in kinds.items() if name in ("decision_agent", "orchestrator.starts")}
    assert lasting == {"decision_agent": "quorum", "orchestrator.starts": "quorum"}
    assert (
        len(stack.execute(rabbitmq, "rabbitmqctl", "--quiet", "list_policies", "--no-table-headers").splitlines()) > 0
    )


def test_the_example_decides_through_the_api(stack: Stack) -> None:
    said = io.StringIO()
    console = Console(file=said, width=120)
    example = ROOT / "examples" / "airline_new_york_san_francisco.yaml"
    view = run_example(stack.api(), stack.headers(), example, console, patience=120)
    show_decision(view, "vote", console)
    assert view["status"] == "completed"
    assert "Decision: United Air Lines" in said.getvalue()


def test_a_program_decides_straight_from_the_broker(stack: Stack) -> None:
    said = stack.compose("run", "--rm", "client")
    assert "published execution.start.v1" in said
    assert "execution.completed.v1" in said


def test_hosts_of_one_type_share_the_work(stack: Stack, api: httpx.Client) -> None:
    stack.up("--scale", f"decision_agent={DECISION_AGENTS}")
    stack.wait_until_healthy("decision_agent")
    hosts = stack.containers("decision_agent")
    assert len(hosts) == DECISION_AGENTS
    before = [stack.figures(host).get("conclave_agent_actions_total", 0) for host in hosts]
    wide, count = journey("shared", decisions=8), 30
    executions = [started(api, wide) for _ in range(count)]
    assert {ended(api, one)["status"] for one in executions} == {"completed"}
    after = [stack.figures(host).get("conclave_agent_actions_total", 0) for host in hosts]
    done = [then - earlier for then, earlier in zip(after, before, strict=True)]
    assert sum(done) >= 8 * count  # more, where the orchestrator had to tell the broker of steps once more
    assert min(done) > 0, done


def test_any_container_that_dies_comes_back_and_costs_nothing(stack: Stack, api: httpx.Client) -> None:
    """Each in turn, under load: a host of agents, the orchestrator, the broker, the store, the edge. What was accepted
    completes, once."""
    stack.up("--scale", "decision_agent=1")
    with steady_load(stack, "under_fire") as load, ThreadPoolExecutor(1) as beside:
        for service in ("decision_agent", "orchestrator", "rabbitmq", "mongodb", "edge"):
            _some_more(load)
            if service == "orchestrator":
                program = beside.submit(stack.compose, "run", "--rm", "client")
            assert stack.kill(service)["RestartCount"] == 1
            if service == "orchestrator":
                assert "execution.completed.v1" in program.result(timeout=300)
        stack.wait_until_healthy()
        _some_more(load)
    accepted = list(load.accepted.values())
    assert len(set(accepted)) == len(accepted) > 0
    ends = {one: ended(api, one)["status"] for one in accepted}
    assert [one for one, status in ends.items() if status != "completed"] == []
    assert [one for one in accepted if outcomes(api, one) != NOTHING_BUT] == []
    assert sorted(executions_of(api, "under_fire")) == sorted(accepted)
    assert get(api, "/monitoring/dead-letters")["items"] == []


def _some_more(load: Load, more: int = 8) -> None:
    enough = len(load.accepted) + more
    until(lambda: len(load.accepted), lambda now: now >= enough)


def test_prometheus_scrapes_every_service_and_knows_the_alerts(stack: Stack) -> None:
    stack.up("prometheus")
    stack.wait_until_healthy("prometheus")
    prometheus = Prometheus(f"http://127.0.0.1:{stack.variables['PROMETHEUS_PORT']}")
    targets = until(prometheus.targets, lambda found: set(found.values()) == {"up"} and len(found) == len(SERVICES))
    assert targets == dict.fromkeys(SERVICES, "up")
    alerts = yaml.safe_load((ROOT / "k8s" / "monitoring" / "alerts.yaml").read_text(encoding="utf-8"))
    names = {rule["alert"] for group in alerts["groups"] for rule in group["rules"]}
    rules = until(prometheus.rules, lambda found: "unknown" not in found.values())
    assert rules == dict.fromkeys(names, "ok")
    # What they read is there: each of them names metrics of ours.
    until(lambda: len(prometheus.values("conclave_bus_connected")), lambda found: found == len(SERVICES))


def test_a_balancer_stands_in_front_of_several_edges(stack: Stack) -> None:
    stack.variables["API_PORT"] = "0"
    stack.up("--scale", "edge=2", "edge", "balancer")
    stack.wait_until_healthy("edge", "balancer")
    edges = stack.containers("edge")
    assert len(edges) == 2

    def answered() -> list[float]:
        return [stack.figures(edge).get("http_requests_total", 0) for edge in edges]

    with stack.client("balancer") as client:
        # The balancer asks the name server for edges every second, and each whether it is ready: one that stands still
        # is passed over until it answers again.
        until(lambda: client.get("/agents/types").status_code, lambda status: status == 200)

        def asked() -> tuple[list[int], list[float]]:
            before = answered()
            statuses = [client.get("/agents/types").status_code for _ in range(40)]
            return statuses, [then - earlier for then, earlier in zip(answered(), before, strict=True)]

        until(asked, lambda seen: seen[0] == [200] * 40 and min(seen[1]) >= 10)
        # One dies, and none of its clients' requests meets it once the balancer has seen that.
        stack.engine.run("stop", edges[0]["Id"])
        until(lambda: [client.get("/agents/types").status_code for _ in range(20)], lambda seen: seen == [200] * 20, 30)
    stack.engine.run("start", edges[0]["Id"])


def test_it_is_what_it_was_when_it_comes_up_again_and_over_redis_too(stack: Stack) -> None:
    """Taken down, with its volumes and secrets left, and up again with the other bus."""
    with stack.client("balancer") as client:
        known = executions_of(client, "under_fire")
    kept = stack.kept()
    stack.compose("--profile", "scale", "--profile", "monitoring", "down", "--remove-orphans")
    stack.variables |= {"API_PORT": str(free_port()), "COMMUNICATION_PROTOCOL": "redis"}
    stack.compose("--profile", "redis", "up", "--detach")
    stack.wait_until_healthy()
    assert stack.kept() == kept
    with stack.client() as client:
        assert sorted(executions_of(client, "under_fire")) == sorted(known)
        until(lambda: client.get("/agents/types").json(), lambda said: "coordinator_agent" in str(said))
        answer = until(
            lambda: client.post("/executions", json={"definition": journey("over_redis")}),
            lambda answer: answer.status_code == 202,
        )
        execution_id = answer.json()["execution_id"]
        assert ended(client, execution_id)["status"] == "completed"
        assert outcomes(client, execution_id) == NOTHING_BUT
    redis, rabbitmq = stack.container("redis"), stack.container("rabbitmq")
    scan = 'redis-cli --scan --pattern "conclave:*"'
    with pytest.raises(DockerFailed, match="NOAUTH"):
        stack.execute(redis, "sh", "-c", scan)
    password = "$(sed s/requirepass.// /run/secrets/conclave/redis.conf)"
    assert "decision_agent" in stack.execute(redis, "sh", "-c", f"REDISCLI_AUTH={password} {scan}")
    assert stack.execute(rabbitmq, "rabbitmqctl", "--quiet", "list_connections", "--no-table-headers", "user") == ""


def test_it_ends_in_good_order_and_nothing_is_left(stack: Stack) -> None:
    stack.compose("--profile", "redis", "stop")
    codes = {service_of(one): one["State"]["ExitCode"] for one in stack.containers()}
    assert {name: codes[name] for name in SERVICES} == dict.fromkeys(SERVICES, 0)
    assert stack.leftovers()
    stack.compose("--profile", "redis", "down", "--volumes", "--remove-orphans")
    assert stack.leftovers() == []

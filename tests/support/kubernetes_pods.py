"""What is wrong with the pods of manifests: each function takes objects and returns faults, one a line."""

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping

from scripts.deployed_services import DeployedService
from tests.support.kustomize import Object, containers, identity, pod_template

USER = 10001  # of the images
SERVICE_COMPONENTS = ("agent", "core", "edge")
_UNITS = {"": 1.0, "m": 0.001, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30}


def component(one: Object) -> str:
    return str(one["metadata"].get("labels", {}).get("app.kubernetes.io/component", ""))


def is_service(one: Object) -> bool:
    """Whether it runs one of Conclave's services."""
    return one["kind"] == "Deployment" and component(one) in SERVICE_COMPONENTS


def service_container(deployment: Object) -> Object:
    """Its one container."""
    (found,) = deployment["spec"]["template"]["spec"]["containers"]
    return dict(found)


def quantity(text: str | int | float) -> float:
    """Of processors or bytes, as Kubernetes writes them.

    Raises:
        ValueError: it is written otherwise.
    """
    match = re.fullmatch(r"([0-9.]+)(m|Ki|Mi|Gi|)", str(text))
    if match is None:
        raise ValueError(f"{text!r} is no quantity such as 250m or 64Mi")
    return float(match[1]) * _UNITS[match[2]]


def _pods(objects: Iterable[Object]) -> Iterator[tuple[str, Object, Object]]:
    for one in objects:
        if (pod := pod_template(one)) is not None:
            yield identity(one), one, pod


def image_faults(objects: Iterable[Object], targets: Collection[str], version: str) -> list[str]:
    """Images without a version; images of ours that the Dockerfile does not make, or of another version."""
    found = []
    for name, one, pod in _pods(objects):
        for container in containers(pod):
            image = container["image"]
            path, colon, tag = image.rpartition(":")
            if not colon or "/" in tag or tag == "latest":
                found.append(f"{name}: image {image} has no version")
                continue
            folder, _, target = path.rpartition("/")
            if folder.rpartition("/")[2] != "conclave" and not is_service(one):
                continue
            if target not in targets:
                found.append(f"{name}: the Dockerfile has no target {target}")
            if tag != version:
                found.append(f"{name}: image {image} is not of version {version}")
    return found


def resource_faults(objects: Iterable[Object]) -> list[str]:
    """Containers without requests and limits, or that request more than they may have."""
    found = []
    for name, _, pod in _pods(objects):
        for container in containers(pod):
            given = container.get("resources", {})
            for what in ("cpu", "memory"):
                try:
                    least = quantity(given["requests"][what])
                    most = quantity(given["limits"][what])
                except KeyError as error:
                    found.append(f"{name}: container {container['name']} has no {error.args[0]} ({what})")
                    continue
                if not 0 < least <= most:
                    found.append(f"{name}: container {container['name']} requests more {what} than its limit")
    return found


def confinement_faults(objects: Iterable[Object]) -> list[str]:
    """Pods that may more than Kubernetes' pod security standard `restricted` allows, can write where they run, or have
    a token without asking Kubernetes for anything."""
    found = []
    for name, one, pod in _pods(objects):
        spec = pod["spec"]
        context = spec.get("securityContext", {})
        if context.get("runAsNonRoot") is not True or not context.get("runAsUser"):
            found.append(f"{name}: may run as root")
        if context.get("seccompProfile") != {"type": "RuntimeDefault"}:
            found.append(f"{name}: no seccomp profile")
        if is_service(one) and {context.get(key) for key in ("runAsUser", "runAsGroup", "fsGroup")} != {USER}:
            found.append(f"{name}: does not run as {USER}")
        found += [f"{name}: has {key}" for key in ("hostNetwork", "hostPID", "hostIPC") if spec.get(key)]
        if spec.get("automountServiceAccountToken") is not False and name != "Deployment/prometheus":
            found.append(f"{name}: is given a token for Kubernetes' API")
        if spec.get("enableServiceLinks") is not False:
            found.append(f"{name}: gets variables made of Services, which settings could be mistaken for")
        found += [f"{name}: {fault}" for container in containers(pod) for fault in _container_faults(container)]
    return found


def _container_faults(container: Object) -> Iterator[str]:
    context = container.get("securityContext", {})
    if context.get("allowPrivilegeEscalation") is not False:
        yield f"container {container['name']} may gain privileges"
    if context.get("privileged"):
        yield f"container {container['name']} is privileged"
    if context.get("capabilities") != {"drop": ["ALL"]}:
        yield f"container {container['name']} keeps capabilities"
    if context.get("readOnlyRootFilesystem") is not True:
        yield f"container {container['name']} can write to its root file system"
    for port in container.get("ports", []):
        if "hostPort" in port:
            yield f"container {container['name']} opens a port of its host"


def volume_faults(objects: Iterable[Object]) -> list[str]:
    """Volumes of other kinds than `restricted` allows, without a bound, not mounted, or mounted and not there; secrets
    that others than the pod's group could read."""
    found = []
    for name, one, pod in _pods(objects):
        claims = {claim["metadata"]["name"] for claim in one["spec"].get("volumeClaimTemplates", [])}
        volumes = {volume["name"]: volume for volume in pod["spec"].get("volumes", [])}
        mounted = {mount["name"] for container in containers(pod) for mount in container.get("volumeMounts", [])}
        found += [f"{name}: there is no volume {missing}" for missing in sorted(mounted - volumes.keys() - claims)]
        found += [f"{name}: nobody mounts volume {left}" for left in sorted((volumes.keys() | claims) - mounted)]
        for volume in volumes.values():
            (kind,) = volume.keys() - {"name"}
            if kind not in ("configMap", "emptyDir", "persistentVolumeClaim", "secret"):
                found.append(f"{name}: volume {volume['name']} is a {kind}")
            if kind == "emptyDir" and "sizeLimit" not in volume["emptyDir"]:
                found.append(f"{name}: volume {volume['name']} has no sizeLimit")
            if kind == "secret" and volume["secret"].get("defaultMode", 0o644) & 0o337:
                found.append(f"{name}: volume {volume['name']} can be written, or read by everybody")
    return found


def probe_faults(objects: Iterable[Object], answered: Mapping[str, Callable[[str], bool]]) -> list[str]:
    """Long-running containers without probes; probes of ports that the container does not open, and, of services, of
    paths that nothing answers.

    Args:
        answered: by the port's name, whether a path is answered there.
    """
    found = []
    for name, one, pod in _pods(objects):
        if one["kind"] in ("CronJob", "Job"):
            continue
        for container in pod["spec"]["containers"]:
            ports = {port["name"] for port in container.get("ports", [])}
            wanted = {"readinessProbe", "livenessProbe"} | ({"startupProbe"} if is_service(one) else set())
            found += [
                f"{name}: container {container['name']} has no {probe}" for probe in sorted(wanted - container.keys())
            ]
            for kind in sorted(wanted & container.keys()):
                probe = container[kind]
                question = probe.get("httpGet") or probe.get("tcpSocket") or {}
                if question.get("port") not in ports:
                    found.append(f"{name}: {kind} asks port {question.get('port')}, which is not among {sorted(ports)}")
                elif is_service(one):
                    path = probe.get("httpGet", {}).get("path", "")
                    if not answered[question["port"]](path):
                        found.append(f"{name}: {kind} asks {path}, which nothing answers on {question['port']}")
    return found


def port_faults(objects: Iterable[Object], services: Mapping[str, DeployedService]) -> list[str]:
    """Services whose container opens other ports than the code does."""
    by_label = {service.label: service for service in services.values()}
    found = []
    for one in filter(is_service, objects):
        if (service := by_label.get(one["metadata"]["name"])) is None:
            continue
        opened = {port["name"]: port["containerPort"] for port in service_container(one).get("ports", [])}
        if opened != dict(service.ports):
            found.append(f"{identity(one)}: opens {opened}, the code {dict(service.ports)}")
    return found


def rollout_faults(objects: Iterable[Object]) -> list[str]:
    """Services of which an update takes one away before the next is there, or whose pods may all be on one host."""
    found = []
    for one in filter(is_service, objects):
        spec = one["spec"]
        if spec.get("strategy", {}).get("rollingUpdate") != {"maxSurge": 1, "maxUnavailable": 0}:
            found.append(f"{identity(one)}: an update takes a pod away before the next is ready")
        spread = {rule["topologyKey"] for rule in spec["template"]["spec"].get("topologySpreadConstraints", [])}
        if spread != {"topology.kubernetes.io/zone", "kubernetes.io/hostname"}:
            found.append(f"{identity(one)}: is not spread over zones and hosts")
        if not any(volume["name"] == "tmp" for volume in spec["template"]["spec"]["volumes"]):
            found.append(f"{identity(one)}: has no /tmp to write to")
    return found

"""What is wrong between the objects of manifests: names that lead nowhere. Each function returns faults, one a line."""

from collections.abc import Iterable, Iterator, Mapping, Sequence

from tests.support.kubernetes_pods import is_service
from tests.support.kustomize import Object, containers, identity, named, of_kind, pod_template

Keys = Mapping[str, frozenset[str]]
Reference = tuple[str, str, str]  # kind, name, key ("" for all of it)


def reference_faults(objects: Sequence[Object], secrets: Keys) -> list[str]:
    """References to ConfigMaps that are not among the objects, to Secrets that are not among ``secrets``, and to keys
    that they do not have.

    Args:
        secrets: what is made elsewhere, name -> keys.
    """
    there = {("Secret", name): keys for name, keys in secrets.items()}
    for one in of_kind(objects, "ConfigMap"):
        there["ConfigMap", one["metadata"]["name"]] = frozenset(one.get("data", {}))
    found = []
    for one in objects:
        for kind, name, key in references(one):
            if (kind, name) not in there:
                found.append(f"{identity(one)}: there is no {kind} {name}")
            elif key and key not in there[kind, name]:
                found.append(
                    f"{identity(one)}: {kind} {name} has no {key}, only {', '.join(sorted(there[kind, name]))}"
                )
    return found


def references(one: Object) -> Iterator[Reference]:
    """Every ConfigMap and Secret that an object names."""
    if (pod := pod_template(one)) is not None:
        yield from _of_pod(pod)
    spec = one.get("spec", {})
    match one["kind"]:
        case "TriggerAuthentication":
            for field, kind in (("secretTargetRef", "Secret"), ("configMapTargetRef", "ConfigMap")):
                yield from ((kind, entry["name"], entry["key"]) for entry in spec.get(field, []))
        case "User":
            name = spec["importCredentialsSecret"]["name"]
            yield from (("Secret", name, key) for key in ("username", "password"))
        case "RabbitmqCluster":
            yield from (("Secret", spec["tls"]["secretName"], key) for key in ("tls.crt", "tls.key"))
            if authority := spec["tls"].get("caSecretName"):
                yield "Secret", authority, "ca.crt"
        case "MongoDBCommunity":
            tls = spec["security"]["tls"]
            yield from (("Secret", tls["certificateKeySecretRef"]["name"], key) for key in ("tls.crt", "tls.key"))
            yield "Secret", tls["caCertificateSecretRef"]["name"], "ca.crt"
            for user in spec["users"]:
                yield "Secret", user["passwordSecretRef"]["name"], user["passwordSecretRef"].get("key", "password")
        case "ServiceMonitor":
            for endpoint in spec["endpoints"]:
                if authority := endpoint.get("tlsConfig", {}).get("ca", {}).get("secret"):
                    yield "Secret", authority["name"], authority["key"]


def _of_pod(pod: Object) -> Iterator[Reference]:
    for volume in pod["spec"].get("volumes", []):
        for field, kind, name in (("secret", "Secret", "secretName"), ("configMap", "ConfigMap", "name")):
            if source := volume.get(field):
                yield kind, source[name], ""
                yield from ((kind, source[name], item["key"]) for item in source.get("items", []))
    for container in containers(pod):
        for source in container.get("envFrom", []):
            for field, kind in (("configMapRef", "ConfigMap"), ("secretRef", "Secret")):
                if field in source:
                    yield kind, source[field]["name"], ""
        for variable in container.get("env", []):
            for field, kind in (("configMapKeyRef", "ConfigMap"), ("secretKeyRef", "Secret")):
                if field in variable.get("valueFrom", {}):
                    entry = variable["valueFrom"][field]
                    yield kind, entry["name"], entry["key"]
        yield from _of_mounts(pod, container)


def _of_mounts(pod: Object, container: Object) -> Iterator[Reference]:
    """A file of a ConfigMap that is mounted by itself."""
    sources = {volume["name"]: volume.get("configMap") for volume in pod["spec"].get("volumes", [])}
    for mount in container.get("volumeMounts", []):
        if "subPath" in mount and (source := sources.get(mount["name"])):
            yield "ConfigMap", source["name"], mount["subPath"]


def service_faults(objects: Sequence[Object]) -> list[str]:
    """Services that no pod is behind, or of which a pod behind them does not open the port; and Ingresses that lead to
    no Service. What operators make pods of is not among the objects and not looked at."""
    found = []
    for one in of_kind(objects, "Service"):
        behind = list(_selected(objects, one["spec"]["selector"]))
        if not behind:
            found.append(f"{identity(one)}: no pod has the labels that it selects")
        for port in one["spec"]["ports"]:
            target = port.get("targetPort", port["port"])
            if not any(target in _ports(pod) for _, pod in behind):
                found.append(f"{identity(one)}: port {port['name']} is {target}, which no pod behind it opens")
    for one in of_kind(objects, "Ingress"):
        for rule in one["spec"]["rules"]:
            for path in rule["http"]["paths"]:
                backend = path["backend"]["service"]
                try:
                    service = named(objects, "Service", backend["name"])
                except AssertionError as error:
                    found.append(f"{identity(one)}: {error}")
                    continue
                if backend["port"]["name"] not in [port["name"] for port in service["spec"]["ports"]]:
                    found.append(f"{identity(one)}: Service {backend['name']} has no port {backend['port']['name']}")
    return found


def selector_faults(objects: Sequence[Object]) -> list[str]:
    """Workloads that select pods of others or not their own; disruption budgets that hold for none or for several, or
    that let nobody be evicted; services without a budget."""
    found = []
    covered: list[str] = []
    for one in objects:
        if one["kind"] in ("Deployment", "StatefulSet"):
            selected = [name for name, _ in _selected(objects, one["spec"]["selector"]["matchLabels"])]
            if selected != [identity(one)]:
                found.append(f"{identity(one)}: selects the pods of {', '.join(selected) or 'nobody'}")
        if one["kind"] == "PodDisruptionBudget":
            selected = [name for name, _ in _selected(objects, one["spec"]["selector"]["matchLabels"])]
            covered += selected
            operated = named_by_operators(objects)
            if len(selected) != 1 and one["metadata"]["name"] not in operated:
                found.append(f"{identity(one)}: holds for {', '.join(selected) or 'nobody'}")
            if one["spec"].get("maxUnavailable") != 1:
                found.append(f"{identity(one)}: may keep a node from being drained for ever")
    counts = {identity(one): covered.count(identity(one)) for one in filter(is_service, objects)}
    return found + [f"{name}: has {count} disruption budgets" for name, count in counts.items() if count != 1]


def named_by_operators(objects: Iterable[Object]) -> set[str]:
    """Names of what operators make pods of."""
    return {one["metadata"]["name"] for one in of_kind(objects, "RabbitmqCluster", "MongoDBCommunity")}


def account_faults(objects: Sequence[Object]) -> list[str]:
    """Services without a ServiceAccount of their own, and accounts that hand out tokens."""
    accounts = {one["metadata"]["name"]: one for one in of_kind(objects, "ServiceAccount")}
    found = [
        f"{identity(one)}: hands out tokens for Kubernetes' API"
        for one in accounts.values()
        if one.get("automountServiceAccountToken") is not False
    ]
    for one in filter(is_service, objects):
        account = one["spec"]["template"]["spec"].get("serviceAccountName")
        if account != one["metadata"]["name"] or account not in accounts:
            found.append(f"{identity(one)}: its account is {account}, and there is {', '.join(sorted(accounts))}")
    return found


def replica_faults(objects: Sequence[Object], least: int) -> list[str]:
    """Autoscalers of what is not there; services whose replicas two decide on, or of which there are too few."""
    deployments = {one["metadata"]["name"]: one for one in of_kind(objects, "Deployment")}
    fewest: dict[str, int] = {}
    found = []
    for one in of_kind(objects, "ScaledObject", "HorizontalPodAutoscaler"):
        target = one["spec"]["scaleTargetRef"]["name"]
        if target not in deployments:
            found.append(f"{identity(one)}: there is no Deployment {target}")
        if target in fewest:
            found.append(f"{identity(one)}: {target} has two autoscalers")
        fewest[target] = one["spec"].get("minReplicaCount", one["spec"].get("minReplicas", 0))
    for name, one in deployments.items():
        if not is_service(one):
            continue
        if name in fewest and "replicas" in one["spec"]:
            found.append(f"{identity(one)}: its replicas are set, and an autoscaler's")
        if (count := fewest.get(name, one["spec"].get("replicas", 1))) < least:
            found.append(f"{identity(one)}: {count} of it, and {least} are wanted")
    return found


def _selected(objects: Iterable[Object], selector: Mapping[str, str]) -> Iterator[tuple[str, Object]]:
    for one in objects:
        if (pod := pod_template(one)) is not None:
            labels = pod["metadata"].get("labels", {})
            if all(labels.get(key) == value for key, value in selector.items()):
                yield identity(one), pod


def _ports(pod: Object) -> set[str | int]:
    opened = [port for container in containers(pod) for port in container.get("ports", [])]
    return {port["name"] for port in opened} | {port["containerPort"] for port in opened}

"""Who may speak to whom by a set of NetworkPolicies, by Kubernetes' rules (its documentation: Network Policies)."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.support.kustomize import Object, of_kind, pod_template

NAMESPACE = "conclave"
NAME = "app.kubernetes.io/name"
Arrow = tuple[str, str, int]
"""From, to, port."""


@dataclass(frozen=True, slots=True)
class Party:
    """A pod, or what stands for something outside: ``namespace`` is None where it is no pod, and policies do not reach
    it. ``serves`` are an outsider's ports; whatever a pod of ours may be asked at is an arrow, open there or not."""

    name: str
    labels: Mapping[str, str] = field(default_factory=dict)
    namespace: str | None = NAMESPACE
    serves: tuple[int, ...] = ()

    @property
    def ours(self) -> bool:
        return self.namespace == NAMESPACE


def pods_of(objects: Iterable[Object]) -> list[Party]:
    """Of an overlay: those of its own objects, and those that RabbitMQ's and MongoDB's operators make of theirs, with
    the labels that these put on them."""
    found = []
    for one in objects:
        if (template := pod_template(one)) is not None:
            labels = template["metadata"]["labels"]
            found.append(Party(labels[NAME], labels))
        elif one["kind"] == "RabbitmqCluster":
            name = one["metadata"]["name"]
            made = {NAME: name, "app.kubernetes.io/component": "rabbitmq", "app.kubernetes.io/part-of": "rabbitmq"}
            found.append(Party(name, made))
        elif one["kind"] == "MongoDBCommunity":
            name = one["metadata"]["name"]
            own = one["spec"]["statefulSet"]["spec"]["template"]["metadata"]["labels"]
            found.append(Party(name, {"app": f"{name}-svc", **own}))
    return found


def allowed_arrows(objects: Sequence[Object], outsiders: Sequence[Party]) -> set[Arrow]:
    """Every arrow into or out of one of our pods that the policies of an overlay let through."""
    policies = [one["spec"] for one in of_kind(objects, "NetworkPolicy")]
    parties = [*pods_of(objects), *outsiders]
    ports = _ports_named(policies)
    return {
        (source.name, target.name, port)
        for source in parties
        for target in parties
        if source.ours or target.ours
        for port in (ports if target.ours else target.serves)
        if _may(policies, "Egress", source, target, port) and _may(policies, "Ingress", target, source, port)
    }


def half_arrows(objects: Sequence[Object]) -> set[Arrow]:
    """Arrows between pods of ours that one end's policies let through and the other's do not: a policy that is wider
    than its counterpart."""
    policies = [one["spec"] for one in of_kind(objects, "NetworkPolicy")]
    pods = pods_of(objects)
    return {
        (source.name, target.name, port)
        for source in pods
        for target in pods
        for port in _ports_named(policies)
        if _may(policies, "Egress", source, target, port) != _may(policies, "Ingress", target, source, port)
    }


def _may(policies: Sequence[Object], direction: str, own: Party, peer: Party, port: int) -> bool:
    """Whether what ``own`` sends (Egress) or takes (Ingress) may go to or come from ``peer``."""
    if not own.ours:
        return True
    selecting = [one for one in policies if direction in one["policyTypes"] and matches(one["podSelector"], own.labels)]
    if not selecting:
        return True
    side, end = ("egress", "to") if direction == "Egress" else ("ingress", "from")
    return any(
        _port_matches(rule.get("ports"), port) and _peer_matches(rule.get(end), peer)
        for policy in selecting
        for rule in policy.get(side, ())
    )


def _peer_matches(peers: Sequence[Object] | None, party: Party) -> bool:
    return peers is None or any(_is(peer, party) for peer in peers)


def _is(peer: Object, party: Party) -> bool:
    if "ipBlock" in peer:
        return party.namespace is None
    if party.namespace is None:
        return False
    if "namespaceSelector" in peer:
        in_namespace = matches(peer["namespaceSelector"], {"kubernetes.io/metadata.name": party.namespace})
    else:
        in_namespace = party.ours
    return in_namespace and matches(peer.get("podSelector", {}), party.labels)


def _port_matches(ports: Sequence[Object] | None, port: int) -> bool:
    return ports is None or any(one["port"] <= port <= one.get("endPort", one["port"]) for one in ports)


def _ports_named(policies: Iterable[Object]) -> tuple[int, ...]:
    rules = [rule for one in policies for rule in (*one.get("ingress", ()), *one.get("egress", ()))]
    return tuple(sorted({one["port"] for rule in rules for one in rule.get("ports", ())}))


def matches(selector: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    """Whether a label selector does; an empty one matches everything."""
    for expression in selector.get("matchExpressions", ()):
        value, values = labels.get(expression["key"]), expression.get("values", ())
        met = {
            "In": value in values,
            "NotIn": value not in values,
            "Exists": value is not None,
            "DoesNotExist": value is None,
        }[expression["operator"]]
        if not met:
            return False
    return all(labels.get(key) == value for key, value in selector.get("matchLabels", {}).items())

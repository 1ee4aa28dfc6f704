"""The secrets of an installation as Kubernetes Secrets. Pure."""

import base64
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from scripts.deployed_services import label_of
from scripts.deployment.holders import Files
from scripts.deployment.masters import Masters

_TLS = ("tls.crt", "tls.key", "ca.crt")


def secrets_of(
    masters: Masters, holders: Mapping[str, Files], services: Sequence[str], clients: Sequence[str], namespace: str
) -> list[dict[str, Any]]:
    """Secret objects, in a fixed order: ``LABEL-secrets`` with the files of each service, client and the backup; those
    that RabbitMQ's and MongoDB's operators read; ``keda-rabbitmq``; ``admin-key``, for people."""
    found: dict[str, Files] = {f"{label_of(name)}-secrets": holders[name] for name in (*services, *clients, "backup")}
    found |= {
        f"rabbitmq-user-{label_of(user)}": {"username": user, "password": password}
        for user, password in masters.rabbitmq.items()
    }
    found |= {
        "rabbitmq-definitions": {"definitions.json": holders["rabbitmq"]["definitions.json"]},
        "mongodb-secrets": {name: text for name, text in holders["mongodb"].items() if name not in _TLS},
        "mongodb-conclave-password": {"password": masters.database_password},
        "mongodb-root-password": {"password": masters.database_root_password},
        "keda-rabbitmq": {"host": _seen_from_outside(holders["scaler"]["rabbitmq-url"], namespace)},
        "admin-key": holders["admin"],
    }
    secrets = [_secret(name, namespace, files) for name, files in found.items()]
    if masters.certificates:
        secrets += [
            _secret(f"{server}-tls", namespace, {name: holders[server][name] for name in _TLS}, "kubernetes.io/tls")
            for server in ("rabbitmq", "mongodb")
        ]
        secrets.append(_secret("conclave-ca", namespace, {"ca.crt": masters.certificates["ca"].certificate}))
    return secrets


def _seen_from_outside(url: str, namespace: str) -> str:
    """The same for a pod of another namespace, which KEDA's is: the name of a Service alone is one of its own there."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    if "." in host:
        return url
    login, _, place = parts.netloc.rpartition("@")
    return parts._replace(netloc=f"{login}@{place.replace(host, f'{host}.{namespace}.svc', 1)}").geturl()


def _secret(name: str, namespace: str, files: Files, kind: str = "Opaque") -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {
            "name": name,
            "namespace": namespace,
            "labels": {"app.kubernetes.io/part-of": "conclave"},
        },
        "type": kind,
        "data": {key: base64.b64encode(text.encode()).decode() for key, text in files.items()},
    }

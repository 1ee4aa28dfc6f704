"""The Secrets that scripts/deployment_secrets.py hands to Kubernetes, for tests of what reads them."""

import base64
import contextlib
import io
from collections.abc import Mapping
from pathlib import Path

import yaml

from scripts import deployment_secrets
from tests.support.kustomize import K8S

Secrets = Mapping[str, Mapping[str, str]]  # name -> key -> content


def secrets_for(overlay: str, folder: Path) -> Secrets:
    """Made new in ``folder``, with the options that the overlay's own first lines name."""
    options = overlay_options(overlay)
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        assert deployment_secrets.main([str(folder), *options]) == 0
    made = list(yaml.safe_load_all(printed.getvalue()))
    assert {one["metadata"]["namespace"] for one in made} == {"conclave"}
    return {
        one["metadata"]["name"]: {key: base64.b64decode(text).decode() for key, text in one["data"].items()}
        for one in made
    }


def overlay_options(overlay: str) -> list[str]:
    """What stands after the folder where its kustomization.yaml says how its Secrets are made."""
    text = (K8S / "overlays" / overlay / "kustomization.yaml").read_text(encoding="utf-8")
    (line,) = [line for line in text.splitlines() if "scripts/deployment_secrets.py" in line]
    return line.partition("scripts/deployment_secrets.py")[2].split()[1:]

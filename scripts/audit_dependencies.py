"""Look up every locked package in the public list of known vulnerabilities, with pip-audit.

    python scripts/audit_dependencies.py

Exits with 1 if a package has one. Where the list cannot be reached, says that nothing was looked up and exits with 0:
a closed machine cannot do this, and its other checks are worth having all the same.
"""

from __future__ import annotations  # so that an older Python is told which one is needed

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from scripts.setup_environment import ROOT, run_in_environment

LOCKS = ("requirements.lock", "requirements-dev.lock")


_AWAY = ("ConnectionError", "ConnectTimeout", "ReadTimeout", "ServiceError", "ProxyError")


def main() -> int:
    return max([report(lock, audited(lock)) for lock in LOCKS])


def audited(lock: str) -> list[dict[str, Any]]:
    """What pip-audit says of each package; nothing where it cannot reach the list.

    Raises:
        SystemExit: pip-audit itself failed.
    """
    command = [sys.executable, "-m", "pip_audit", "--requirement", lock, "--no-deps", "--disable-pip"]
    ran = subprocess.run([*command, "--format", "json"], cwd=ROOT, capture_output=True, text=True, timeout=600)
    try:
        found: list[dict[str, Any]] = json.loads(ran.stdout)["dependencies"]
    except (ValueError, KeyError):
        if any(word in ran.stderr for word in _AWAY):
            return []
        sys.exit(f"pip-audit failed with code {ran.returncode}:\n{ran.stderr.strip()}")
    return found


def report(lock: str, packages: list[dict[str, Any]]) -> int:
    """Print what was found; the exit code that it deserves."""
    looked_up = [package for package in packages if "skip_reason" not in package]
    if not looked_up:
        print(f"{lock}: NOT RUN, the list of known vulnerabilities cannot be reached from here")
        return 0
    for package in packages:
        if "skip_reason" in package:
            print(f"{lock}: {package['name']} could not be looked up: {package['skip_reason']}")
        for found in package.get("vulns", []):
            fixed = ", ".join(found["fix_versions"]) or "no version yet"
            print(f"{lock}: {package['name']} {package['version']} has {found['id']}, mended in {fixed}")
    vulnerable = [package for package in looked_up if package["vulns"]]
    print(f"{lock}: {len(looked_up)} packages looked up, {len(vulnerable)} with known vulnerabilities")
    return 1 if vulnerable else 0


if __name__ == "__main__":
    run_in_environment(__file__)
    sys.exit(main())

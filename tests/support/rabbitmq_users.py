"""A RabbitMQ of the tests' own with one user for each service, as ``scripts/rabbitmq_users.py`` makes them."""

import os
import subprocess
import sys
from pathlib import Path

from yarl import URL

from scripts.server_processes import RabbitServer

ROOT = Path(__file__).resolve().parents[2]


def rabbitmqctl(server: RabbitServer) -> tuple[str, dict[str, str]]:
    """The command for this server's node, and the environment that it needs."""
    ours = Path("/usr/lib/rabbitmq/bin/rabbitmqctl")  # Debian's own command of that name changes the user
    return str(ours) if ours.exists() else "rabbitmqctl", {**os.environ, **server._environment()}


def run_script(server: RabbitServer, passwords: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command, environment = rabbitmqctl(server)
    script = [sys.executable, str(ROOT / "scripts" / "rabbitmq_users.py")]
    return subprocess.run(
        [*script, "--passwords", str(passwords), "--rabbitmqctl", command, *arguments],
        env=environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


def url_of(url: str, passwords: Path, user: str) -> str:
    """The broker's URL with a user's login in it."""
    password = (passwords / f"{user}.password").read_text()
    return str(URL(url).with_user(user).with_password(password))

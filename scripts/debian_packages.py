"""Debian's packages, installed where that can be done at all.

Only the standard library is imported here.
"""

import os
import shutil
import subprocess


def installed_from_debian(*packages: str) -> bool:
    """Install them where the user is root and there is apt-get; elsewhere False, and nothing is done.

    Raises:
        subprocess.CalledProcessError: apt-get could not install them.
    """
    if not is_root() or shutil.which("apt-get") is None:
        return False
    # With RUNLEVEL=1 a package does not start a server of its own beside ours.
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
    for command in (["update"], ["install", "--yes", "--no-install-recommends", *packages]):
        subprocess.run(["apt-get", "--quiet", *command], env=environment, check=True, stdout=subprocess.DEVNULL)
    return True


def is_root() -> bool:
    return hasattr(os, "geteuid") and os.geteuid() == 0

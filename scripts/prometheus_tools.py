"""Find Prometheus's programs: ``promtool``, which checks and tests rules, and ``prometheus``, the server; and run the
server.

Only the standard library is imported here.
"""

from __future__ import annotations  # so that an older Python is told which one is needed

import contextlib
import os
import shutil
import subprocess
import tempfile
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from scripts.server_processes import HOST, LocalServer
from scripts.servers import ServerNotFound

PACKAGE = "prometheus"
KEPT_IN = Path(__file__).resolve().parent.parent / "build" / "prometheus"


@dataclass(frozen=True)
class PrometheusTools:
    """Both programs, of one version. ``origin`` says in words where they came from."""

    promtool: Path
    prometheus: Path
    origin: str


def find_prometheus_tools(*, download: bool = False, kept_in: Path = KEPT_IN) -> PrometheusTools:
    """Those on the PATH, those of an earlier download in ``kept_in``, or, with ``download``, those of Debian's package.

    The package is unpacked into ``kept_in`` and not installed: installed, it starts a server on port 9090, which is the
    METRICS_PORT of our processes.

    Raises:
        ServerNotFound: saying why each way failed.
    """
    ways: list[tuple[str, Callable[[], PrometheusTools | None]]] = [
        ("no promtool and prometheus on the PATH", _on_path),
        (f"none in {kept_in}", lambda: _unpacked(kept_in)),
    ]
    if download:
        ways.append(("Debian's package prometheus cannot be downloaded", lambda: _from_debian(kept_in)))
    reasons = []
    for missing, way in ways:
        try:
            tools = way()
        except (OSError, subprocess.CalledProcessError) as error:
            reasons.append(f"{missing}: {error}")
            continue
        if tools is not None:
            return tools
        reasons.append(missing)
    raise ServerNotFound("Prometheus's tools are not available: " + "; ".join(reasons))


class PrometheusServer(LocalServer):
    """A Prometheus of our own with the configuration that it is given; paths in there are relative to its folder.

    Args:
        configuration: the text of a ``prometheus.yml``.
        folder: for its data; a temporary one, deleted at the end, if none is given.
    """

    dies_with_us = True

    def __init__(self, tools: PrometheusTools, configuration: str, folder: Path | None = None) -> None:
        super().__init__(folder)
        self._tools = tools
        self._configuration = configuration
        self.url = f"http://{HOST}:{self.port}"
        self.origin = f"prometheus in {self.folder}"

    def _before_start(self) -> None:
        (self.folder / "prometheus.yml").write_text(self._configuration, encoding="utf-8")

    def _command(self) -> Sequence[str]:
        options = {
            "config.file": str(self.folder / "prometheus.yml"),
            "storage.tsdb.path": str(self.folder / "data"),
            "web.listen-address": f"{HOST}:{self.port}",
        }
        return [str(self._tools.prometheus), *(f"--{name}={value}" for name, value in options.items())]

    def _answers(self) -> bool:
        with (
            contextlib.suppress(urllib.error.URLError, OSError),
            urllib.request.urlopen(f"{self.url}/-/ready", timeout=2) as answer,  # nosec B310
        ):
            return bool(answer.status == 200)
        return False


def _on_path() -> PrometheusTools | None:
    promtool, prometheus = shutil.which("promtool"), shutil.which("prometheus")
    if promtool is None or prometheus is None:
        return None
    return PrometheusTools(Path(promtool), Path(prometheus), "the PATH")


def _unpacked(folder: Path) -> PrometheusTools | None:
    programs = folder / "usr" / "bin"
    tools = PrometheusTools(programs / "promtool", programs / "prometheus", f"Debian's package in {folder}")
    return tools if tools.promtool.exists() and tools.prometheus.exists() else None


def _from_debian(folder: Path) -> PrometheusTools | None:
    if shutil.which("apt-get") is None or shutil.which("dpkg") is None:
        return None
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix="prometheus-") as name:
        place = Path(name)
        _download(place)
        (package,) = place.glob(f"{PACKAGE}_*.deb")
        _run("dpkg", "-x", str(package), str(place / "unpacked"), within=place)
        # Of several at once the first one's is kept; all are the same.
        with contextlib.suppress(OSError):
            (place / "unpacked").rename(folder)
    return _unpacked(folder)


def _download(place: Path) -> None:
    try:
        _run("apt-get", "--quiet", "download", PACKAGE, within=place)
    except subprocess.CalledProcessError:
        if not hasattr(os, "geteuid") or os.geteuid() != 0:
            raise
        # A machine that has never asked has no list of packages, and only root may fetch it.
        _run("apt-get", "--quiet", "update", within=place)
        _run("apt-get", "--quiet", "download", PACKAGE, within=place)


def _run(*command: str, within: Path) -> None:
    subprocess.run(command, cwd=within, check=True, stdout=subprocess.DEVNULL)

"""Finding and running Prometheus."""

import os
import shutil
import stat
import subprocess
import urllib.request
from pathlib import Path

import pytest

from scripts import prometheus_tools
from scripts.prometheus_tools import PrometheusServer, find_prometheus_tools
from scripts.server_processes import ServerFailed
from scripts.servers import ServerNotFound

CONFIGURATION = "global: {scrape_interval: 1s}\n"
needs_prometheus = pytest.mark.skipif(shutil.which("prometheus") is None, reason="not run: no prometheus on the PATH")


def programs_in(folder: Path) -> Path:
    folder.mkdir(parents=True)
    for name in ("promtool", "prometheus"):
        (folder / name).write_text("#!/bin/sh\n")
        (folder / name).chmod(stat.S_IRWXU)
    return folder


def test_those_on_the_path_come_first(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(programs_in(tmp_path / "bin")))
    programs_in(tmp_path / "kept" / "usr" / "bin")
    tools = find_prometheus_tools(kept_in=tmp_path / "kept")
    assert (tools.promtool, tools.prometheus) == (tmp_path / "bin" / "promtool", tmp_path / "bin" / "prometheus")


def test_one_of_the_two_is_not_enough(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(programs_in(tmp_path / "bin")))
    (tmp_path / "bin" / "prometheus").unlink()
    with pytest.raises(ServerNotFound, match="no promtool and prometheus on the PATH; none in"):
        find_prometheus_tools(kept_in=tmp_path / "kept")


def test_what_was_downloaded_once_is_found_again(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    programs_in(tmp_path / "usr" / "bin")
    assert find_prometheus_tools(kept_in=tmp_path).promtool == tmp_path / "usr" / "bin" / "promtool"


def test_where_nothing_can_be_had_each_way_says_why(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(ServerNotFound) as caught:
        find_prometheus_tools(download=True, kept_in=tmp_path / "none")
    for way in ("on the PATH", "none in", "Debian's package prometheus cannot be downloaded"):
        assert way in str(caught.value)


def test_debians_package_is_unpacked_and_not_installed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Against an ``apt-get`` that has no package list at first, and a ``dpkg``, which write down what they are told."""
    said = tmp_path / "said"
    fakes = tmp_path / "fakes"
    fakes.mkdir()
    apt = f"""echo "apt-get $*" >> {said}
case "$2" in
  update) touch {tmp_path}/listed ;;
  download) [ -e {tmp_path}/listed ] || exit 100; echo package > prometheus_2.42.0_amd64.deb ;;
esac
"""
    dpkg = f"""echo "dpkg $1" >> {said}
mkdir -p "$3/usr/bin"; touch "$3/usr/bin/promtool" "$3/usr/bin/prometheus"
"""
    for name, body in (("apt-get", apt), ("dpkg", dpkg)):
        (fakes / name).write_text(f"#!/bin/sh\n{body}")
        (fakes / name).chmod(stat.S_IRWXU)
    for name in ("touch", "mkdir"):
        (fakes / name).symlink_to(str(shutil.which(name)))
    monkeypatch.setenv("PATH", str(fakes))
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    tools = find_prometheus_tools(download=True, kept_in=tmp_path / "kept")
    assert tools.prometheus == tmp_path / "kept" / "usr" / "bin" / "prometheus"
    assert said.read_text().splitlines() == [
        "apt-get --quiet download prometheus",
        "apt-get --quiet update",
        "apt-get --quiet download prometheus",
        "dpkg -x",
    ]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["fakes", "kept", "listed", "said"]


@pytest.mark.skipif(os.environ.get("CI") != "true", reason="not run: downloads 19 MB, which only CI is to do each time")
@pytest.mark.skipif(shutil.which("apt-get") is None, reason="not run: this is no Debian")
def test_debians_package_really_has_both(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(prometheus_tools, "_on_path", lambda: None)
    tools = find_prometheus_tools(download=True, kept_in=tmp_path / "kept")
    for program in (tools.promtool, tools.prometheus):
        shown = subprocess.run([program, "--version"], check=True, capture_output=True, text=True)
        assert f"{program.name}, version 2." in shown.stdout + shown.stderr


@needs_prometheus
def test_a_server_of_our_own_runs_what_it_is_given_and_leaves_nothing() -> None:
    with PrometheusServer(find_prometheus_tools(), CONFIGURATION) as server:
        with urllib.request.urlopen(f"{server.url}/api/v1/status/config", timeout=5) as answer:
            assert "scrape_interval: 1s" in answer.read().decode()
        assert server.port != 9090
    assert not server.running
    assert not server.folder.exists()


@needs_prometheus
def test_a_configuration_that_is_none_is_told_with_the_servers_words() -> None:
    with pytest.raises(ServerFailed, match="field scrape_intervall not found"):
        PrometheusServer(find_prometheus_tools(), "global: {scrape_intervall: 1s}\n").start()

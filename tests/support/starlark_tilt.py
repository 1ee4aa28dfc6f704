"""Evaluates a Tiltfile as Tilt does, and records what it asks for.

Tilt's built-ins are here as functions with the parameters of its API documentation (docs.tilt.dev/api.html), so that a
misspelt one fails; those of the extension ``restart_process`` likewise. The dialect is Tilt's: if, for and assigning
again are allowed at the top level, recursion and lambda too, f-strings and types are not (``starkit/environment.go``).
What Tilt refuses after the evaluation (unknown workloads and dependencies, images named twice, steps of a live update
in another order) is refused here too, with ``TiltfileError``.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import starlark
from yaml import safe_dump_all, safe_load_all

from tests.support.kustomize import built, pod_template
from tests.support.tilt_records import (
    Blob,
    FallBackOn,
    Image,
    LocalResource,
    PortForward,
    Resource,
    Run,
    Step,
    Strings,
    Sync,
    TiltfileError,
)

RESTART_BASE_SUFFIX = "-tilt_docker_build_with_restart_base"
_LABEL = re.compile(r"[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?")
_MODULES = """
config = struct(define_string_list=_define_string_list, parse=_parse, set_enabled_resources=_set_enabled_resources)
os = struct(getenv=_getenv)
"""


@dataclass(slots=True)
class Tilt:
    """What a Tiltfile asked for. ``enabled`` is empty where everything runs."""

    folder: Path
    arguments: Sequence[str]
    environment: Mapping[str, str]
    run_local: Callable[[Sequence[str]], str]
    images: dict[str, Image] = field(default_factory=dict)
    objects: list[dict[str, Any]] = field(default_factory=list)
    resources: dict[str, Resource] = field(default_factory=dict)
    buttons: dict[str, LocalResource] = field(default_factory=dict)
    commands: list[tuple[str, ...]] = field(default_factory=list)
    quiet: set[tuple[str, ...]] = field(default_factory=set)
    enabled: list[str] = field(default_factory=list)
    extensions: list[str] = field(default_factory=list)
    _lists: dict[str, bool] = field(default_factory=dict)
    _unused_steps: list[Step] = field(default_factory=list)

    def running(self) -> set[str]:
        """The names of all that runs: what was enabled, with everything that it depends on; all by default."""
        known = self.resources.keys() | self.buttons.keys()
        if not self.enabled:
            return set(known)
        found: set[str] = set()
        waiting = list(self.enabled)
        while waiting:
            if (name := waiting.pop()) not in found:
                found.add(name)
                waiting += self.resources[name].deps if name in self.resources else ()
        return found

    # ---- what is refused at the end

    def check(self) -> None:
        workloads = {one["metadata"]["name"] for one in self.objects if pod_template(one) is not None}
        _none_unknown("workload", {one.workload for one in self.resources.values()}, workloads)
        known = self.resources.keys() | self.buttons.keys()
        for one in (*self.resources.values(), *self.buttons.values()):
            _none_unknown("dependency", one.deps, known)
        _none_unknown("enabled resource", self.enabled, known)
        if self._unused_steps:
            raise TiltfileError(f"steps that no live update uses: {self._unused_steps}")

    # ---- built-ins: images

    def docker_build(
        self,
        ref: str,
        context: str,
        build_args: dict[str, str] | None = None,
        dockerfile: str = "Dockerfile",
        dockerfile_contents: Any = "",
        live_update: list[Step] | None = None,
        match_in_env_vars: bool = False,
        ignore: Strings = (),  # type: ignore[assignment]
        only: Strings = (),  # type: ignore[assignment]
        entrypoint: Strings = (),  # type: ignore[assignment]
        target: str = "",
        ssh: Strings = "",
        network: str = "",
        secret: Strings = "",
        extra_tag: Strings = "",
        container_args: list[str] | None = None,
        cache_from: Strings = (),  # type: ignore[assignment]
        pull: bool = False,
        platform: str = "",
        extra_hosts: Strings = (),  # type: ignore[assignment]
    ) -> None:
        self._add_image(ref, context, build_args, ignore, only, entrypoint, target, live_update or [], "")

    def docker_build_with_restart(
        self,
        ref: str,
        context: str,
        entrypoint: Strings,
        live_update: list[Step],
        base_suffix: str = RESTART_BASE_SUFFIX,
        restart_file: str = "/tmp/.restart-proc",
        trigger: Strings | None = None,
        exit_policy: str = "restart",
        build_args: dict[str, str] | None = None,
        ignore: Strings = (),  # type: ignore[assignment]
        only: Strings = (),  # type: ignore[assignment]
        target: str = "",
        secret: Strings = "",
        network: str = "",
    ) -> None:
        if not live_update:
            raise TiltfileError("`docker_build_with_restart` requires at least one live_update step")
        restarted: list[Step] = [*live_update, Run(f"date > {restart_file}")]
        self._add_image(ref, context, build_args, ignore, only, entrypoint, target, restarted, restart_file)

    def _add_image(
        self,
        ref: str,
        context: str,
        build_args: dict[str, str] | None,
        ignore: Strings,
        only: Strings,
        entrypoint: Strings,
        target: str,
        live_update: list[Step],
        restart_file: str,
    ) -> None:
        if ref in self.images:
            raise TiltfileError(f"Image for ref {ref} has already been defined")
        if any(type(value) is not str for value in (build_args or {}).values()):
            raise TiltfileError(f"build_args of {ref}: expected string values, got {build_args}")
        if any("*" in path for path in _strings(only)):
            raise TiltfileError(f"only of {ref}: paths, no patterns: {only}")
        order = [(FallBackOn, Sync, Run).index(type(step)) for step in live_update]
        if order != sorted(order):
            raise TiltfileError(f"live_update of {ref}: first fall_back_on, then sync, then run")
        for step in live_update:
            self._unused_steps = [unused for unused in self._unused_steps if unused is not step]
        command = ("sh", "-c", entrypoint) if isinstance(entrypoint, str) else tuple(entrypoint)
        self.images[ref] = Image(
            ref,
            context,
            dict(build_args or {}),
            _strings(only),
            _strings(ignore),
            target,
            command,
            tuple(live_update),
            restart_file,
        )

    def fall_back_on(self, files: Strings) -> Any:
        return self._step(FallBackOn(_strings(files)))

    def sync(self, local_path: str, remote_path: str) -> Any:
        if not remote_path.startswith("/"):
            raise TiltfileError(f"sync destination is not absolute: {remote_path}")
        return self._step(Sync(local_path, remote_path))

    def run(self, cmd: Strings, trigger: Strings = (), echo_off: bool = False) -> Any:  # type: ignore[assignment]
        return self._step(Run(cmd))

    def _step(self, step: Step) -> Any:
        self._unused_steps.append(step)
        return starlark.OpaquePythonObject(step)

    # ---- built-ins: Kubernetes

    def kustomize(self, pathToDir: str, kustomize_bin: str | None = None, flags: Strings = ()) -> Any:  # type: ignore[assignment]
        return _blob(safe_dump_all(built(self.folder / pathToDir)))

    def k8s_yaml(self, yaml: Any, allow_duplicates: bool = False) -> None:
        text = yaml.text if isinstance(yaml, Blob) else "\n---\n".join(map(self._read, _strings(yaml)))
        given = [one for one in safe_load_all(text) if one is not None]
        names = [_identity(one) for one in (*self.objects, *given)]
        if twice := {name for name in names if names.count(name) > 1}:
            raise TiltfileError(f"Duplicate YAML: {sorted(twice)}")
        self.objects += given

    def k8s_resource(
        self,
        workload: str = "",
        new_name: str = "",
        port_forwards: Any = (),
        extra_pod_selectors: Any = (),
        trigger_mode: str = "auto",
        resource_deps: list[str] = (),  # type: ignore[assignment]
        objects: list[str] = (),  # type: ignore[assignment]
        auto_init: bool = True,
        pod_readiness: str = "",
        links: Any = (),
        labels: Strings = (),  # type: ignore[assignment]
        discovery_strategy: str = "",
    ) -> None:
        if not workload:
            raise TiltfileError("this world knows resources of workloads only")
        ports = tuple(port_forwards) if isinstance(port_forwards, list | tuple) else (port_forwards,)
        self._new(new_name or workload)
        self.resources[new_name or workload] = Resource(
            workload, ports, _strings(resource_deps), _labels(labels), trigger_mode == "manual"
        )

    def port_forward(
        self,
        local_port: int,
        container_port: int | None = None,
        name: str | None = None,
        link_path: str | None = None,
        host: str | None = None,
    ) -> Any:
        return starlark.OpaquePythonObject(PortForward(local_port, container_port or local_port, link_path or ""))

    # ---- built-ins: this machine

    def local_resource(
        self,
        name: str,
        cmd: Strings,
        deps: Strings = (),  # type: ignore[assignment]
        trigger_mode: str = "auto",
        resource_deps: list[str] = (),  # type: ignore[assignment]
        ignore: Strings = (),  # type: ignore[assignment]
        auto_init: bool = True,
        serve_cmd: Strings = "",
        cmd_bat: Strings = "",
        serve_cmd_bat: Strings = "",
        allow_parallel: bool = False,
        links: Any = (),
        labels: Strings = (),  # type: ignore[assignment]
        env: dict[str, str] | None = None,
        serve_env: dict[str, str] | None = None,
        readiness_probe: Any = None,
        dir: str = "",
        serve_dir: str = "",
    ) -> None:
        self._new(name)
        self.buttons[name] = LocalResource(
            _command(cmd), trigger_mode == "manual", auto_init, _strings(resource_deps), _labels(labels)
        )

    def local(
        self,
        command: Strings,
        quiet: bool = False,
        command_bat: Strings = "",
        echo_off: bool = False,
        env: dict[str, str] | None = None,
        dir: str = "",
        stdin: Any = None,
    ) -> Any:
        given = _command(command)
        self.commands.append(given)
        if quiet:
            self.quiet.add(given)
        return _blob(self.run_local(given))

    def decode_yaml_stream(self, yaml: Any) -> list[Any]:
        text = yaml.text if isinstance(yaml, Blob) else yaml
        return [one for one in safe_load_all(text) if one is not None]

    def encode_yaml_stream(self, objs: list[Any]) -> Any:
        return _blob(safe_dump_all(objs))

    # ---- built-ins: modules

    def define_string_list(self, name: str, args: bool = False, usage: str = "") -> None:
        self._lists[name] = args

    def parse(self) -> dict[str, list[str]]:
        positional = [name for name, takes in self._lists.items() if takes]
        if flags := [argument for argument in self.arguments if argument.startswith("-")]:
            raise TiltfileError(f"unknown flag: {flags[0]}")
        if self.arguments and not positional:
            raise TiltfileError("positional CLI args specified, but none were expected")
        return {positional[0]: list(self.arguments)} if self.arguments else {}

    def set_enabled_resources(self, resources: list[str]) -> None:
        self.enabled = list(resources)

    def getenv(self, key: str, default: Any = None) -> Any:
        return self.environment.get(key, default)

    # ---- helpers

    def _new(self, name: str) -> None:
        if name in self.resources or name in self.buttons:
            raise TiltfileError(f"resource {name} is there twice")

    def _read(self, path: str) -> str:
        return (self.folder / path).read_text(encoding="utf-8")


def evaluate(
    tiltfile: Path,
    run_local: Callable[[Sequence[str]], str],
    arguments: Sequence[str] = (),
    environment: Mapping[str, str] | None = None,
) -> Tilt:
    """What ``tilt up -- ARGUMENTS`` would do. ``run_local`` runs a command of ``local`` and returns what it printed.

    Raises:
        TiltfileError, starlark.StarlarkError: Tilt would stop with it.
    """
    tilt = Tilt(tiltfile.parent, arguments, environment or {}, run_local)
    module = starlark.Module()
    for name in (
        *("docker_build", "fall_back_on", "sync", "run", "kustomize", "k8s_yaml", "k8s_resource", "port_forward"),
        *("local_resource", "local", "decode_yaml_stream", "encode_yaml_stream"),
    ):
        module.add_callable(name, getattr(tilt, name))
    for name in ("define_string_list", "parse", "set_enabled_resources", "getenv"):
        module.add_callable(f"_{name}", getattr(tilt, name))
    module["TRIGGER_MODE_MANUAL"], module["TRIGGER_MODE_AUTO"] = "manual", "auto"
    names = starlark.Globals.extended_by([starlark.LibraryExtension.StructType, starlark.LibraryExtension.Print])
    starlark.eval(module, starlark.parse("modules", _MODULES, _dialect()), names)
    source = starlark.parse(tiltfile.name, tiltfile.read_text(encoding="utf-8"), _dialect())
    starlark.eval(module, source, names, starlark.FileLoader(lambda path: _extension(tilt, path)))
    tilt.check()
    return tilt


def _dialect() -> starlark.Dialect:
    dialect = starlark.Dialect.standard()
    dialect.enable_top_level_stmt = True
    dialect.enable_keyword_only_arguments = True
    dialect.enable_f_strings = False
    dialect.enable_types = starlark.DialectTypes.DISABLE
    return dialect


def _extension(tilt: Tilt, path: str) -> starlark.FrozenModule:
    tilt.extensions.append(path)
    module = starlark.Module()
    if path != "ext://restart_process":
        raise TiltfileError(f"this world has no extension {path}")
    module.add_callable("docker_build_with_restart", tilt.docker_build_with_restart)
    return module.freeze()


def _blob(text: str) -> Any:
    return starlark.OpaquePythonObject(Blob(text))


def _strings(value: Any) -> tuple[str, ...]:
    found = (value,) if isinstance(value, str) else tuple(value)
    if any(type(one) is not str for one in found):
        raise TiltfileError(f"expected strings, got {value}")
    return found


def _command(command: Strings) -> tuple[str, ...]:
    return ("sh", "-c", command) if isinstance(command, str) else _strings(command)


def _labels(labels: Strings) -> tuple[str, ...]:
    found = _strings(labels)
    if wrong := [label for label in found if not _LABEL.fullmatch(label)]:
        raise TiltfileError(f"no label: {wrong[0]!r}")
    return found


def _identity(one: Mapping[str, Any]) -> tuple[str, str, str]:
    return one["kind"], one["metadata"].get("namespace", ""), one["metadata"]["name"]


def _none_unknown(what: str, asked: Any, known: Any) -> None:
    if unknown := sorted(set(asked) - set(known)):
        raise TiltfileError(f"unknown {what}: {', '.join(unknown)}; there are {', '.join(sorted(known))}")

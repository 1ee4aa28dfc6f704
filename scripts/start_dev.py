"""Start everything on this machine, run an example workflow, and stay up.

    python scripts/start_dev.py            stays up until Ctrl-C
    python scripts/start_dev.py --once     ends after the example: exit code 0 if it completed
    python scripts/start_dev.py --folder   where data and logs are kept, ``.conclave`` if not given

Nothing has to be installed but Python 3.11 with pip. Without settings, every service runs in one process without a
broker, and data is kept by an embedded document store. ``DATABASE_URL``, ``RABBITMQ_URL`` and
``COMMUNICATION_PROTOCOL`` (in the environment or in a file ``.env``) point at real servers instead. ``PLUGIN_FOLDER``
names a folder with agents of your own (docs/agent_development_guide.md); without it, that of the examples is taken.
``API_PORT`` is the port of the API, 8000 if not given.

The API wants a key. Where ``API_KEY_HASH_KEY`` and ``INITIAL_ADMIN_KEY`` are not set, both are made at the first start
and kept in the folder, under ``secrets/``: ``curl -H "X-API-Key: $(cat .conclave/secrets/admin-key)" ...``
"""

from __future__ import annotations  # so that an older Python is told which one is needed

import argparse
import contextlib
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from scripts.servers import LocalServer, ServerFailed, free_port
from scripts.setup_environment import ROOT, run_in_environment

if TYPE_CHECKING:
    from rich.console import Console

    from services.runtime.settings import Settings

FOLDER = ROOT / ".conclave"
EXAMPLE = ROOT / "examples" / "airline_new_york_san_francisco.yaml"
DECISION = "vote"
PATHS = (
    *("DATA_FOLDER", "PLUGIN_FOLDER", "AGENT_POLICY", "MESSAGE_KEYS", "ENCRYPTION_KEYS"),
    *("TLS_CA", "TLS_CERTIFICATE", "TLS_KEY"),
    *("API_KEY_HASH_KEY_FILE", "INITIAL_ADMIN_KEY_FILE", "JWT_SECRET_KEY_FILE"),
    *("DATABASE_URL_FILE", "RABBITMQ_URL_FILE", "REDIS_URL_FILE"),
)


def parsed(arguments: list[str]) -> argparse.Namespace:
    """
    Raises:
        SystemExit: help was asked for, and shown; or there is an argument that nobody knows.
    """
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--once", action="store_true", help="end after the example")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where data and logs are kept")
    return parser.parse_args(arguments)


def main(arguments: list[str]) -> int:
    # These are installed by now; the file itself must load on a machine that has nothing.
    from rich.console import Console
    from rich.markup import escape

    from scripts.dev_example import ExampleFailed
    from scripts.dev_processes import CannotStart
    from services.runtime.settings import BadSettings

    options = parsed(arguments)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _end_in_good_order)
    console = Console(highlight=False, soft_wrap=not sys.stdout.isatty())
    try:
        run(development_settings(once=options.once), options.folder.resolve(), once=options.once, console=console)
    except (CannotStart, ExampleFailed, ServerFailed, BadSettings) as error:
        console.print(f"[bold red]start_dev:[/] {escape(str(error))}")
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def development_settings(*, once: bool) -> Settings:
    """Fill in, in this process's environment, what is not set; return what is set then.

    Raises:
        BadSettings: naming each variable with a bad value.
    """
    from dotenv import dotenv_values

    from services.runtime.settings import load_settings

    given = {name: value for name, value in dotenv_values(ROOT / ".env").items() if value}
    given |= {name: value for name, value in os.environ.items() if value}
    bus = "rabbitmq" if {"RABBITMQ_URL", "RABBITMQ_URL_FILE"} & given.keys() else "direct"
    defaults = {
        # Whoever ends after the example needs no well-known port, and disturbs nobody who has it.
        "API_PORT": "0" if once else "8000",
        "LOG_FORMAT": "console",
        "COMMUNICATION_PROTOCOL": given.get("COMM_PROTOCOL", bus),
        "DATA_FOLDER": str(ROOT / "examples" / "data"),
        "PLUGIN_FOLDER": str(ROOT / "examples" / "plugins" / "folder"),
        "AGENT_POLICY": str(ROOT / "examples" / "policy.toml"),
        "MESSAGE_KEYS": str(FOLDER / "keys"),
        "ENCRYPTION_KEYS": str(FOLDER / "keys" / "encryption.json"),
    }
    os.environ.update({**defaults, **given})
    for name in PATHS:  # the services run in a folder of their own
        if os.environ.get(name):
            os.environ[name] = str(Path(os.environ[name]).resolve())
    if os.environ["API_PORT"] == "0":
        os.environ["API_PORT"] = str(free_port())
    return load_settings()


def run(settings: Settings, folder: Path, *, once: bool, console: Console) -> None:
    """Start what is needed, run the example, and wait; everything started is stopped again, however this ends.

    Raises:
        CannotStart, ServerFailed, ExampleFailed, KeyboardInterrupt
    """
    from rich.markup import escape

    from scripts.dev_example import ExampleFailed, run_example, show_decision
    from scripts.dev_plugins import show_plugins
    from scripts.dev_processes import Pidfile, Services, Store, check_port_is_free, only_instance, wait_for_the_end
    from scripts.dev_secrets import in_words, let_in, protect
    from services.runtime.logs import configure_logging
    from services.runtime.settings import LogLevel, load_settings

    with only_instance(folder) as note, contextlib.ExitStack() as running:
        pidfile = Pidfile(folder / "processes.json")
        for pid in pidfile.end_leftovers():
            console.print(f"ended process {pid}, which an instance that was killed had left behind")
        check_port_is_free(settings.api_host, settings.api_port)
        running.callback(pidfile.forget)
        children: list[LocalServer] = []
        data = None if os.environ.get("DATABASE_URL") or os.environ.get("DATABASE_URL_FILE") else folder / "store"
        if data is not None:
            store = Store(data, pidfile)
            os.environ["DATABASE_URL"] = store.url
            children.append(running.enter_context(_starting(store, "document store", console)))
        protection = protect(folder / "secrets", os.environ)
        settings = load_settings()
        configure_logging(settings.model_copy(update={"log_level": LogLevel.WARNING}), "start_dev")
        headers = let_in(settings, protection, data)
        services = Services(folder / "services", settings, pidfile)
        children.append(running.enter_context(_starting(services, "services", console)))
        running.callback(_take_no_more_interrupts, console)
        note.write(f"process {os.getpid()} serves {services.url}")
        note.flush()
        for line in in_words(settings, protection):
            console.print(f"protected: {escape(line)}")
        show_plugins(f"{services.url}/api/v1", headers, os.environ["PLUGIN_FOLDER"], console)
        try:
            show_decision(run_example(f"{services.url}/api/v1", headers, EXAMPLE, console), DECISION, console)
        except ExampleFailed as failure:
            if once:
                raise
            console.print(f"[bold red]{escape(str(failure))}[/]")
        if not once:
            _tell_how_to_go_on(services.url, folder, protection.curl(settings.api_key_header), console)
            with contextlib.suppress(KeyboardInterrupt):
                wait_for_the_end(children)


@contextlib.contextmanager
def _starting(server: LocalServer, what: str, console: Console) -> Iterator[LocalServer]:
    try:
        with console.status(f"starting {what}"):
            server.start()
        console.print(f"{what}: {server.url}   [dim]log: {server.folder / 'server.log'}[/]")
        yield server
    finally:
        server.close()


def _tell_how_to_go_on(url: str, folder: Path, curl: str, console: Console) -> None:
    from rich.markup import escape

    api, curl = f"{url}/api/v1", escape(curl)
    console.print(f"""
[bold]Conclave is up.[/] Ctrl-C stops it; its data stays in {folder}.
  API          {api}
  API docs     {url}/docs
  messages     {url}/asyncapi
  health       {api}/monitoring/health
  operations   docs/operations.md: each process's own port (/metrics, /health), what to look at, alerts

  {curl} {api}/executions
  {curl} {api}/monitoring/health
  {curl} -X POST {api}/workflows -H 'Content-Type: application/yaml' --data-binary @{EXAMPLE}
""")


def _take_no_more_interrupts(console: Console) -> None:
    """A second Ctrl-C must not cut short what the first one began: processes would be left behind."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    console.print("stopping ...")


def _end_in_good_order(number: int, _frame: object) -> None:
    raise SystemExit(128 + number)


if __name__ == "__main__":
    parsed(sys.argv[1:])  # whoever asks for help need not wait for an environment
    run_in_environment(__file__)
    sys.exit(main(sys.argv[1:]))

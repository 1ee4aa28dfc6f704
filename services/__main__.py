"""``python -m services [NAME ...]``: run the named services, each FastStream's way, in this process; no name = all.

``python -m services COMMAND ...`` is for everything else:

asyncapi          write the AsyncAPI 3 document
new-agent         write a package with an agent type of your own to start from
keys              API keys: create, list, rotate, revoke
message-keys      the keys with which services and clients sign messages: create, list, rotate, retire
encryption-keys   the keys with which messages, inputs and outputs are encrypted: create, list, rotate, retire
audit             the audit log: verify
"""

import argparse
import importlib
import sys
from pathlib import Path

from services.runtime.process import run_services
from services.runtime.settings import BadSettings, load_settings

COMMANDS = {
    "asyncapi": "services.runtime.asyncapi",
    "new-agent": "services.plugin_agent.new_agent",
    "keys": "services.access.keys_command",
    "message-keys": "services.runtime.security.message_keys_command",
    "encryption-keys": "services.runtime.security.encryption_keys_command",
    "audit": "services.auditor.audit_command",
}


def service_names() -> list[str]:
    """Every folder here that has an ``app.py`` is a service."""
    return sorted(app.parent.name for app in Path(__file__).parent.glob("*/app.py"))


def main(arguments: list[str]) -> int:
    if arguments and (module := COMMANDS.get(arguments[0])) is not None:
        return int(importlib.import_module(module).main(arguments[1:]))
    names = service_names()
    parser = argparse.ArgumentParser(
        prog="python -m services", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("name", nargs="*", help=f"one or more of: {', '.join(names)}; none = all in one process")
    wanted = parser.parse_args(arguments).name or names
    unknown = [name for name in wanted if name not in names]
    if unknown:
        parser.error(f"no service {', '.join(unknown)}; there are: {', '.join(names)}")
    try:
        settings = load_settings()
    except BadSettings as error:
        print(error, file=sys.stderr)
        return 2
    return run_services(wanted, settings)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))

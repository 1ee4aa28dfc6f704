"""``python -m services [NAME ...]``: run the named services, each FastStream's way, in this process; no name = all.

``python -m services asyncapi [-o FILE]`` writes the AsyncAPI 3 document instead.
``python -m services new-agent NAME [--folder DIR]`` writes a package with an agent type of your own to start from.
"""

import argparse
import sys
from pathlib import Path

from services.runtime.process import run_services
from services.runtime.settings import BadSettings, load_settings


def service_names() -> list[str]:
    """Every folder here that has an ``app.py`` is a service."""
    return sorted(app.parent.name for app in Path(__file__).parent.glob("*/app.py"))


def main(arguments: list[str]) -> int:
    if arguments[:1] == ["asyncapi"]:
        from services.runtime.asyncapi import main as write_asyncapi

        return write_asyncapi(arguments[1:])
    if arguments[:1] == ["new-agent"]:
        from services.plugin_agent.new_agent import main as write_agent

        return write_agent(arguments[1:])
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

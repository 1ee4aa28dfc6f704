"""Run the example workflow, or one of your own, through the API of any installation, and show it while it runs.

    python scripts/run_example.py --key-file .conclave/deployment/admin/admin-key
    python scripts/run_example.py --api https://conclave.example.org --key-file admin-key my_workflow.yaml

The key needs the roles that store and execute workflows; the admin key has them all. Ends with 0 if the workflow
completed.
"""

from __future__ import annotations  # so that an older Python is told which one is needed

import argparse
import os
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from scripts.setup_environment import run_in_environment
from scripts.start_dev import DECISION, EXAMPLE

API, HEADER = "http://127.0.0.1:8000", "X-API-Key"
PAUSE = 0.5  # seconds


def parsed(arguments: list[str]) -> argparse.Namespace:
    """
    Raises:
        SystemExit: help was asked for, and shown; or there is an argument that nobody knows.
    """
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("definition", type=Path, nargs="?", default=EXAMPLE, help="YAML or JSON; the example by default")
    add("--api", default=API, metavar="URL", help=f"where the edge is, without /api/v1 ({API})")
    add("--key-file", type=Path, required=True, metavar="FILE", help="the API key")
    add("--header", default=os.environ.get("API_KEY_HEADER", HEADER), help=f"that the key goes into ({HEADER})")
    add("--patience", type=float, default=120.0, metavar="SECONDS", help="how long the workflow may take (120)")
    add("--wait", type=float, default=60.0, metavar="SECONDS", help="how long the API may take to be ready (60)")
    return parser.parse_args(arguments)


def main(arguments: list[str]) -> int:
    # These are installed by now; the file itself must load on a machine that has nothing.
    import httpx
    from rich.console import Console
    from rich.markup import escape

    from scripts.dev_example import ExampleFailed, run_example, show_decision

    options = parsed(arguments)
    console = Console(highlight=False, soft_wrap=not sys.stdout.isatty())
    try:
        wait_until_ready(options.api, options.wait)
        headers = {options.header: options.key_file.read_text(encoding="utf-8").strip()}
        api = f"{options.api.rstrip('/')}/api/v1"
        view = run_example(api, headers, options.definition, console, patience=options.patience)
        if options.definition == EXAMPLE:
            show_decision(view, DECISION, console)
    except (ExampleFailed, OSError) as error:
        console.print(f"[bold red]run_example:[/] {escape(str(error))}")
        return 1
    except httpx.HTTPError as error:
        console.print(f"[bold red]run_example:[/] {escape(options.api)} does not answer: {escape(str(error))}")
        return 1
    return 0


def wait_until_ready(api: str, patience: float) -> None:
    """Return once the edge at ``api`` is ready, or after ``patience`` seconds: whoever asks it then is told why not.

    Raises:
        httpx.HTTPError: nothing answers there.
    """
    import httpx

    deadline = time.monotonic() + patience
    while True:
        late = time.monotonic() > deadline
        try:
            if httpx.get(f"{api.rstrip('/')}/health/ready", timeout=5.0).is_success or late:
                return
        except httpx.TransportError:
            if late:
                raise
        time.sleep(PAUSE)


if __name__ == "__main__":
    parsed(sys.argv[1:])  # whoever asks for help need not wait for an environment
    run_in_environment(__file__)
    sys.exit(main(sys.argv[1:]))

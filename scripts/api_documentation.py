"""Write docs/api_documentation.md and the pages below docs/api/: every route and every message, with worked examples.

    python scripts/api_documentation.py            run the examples, record what comes if it changed, write the pages
    python scripts/api_documentation.py --check    run nothing; fail if the pages are not what code and recording make

What the examples gave is kept in docs/api/examples.json. It is recorded with every service in this process and the
embedded document store; a test runs the same examples and compares. Routes and messages come from the OpenAPI and
AsyncAPI documents. A route or message without an example is refused by its name.
"""

import argparse
import asyncio
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from scripts.api_pages import messages, routes
from scripts.api_pages.comparing import Comparison
from scripts.api_pages.examples import Example, RouteExample, planned, read, write
from scripts.api_pages.index import FOLDER, index_page
from scripts.api_pages.recording import changes, record_embedded
from scripts.api_pages.routes import MissingExample
from scripts.api_pages.schemas import Json, described
from scripts.api_pages.system import built_services, documented_settings
from scripts.setup_environment import ROOT
from services.runtime.asyncapi import asyncapi_document
from services.runtime.bus.direct_broker import DirectBroker
from services.runtime.logs import configure_logging
from services.runtime.process import Runnable
from services.runtime.settings import LogFormat, LogLevel

DOCS = ROOT / "docs"
EXAMPLES = DOCS / FOLDER / "examples.json"
# Tags of routes, in the order in which the pages are listed.
TITLES: Mapping[str, str] = {
    "workflows": "Workflows",
    "executions": "Executions",
    "agents": "Agents",
    "monitoring": "Monitoring, dead letters and audit",
    "keys": "API keys",
    "system": "The edge itself",
}
_NOWHERE = "mongodb://localhost:1/conclave"  # services are built, not started


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing, fail if something is out of date")
    options = parser.parse_args(arguments)
    try:
        return check() if options.check else renew()
    except MissingExample as missing:
        print(missing, file=sys.stderr)
        return 1


def check() -> int:
    stale = out_of_date(pages(read(EXAMPLES)))
    for path in stale:
        print(f"{path.relative_to(ROOT)} is out of date: run `python scripts/api_documentation.py`", file=sys.stderr)
    return 1 if stale else 0


def renew() -> int:
    """Keep the recording where nothing of it changed, so that the pages do not change with every run either."""
    old = read(EXAMPLES)
    new = asyncio.run(record_embedded(planned(openapi_document(services_there_are()))))
    if differ(old, new):
        write(EXAMPLES, new)
    else:
        new = old
    made = pages(new)
    for path in out_of_date(made):
        if path not in made:
            path.unlink()
            continue
        path.write_text(made[path], encoding="utf-8")
        print(f"wrote {path.relative_to(ROOT)}")
    return 0


def differ(old: Sequence[Example], new: Sequence[Example]) -> bool:
    """Whether two recordings show anything else but other times, durations and ids."""
    skeleton = {"answer", "envelope", "exchange", "routing_key"}
    if [one.model_dump(exclude=skeleton) for one in old] != [one.model_dump(exclude=skeleton) for one in new]:
        return True
    comparison = Comparison()
    return any(list(changes_between(one, other, comparison)) for one, other in zip(old, new, strict=True))


def changes_between(old: Example, new: Example, comparison: Comparison) -> list[str]:
    """As ``changes``, where what came was recorded too."""
    came: Any = new.answer if not hasattr(new, "having") else new
    if hasattr(new, "having"):
        found = list(comparison.differences(old.envelope, new.envelope, figures=old.figures))  # type: ignore[union-attr]
        return found
    return list(changes(old, came, comparison))


# ---- pages


def pages(examples: Sequence[Example]) -> dict[Path, str]:
    """Path -> text, of every page.

    Raises:
        MissingExample: naming the routes, or the messages, that have none.
    """
    services = services_there_are()
    openapi, asyncapi = openapi_document(services), asyncapi_document()
    of_routes = [example for example in examples if isinstance(example, RouteExample)]
    routes.check_examples(openapi, of_routes)
    messages.check_examples(examples)
    folder = DOCS / FOLDER
    made = {DOCS / "api_documentation.md": index_page(openapi, examples, TITLES)}
    for tag, names in routes.by_resource(openapi).items():
        made[folder / f"{tag}.md"] = routes.resource_page(TITLES[tag], names, openapi, of_routes, _schemas_of_rest)
    takers = messages.takers_of(services)
    for page, (_, title) in messages.PAGES.items():
        kinds = [kind for kind in asyncapi["components"]["messages"] if messages.page_of(kind) == page]
        made[folder / f"{page}.md"] = messages.message_page(
            title, kinds, asyncapi, takers, _schemas_of_messages, examples
        )
    made[folder / "schemas.md"] = _schemas_page("Schemas of REST", openapi["components"]["schemas"])
    made[folder / "message_schemas.md"] = _schemas_page("Schemas of messages", messages.schemas_of(asyncapi))
    return made


def services_there_are() -> list[Runnable]:
    return built_services(documented_settings(_NOWHERE), DirectBroker())


def openapi_document(services: Sequence[Runnable]) -> Json:
    """That of the edge among these services."""
    edge: Any = next(service for service in services if service.name == "edge")
    document: Json = edge.app.openapi()
    return document


def out_of_date(made: Mapping[Path, str]) -> list[Path]:
    """Pages that are not as they were made, are not there, or are there and were not made."""
    there = {path: path.read_text(encoding="utf-8") for path in (DOCS / FOLDER).glob("*.md")}
    stale = [path for path, text in made.items() if not path.exists() or path.read_text(encoding="utf-8") != text]
    return sorted([*stale, *(path for path in there if path not in made)])


def _schemas_page(title: str, schemas: Mapping[str, Json]) -> str:
    lines = [f"# {title}", "", "[All routes and messages](../api_documentation.md). Generated; do not edit.", ""]
    for name in sorted(schemas):
        lines += described(name, schemas[name])
    return "\n".join(lines).rstrip() + "\n"


def _schemas_of_rest(name: str) -> str:
    return f"schemas.md#{name.lower()}"


def _schemas_of_messages(name: str) -> str:
    return f"message_schemas.md#{name.lower()}"


if __name__ == "__main__":
    quiet = documented_settings(_NOWHERE, log_level=LogLevel.CRITICAL, log_format=LogFormat.CONSOLE)
    configure_logging(quiet, "api_documentation")
    sys.exit(main(sys.argv[1:]))

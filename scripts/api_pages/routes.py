"""Pages about routes: each with who may call it, what it takes and gives, and its examples."""

from collections.abc import Iterable, Mapping, Sequence
from http import HTTPStatus

from contracts.access import Role
from scripts.api_pages.curl import json_text
from scripts.api_pages.examples import Answer, RouteExample, operations_of
from scripts.api_pages.schemas import Json, Link, parameters, sentence, type_of
from services.edge.access.scopes import SCOPES, Scope

_PROBLEM_PAGE = "../api_documentation.md#errors"


class MissingExample(Exception):
    """A route or a message has no example; the message names each."""


def by_resource(openapi: Json) -> dict[str, list[str]]:
    """Tag -> its operations, both in the order of the document."""
    found: dict[str, list[str]] = {}
    for name, (_, _, operation) in operations_of(openapi).items():
        found.setdefault(operation["tags"][0], []).append(name)
    return found


def check_examples(openapi: Json, examples: Iterable[RouteExample]) -> None:
    """
    Raises:
        MissingExample: naming every route without one that succeeds.
    """
    shown = {example.operation for example in examples if example.expected < 400}
    operations = operations_of(openapi)
    missing = [f"{operations[name][0]} {operations[name][1]} ({name})" for name in operations if name not in shown]
    if missing:
        raise MissingExample(
            f"no example of {', '.join(missing)}: add a Call to scripts/api_pages/story.py, then run"
            " `python scripts/api_documentation.py`"
        )


def resource_page(title: str, names: Sequence[str], openapi: Json, examples: Sequence[RouteExample], link: Link) -> str:
    operations = operations_of(openapi)
    lines = [f"# {title}", "", "[All routes and messages](../api_documentation.md). Generated; do not edit.", ""]
    lines += [
        f"- [`{method} {path}`](#{name.lower()}): {operation['summary']}"
        for name in names
        for method, path, operation in [operations[name]]
    ]
    for name in names:
        method, path, operation = operations[name]
        own = [example for example in examples if example.operation == name]
        lines += ["", *route_section(name, method, path, operation, own, link)]
    return "\n".join(lines).replace("\n\n\n", "\n\n").rstrip() + "\n"


def route_section(
    name: str, method: str, path: str, operation: Json, examples: Sequence[RouteExample], link: Link
) -> list[str]:
    lines = [f"## {name}", "", f"`{method} {path}`", "", f"{operation['summary']}.", ""]
    if operation.get("description"):
        lines += [sentence(operation["description"]), ""]
    lines += [who_may(operation), ""]
    if table := parameters(operation.get("parameters", ()), link):
        lines += [*table, ""]
    if body := operation.get("requestBody"):
        lines += [_body_of(body, link), ""]
    lines += [*_answers(operation["responses"], link), ""]
    for example in examples:
        lines += example_lines(example)
    return lines


def who_may(operation: Json) -> str:
    """Which scope it needs and which roles have that."""
    needed: list[str] = next((scopes for one in operation.get("security", ()) for scopes in one.values()), [])
    if not needed:
        return "Open to everybody: no key is needed."
    scope = needed[0]
    roles = [role.value for role in Role if Scope(scope) in SCOPES[role]]
    return f"Needs the scope `{scope}`; of the roles, {listed(roles)} {'has' if len(roles) == 1 else 'have'} it."


def _body_of(body: Json, link: Link) -> str:
    kinds = list(body["content"])
    schema = body["content"][kinds[0]]["schema"]
    need = "required" if body.get("required") else "may be left out"
    return f"Body ({need}), as {listed([f'`{one}`' for one in kinds], 'or')}: {type_of(schema, link)}."


def _answers(responses: Mapping[str, Json], link: Link) -> list[str]:
    """Successes in a line each, problems in one."""
    lines = ["| status | answer |", "|---|---|"]
    problems = []
    for status, response in responses.items():
        content = response.get("content", {})
        kinds = [kind for kind in content if kind != "application/problem+json"]
        if kinds or int(status) < 400:
            lines.append(f"| {status} | {_answer(response, content, kinds, link)} |")
        if "application/problem+json" in content:
            problems.append(status)
    if problems:
        lines.append(f"| {', '.join(problems)} | a [problem]({_PROBLEM_PAGE}) |")
    return lines


def _answer(response: Json, content: Json, kinds: Sequence[str], link: Link) -> str:
    schemas = [content[kind].get("schema", {}) for kind in kinds]
    types = list(dict.fromkeys(type_of(schema, link) for schema in schemas if schema))
    said = sentence(response.get("description", "")).replace("|", "\\|").rstrip(".")
    shown = f"{said}: {' or '.join(types)}" if types else said
    others = [kind for kind in kinds if kind != "application/json"]
    shown += f", as {listed([f'`{one}`' for one in kinds], 'or')}" if others else ""
    headers = [f"`{name}`: {sentence(one['description'])}" for name, one in response.get("headers", {}).items()]
    return ". ".join([shown, *(one.rstrip(".") for one in headers)]) + "."


# ---- examples


def example_lines(example: RouteExample) -> list[str]:
    assert example.answer is not None, f"example {example.n} was never recorded"
    lines = [f"**Example {example.n}.** {example.about}", "", "```sh", example.curl, "```", ""]
    if example.until is not None:
        place, value = example.until
        lines += [f"Repeated until `{place}` {'is' if ' ' not in value else 'begins with'} `{value}`:", ""]
    lines += ["```http", *answer_lines(example.answer), "```", ""]
    for name, place in example.keep.items():
        lines += [f"In what follows, `${name}` is this answer's `{place}`.", ""]
    return lines


def answer_lines(answer: Answer) -> list[str]:
    lines = [f"HTTP/1.1 {answer.status} {HTTPStatus(answer.status).phrase}"]
    lines += [f"{name.title()}: {text}" for name, text in answer.headers.items()]
    if answer.text is not None:
        return [*lines, "", *answer.text.rstrip("\n").split("\n")] if answer.text else lines
    return [*lines, "", *json_text(answer.body).split("\n")]


def listed(words: Sequence[str], last: str = "and") -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} {last} {words[-1]}"

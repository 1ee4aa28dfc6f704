"""The pages about routes and messages are what the code and the recorded examples make, and lack none of either."""

import json
import re
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from contracts.catalog import MESSAGES
from contracts.envelope import envelope_of
from scripts import api_documentation as documentation
from scripts.api_pages import messages, routes
from scripts.api_pages.cleaning import CUT, EPOCH, WITHIN, Cleaner, cut
from scripts.api_pages.comparing import Comparison
from scripts.api_pages.curl import Request, curl_of, json_text, path_of, request_of
from scripts.api_pages.examples import (
    Example,
    PublishedExample,
    RouteExample,
    WatchedExample,
    operations_of,
    planned,
    read,
)
from scripts.api_pages.routes import MissingExample
from scripts.api_pages.schemas import allowed, described, fields, type_of
from services.edge.problems import KINDS

DOCS = documentation.DOCS


@cache
def openapi() -> dict[str, Any]:
    return documentation.openapi_document(documentation.services_there_are())


@cache
def examples() -> tuple[Example, ...]:
    return tuple(read(documentation.EXAMPLES))


@cache
def made() -> dict[Path, str]:
    return documentation.pages(examples())


def of_routes() -> list[RouteExample]:
    return [example for example in examples() if isinstance(example, RouteExample)]


# ---- the pages


def test_the_pages_are_those_that_the_code_makes(capsys: pytest.CaptureFixture[str]) -> None:
    assert documentation.check() == 0, capsys.readouterr().err


def test_check_names_a_page_that_is_out_of_date(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "api").mkdir()
    (tmp_path / "api" / "left_over.md").write_text("of a resource that is gone")
    (tmp_path / "api" / "keys.md").write_text("old")
    monkeypatch.setattr(documentation, "DOCS", tmp_path)
    pages = {tmp_path / "api" / "keys.md": "new", tmp_path / "api_documentation.md": "new"}
    stale = documentation.out_of_date(pages)
    assert [path.name for path in stale] == ["keys.md", "left_over.md", "api_documentation.md"]


def test_the_recorded_examples_are_those_of_the_stories() -> None:
    results = {"answer", "envelope", "exchange", "routing_key"}
    shown = [example.model_dump(exclude=results) for example in examples()]
    assert shown == [example.model_dump(exclude=results) for example in planned(openapi())]


def test_every_route_is_reachable_from_the_first_page() -> None:
    index = made()[DOCS / "api_documentation.md"]
    for name, (method, path, operation) in operations_of(openapi()).items():
        page = f"api/{operation['tags'][0]}.md"
        assert f"[`{method} {path}`]({page}#{name.lower()})" in index
        assert f"\n## {name}\n" in made()[DOCS / page]


def test_every_message_is_reachable_from_the_first_page() -> None:
    index = made()[DOCS / "api_documentation.md"]
    for kind in MESSAGES:
        page = f"api/{messages.page_of(kind)}.md"
        assert f"[`{kind}`]({page}#{messages.anchor(kind)})" in index
        assert f"\n## {kind}\n" in made()[DOCS / page]


def test_every_kind_of_problem_is_listed() -> None:
    index = made()[DOCS / "api_documentation.md"]
    assert [kind for kind in KINDS if f"| `{kind}` |" not in index] == []


def test_links_between_the_pages_lead_to_headings() -> None:
    anchors = {
        path: {heading_anchor(line) for line in text.splitlines() if line.startswith("#")}
        for path, text in made().items()
    }
    for path, text in made().items():
        for target, anchor in re.findall(r"\]\(([^)#\s]*)#([^)\s]+)\)", without_code(text)):
            page = (path.parent / target).resolve() if target else path
            assert anchor in anchors[page], f"{path.name}: {target}#{anchor}"


def headings(text: str) -> list[str]:
    return [line for line in without_code(text).splitlines() if line.startswith("#")]


def heading_anchor(line: str) -> str:
    """As GitHub makes it."""
    return re.sub(r"[^\w\- ]", "", line.lstrip("#").strip().lower()).replace(" ", "-")


def without_code(text: str) -> str:
    return re.sub(r"```.*?```", "", text, flags=re.DOTALL)


def test_what_the_pages_tell_to_type_is_what_the_test_runs() -> None:
    pages = [text for path, text in made().items() if path.parent.name == "api"]
    typed = [block for text in pages for block in re.findall(r"```sh\n(.*?)\n```", text, re.DOTALL)]
    assert sorted(typed) == sorted(example.curl for example in of_routes())


def test_no_secret_of_the_examples_is_shown() -> None:
    shown = documentation.EXAMPLES.read_text(encoding="utf-8") + "".join(made().values())
    secrets = {secret for _, secret in re.findall(r"(ck_[a-z0-9]{12})_([A-Za-z0-9_-]{43})", shown)}
    assert len(secrets) == 1
    assert "not_shown_here" in secrets.pop()


# ---- nothing is missing


def test_a_route_without_an_example_is_named() -> None:
    document = json.loads(json.dumps(openapi()))
    document["paths"]["/api/v1/weather"] = {"get": {"operationId": "getWeather", "tags": ["system"]}}
    with pytest.raises(MissingExample, match=r"no example of GET /api/v1/weather \(getWeather\)"):
        routes.check_examples(document, of_routes())


@pytest.mark.parametrize("operation", ["createKey", "getStepOutput"])
def test_an_example_of_a_failure_alone_is_not_enough(operation: str) -> None:
    left = [one for one in of_routes() if one.operation != operation or one.expected >= 400]
    with pytest.raises(MissingExample, match=operation):
        routes.check_examples(openapi(), left)


@pytest.mark.parametrize("kind", MESSAGES)
def test_a_message_without_an_example_is_named(kind: str) -> None:
    left = [
        one
        for one in examples()
        if isinstance(one, RouteExample)
        or (one.type != kind and not (isinstance(one, PublishedExample) and one.answer_type == kind))
    ]
    with pytest.raises(MissingExample, match=re.escape(kind)):
        messages.check_examples(left)


def test_a_kind_of_message_that_no_page_is_for_is_named() -> None:
    with pytest.raises(ValueError, match=r"weather\.changed\.v1"):
        messages.page_of("weather.changed.v1")


def test_a_story_that_calls_what_there_is_not_is_refused() -> None:
    document = json.loads(json.dumps(openapi()))
    del document["paths"]["/health"]
    with pytest.raises(ValueError, match="getHealth"):
        planned(document)


# ---- what the examples show


def uncut(value: Any) -> bool:
    """Whether nothing of it was left out."""
    text = json.dumps(value, ensure_ascii=False)
    return CUT not in text and WITHIN not in text


def test_messages_that_are_shown_whole_are_messages() -> None:
    checked = []
    for example in examples():
        if isinstance(example, RouteExample):
            continue
        shown = [example.envelope, example.answer if isinstance(example, PublishedExample) else None]
        for envelope in shown:
            if envelope is not None and uncut(envelope):
                envelope_of(MESSAGES[envelope["type"]]).model_validate_json(json.dumps(envelope))
                checked.append(envelope["type"])
    assert len(set(checked)) > 35


def test_answers_that_are_shown_whole_fit_the_schemas_of_their_routes() -> None:
    checked = 0
    for example in of_routes():
        assert example.answer is not None
        responses = operations_of(openapi())[example.operation][2]["responses"]
        response = responses[str(example.answer.status)]
        kind = example.answer.headers.get("content-type", "").partition(";")[0]
        if example.answer.text is None and uncut(example.answer.body):
            schema = {**response["content"][kind]["schema"], "components": openapi()["components"]}
            faults = [fault.message for fault in Draft202012Validator(schema).iter_errors(example.answer.body)]
            assert faults == [], f"example {example.n}"
            checked += 1
    assert checked > 30


def test_the_commands_that_clients_may_send_are_published() -> None:
    published = {example.type for example in examples() if isinstance(example, PublishedExample)}
    assert {message_class.TYPE for message_class in messages.REPLIES} <= published
    answered = [one for one in examples() if isinstance(one, PublishedExample) and one.asks]
    assert all(one.answer_type for one in answered)
    assert any(isinstance(one, WatchedExample) for one in examples())


def test_who_takes_a_message_is_what_the_services_tables_say() -> None:
    takers = messages.takers_of(documentation.services_there_are())
    assert takers["execution.start.v1"] == [
        messages.Taker("orchestrator", "orchestrator.commands"),
        messages.Taker("orchestrator", "orchestrator.starts"),
    ]
    assert takers["step.run.v1"] == [
        messages.Taker("an agent host", "TYPE"),
        messages.Taker("an agent host", "TYPE.quarantine"),
        messages.Taker("orchestrator", "orchestrator.crashed"),
    ]


# ---- commands for curl


@pytest.mark.parametrize(
    "request_",
    [
        Request("GET", "$edge/health"),
        Request("DELETE", "$edge/api/v1/keys/$key_id", {"X-API-Key": "$key"}),
        Request("POST", "$edge/a", {"Content-Type": "application/json"}, '{"it\'s": "$5 \\\\ \\"quoted\\""}'),
        Request(
            "POST", "$edge/" + "a" * 120, {"A": "b" * 50, "Content-Type": "application/yaml"}, "a: 1\nb: |\n  c \\\n"
        ),
        Request("POST", "$edge/a/cancel", {}, None),
    ],
    ids=["get", "delete", "quotes", "long", "no body"],
)
def test_a_request_is_the_same_when_its_command_is_read(request_: Request) -> None:
    assert request_of(curl_of(request_)) == request_


def test_variables_are_put_in_where_the_shell_does_it() -> None:
    request = Request("POST", "$edge/x/$it", {"X-API-Key": "$key", "A": "$5"}, "price < $budget")
    values = {"edge": "http://here", "it": "7", "key": "k"}
    with_values = request.with_values(values)
    assert with_values == Request("POST", "http://here/x/7", {"X-API-Key": "k", "A": "$5"}, "price < $budget")
    with pytest.raises(KeyError, match="key"):
        request.with_values({"edge": "e", "it": "7"})


@pytest.mark.parametrize("command", ["wget x", "", "curl -k https://x", "curl a b"])
def test_what_is_no_command_of_ours_is_refused(command: str) -> None:
    with pytest.raises(ValueError, match=r"not a command|is not known here"):
        request_of(command)


def test_a_path_has_all_its_parameters() -> None:
    assert path_of("/a/{id}/b", {"id": "x y"}, {"after": "$next", "n": 2}) == "/a/x%20y/b?after=$next&n=2"
    with pytest.raises(ValueError, match=r"/a/\{id\}/b needs a value"):
        path_of("/a/{id}/b", {}, {})


@pytest.mark.parametrize("value", [{}, [], {"a": [1, 2, {"b": None}]}, {"k" * 60: ["v" * 60, {"x": "y" * 90}]}, "text"])
def test_json_is_laid_out_without_change(value: Any) -> None:
    text = json_text(value)
    assert json.loads(text) == value
    assert ("\n" in text) == (len(json.dumps(value)) > 110)


# ---- cleaning


def test_long_things_are_cut_by_rule() -> None:
    shown = cut({"items": [1, 2, 3], "text": "x" * 700, "deep": {"a": {"b": 1}}, "none": {}}, depth=2)
    assert shown == {
        "items": [1, 2, "… 1 more"],
        "text": "x" * 600 + " … 100 more",
        "deep": {"a": WITHIN},
        "none": {},
    }
    many = cut({f"m{i}": i for i in range(30)})
    assert len(many) == 25
    assert many["…"] == "… 6 more members"


def test_times_are_those_of_one_day_and_secrets_are_gone() -> None:
    began = EPOCH.timestamp() + 1_000_000
    cleaner = Cleaner(began)
    key = "ck_abcdefghijkl_" + "s" * 43
    shown = cleaner.clean(
        {"at": began + 1.5, "n": 7, "when": "2026-02-11T23:16:41.500000Z", "key": f"{key}!", "ok": True}
    )
    assert shown["at"] == EPOCH.timestamp() + 1.5
    assert (shown["n"], shown["ok"]) == (7, True)
    assert shown["when"] == "2026-01-31T09:30:01.500000Z"
    assert shown["key"].startswith("ck_abcdefghijkl_not_shown_here")
    assert "sss" not in shown["key"]


# ---- comparing

ID, OTHER = "0" * 32, "f" * 32


@pytest.mark.parametrize(
    ("shown", "came"),
    [
        ({"a": 1, "at": 1.0}, {"at": 2.0, "a": 1}),
        ({"id": ID, "same": f"x-{ID}"}, {"id": OTHER, "same": f"x-{OTHER}"}),
        ([1, 2, "… 3 more"], [1, 2, 3]),
        ({"a": "{…}"}, {"a": {"b": 1}}),
        ({"when": "2026-01-31T09:30:00Z"}, {"when": "2027-01-01T00:00:00.123456Z"}),
        ({"duration_seconds": 0.1, "next": "abc"}, {"duration_seconds": 7, "next": "xyz"}),
        ("within 2 s", "within 11.5 s"),
    ],
)
def test_what_no_two_runs_have_in_common_may_differ(shown: Any, came: Any) -> None:
    assert list(Comparison().differences(shown, came)) == []


@pytest.mark.parametrize(
    ("shown", "came", "said"),
    [
        ({"a": 1}, {"a": 2}, "body.a: 1 is shown, 2 came"),
        ({"a": 1}, {"a": 1, "b": 1}, "body: members"),
        ({"a": 1, "b": 1}, {"a": 1}, "body: members"),
        ({"at": 1.0}, {"at": None}, "body.at"),
        ([1], [1, 2], "body: 1 items are shown, 2 came"),
        ([1, "… 3 more"], [1], "body: 1 items and more are shown, 1 came"),
        ({"a": ID, "b": ID}, {"a": OTHER, "b": "e" * 32}, "body.b"),
        ("of 2 steps", "of 3 steps", "of 2 steps"),
        (True, 1.5, "True is shown"),
        ("text", None, "None came"),
    ],
)
def test_everything_else_is_a_difference(shown: Any, came: Any, said: str) -> None:
    found = list(Comparison().differences(shown, came))
    assert len(found) == 1
    assert said in found[0]


def test_of_figures_only_the_shape_counts() -> None:
    comparison = Comparison()
    shown = {"n": 1, "rate": None, "list": [{"a": "x"}], "counts": {"idle": 1}}
    came = {"n": 5, "rate": 0.5, "list": [{"a": "y"}, {"a": "z"}], "counts": {"idle": 2, "error": 1}}
    assert list(comparison.differences(shown, came, figures=True)) == []
    assert len(list(comparison.differences(shown, {**came, "n": "5"}, figures=True))) == 1
    assert len(list(comparison.differences(shown, {**came, "list": [{"b": "y"}]}, figures=True))) == 1


# ---- schemas


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        ({}, "any"),
        ({"type": "string", "format": "date-time"}, "time"),
        ({"anyOf": [{"type": "integer"}, {"type": "null"}]}, "whole number or null"),
        ({"type": "array", "items": {"$ref": "#/components/schemas/Step"}}, "list of [Step](#step)"),
        ({"type": "object", "additionalProperties": {"type": "number"}}, "object of number by name"),
        ({"enum": ["a", "b"]}, "`a` or `b`"),
        ({"const": "x"}, "`x`"),
        ({"type": "array", "prefixItems": [{"type": "string"}, {"type": "boolean"}]}, "list of text, true or false"),
    ],
)
def test_types_are_said_in_words(schema: dict[str, Any], words: str) -> None:
    assert type_of(schema) == words


def test_limits_are_said_in_words() -> None:
    assert allowed({"minimum": 1, "maximum": 500}) == "at least 1, at most 500"
    assert (
        allowed({"anyOf": [{"type": "string", "minLength": 1, "maxLength": 20}, {"type": "null"}]})
        == "1 to 20 characters"
    )
    assert allowed({"type": "string", "pattern": "a|b"}) == "`a\\|b`"


def test_a_table_says_what_has_to_be_there_and_what_is_taken_without() -> None:
    schema = {
        "properties": {
            "id": {"type": "string", "description": "Its ``name``."},
            "limit": {"type": "integer", "default": 50, "minimum": 1},
        },
        "required": ["id"],
        "additionalProperties": False,
    }
    assert fields(schema)[2:] == [
        "| `id` | text | required | Its `name`. |",
        "| `limit` | whole number | `50` if not given | Allowed: at least 1. |",
    ]
    assert described("Thing", schema)[-2:] == ["Other fields are refused.", ""]

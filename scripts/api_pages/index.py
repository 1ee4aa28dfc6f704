"""The page that one begins with: conventions that hold everywhere, and the list of all routes and messages."""

from collections.abc import Mapping, Sequence

from contracts.access import Role
from contracts.catalog import MESSAGES
from contracts.envelope import Envelope
from scripts.api_pages.cleaning import RULES
from scripts.api_pages.examples import Example, RouteExample, operations_of
from scripts.api_pages.messages import PAGES, anchor, page_of
from scripts.api_pages.routes import by_resource
from scripts.api_pages.schemas import Json, fields
from services.edge.access.scopes import SCOPES, Scope
from services.edge.problems import KINDS

FOLDER = "api"


def index_page(openapi: Json, examples: Sequence[Example], titles: Mapping[str, str]) -> str:
    """``titles``: of the pages about routes, by tag."""
    parts = [
        _BEGINNING.format(rules=RULES),
        _contents(titles),
        _AUTHENTICATION,
        _roles(),
        _REQUESTS,
        _errors(openapi, examples),
        _PAGING,
        _routes(openapi, titles),
        _messages(),
        _envelope(),
    ]
    return "\n\n".join(part.strip("\n") for part in parts) + "\n"


def _contents(titles: Mapping[str, str]) -> str:
    lines = ["- Conventions: [who may ask](#who-may-ask), [requests](#requests), [errors](#errors), [paging](#paging),"]
    lines += [
        "  [repeating safely](#repeating-safely), [following a request](#following-a-request), [versions](#versions)"
    ]
    lines += ["- [All routes](#all-routes): " + ", ".join(f"[{tag}]({FOLDER}/{tag}.md)" for tag in titles)]
    lines += [
        f"- [All messages](#all-messages), [the envelope](#the-envelope), [schemas of REST]({FOLDER}/schemas.md),"
    ]
    lines += [f"  [schemas of messages]({FOLDER}/message_schemas.md)"]
    return "\n".join(lines)


def _roles() -> str:
    lines = ["| scope | " + " | ".join(f"`{role.value}`" for role in Role) + " |"]
    lines += ["|---" * (len(Role) + 1) + "|"]
    for scope in Scope:
        marks = ["yes" if scope in SCOPES[role] else "" for role in Role]
        lines.append(f"| `{scope.value}` | " + " | ".join(marks) + " |")
    return "\n".join(lines)


def _errors(openapi: Json, examples: Sequence[Example]) -> str:
    resource = {name: tag for tag, names in by_resource(openapi).items() for name in names}
    lines = [_ERRORS, "", "| status | `type` ends in | title | seen in |", "|---|---|---|---|"]
    for kind, (status, title) in sorted(KINDS.items(), key=lambda one: one[1][0]):
        seen = [
            f"[example {example.n}]({FOLDER}/{resource[example.operation]}.md#{example.operation.lower()})"
            for example in examples
            if isinstance(example, RouteExample) and _problem_kind(example) == kind
        ]
        lines.append(f"| {status} | `{kind}` | {title} | {', '.join(seen[:2])} |")
    problem = openapi["components"]["schemas"]["Problem"]
    return "\n".join([*lines, "", *fields(problem)])


def _problem_kind(example: RouteExample) -> str:
    body = example.answer.body if example.answer else None
    return str(body.get("type", "")).rpartition(":")[2] if isinstance(body, dict) and example.expected >= 400 else ""


def _routes(openapi: Json, titles: Mapping[str, str]) -> str:
    operations = operations_of(openapi)
    lines = ["## All routes"]
    for tag, names in by_resource(openapi).items():
        lines += ["", f"### {titles[tag]}", "", "| route | |", "|---|---|"]
        for name in names:
            method, path, operation = operations[name]
            lines.append(f"| [`{method} {path}`]({FOLDER}/{tag}.md#{name.lower()}) | {operation['summary']} |")
    return "\n".join(lines)


def _messages() -> str:
    lines = ["## All messages", "", _MESSAGES]
    for page, (_, title) in PAGES.items():
        listed = [kind for kind in MESSAGES if page_of(kind) == page]
        links = ", ".join(f"[`{kind}`]({FOLDER}/{page}.md#{anchor(kind)})" for kind in listed)
        lines += ["", f"**{title.partition(': ')[2].capitalize()}**: {links}"]
    return "\n".join(lines)


def _envelope() -> str:
    schema = Envelope.model_json_schema()
    lines = [
        "## The envelope",
        "",
        _ENVELOPE,
        "",
        *fields(schema, lambda name: f"{FOLDER}/message_schemas.md#{name.lower()}"),
    ]
    return "\n".join(line.replace("[Message](api/message_schemas.md#message)", "the message") for line in lines)


_BEGINNING = """\
# The API: every route and every message

Conclave is used over HTTP, through the edge, and over the broker, by publishing messages; both do the same. This is
made by `python scripts/api_documentation.py` from the OpenAPI and AsyncAPI documents of the code and from examples
that were run; do not edit it. A running edge serves both documents itself: `/openapi.json` (as a page: `/docs`) and
`/asyncapi.json` (`/asyncapi`).

The examples are one story, in the order of their numbers, and a test runs all of them, over the `direct` bus and
over RabbitMQ, and compares what comes with what is shown here. To follow it, start with `python
scripts/start_dev.py`, then:

```sh
edge=http://127.0.0.1:8000 key=$(cat .conclave/secrets/admin-key)
```

{rules}"""

_AUTHENTICATION = """\
## Who may ask

Every route but `/health`, `/health/live`, `/health/ready` and the documents needs an API key, in the header
`X-API-Key` (`API_KEY_HEADER` gives it another name) or as `Authorization: Bearer ck_...`, or a JWT of the identity
provider that the settings name, as `Authorization: Bearer ...`. A key has one role, a token the roles of its claim;
a role is a set of scopes, and each route says which scope it needs. Without credentials the answer is 401, without
the scope 403. [security.md](security.md) says more."""

_REQUESTS = """\
## Requests

Bodies are JSON (`application/json`), or YAML (`application/yaml`), UTF-8, and at most `MAX_BODY_BYTES` long (413);
another content type is 415. A field that a request's schema does not have is refused (422), so that a misspelt one
does not pass in silence. Times are RFC 3339 with a zone; in messages they are epoch seconds, but for the envelope's
`timestamp`.

A key or a token's subject may ask `RATE_LIMIT` times a minute at one edge, or as often as its key says; then the
answer is 429, with `Retry-After` in seconds. So has 503: where the store or the broker is away, or more is asked
than can be done now."""

_ERRORS = """\
## Errors

Every answer that is no success is a problem document (RFC 9457), `application/problem+json`. `type` is
`urn:conclave:problem:KIND`, or `about:blank` for what HTTP itself says, such as 405. `errors` has every fault, not
the first alone. Further members are about the kind, such as `execution_id`."""

_PAGING = """\
## Paging

Lists are `{"items": [...], "next": ...}`. `limit` says how many at most; `next`, given back as `after`, asks for
the page behind, and is null on the last. A cursor is of one list with its filters; what it says inside may change.

## Repeating safely

Routes that make something take an `Idempotency-Key`, 1 to 255 printable ASCII characters. The same key with the
same body is the same execution, agent or message, whichever edge it reaches and however often; where an execution
or an agent was there already, the answer has the header `Idempotency-Replayed: true`. With another body it is 422,
`idempotency-key-reused`. Keys belong to who sends them. An API key is shown once, so a repetition is 409 and names
it; a workflow has its `workflow_id` for this. Over the broker it is ids that do it: of the execution, of the
request, of the message.

## Following a request

Every answer has the header `X-Correlation-ID`: the one that the request brought (at most 200 printable characters),
else the trace id of its `traceparent`, else a new one. It stands in every message, log line and audit entry that
the request led to.

## Versions

Routes are below `/api/v1`. A message's type ends in its version, `execution.start.v1`. Within a version fields are
only added, and who reads a message ignores those it does not know; a change that older readers would not understand
is refused by a test, and is a new version."""

_MESSAGES = """\
Exchanges are topic exchanges. Besides the body, which is the envelope as JSON, a message may have the AMQP
properties `type`, `message_id` (the envelope's `id`), `reply_to` and `correlation_id`. Whoever wants an answer
binds a queue to `conclave.replies` by the queue's own name and says that name in `reply_to`; the answer's
`correlation_id` is the question's message id. What cannot be handled goes to `conclave.dead`, with its reason, and
is shown by [`GET /api/v1/monitoring/dead-letters`](api/monitoring.md#listdeadletters).

Who may send a message is enforced where messages are signed ([message_signing.md](message_signing.md)); a condition
that the signer must also meet stands in brackets. Who may publish at all is a matter of the broker's permissions."""

_ENVELOPE = """\
Every message travels in one. `id`, `type`, `sender`, `timestamp` and `payload` are all that has to be there."""

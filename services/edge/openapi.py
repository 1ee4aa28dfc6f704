"""What the OpenAPI document says beyond the routes' own types: examples, bodies in JSON or YAML, problems, and who may
call what."""

from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel

from services.edge.access.routes import declared
from services.edge.examples import DEFINITION, DEFINITION_YAML
from services.edge.examples import PROBLEMS as EXAMPLES
from services.edge.problems import MEDIA_TYPE

Responses = dict[int | str, dict[str, Any]]

PROBLEM_SCHEMA: dict[str, Any] = {
    "type": "object",
    "title": "Problem",
    "description": "A problem document (RFC 9457).",
    "required": ["type", "title", "status", "detail", "instance", "correlation_id"],
    "properties": {
        "type": {"type": "string", "description": "`urn:conclave:problem:KIND`, or `about:blank`."},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "instance": {"type": "string", "description": "The path of the request."},
        "correlation_id": {"type": "string", "description": "What the logs call the request."},
        "errors": {
            "type": "array",
            "description": "Every fault, not just the first.",
            "items": {
                "type": "object",
                "required": ["path", "code", "message"],
                "properties": {
                    "path": {"type": "string"},
                    "code": {"type": "string"},
                    "message": {"type": "string"},
                },
            },
        },
    },
    "additionalProperties": True,
}

_API_KEY, _BEARER = "ApiKey", "Bearer"

_OF_THE_REQUEST = {"instance": "/api/v1/...", "correlation_id": "b7c1e0"}


def ok(
    example: Any,
    *,
    status: int = 200,
    description: str = "OK",
    headers: dict[str, str] | None = None,
    model: type[BaseModel] | None = None,
) -> Responses:
    """A success with an example and, by name, descriptions of its headers; ``model`` if not the route's own."""
    response: dict[str, Any] = {"description": description, "content": {"application/json": {"example": example}}}
    if model is not None:
        response["model"] = model
    if headers:
        response["headers"] = {
            name: {"description": text, "schema": {"type": "string"}} for name, text in headers.items()
        }
    return {status: response}


def problems(*statuses: int, examples: Mapping[int, dict[str, Any]] = EXAMPLES) -> Responses:
    """The problems that a route may answer with, each with its example: of ``examples``, or one that fits any route."""
    shown = {**EXAMPLES, **examples}
    return {
        status: {
            "description": HTTPStatus(status).phrase,
            "content": {
                MEDIA_TYPE: {
                    "schema": {"$ref": "#/components/schemas/Problem"},
                    "example": {**shown[status], **_OF_THE_REQUEST},
                }
            },
        }
        for status in statuses
    }


def definition_body() -> dict[str, Any]:
    """A definition as the body, in JSON or in YAML."""
    schema = {"$ref": "#/components/schemas/WorkflowDefinition"}
    return {
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {"schema": schema, "examples": {"two steps": {"value": DEFINITION}}},
                "application/yaml": {
                    "schema": schema,
                    "examples": {"dependencies at the top": {"value": DEFINITION_YAML}},
                },
            },
        }
    }


def body(model: str, example: Any, *, required: bool) -> dict[str, Any]:
    """A body of one of our models, in JSON or in YAML."""
    schema = {"$ref": f"#/components/schemas/{model}"}
    return {
        "requestBody": {
            "required": required,
            "content": {
                "application/json": {"schema": schema, "example": example},
                "application/yaml": {"schema": schema},
            },
        }
    }


def document_of(
    app: FastAPI, schemas: Callable[[], dict[str, Any]], *, api_key_header: str
) -> Callable[[], dict[str, Any]]:
    """The function that gives ``app``'s document, made at the first request for it; ``schemas`` are added to those
    that the routes' types bring. Which scope a route needs is read off the route."""

    def document() -> dict[str, Any]:
        if app.openapi_schema is None:
            made = get_openapi(
                title=app.title,
                version=app.version,
                summary=app.summary,
                description=app.description,
                routes=app.routes,
                tags=app.openapi_tags,
            )
            components = made.setdefault("components", {})
            components.setdefault("schemas", {}).update(schemas())
            components["securitySchemes"] = _security_schemes(api_key_header)
            _say_who_may_call(made["paths"], app)
            app.openapi_schema = made
        return app.openapi_schema

    return document


def _security_schemes(api_key_header: str) -> dict[str, Any]:
    return {
        _API_KEY: {
            "type": "apiKey",
            "in": "header",
            "name": api_key_header,
            "description": "An API key, `ck_...`; `python -m services keys create` and `POST /api/v1/keys` make them.",
        },
        _BEARER: {
            "type": "http",
            "scheme": "bearer",
            "bearerFormat": "JWT",
            "description": "A token of the identity provider in the settings, or an API key.",
        },
    }


def _say_who_may_call(paths: dict[str, Any], app: FastAPI) -> None:
    for route, requirement in declared(app):
        operations = paths.get(route.path_format or "", {})
        for method in route.methods or ():
            operation = operations.get(method.lower())
            if operation is None or requirement is None:
                continue
            statuses = (429,) if requirement.scope is None else (401, 403, 429, 503)
            for status, response in problems(*statuses).items():
                operation["responses"].setdefault(str(status), response)
            operation["responses"] = dict(sorted(operation["responses"].items()))
            # Schemes other than OAuth's list here what the caller must have (OpenAPI 3.1, Security Requirement Object).
            scope = [] if requirement.scope is None else [requirement.scope.value]
            operation["security"] = [{_API_KEY: scope}, {_BEARER: scope}] if scope else []

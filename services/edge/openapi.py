"""What the OpenAPI document says beyond the routes' own types: examples, bodies in JSON or YAML, and problems."""

from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel

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


def document_of(app: FastAPI, schemas: Callable[[], dict[str, Any]]) -> Callable[[], dict[str, Any]]:
    """The function that gives ``app``'s document, made at the first request for it; ``schemas`` are added to those
    that the routes' types bring."""

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
            made.setdefault("components", {}).setdefault("schemas", {}).update(schemas())
            app.openapi_schema = made
        return app.openapi_schema

    return document

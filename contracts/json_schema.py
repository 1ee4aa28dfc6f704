"""The JSON Schema of every message: what is committed in ``contracts/schemas``, and what the code says today."""

import inspect
import json
from pathlib import Path
from typing import Any

from pydantic.json_schema import GenerateJsonSchema

from contracts.catalog import MESSAGES
from contracts.envelope import Message, envelope_of

SCHEMAS_FOLDER = Path(__file__).parent / "schemas"
DIALECT = "https://json-schema.org/draft/2020-12/schema"

JsonSchema = dict[str, Any]


class _WithoutFieldTitles(GenerateJsonSchema):
    """A field's title would only repeat its name."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False


def message_schema(message_class: type[Message]) -> JsonSchema:
    """The schema of a whole message as it travels: its envelope, with the payload inside."""
    generated = envelope_of(message_class).model_json_schema(schema_generator=_WithoutFieldTitles)
    generated["properties"]["type"] = {"const": message_class.TYPE, "type": "string"}
    described = {"description": inspect.cleandoc(message_class.__doc__)} if message_class.__doc__ else {}
    return {"$schema": DIALECT, **generated, "title": message_class.TYPE, **described}


def current_schemas() -> dict[str, JsonSchema]:
    """Message type -> schema, of every message in the catalog."""
    return {kind: message_schema(message_class) for kind, message_class in MESSAGES.items()}


def committed_schemas(folder: Path = SCHEMAS_FOLDER) -> dict[str, JsonSchema]:
    """Message type -> schema, of every file in the folder.

    Raises:
        ValueError: a file is not JSON, with its name.
    """
    found: dict[str, JsonSchema] = {}
    for path in sorted(folder.glob("*.json")):
        try:
            found[path.stem] = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise ValueError(f"{path} is not JSON: {error}") from error
    return found


def schema_path(kind: str, folder: Path = SCHEMAS_FOLDER) -> Path:
    return folder / f"{kind}.json"


def render(schema: JsonSchema) -> str:
    """The one way a schema is written, so that a difference in the file is a difference in the contract."""
    return json.dumps(schema, indent=2, sort_keys=True, ensure_ascii=False) + "\n"

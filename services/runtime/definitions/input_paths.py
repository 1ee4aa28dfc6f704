"""Where something stands in a document, as a path people read: ``steps[2].inputs.data["unit price"]``."""

import json
import re
from collections.abc import Iterable

_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")

Key = str | int

LONGEST_KEY = 200  # characters that are shown of one
LONGEST_PATH = 1_000  # and of all together: what somebody sent may have paths of any length


def render_path(keys: Iterable[Key], root: str = "") -> str:
    """The keys as one text, below ``root``; a name that is not plain stands in brackets and quotes."""
    text = root
    for key in keys:
        if isinstance(key, str) and len(key) > LONGEST_KEY:
            key = f"{key[:LONGEST_KEY]}…"
        if isinstance(key, int):
            text += f"[{key}]"
        elif _PLAIN.fullmatch(key):
            text += f".{key}" if text else key
        else:
            text += f"[{json.dumps(key, ensure_ascii=False)}]"
    return text if len(text) <= LONGEST_PATH else f"{text[: LONGEST_PATH - 300]}…{text[-299:]}"

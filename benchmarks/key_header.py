"""The API key in the request of a load generator, which is light and imports nothing else of ours."""

from collections.abc import Mapping

KEY_VARIABLE = "BENCHMARK_API_KEY"
HEADER = "X-API-Key"


def header_line(environment: Mapping[str, str]) -> str:
    """The line of a request's head that holds the key in BENCHMARK_API_KEY; nothing where there is none."""
    key = environment.get(KEY_VARIABLE)
    return f"{HEADER}: {key}\r\n" if key else ""

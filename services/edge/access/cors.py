"""Which pages in browsers may call: those of the origins in CORS_ORIGINS."""

from typing import Any

from services.edge import correlation
from services.edge.access.configuration import ANY_ORIGIN
from services.edge.starting import REPEATED_HEADER
from services.runtime.settings import Settings


def cors_options(settings: Settings) -> dict[str, Any]:
    """What ``CORSMiddleware`` is given. Credentials are for origins that are named; to ``*`` nothing is sent that a
    browser would add by itself."""
    return {
        "allow_origins": settings.cors_origins,
        "allow_credentials": ANY_ORIGIN not in settings.cors_origins,
        "allow_methods": ["GET", "POST", "DELETE"],
        "allow_headers": [
            "Authorization",
            "Content-Type",
            "Idempotency-Key",
            "Last-Event-ID",
            correlation.HEADER,
            settings.api_key_header,
        ],
        "expose_headers": ["Location", "Retry-After", "WWW-Authenticate", REPEATED_HEADER, correlation.HEADER],
    }

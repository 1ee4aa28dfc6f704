"""Whether the service in this container is ready: what Docker's HEALTHCHECK asks. Exits with 0 or 1.

Only the standard library, and only what it needs of that: it runs every few seconds in every container.
"""

import http.client
import os
import sys

PATIENCE = 4.0  # seconds


def main() -> int:
    port = int(os.environ["METRICS_PORT"])
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    try:
        connection.request("GET", "/health/ready")
        answer = connection.getresponse()
        print(answer.read().decode(errors="replace"))  # Docker keeps it, for `docker inspect`
    except (OSError, http.client.HTTPException) as error:
        print(f"no answer on port {port}: {error}")
        return 1
    return 0 if answer.status == 200 else 1


if __name__ == "__main__":
    sys.exit(main())

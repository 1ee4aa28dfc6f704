"""What browsers are told about every answer."""

import base64
import hashlib
import re

from services.edge.access.headers import page

HTML = """<html><head><link rel="stylesheet" href="https://cdn.test/a/b.css"></head><body>
<script src="https://other.test/x.js"></script><script>run("a");</script></body></html>"""


def directives(policy: str) -> dict[str, set[str]]:
    return {name: set(values) for name, *values in (part.split() for part in policy.split("; "))}


def test_a_page_runs_its_own_scripts_and_no_others() -> None:
    policy = directives(page(HTML).headers["content-security-policy"])
    digest = base64.b64encode(hashlib.sha256(b'run("a");').digest()).decode()
    assert policy["script-src"] == {"https://cdn.test", "https://other.test", f"'sha256-{digest}'"}
    assert policy["default-src"] == {"'none'"}
    assert policy["frame-ancestors"] == {"'none'"}
    assert policy["connect-src"] == {"'self'"}


def test_functions_out_of_text_are_for_the_page_that_says_so() -> None:
    assert "unsafe-eval" not in page(HTML).headers["content-security-policy"]
    assert "'unsafe-eval'" in directives(page(HTML, compiles=True).headers["content-security-policy"])["script-src"]


def test_a_script_that_was_slipped_in_has_no_way_past_a_changed_digest() -> None:
    (before,) = re.findall(r"'sha256-[^']+'", page(HTML).headers["content-security-policy"])
    (after,) = re.findall(r"'sha256-[^']+'", page(HTML.replace('"a"', '"b"')).headers["content-security-policy"])
    assert before != after

# SPDX-License-Identifier: Apache-2.0
"""``/``: one small page to try the chat with.

Its style and script are in the page; the content security policy allows exactly
those two, by their hashes, and connections to this origin only.
"""

import base64
import hashlib
import re
from functools import cache
from pathlib import Path

from chatmotor.controllers.base import Controller

_PAGE = Path(__file__).with_name("home.html")


class HomeController(Controller):
    """Serves the page."""

    def get(self) -> None:
        """The page, with its policy."""
        page, policy = _page_and_policy()
        self.set_header("Content-Type", "text/html; charset=utf-8")
        self.set_header("Content-Security-Policy", policy)
        self.finish(page)

    head = get


@cache
def _page_and_policy() -> tuple[str, str]:
    page = _PAGE.read_text("utf-8")
    hashes = {}
    for element in ("style", "script"):
        found = re.search(rf"<{element}>(.*?)</{element}>", page, re.DOTALL)
        assert found is not None
        digest = hashlib.sha256(found[1].encode()).digest()
        hashes[element] = base64.b64encode(digest).decode()
    policy = (
        "default-src 'none'; connect-src 'self'; img-src 'self' data:; "
        f"style-src 'sha256-{hashes['style']}'; "
        f"script-src 'sha256-{hashes['script']}'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return page, policy

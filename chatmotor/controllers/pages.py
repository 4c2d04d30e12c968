# SPDX-License-Identifier: Apache-2.0
"""Pages that are one file each: style and script are in it.

The content security policy allows exactly those two, by their hashes, and connections
to this origin only.
"""

import base64
import hashlib
import re
from functools import cache
from pathlib import Path

from chatmotor.controllers.base import Controller


class PageController(Controller):
    """The base of a page's controller."""

    page: Path

    def get(self) -> None:
        """The page, with its policy."""
        content, policy = _content_and_policy(self.page)
        self.set_header("Content-Type", "text/html; charset=utf-8")
        self.set_header("Content-Security-Policy", policy)
        self.finish(content)

    head = get


class JoinController(PageController):
    """
    ``/setup``, ``/invite`` and ``/reset``: the page behind one-time links.

    The link's code stands after ``#``: the browser keeps it, and the script sends it
    as content.
    """

    page = Path(__file__).with_name("join.html")


@cache
def _content_and_policy(page: Path) -> tuple[str, str]:
    content = page.read_text("utf-8")
    hashes = {}
    for element in ("style", "script"):
        found = re.search(rf"<{element}>(.*?)</{element}>", content, re.DOTALL)
        assert found is not None
        digest = hashlib.sha256(found[1].encode()).digest()
        hashes[element] = base64.b64encode(digest).decode()
    policy = (
        "default-src 'none'; connect-src 'self'; img-src 'self' data:; "
        f"style-src 'sha256-{hashes['style']}'; "
        f"script-src 'sha256-{hashes['script']}'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return content, policy

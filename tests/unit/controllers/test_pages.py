# SPDX-License-Identifier: Apache-2.0
"""The small pages and what they may load."""

import re

import pytest

from chatmotor.controllers.home import HomeController
from chatmotor.controllers.pages import JoinController
from tests.harness.accounts import Served


@pytest.mark.parametrize("path", ["/", "/setup", "/invite", "/reset"])
async def test_a_page_runs_its_own_script_only(path: str) -> None:
    """A policy with two hashes, nothing inline beside, nothing of other origins."""
    server = Served(
        [(r"/", HomeController), (r"/(?:setup|invite|reset)", JoinController)]
    )
    answer = await server.request("GET", path)
    await server.stop()
    policy = answer.headers["content-security-policy"]
    page = answer.content.decode()

    assert 200 == answer.status
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert 2 == policy.count("'sha256-")
    assert not re.search(r"<[^>]* on\w+=|<[^>]* style=|javascript:|https?://", page)
    assert "innerHTML" not in page
    assert "no-referrer" == answer.headers["referrer-policy"]

# SPDX-License-Identifier: Apache-2.0
"""examples/embed/app.py: its own users log in to it, and chat as themselves."""

import asyncio
import re
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass
from http.cookiejar import CookieJar
from pathlib import Path
from typing import Any

import pytest

from tests.harness.example import running
from tests.harness.node import DEADLINE_SECONDS
from tests.harness.ports import free_port
from tests.harness.v1_client import Login

BAD_TOKEN = 4502


@dataclass
class Chat:
    """Where the harness finds the node."""

    url: str


class Visitor:
    """A browser without a screen: cookies, forms."""

    def __init__(self, root: str) -> None:
        self._root = root
        self._opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}),
            urllib.request.HTTPCookieProcessor(CookieJar()),
        )

    async def get(self, path: str) -> str:
        return await asyncio.to_thread(self._ask, path, None)

    async def submit(self, path: str, **fields: str) -> str:
        """Send a form of the home page, with what stands hidden in it."""
        found = re.search(r'name="_xsrf" value="([^"]+)"', await self.get("/"))
        assert found
        content = urllib.parse.urlencode({"_xsrf": found[1]} | fields).encode()
        return await asyncio.to_thread(self._ask, path, content)

    def _ask(self, path: str, content: bytes | None) -> str:
        with self._opener.open(
            self._root + path, content, timeout=DEADLINE_SECONDS
        ) as answer:
            return str(answer.read().decode())


async def test_a_user_of_the_application_chats_as_that_user(tmp_path: Path) -> None:
    """From the log-in form to a message, and to the log-out, which ends the socket."""
    port = str(free_port())
    data = str(tmp_path / "data")
    async with running(
        *("embed/app.py", "--port", port, "--data-dir", data), log=tmp_path / "log"
    ) as root:
        chat: Any = Chat(root + "/chat")
        tokens = {}
        visitors = {name: Visitor(root) for name in ("alice", "bob")}
        for name, visitor in visitors.items():
            await visitor.submit("/login", name=name, password=f"{name}s secret")
            answer = await visitor.get("/chat-token")
            tokens[name] = answer.partition('"token": "')[2].rstrip('"}')
        async with Login("bob", "host", tokens["bob"]).connect(chat) as bob:
            async with Login("alice", "host", tokens["alice"]).connect(chat) as alice:
                await alice.ask("send", cid="k1", to="bob", body="hello bob")
                [message] = await bob.messages(1)
                await visitors["alice"].submit("/logout")
                closed = await alice.until_closed()
            with pytest.raises(urllib.error.HTTPError) as refused:
                await visitors["alice"].get("/chat-token")
            refused.value.close()
            await bob.ask("sync")

    assert ("alice", "hello bob") == (message["from"], message["body"])
    assert (BAD_TOKEN, 401) == (closed, refused.value.code)


async def test_a_wrong_password_is_one(tmp_path: Path) -> None:
    """The application judges its passwords itself."""
    async with running(
        *("embed/app.py", "--port", str(free_port()), "--data-dir", str(tmp_path)),
        log=tmp_path / "log",
    ) as root:
        with pytest.raises(urllib.error.HTTPError) as refused:
            await Visitor(root).submit("/login", name="alice", password="bobs secret")
        refused.value.close()

    assert 403 == refused.value.code

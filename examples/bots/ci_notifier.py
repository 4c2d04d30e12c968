# SPDX-License-Identifier: Apache-2.0
"""A bot that tells groups how builds end.  The builds tell it, over HTTP.

CI_SECRET=... python ci_notifier.py; it needs bot.token as well.

curl http://127.0.0.1:8700/builds -H "Authorization: Bearer $CI_SECRET" -d '{...}'
"""

import asyncio
import contextlib
import hmac
import os
import uuid
from typing import Any

import msgspec
from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets
from tornado.web import Application, HTTPError, RequestHandler

from chatmotor.bot import Bot, Context
from chatmotor.client import Refused


class Build(msgspec.Struct):
    """What a build says; the same *id* again is the same build."""

    id: str
    project: str
    status: str


class Builds(RequestHandler):
    """``POST /builds``: 204 once every group's message is stored."""

    async def post(self) -> None:
        """Tell those who follow the project."""
        context = self.settings["context"]
        given = self.request.headers.get("Authorization", "")
        if not hmac.compare_digest(
            given.encode(), f"Bearer {self.settings['secret']}".encode()
        ):
            raise HTTPError(401)
        try:
            build = msgspec.json.decode(self.request.body, type=Build)
        except msgspec.MsgspecError:
            raise HTTPError(400) from None
        text = f"{build.project} #{build.id}: {build.status}"
        for conv in context.storage.get(f"followers/{build.project}", []):
            cid = str(uuid.uuid5(uuid.NAMESPACE_URL, f"{build.id}/{conv}"))
            with contextlib.suppress(Refused):  # the bot is not in it any more
                await context.send(text, conv=conv, cid=cid)
        self.set_status(204)


def make_bot(secret: str, sockets: list[Any]) -> Bot:
    """A bot with an endpoint on *sockets*, for those who know the *secret*."""
    bot = Bot()

    @bot.command
    async def follow(context: Context, project: str, on: bool = True) -> str:
        """Tell this group of the builds of a project, or no more."""
        key = f"followers/{project}"
        others = {*context.storage.get(key, [])} - {context.conv}
        context.storage[key] = sorted({*others, context.conv} if on else others)
        return f"You will {'' if on else 'not '}hear of {project}."

    @bot.task
    async def listen(context: Context) -> None:
        routes = [("/builds", Builds)]
        server = HTTPServer(Application(routes, context=context, secret=secret))
        server.add_sockets(sockets)
        await asyncio.Event().wait()

    return bot


if __name__ == "__main__":
    bot = make_bot(os.environ["CI_SECRET"], bind_sockets(8700, "127.0.0.1"))
    bot.run("http://127.0.0.1:8888", token_file="bot.token", state="bot.db")

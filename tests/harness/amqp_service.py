# SPDX-License-Identifier: Apache-2.0
"""A backend service that speaks AMQP: publishes commands, awaits their answers.

service = await Service.of(vhost, "billing")      # a RabbitMQ user of least rights
async with service.connect() as asking:
    await asking.ask("send", cid="1", to="alice", body="hello")
"""

import asyncio
import itertools
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Self

import aio_pika
from aio_pika.abc import AbstractChannel, AbstractIncomingMessage

from tests.harness.node import DEADLINE_SECONDS, ROOT
from tests.harness.rabbitmq import PrivateRabbit
from tests.harness.v1_client import Refused

REPLY_TO = "amq.rabbitmq.reply-to"
PASSWORD = "seven-green-lamps"
EVERYTHING = (".*", ".*", ".*")
_count = itertools.count(1)


def least_rights(user: str) -> tuple[str, str, str]:
    """What a service may configure, write and read: as docs/reference/amqp.md says."""
    return "^$", r"^cm\.in$", rf"^cm\.events\.{user}$"


def readme_rights() -> tuple[str, str, str]:
    """What README gives Chatmotor's own user."""
    text = (ROOT / "README.md").read_text("utf-8")
    _, _, command = text.partition("set_permissions -p chatmotor chatmotor")
    configure, write, read = re.findall(r"'(\S+)'", command)[:3]
    return configure, write, read


@dataclass(frozen=True)
class Vhost:
    """A virtual host of its own, so that queues which outlive a test meet no other."""

    rabbit: PrivateRabbit
    name: str

    @classmethod
    async def new(cls, rabbit: PrivateRabbit) -> Self:
        """Make one."""
        vhost = cls(rabbit, f"test{next(_count)}")
        await vhost.api("vhosts", method="PUT", body={})
        await vhost.allow("guest", EVERYTHING)
        return vhost

    @property
    def options(self) -> dict[str, str]:
        """Of a node that uses it."""
        return {"CM_RABBIT_VHOST": self.name}

    async def api(self, what: str, rest: str = "", **asked: Any) -> Any:
        """Ask the management API about *what* of this virtual host."""
        return await asyncio.to_thread(
            self.rabbit.api, f"{what}/{self.name}{rest}", **asked
        )

    async def allow(self, user: str, rights: tuple[str, str, str]) -> None:
        """What *user* may configure, write and read."""
        names = ("configure", "write", "read")
        body = dict(zip(names, rights, strict=True))
        await self.api("permissions", f"/{user}", method="PUT", body=body)

    async def add_user(self, user: str, rights: tuple[str, str, str]) -> None:
        """Make a RabbitMQ user with these rights."""
        body = {"password": PASSWORD, "tags": ""}
        await asyncio.to_thread(
            self.rabbit.api, f"users/{user}", method="PUT", body=body
        )
        await self.allow(user, rights)

    async def waiting(self) -> int:
        """How many requests wait for a node, or for their answers; exact."""
        found = await asyncio.to_thread(
            *(self.rabbit.ctl, "list_queues", "-p", self.name),
            *("name", "messages", "--no-table-headers"),
        )
        counts = dict(line.split() for line in found.splitlines())
        return int(counts["cm.in"])


@dataclass
class Service:
    """A RabbitMQ user with the name of an account."""

    vhost: Vhost
    user: str

    @classmethod
    async def of(cls, vhost: Vhost, user: str) -> Self:
        """Make the RabbitMQ user, with the least rights."""
        await vhost.add_user(user, least_rights(user))
        return cls(vhost, user)

    @property
    def url(self) -> str:
        """Where it connects to."""
        port = self.vhost.rabbit.port
        return f"amqp://{self.user}:{PASSWORD}@127.0.0.1:{port}/{self.vhost.name}"

    @asynccontextmanager
    async def connect(self) -> AsyncIterator["Asking"]:
        """A channel with confirms, and a consumer of direct answers."""
        connection = await aio_pika.connect(self.url, timeout=DEADLINE_SECONDS)
        async with connection:
            asking = Asking(self, await connection.channel())
            await asking.listen()
            yield asking


@dataclass
class Asking:
    """
    One channel of a service.

    Attributes:
        extra: Answers beyond the first to a request.
    """

    service: Service
    channel: AbstractChannel
    extra: list[Any] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._ids = itertools.count(1)
        self._answers: dict[str, asyncio.Future[Any]] = {}

    async def listen(self) -> None:
        """Consume the direct answers."""
        queue = await self.channel.get_queue(REPLY_TO, ensure=False)
        await queue.consume(self._take, no_ack=True)

    async def _take(self, message: AbstractIncomingMessage) -> None:
        assert "application/json" == message.content_type
        answer = json.loads(message.body)
        future = self._answers.get(message.correlation_id or "")
        if future is None or future.done():
            self.extra.append(answer)
        else:
            future.set_result(answer)

    async def publish(
        self, body: bytes, *, exchange: str = "cm.in", key: str = "", **properties: Any
    ) -> "asyncio.Future[Any]":
        """Publish a request as it is; its answer will come."""
        number = f"c{next(self._ids)}"
        given: dict[str, Any] = {
            "user_id": self.service.user,
            "reply_to": REPLY_TO,
            "correlation_id": number,
            "delivery_mode": aio_pika.DeliveryMode.PERSISTENT,
        }
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._answers[number] = future
        message = aio_pika.Message(body, **(given | properties))
        target = self.channel.default_exchange
        if exchange:
            target = await self.channel.get_exchange(exchange, ensure=False)
        await target.publish(message, key, timeout=DEADLINE_SECONDS)
        return future

    async def raw(self, body: bytes, **given: Any) -> Any:
        """Publish a request as it is; the answer."""
        future = await self.publish(body, **given)
        async with asyncio.timeout(DEADLINE_SECONDS):
            return await future

    async def ask(self, op: str, **fields: Any) -> Any:
        """Ask, and await the answer; an ``error`` is raised."""
        answer = await self.raw(json.dumps({"op": op} | fields).encode())
        if answer["op"] == "error":
            raise Refused(answer)
        return answer

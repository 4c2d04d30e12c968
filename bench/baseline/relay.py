# SPDX-License-Identifier: Apache-2.0
"""The baseline: the relay one would write first, with Tornado and pika.

Chatmotor's topology (a direct exchange, a queue per connected client, the name as
the routing key) and nothing more: no checks, no limits, no confirms, no reconnect.
It leaves nothing fast undone that a careful first version would have: no Nagle
delay, one connection and one channel for all, no acknowledgements, and it does not
decode what it only passes on.

Usage: python -m bench.baseline.relay <port> <RabbitMQ's port>
"""

import asyncio
import json
import sys
import uuid

import pika
from pika.adapters.tornado_connection import TornadoConnection
from pika.channel import Channel
from tornado.web import Application
from tornado.websocket import WebSocketHandler

EXCHANGE = "im_exchange"


async def answer(method, *arguments, callback="callback", **options):
    """Call a pika method and return what its callback gets."""
    answered = asyncio.get_running_loop().create_future()
    method(*arguments, **options, **{callback: answered.set_result})
    return await answered


class Relay(WebSocketHandler):
    """One client: what it sends is published, what its queue gets is written."""

    def initialize(self, channel: Channel) -> None:
        self.channel = channel
        self.queue = uuid.uuid4().hex

    async def open(self, name: str) -> None:
        self.set_nodelay(True)
        channel, queue = self.channel, self.queue
        await answer(channel.queue_declare, queue, exclusive=True)
        await answer(channel.queue_bind, queue, EXCHANGE, name)
        await answer(channel.basic_consume, queue, self.on_delivery, auto_ack=True)

    def on_message(self, message: str | bytes) -> None:
        destination = json.loads(message)["destination"]
        self.channel.basic_publish(EXCHANGE, destination, message)

    def on_delivery(self, channel: Channel, method, properties, body: bytes) -> None:
        self.write_message(body)

    def on_close(self) -> None:
        self.channel.queue_delete(self.queue)


async def main(port: int, rabbit_port: int) -> None:
    address = pika.ConnectionParameters("127.0.0.1", rabbit_port)
    connection = await answer(TornadoConnection, address, callback="on_open_callback")
    channel = await answer(connection.channel, callback="on_open_callback")
    await answer(channel.exchange_declare, EXCHANGE, "direct")
    routes = [(r"/im/(.*)", Relay, {"channel": channel})]
    Application(routes).listen(port, "127.0.0.1")
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), int(sys.argv[2])))

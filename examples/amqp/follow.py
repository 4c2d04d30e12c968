# SPDX-License-Identifier: Apache-2.0
"""Follow the events of the account of this program's RabbitMQ user.

    python follow.py amqp://billing:secret@127.0.0.1/chatmotor

Prints one event a line.  An operator has made the queue:
``chatmotor hook add billing --amqp``.
"""

import json
import sys
from collections.abc import Iterator
from typing import Any

import pika


def events(url: str) -> Iterator[dict[str, Any]]:
    """
    Each event; whoever asks for the next one is done with it.

    What was not done when the program ends comes again: an event can come twice, and
    has the same ``message_id`` then, and the same ``seq`` or ``conv`` and ``pos``.
    """
    parameters = pika.URLParameters(url)
    queue = f"cm.events.{parameters.credentials.username}"
    with pika.BlockingConnection(parameters) as connection:
        channel = connection.channel()
        channel.basic_qos(prefetch_count=50)  # so many may be under way to us
        for method, _, body in channel.consume(queue):
            yield json.loads(body)
            channel.basic_ack(method.delivery_tag)


if __name__ == "__main__":
    for event in events(sys.argv[1]):
        print(json.dumps(event), flush=True)

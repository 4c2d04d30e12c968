# SPDX-License-Identifier: Apache-2.0
"""Send one message as the account of this program's RabbitMQ user.

    python send.py amqp://billing:secret@127.0.0.1/chatmotor order-17 alice "Hello."

Prints the answer.  Exit status 0: it is stored; 1: it was refused.
"""

import json
import sys
from typing import Any

import pika

REPLY_TO = "amq.rabbitmq.reply-to"  # RabbitMQ's own: answers come on this channel
AGAIN_SECONDS = 10


def send(url: str, cid: str, to: str, body: str) -> dict[str, Any]:
    """
    The answer to a ``send``.  *cid* names this message for ever: under the same one
    it is stored once, however often it is sent.
    """
    parameters = pika.URLParameters(url)
    answers: list[bytes] = []
    command = {"op": "send", "cid": cid, "to": to, "body": body}
    properties = pika.BasicProperties(
        user_id=parameters.credentials.username,  # RabbitMQ checks it
        reply_to=REPLY_TO,
        delivery_mode=pika.DeliveryMode.Persistent,  # it outlives a restart of RabbitMQ
    )
    with pika.BlockingConnection(parameters) as connection:
        channel = connection.channel()
        channel.basic_consume(
            REPLY_TO, lambda *delivery: answers.append(delivery[-1]), auto_ack=True
        )
        channel.confirm_delivery()  # now a publish that was not taken raises
        while not answers:
            channel.basic_publish("cm.in", "", json.dumps(command), properties)
            connection.process_data_events(AGAIN_SECONDS)  # no answer: ask again
    answer: dict[str, Any] = json.loads(answers[0])
    return answer


if __name__ == "__main__":
    answer = send(*sys.argv[1:5])
    print(json.dumps(answer))
    sys.exit(0 if answer["op"] == "ok" else 1)

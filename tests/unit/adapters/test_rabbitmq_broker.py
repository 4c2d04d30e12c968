# SPDX-License-Identifier: Apache-2.0
"""What the broker does while RabbitMQ is away, as far as none is needed for it."""

from chatmotor.adapters.rabbitmq_broker import RabbitBroker
from chatmotor.adapters.rabbitmq_link import RabbitAddress
from chatmotor.metrics import Metrics


async def test_what_is_not_kept_is_not_sent_later() -> None:
    """This node's own users get it; for the others it is lost, and nobody waits."""
    broker = RabbitBroker(
        RabbitAddress("127.0.0.1", 1, "/", "guest", "guest", 10),
        Metrics(),
        node="left",
        exchange="im_exchange",
        queue_max_bytes=1000,
        outbox_max_bytes=1000,
        body_max_bytes=1000,
        reconnect_max_seconds=1.0,
    )
    got: list[bytes] = []
    await broker.subscribe("bob", got.append)

    for body in (b"one", b"two"):
        assert broker.publish(["ann", "bob"], body, kept=False)

    assert [b"one", b"two"] == got
    assert 0 == len(broker._outbox)
    broker.publish(["ann"], b"kept")
    assert 1 == len(broker._outbox)

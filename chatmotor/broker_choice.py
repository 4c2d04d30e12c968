# SPDX-License-Identifier: Apache-2.0
"""Which broker this installation runs on, decided once at start, and said aloud."""

from dataclasses import dataclass

import pika

from chatmotor.adapters.rabbitmq_link import RabbitAddress, explain
from chatmotor.options import Settings

PROBE_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class BrokerChoice:
    """
    The decision, and the words for the first line of output.

    Attributes:
        rabbitmq: Where RabbitMQ is, or None for the embedded broker.
        sentence: Which broker, and how to get the other.
    """

    rabbitmq: RabbitAddress | None
    sentence: str


def rabbit_address(settings: Settings) -> RabbitAddress:
    """The configured RabbitMQ."""
    return RabbitAddress(
        host=settings.RABBIT_HOST,
        port=settings.RABBIT_PORT,
        vhost=settings.RABBIT_VHOST,
        user=settings.RABBIT_USERID,
        password=settings.RABBIT_PASSWORD,
        heartbeat_seconds=settings.RABBIT_HEARTBEAT_SECONDS,
    )


def choose_broker(settings: Settings) -> BrokerChoice:
    """
    Decide as BROKER says; ``auto`` asks RabbitMQ, for at most some seconds.
    """
    address = rabbit_address(settings)
    if settings.BROKER == "embedded":
        return BrokerChoice(
            None,
            'with the embedded broker, as BROKER = "embedded" says '
            '(for RabbitMQ: BROKER = "rabbitmq")',
        )
    if settings.BROKER == "rabbitmq":
        return always_rabbitmq(settings)
    refusal = _probe(address)
    if refusal is None:
        return BrokerChoice(
            address,
            f"through RabbitMQ at {address} "
            '(for the embedded broker: BROKER = "embedded")',
        )
    return BrokerChoice(
        None,
        f"with the embedded broker, since RabbitMQ at {address} says: {refusal} "
        "(to use RabbitMQ, see README, and start Chatmotor again)",
    )


def always_rabbitmq(settings: Settings) -> BrokerChoice:
    """RabbitMQ, whether it answers now or later."""
    address = rabbit_address(settings)
    return BrokerChoice(
        address,
        f'through RabbitMQ at {address} (for the embedded broker: BROKER = "embedded")',
    )


def _probe(address: RabbitAddress) -> str | None:
    """Log in and out again; None when that works, else why it does not."""
    parameters = address.parameters(node="probe")
    parameters.socket_timeout = PROBE_SECONDS
    parameters.stack_timeout = 2 * PROBE_SECONDS
    try:
        pika.BlockingConnection(parameters).close()
    except Exception as error:  # noqa: BLE001  # pika has several trees of errors
        return explain(error)
    return None

# SPDX-License-Identifier: Apache-2.0
"""The default bindings: every part of a node, and how it is built.

The broker is the one that ``BROKER`` decides.  The string keys are those of the
first Chatmotor; they answer with today's parts.
"""

import os
import secrets
import socket
from typing import Any

from injector import CallableProvider, Injector, Provider, inject, singleton

from chatmotor.adapters.embedded_broker import EmbeddedBroker
from chatmotor.adapters.rabbitmq_broker import RabbitBroker
from chatmotor.broker_choice import BrokerChoice, choose_broker
from chatmotor.core.instant_messenger import InstantMessenger
from chatmotor.metrics import Metrics
from chatmotor.options import Settings
from chatmotor.ports.broker import Broker
from chatmotor.settings import is_loopback
from chatmotor.web_container import WebContainer


class AliasProvider(Provider[Any]):
    """Answers a key of the first Chatmotor with the part of another key."""

    def __init__(self, interface: type) -> None:
        self._interface = interface

    def get(self, injector: Injector) -> Any:
        """The other key's part."""
        return injector.get(self._interface)


def node_name() -> str:
    """A name that no other process has, now or before: host and random bits."""
    host = "".join(c for c in socket.gethostname().lower() if c.isalnum() or c == "-")
    return f"{host[:20] or 'node'}-{os.getpid()}-{secrets.token_hex(3)}"


@inject
def broker(settings: Settings, choice: BrokerChoice, metrics: Metrics) -> Broker:
    """The broker that was chosen."""
    if choice.rabbitmq is None:
        return EmbeddedBroker(metrics, queue_max_bytes=settings.QUEUE_MAX_BYTES)
    return RabbitBroker(
        choice.rabbitmq,
        metrics,
        node=node_name(),
        exchange=settings.INSTANT_MESSAGE_EXCHANGE_NAME,
        queue_max_bytes=settings.QUEUE_MAX_BYTES,
        outbox_max_bytes=settings.OUTBOX_MAX_BYTES,
        body_max_bytes=settings.FRAME_MAX_BYTES,
        reconnect_max_seconds=settings.RABBIT_RECONNECT_MAX_SECONDS,
    )


@inject
def broker_choice(settings: Settings) -> BrokerChoice:
    """Decided once, before the workers are forked."""
    return choose_broker(settings)


@inject
def instant_messenger(
    settings: Settings, broker: Broker, metrics: Metrics
) -> InstantMessenger:
    """The use case of the classic mode."""
    allow_guests = settings.ALLOW_GUESTS == "true" or (
        settings.ALLOW_GUESTS == "loopback" and is_loopback(settings.TORNADO_HOST)
    )
    return InstantMessenger(broker, metrics, allow_guests=allow_guests)


@inject
def web_container(
    settings: Settings, broker: Broker, messenger: InstantMessenger, metrics: Metrics
) -> WebContainer:
    """Tornado, and everything behind it."""
    return WebContainer(settings, broker, messenger, metrics)


interface_bindings: dict[Any, dict[str, Any]] = {
    Metrics: {"to": CallableProvider(Metrics), "scope": singleton},
    BrokerChoice: {"to": CallableProvider(broker_choice), "scope": singleton},
    Broker: {"to": CallableProvider(broker), "scope": singleton},
    InstantMessenger: {"to": CallableProvider(instant_messenger), "scope": singleton},
    WebContainer: {"to": CallableProvider(web_container), "scope": singleton},
    "configuration": {"to": AliasProvider(Settings), "scope": singleton},
    "instant_messenger": {"to": AliasProvider(InstantMessenger), "scope": singleton},
    "web_container": {"to": AliasProvider(WebContainer), "scope": singleton},
}

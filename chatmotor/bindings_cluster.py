# SPDX-License-Identifier: Apache-2.0
"""Bindings for several nodes: always RabbitMQ, whatever ``BROKER`` says.

PostgreSQL joins it here once there is something to store.
"""

from typing import Any

from injector import CallableProvider, inject, singleton

from chatmotor import bindings
from chatmotor.broker_choice import BrokerChoice, always_rabbitmq
from chatmotor.options import Settings


@inject
def broker_choice(settings: Settings) -> BrokerChoice:
    """RabbitMQ, also while it does not answer."""
    return always_rabbitmq(settings)


interface_bindings: dict[Any, dict[str, Any]] = bindings.interface_bindings | {
    BrokerChoice: {"to": CallableProvider(broker_choice), "scope": singleton},
}

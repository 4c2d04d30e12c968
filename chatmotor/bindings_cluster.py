# SPDX-License-Identifier: Apache-2.0
"""Bindings for several nodes: always RabbitMQ and PostgreSQL.

Whatever ``BROKER`` and ``STORE`` say; POSTGRES_DSN says where the database is.
"""

from typing import Any

from injector import CallableProvider, inject, singleton

from chatmotor import bindings
from chatmotor.broker_choice import BrokerChoice, always_rabbitmq
from chatmotor.options import Settings
from chatmotor.ports.store import Store


@inject
def broker_choice(settings: Settings) -> BrokerChoice:
    """RabbitMQ, also while it does not answer."""
    return always_rabbitmq(settings)


@inject
def store(settings: Settings) -> Store:
    """PostgreSQL."""
    return bindings.postgres_store(settings)


interface_bindings: dict[Any, dict[str, Any]] = bindings.interface_bindings | {
    BrokerChoice: {"to": CallableProvider(broker_choice), "scope": singleton},
    Store: {"to": CallableProvider(store), "scope": singleton},
}

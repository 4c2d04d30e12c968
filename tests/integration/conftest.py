# SPDX-License-Identifier: Apache-2.0
"""Nodes for the integration tests."""

from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest

from chatmotor.adapters.postgres_store import PostgresStore
from tests.harness.node import ChatmotorNode
from tests.harness.postgres import PrivatePostgres
from tests.harness.rabbitmq import PrivateRabbit


@dataclass(frozen=True)
class Nodes:
    """Two nodes over RabbitMQ; with the embedded broker, one node under both names."""

    left: ChatmotorNode
    right: ChatmotorNode


def on_rabbit(rabbit: PrivateRabbit, *arguments: str, **options: str) -> ChatmotorNode:
    """A node that uses *rabbit*, now or once it is there."""
    environment = {
        "CM_BROKER": "rabbitmq",
        "CM_RABBIT_PORT": str(rabbit.port),
    } | options
    return ChatmotorNode(*arguments, **environment)


@pytest.fixture
async def on_postgres(postgres: PrivatePostgres) -> dict[str, str]:
    """The options of nodes that share a new, empty database."""
    return await new_database(postgres)


async def new_database(postgres: PrivatePostgres) -> dict[str, str]:
    """See ``on_postgres``."""
    dsn = await postgres.create_database()
    await PostgresStore(dsn).upgrade()
    return {"CM_STORE": "postgres", "CM_POSTGRES_DSN": dsn}


@pytest.fixture(params=["embedded", "rabbitmq"], scope="module")
async def nodes(request: pytest.FixtureRequest) -> AsyncIterator[Nodes]:
    """One suite, two brokers."""
    if request.param == "embedded":
        async with ChatmotorNode(CM_BROKER="embedded") as node:
            yield Nodes(node, node)
        return
    rabbit: PrivateRabbit = request.getfixturevalue("shared_rabbit")
    rabbit.start()
    async with on_rabbit(rabbit) as left, on_rabbit(rabbit) as right:
        await left.until_broker_is("connected")
        await right.until_broker_is("connected")
        yield Nodes(left, right)

# SPDX-License-Identifier: Apache-2.0
"""Nodes that take requests over AMQP, each in a virtual host of its own."""

import itertools
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest

from tests.harness.amqp_service import Service, Vhost
from tests.harness.node import ChatmotorNode
from tests.harness.postgres import PrivatePostgres
from tests.harness.rabbitmq import PrivateRabbit
from tests.harness.v1_client import Login, newcomer
from tests.integration.conftest import on_rabbit
from tests.integration.v1.conftest import QUICK, cluster_options

_count = itertools.count(1)


@dataclass(frozen=True)
class Installation:
    """Two nodes on PostgreSQL; on SQLite, one under both names."""

    vhost: Vhost
    left: ChatmotorNode
    right: ChatmotorNode

    async def newcomer(self, base: str) -> Login:
        """An account that no other test has."""
        return await newcomer(self.left, f"{base}{next(_count)}")

    async def service(self, base: str) -> tuple[Login, Service]:
        """An account, and the RabbitMQ user of its name."""
        login = await self.newcomer(base)
        return login, await Service.of(self.vhost, login.username)


@pytest.fixture(params=["sqlite", "cluster"], scope="module")
async def place(request: pytest.FixtureRequest) -> AsyncIterator[Installation]:
    """One suite, two configurations."""
    rabbit: PrivateRabbit = request.getfixturevalue("shared_rabbit")
    rabbit.start()
    vhost = await Vhost.new(rabbit)
    if request.param == "sqlite":
        async with on_rabbit(rabbit, **QUICK, **vhost.options) as node:
            await node.until_broker_is("connected")
            yield Installation(vhost, node, node)
        return
    postgres: PrivatePostgres = request.getfixturevalue("shared_postgres")
    postgres.start()
    options = await cluster_options(postgres) | vhost.options
    async with on_rabbit(rabbit, **options) as left:
        async with on_rabbit(rabbit, **options) as right:
            await left.until_broker_is("connected")
            await right.until_broker_is("connected")
            yield Installation(vhost, left, right)


@pytest.fixture
async def vhost(rabbit: PrivateRabbit) -> Vhost:
    """A virtual host for one test."""
    return await Vhost.new(rabbit)


@pytest.fixture
async def cluster(
    vhost: Vhost, postgres: PrivatePostgres
) -> AsyncIterator[Installation]:
    """Two fresh nodes on PostgreSQL, connected."""
    options = await cluster_options(postgres) | vhost.options
    async with on_rabbit(vhost.rabbit, **options) as left:
        async with on_rabbit(vhost.rabbit, **options) as right:
            await left.until_broker_is("connected")
            await right.until_broker_is("connected")
            yield Installation(vhost, left, right)

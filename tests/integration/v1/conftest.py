# SPDX-License-Identifier: Apache-2.0
"""Nodes for the tests of v1: one on SQLite alone, or two on PostgreSQL and RabbitMQ."""

import itertools
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from tests.harness.node import ChatmotorNode
from tests.harness.postgres import PrivatePostgres
from tests.harness.rabbitmq import PrivateRabbit
from tests.integration.conftest import Nodes, new_database, on_rabbit

# Limits that a test would otherwise meet by being quick.
QUICK = {
    "CM_SENDS_PER_SECOND": "100000",
    "CM_SENDS_BURST": "100000",
    "CM_LOOKUPS_PER_MINUTE": "100000",
    "CM_ADDRESS_ATTEMPTS": "100000",
}


async def cluster_options(postgres: PrivatePostgres) -> dict[str, str]:
    """Options of nodes that share a new database."""
    return QUICK | await new_database(postgres)


@pytest.fixture(params=["embedded", "cluster"], scope="module")
async def nodes(request: pytest.FixtureRequest) -> AsyncIterator[Nodes]:
    """One suite, two configurations; embedded, both names are one node."""
    async with new_nodes(request) as started:
        yield started


@asynccontextmanager
async def new_nodes(request: pytest.FixtureRequest) -> AsyncIterator[Nodes]:
    """
    Nodes of the configuration that *request* is for: "embedded", one on SQLite; or
    two on PostgreSQL and RabbitMQ, which are up, whatever the test before did to them.
    """
    if request.param == "embedded":
        async with ChatmotorNode(CM_BROKER="embedded", **QUICK) as node:
            yield Nodes(node, node)
        return
    rabbit: PrivateRabbit = request.getfixturevalue("shared_rabbit")
    postgres: PrivatePostgres = request.getfixturevalue("shared_postgres")
    rabbit.start()
    postgres.start()
    options = await cluster_options(postgres)
    async with on_rabbit(rabbit, **options) as left:
        async with on_rabbit(rabbit, **options) as right:
            await left.until_broker_is("connected")
            await right.until_broker_is("connected")
            yield Nodes(left, right)


@pytest.fixture
async def cluster(
    rabbit: PrivateRabbit, postgres: PrivatePostgres
) -> AsyncIterator[Nodes]:
    """Two fresh nodes on PostgreSQL and RabbitMQ, connected."""
    options = await cluster_options(postgres)
    async with on_rabbit(rabbit, **options) as left:
        async with on_rabbit(rabbit, **options) as right:
            await left.until_broker_is("connected")
            await right.until_broker_is("connected")
            yield Nodes(left, right)


_count = itertools.count(1)


@pytest.fixture
def name() -> Callable[[str], str]:
    """Names that no other test of the module has used."""
    number = next(_count)
    return lambda base: f"{base}{number}"

# SPDX-License-Identifier: Apache-2.0
"""Fixtures that tests of several folders share."""

from collections.abc import Iterator

import pytest

from tests.harness.postgres import PrivatePostgres
from tests.harness.rabbitmq import PrivateRabbit


@pytest.fixture(scope="session")
def shared_rabbit() -> Iterator[PrivateRabbit]:
    """One private RabbitMQ for the whole run."""
    with PrivateRabbit() as rabbit:
        yield rabbit


@pytest.fixture
def rabbit(shared_rabbit: PrivateRabbit) -> PrivateRabbit:
    """The RabbitMQ of this run, up, whatever the test before did to it."""
    shared_rabbit.start()
    return shared_rabbit


@pytest.fixture(scope="session")
def shared_postgres() -> Iterator[PrivatePostgres]:
    """One private PostgreSQL for the whole run."""
    with PrivatePostgres() as server:
        yield server


@pytest.fixture
def postgres(shared_postgres: PrivatePostgres) -> PrivatePostgres:
    """The PostgreSQL of this run, up, whatever the test before did to it."""
    shared_postgres.start()
    return shared_postgres

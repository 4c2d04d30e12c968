# SPDX-License-Identifier: Apache-2.0
"""One node for each module of this folder, and names that nobody else uses."""

from collections.abc import AsyncIterator
from itertools import count

import pytest
import pytest_asyncio

from tests.harness.node import ChatmotorNode

_numbers = count()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def node() -> AsyncIterator[ChatmotorNode]:
    """A node on the embedded broker; a traceback in its log fails the module."""
    async with ChatmotorNode(
        CM_BROKER="embedded",
        CM_ALLOWED_ORIGINS="https://app.example, https://Other.example:8443",
    ) as running:
        yield running


@pytest.fixture
def me() -> str:
    """A name for the client under test."""
    return f"user-{next(_numbers)}"


@pytest.fixture
def friend() -> str:
    """A name for somebody else."""
    return f"friend-{next(_numbers)}"

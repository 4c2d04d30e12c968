# SPDX-License-Identifier: Apache-2.0
"""The pytest fixture ``chatmotor_server``: a ``chatmotor.testing.TestServer``.

pytest finds it by itself where Chatmotor is installed, and imports this module for
every test run: so it imports nothing of Chatmotor until a test wants the server.  The
server lives in the event loop of pytest-asyncio, or else of anyio's plugin.
"""

from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, Any

import pytest

fixture: Callable[[Callable[[], Any]], Callable[[], Any]]
try:
    from pytest_asyncio import fixture
except ImportError:  # pragma: no cover  # anyio's plugin runs async fixtures of pytest
    fixture = pytest.fixture

if TYPE_CHECKING:
    from chatmotor.testing import TestServer


@fixture
async def chatmotor_server() -> "AsyncIterator[TestServer]":
    """A server for one test; its users are made as the test asks for them."""
    from chatmotor.testing import TestServer  # noqa: PLC0415  # see above

    async with TestServer() as server:
        yield server

# SPDX-License-Identifier: Apache-2.0
"""The hand-turned loop, as the running one."""

import asyncio
from collections.abc import Iterator
from typing import cast

import pytest

from tests.unit.node.fakes import FakeLoop


@pytest.fixture
def loop() -> Iterator[FakeLoop]:
    """Whoever asks for the running loop gets this one."""
    fake = FakeLoop()
    asyncio._set_running_loop(cast("asyncio.AbstractEventLoop", fake))
    try:
        yield fake
    finally:
        fake.end()
        asyncio._set_running_loop(None)

# SPDX-License-Identifier: Apache-2.0
"""For the tests of those who build on Chatmotor: a server within the test, a clock.

    async with TestServer() as server:
        alice = await server.user("alice")      # a connected chatmotor.client.Client
        server.cut()                            # nobody gets through
        server.mend()

With pytest, the fixture ``chatmotor_server`` is such a server (see pytest_plugin.py).
How-to: docs/howto/test-with-a-server.md.
"""

from chatmotor.testing.clock import Clock
from chatmotor.testing.server import TestServer

__all__ = ["Clock", "TestServer"]

# SPDX-License-Identifier: Apache-2.0
"""Free loopback ports for servers.

Below the range that the system gives to clients (32768 and up on Linux): a server
that is restarted must find its port free, and a client that is just connecting
could have been given it.
"""

import random
import socket


def free_port() -> int:
    """A port on 127.0.0.1 that nobody listens on now."""
    while True:
        port = random.randint(12000, 32000)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port

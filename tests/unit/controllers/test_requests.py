# SPDX-License-Identifier: Apache-2.0
"""Where a request came from."""

import pytest
from tornado.httputil import HTTPHeaders, HTTPServerRequest, RequestStartLine

from chatmotor.controllers.requests import client_address, trusted_networks
from chatmotor.errors import OperatorError


def request(peer: str, *forwarded: str) -> HTTPServerRequest:
    """A request of *peer* with these headers."""
    headers = HTTPHeaders({"Host": "chat.example.org"})
    headers.add("X-Real-Ip", "203.0.113.99")
    for each in forwarded:
        headers.add("X-Forwarded-For", each)
    start_line = RequestStartLine("GET", "/", "HTTP/1.1")
    made = HTTPServerRequest(headers=headers, start_line=start_line)
    made.remote_ip = peer
    return made


@pytest.mark.parametrize(
    ("peer", "forwarded", "address"),
    [
        # Nobody trusted: what is said does not count.
        ("198.51.100.1", [], "198.51.100.1"),
        ("198.51.100.1", ["203.0.113.5"], "198.51.100.1"),
        # A trusted peer has added the right end; further left is made up.
        ("127.0.0.1", ["203.0.113.5"], "203.0.113.5"),
        ("127.0.0.1", ["1.2.3.4, 203.0.113.5"], "203.0.113.5"),
        ("127.0.0.1", ["1.2.3.4", "203.0.113.5"], "203.0.113.5"),
        # Several trusted proxies.
        ("127.0.0.1", ["1.2.3.4, 203.0.113.5, 10.1.2.3"], "203.0.113.5"),
        ("127.0.0.1", ["10.1.2.3"], "10.1.2.3"),
        # Ports, brackets, IPv6, IPv4 within IPv6.
        ("127.0.0.1", ["203.0.113.5:4711"], "203.0.113.5"),
        ("127.0.0.1", ["[2001:db8::1]:4711"], "2001:db8::1"),
        ("::ffff:127.0.0.1", ["2001:db8::1"], "2001:db8::1"),
        # Garbage ends the walk.
        ("127.0.0.1", ["203.0.113.5, unknown"], "127.0.0.1"),
        ("127.0.0.1", [""], "127.0.0.1"),
        ("127.0.0.1", [], "127.0.0.1"),
    ],
)
def test_the_address_of_a_client(peer: str, forwarded: list[str], address: str) -> None:
    """Only X-Forwarded-For, from the right, as far as proxies are trusted."""
    proxies = trusted_networks(["127.0.0.1", "10.0.0.0/8"])

    assert address == client_address(request(peer, *forwarded), proxies)


@pytest.mark.parametrize("row", ["proxy.example.org", "10.0.0.1/8", "", "*"])
def test_a_row_that_is_no_network_refuses_to_start(row: str) -> None:
    """A typing error does not silently trust nobody, or everybody."""
    with pytest.raises(OperatorError, match="TRUSTED_PROXIES"):
        trusted_networks([row])

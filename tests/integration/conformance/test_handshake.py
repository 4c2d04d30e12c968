# SPDX-License-Identifier: Apache-2.0
"""
The opening handshake (RFC 6455, section 4), and who may not pass it.

Whatever is refused is refused as HTTP with JSON; nothing of the inside shows.
"""

import json
import unicodedata
from urllib.parse import quote

import pytest

from tests.harness.node import ChatmotorNode
from tests.integration.conformance.raw_client import (
    KEY,
    TEXT,
    Headers,
    RawClient,
    Response,
    accept_value,
    frame,
    text_for,
    upgrade_request,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")

HOST = "chat.example:8888"
JSON = "application/json; charset=UTF-8"


async def answer(node: ChatmotorNode, request: bytes) -> Response:
    """The response to *request*, which must not show what is inside."""
    async with await RawClient.dial(node.url) as client:
        await client.send(request)
        response = await client.response()
    assert "server" not in response.headers
    for inside in (b"Traceback", b"tornado", b"picows", b".py", b"site-packages"):
        assert inside not in response.body
    return response


async def refused(node: ChatmotorNode, request: bytes) -> tuple[int, str, str | None]:
    """Status, code and field of the JSON that refuses *request*."""
    response = await answer(node, request)
    assert JSON == response.headers["content-type"]
    body = json.loads(response.body)
    assert {"code", "msg", "retry"} <= body.keys() <= {"code", "msg", "retry", "field"}
    return response.status, body["code"], body.get("field")


# The upgrade.


@pytest.mark.parametrize(
    "key",
    [
        KEY,
        "AAAAAAAAAAAAAAAAAAAAAA==",
        "/////////////////////w==",
        "x3JJHMbDL1EzLkh9GBhXDw==",
    ],
)
async def test_accept_value_answers_the_key(
    node: ChatmotorNode, me: str, key: str
) -> None:
    """RFC 6455, 4.2.2: Sec-WebSocket-Accept is made of the client's key."""
    response = await answer(
        node, upgrade_request(f"/im/{me}", replace={"Sec-WebSocket-Key": key})
    )

    assert 101 == response.status
    assert accept_value(key) == response.headers["sec-websocket-accept"]
    assert "websocket" == response.headers["upgrade"].lower()
    assert "upgrade" == response.headers["connection"].lower()


@pytest.mark.parametrize(
    "replace",
    [
        {"Connection": "keep-alive, Upgrade"},
        {"Connection": "Upgrade, keep-alive"},
        {"Connection": "keep-alive,upgrade"},
        {"Connection": "UPGRADE"},
        {"Connection": " upgrade "},
        {"Upgrade": "WebSocket"},
        {"Upgrade": "WEBSOCKET"},
        {"Sec-WebSocket-Version": " 13 "},
        {"Sec-WebSocket-Version": None, "sec-websocket-version": "13"},
        {"Sec-WebSocket-Key": None, "SEC-WEBSOCKET-KEY": KEY},
        {"Connection": None, "CONNECTION": "Upgrade"},
        {"Cookie": "a=b; c=d", "User-Agent": "test", "Pragma": "no-cache"},
        {"X-Long": "x" * 12000},
    ],
)
async def test_every_proper_spelling_of_the_upgrade_is_accepted(
    node: ChatmotorNode, me: str, replace: dict[str, str | None]
) -> None:
    """Names of headers, and the tokens of these, know no case; lists have commas."""
    response = await answer(node, upgrade_request(f"/im/{me}", replace=replace))

    assert 101 == response.status


@pytest.mark.parametrize(
    "offer",
    [
        "permessage-deflate",
        "permessage-deflate; client_max_window_bits, x-webkit-deflate-frame",
        "no-such-extension",
    ],
)
async def test_no_extension_is_negotiated(
    node: ChatmotorNode, me: str, offer: str
) -> None:
    """RFC 6455, 9.1: an offer may be declined by not naming it."""
    response = await answer(
        node, upgrade_request(f"/im/{me}", replace={"Sec-WebSocket-Extensions": offer})
    )

    assert 101 == response.status
    assert "sec-websocket-extensions" not in response.headers


@pytest.mark.parametrize("protocol", ["chatmotor.v2", "chat, superchat", ""])
async def test_subprotocol_is_refused_in_classic_mode(
    node: ChatmotorNode, me: str, protocol: str
) -> None:
    """The mode is chosen by the subprotocol, and classic mode has none."""
    request = upgrade_request(f"/im/{me}", replace={"Sec-WebSocket-Protocol": protocol})

    assert (400, "bad_request", "Sec-WebSocket-Protocol") == await refused(
        node, request
    )


@pytest.mark.parametrize(
    "key",
    [
        None,
        "",
        "short",
        "dGhlIHNhbXBsZSBub25jZQ",
        "dGhlIHNhbXBsZSBub25jZQ==, dGhlIHNhbXBsZSBub25jZQ==",
        "AAAAAAAAAAAAAAAAAAAA",
        "AAAAAAAAAAAAAAAAAAAAAAAAAAAA",
        "dGhlIHNhbXBsZSBub25jZQ==x",
        "d*hlIHNhbXBsZSBub25jZQ==",
        "ключ",
        "\udcff\udcfe",
    ],
)
async def test_key_that_is_not_16_bytes_in_base64_is_400(
    node: ChatmotorNode, me: str, key: str | None
) -> None:
    """RFC 6455, 4.2.1, number 5."""
    request = upgrade_request(f"/im/{me}", replace={"Sec-WebSocket-Key": key})

    assert (400, "bad_request", "Sec-WebSocket-Key") == await refused(node, request)


async def test_two_keys_are_400(node: ChatmotorNode, me: str) -> None:
    """RFC 6455, 11.3.1: the header must not appear twice."""
    request = upgrade_request(f"/im/{me}", more=[("Sec-WebSocket-Key", KEY)])

    assert (400, "bad_request", "Sec-WebSocket-Key") == await refused(node, request)


@pytest.mark.parametrize("version", [None, "", "8", "12", "14", "13, 8", "thirteen"])
async def test_other_version_is_426_and_names_13(
    node: ChatmotorNode, me: str, version: str | None
) -> None:
    """RFC 6455, 4.2.2 and 4.4: the answer has the version that is spoken."""
    response = await answer(
        node, upgrade_request(f"/im/{me}", replace={"Sec-WebSocket-Version": version})
    )

    assert 426 == response.status
    assert "13" == response.headers["sec-websocket-version"]
    assert "upgrade_required" == json.loads(response.body)["code"]


@pytest.mark.parametrize(
    "replace",
    [
        {"Upgrade": None},
        {"Upgrade": "h2c"},
        {"Upgrade": "web socket"},
        {"Connection": None},
        {"Connection": "keep-alive"},
        {"Connection": "upgraded"},
        {"Upgrade": None, "Connection": None},
    ],
)
async def test_plain_request_is_426(
    node: ChatmotorNode, me: str, replace: dict[str, str | None]
) -> None:
    """RFC 9110, 15.5.22: the answer says what to upgrade to."""
    response = await answer(node, upgrade_request(f"/im/{me}", replace=replace))

    assert 426 == response.status
    assert "websocket" == response.headers["upgrade"]
    assert "upgrade_required" == json.loads(response.body)["code"]


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"])
async def test_other_method_is_405(node: ChatmotorNode, me: str, method: str) -> None:
    """RFC 6455, 4.1: the method of the handshake is GET."""
    request = upgrade_request(
        f"/im/{me}", method=method, replace={"Content-Length": "0"}
    )

    assert (405, "method_not_allowed", None) == await refused(node, request)


async def test_http_1_0_cannot_upgrade(node: ChatmotorNode, me: str) -> None:
    """RFC 6455, 4.2.1, number 1: an HTTP/1.1 or higher GET request."""
    response = await answer(node, upgrade_request(f"/im/{me}", version="HTTP/1.0"))

    assert 426 == response.status


@pytest.mark.parametrize(
    "request_bytes",
    [
        pytest.param(b"GET /im/a HTTP/1.1\r\n\r\n", id="no host"),
        pytest.param(
            b"GET /im/a HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", id="two hosts"
        ),
        pytest.param(b"GET /im/a\r\n\r\n", id="no version"),
        pytest.param(b"NONSENSE\r\n\r\n", id="nonsense"),
        pytest.param(b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n", id="TLS hello"),
        pytest.param(b"GET /im/a HTTP/1.1\r\nHost a\r\n\r\n", id="no colon"),
        pytest.param(b"GET /im/a HTTP/1.1\r\nHo st: a\r\n\r\n", id="space in name"),
        pytest.param(
            b"GET /im/\xff\xfe HTTP/1.1\r\nHost: a\r\n\r\n", id="bytes in path"
        ),
        pytest.param(
            b"GET /im/a HTTP/1.1\r\nHost: a\r\nX: \x00\r\n\r\n", id="NUL in a value"
        ),
        pytest.param(
            b"POST /im/a HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n",
            id="negative length",
        ),
        pytest.param(
            b"POST /im/a HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            id="length and chunked",
        ),
        pytest.param(
            b"POST /im/a HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999\r\n\r\n",
            id="body too big",
        ),
    ],
)
async def test_malformed_request_ends_the_connection_without_a_traceback(
    node: ChatmotorNode, request_bytes: bytes
) -> None:
    """What is not HTTP is refused with a 4xx, or not at all; the node lives on."""
    async with await RawClient.dial(node.url) as client:
        await client.send(request_bytes)
        client.finish()
        said = await client.end()

    assert said == b"" or said.startswith(b"HTTP/1.1 4")
    assert b"Traceback" not in said


@pytest.mark.parametrize(
    "place", ["request line", "one header", "many headers", "endless"]
)
async def test_head_over_16_kib_is_not_taken_in(
    node: ChatmotorNode, me: str, place: str
) -> None:
    """The head of a request is bounded: it is refused, or the connection ends."""
    proper = upgrade_request(f"/im/{me}")
    sent = {
        "request line": upgrade_request(f"/im/{me}?" + "q" * 17000),
        "one header": upgrade_request(f"/im/{me}", more=[("X-Long", "x" * 17000)]),
        "many headers": upgrade_request(
            f"/im/{me}", more=[(f"X-{number}", "x" * 80) for number in range(300)]
        ),
        "endless": proper[:-2] + b"X: " + b"x" * 200_000,
    }[place]
    async with await RawClient.dial(node.url) as client:
        client.writer.write(sent)
        try:
            said = await client.end()
        except ConnectionResetError:  # unread bytes were left
            said = b""

    assert said == b"" or said.startswith((b"HTTP/1.1 400", b"HTTP/1.1 431"))


# Origin.


ORIGINS: list[tuple[str, list[str], bool]] = [
    (HOST, [], True),
    (HOST, [f"http://{HOST}"], True),
    (HOST, [f"https://{HOST}"], True),
    ("Chat.Example:8888", [f"http://{HOST}"], True),
    ("chat.example", ["https://chat.example"], True),
    ("127.0.0.1:8888", ["http://127.0.0.1:8888"], True),
    ("[::1]:8888", ["http://[::1]:8888"], True),
    ("xn--bcher-kva.example", ["https://xn--bcher-kva.example"], True),
    (HOST, ["https://app.example"], True),
    (HOST, ["https://other.example:8443"], True),
    (HOST, ["https://APP.example"], True),
    (HOST, ["http://app.example"], False),
    (HOST, ["https://app.example:444"], False),
    (HOST, ["https://app.example.evil.example"], False),
    (HOST, ["https://evil-app.example"], False),
    (HOST, ["https://sub.app.example"], False),
    (HOST, ["http://evil.example"], False),
    (HOST, ["http://chat.example"], False),
    (HOST, ["http://chat.example:80"], False),
    (HOST, ["http://chat.example:88889"], False),
    (HOST, [f"http://{HOST}.evil.example"], False),
    (HOST, ["http://chat.example.evil.example:8888"], False),
    (HOST, [f"http://evil{HOST}"], False),
    (HOST, [f"http://evil.{HOST}"], False),
    (HOST, [f"http://evil.example/{HOST}"], False),
    (HOST, [f"http://evil.example#{HOST}"], False),
    (HOST, [f"http://evil.example?{HOST}"], False),
    (HOST, [f"http://evil.example@{HOST}"], False),
    (HOST, [f"http://{HOST}@evil.example"], False),
    (HOST, [f"http://{HOST}/"], False),
    (HOST, [f"http://{HOST}/path"], False),
    (HOST, [f"http:{HOST}"], False),
    (HOST, [f"//{HOST}"], False),
    (HOST, [HOST], False),
    (HOST, [f"ws://{HOST}"], False),
    (HOST, [f"file://{HOST}"], False),
    (HOST, [f"chrome-extension://{HOST}"], False),
    (HOST, ["null"], False),
    (HOST, [""], False),
    (HOST, ["*"], False),
    (HOST, ["http://["], False),
    (HOST, ["http://chat.example:port"], False),
    (HOST, ["http://"], False),
    (HOST, [f"http://{HOST} http://evil.example"], False),
    (HOST, [f"http://{HOST}, http://evil.example"], False),
    (HOST, [f"http://{HOST}", f"http://{HOST}"], False),
    (HOST, [f"http://{HOST}", "http://evil.example"], False),
    (HOST, ["https://app.example", "http://evil.example"], False),
    (HOST, ["http://evil.example", "https://app.example"], False),
    (HOST, ["http://сhat.example:8888"], False),  # noqa: RUF001  # a Cyrillic letter
    (HOST, ["http://chat.exampl\u212f:8888"], False),
    (HOST, ["http://chat。example:8888"], False),
]  # fmt: skip


@pytest.mark.parametrize(("host", "origins", "allowed"), ORIGINS)
async def test_page_may_connect_to_its_own_host_or_when_allowed_by_name(
    node: ChatmotorNode, me: str, host: str, origins: list[str], *, allowed: bool
) -> None:
    """
    RFC 6455, 10.2: other sites' pages are kept out; programs send no Origin.
    ALLOWED_ORIGINS is https://app.example and https://Other.example:8443 here.
    """
    more: Headers = [("Origin", origin) for origin in origins]
    response = await answer(node, upgrade_request(f"/im/{me}", host=host, more=more))

    if not allowed:
        body = json.loads(response.body)
        assert ("forbidden", "Origin") == (body["code"], body["field"])
    assert (101 if allowed else 403) == response.status


# Names.


@pytest.mark.parametrize(
    ("target", "name"),
    [
        ("/im/%61lice-1", "alice-1"),
        ("/im/a%20b", "a b"),
        ("/im/a+b", "a+b"),
        ("/im/a%2Bb", "a+b"),
        ("/im/a%2Fb", "a/b"),
        ("/im/a/b", "a/b"),
        ("/im/a%2520b", "a%20b"),
        ("/im/100%25", "100%"),
        ("/im/bob%40example.org", "bob@example.org"),
        ("/im/bob@example.org?ignored=1", "bob@example.org"),
        ("/im/%3Fquery", "?query"),
        ("/im/" + quote("Grüße"), "Grüße"),
        ("/im/" + quote(unicodedata.normalize("NFD", "Müller")), "Müller"),
        ("/im/" + quote("Zoë"), unicodedata.normalize("NFD", "Zoë")),
        ("/im/" + quote("한글"), unicodedata.normalize("NFD", "한글")),
        ("/im/" + quote("日本語"), "日本語"),
        ("/im/" + quote("👩‍👩‍👧"), "👩‍👩‍👧"),
        ("/im/" + quote("علی‌رضا"), "علی‌رضا"),
        ("/im/" + "n" * 64, "n" * 64),
        ("/im/" + quote("é" * 64), "é" * 64),
        ("/im/" + quote("日" * 64), "日" * 64),
        ("/im/" + quote("e\u0301" * 64), "é" * 64),
        ("/im/..", ".."),
        ("/im/%2e%2e%2fetc", "../etc"),
        ("/im/#", "#"),
        ("/im/*", "*"),
        ("/im/%22%27%3C%3E", "\"'<>"),
    ],
)
async def test_name_in_the_path_is_the_name_that_is_reached(
    node: ChatmotorNode, me: str, target: str, name: str
) -> None:
    """Percent-encoding and Unicode composition do not make another name."""
    text = text_for(name, content=target)
    async with (
        await RawClient.dial(node.url) as reader,
        await RawClient.open(node.url, me) as sender,
    ):
        await reader.send(upgrade_request(target))
        assert 101 == (await reader.response()).status
        await sender.send(frame(TEXT, text))

        assert text == await reader.text()


@pytest.mark.parametrize(
    "target",
    [
        "/im/",
        "/im/?name=bob",
        "/im/" + "n" * 65,
        "/im/" + "n" * 10000,
        "/im/" + quote("👩" * 64),
        "/im/%00",
        "/im/bob%00",
        "/im/bob%0A",
        "/im/bob%0D%0AX-Injected:%20yes",
        "/im/%1b%5b31m",
        "/im/%7f",
        "/im/%C2%85",
        "/im/%E2%80%AE" + "bob",
        "/im/%E2%80%8B" + "bob",
        "/im/%EF%BB%BF" + "bob",
        "/im/%E2%80%A8",
        "/im/%20",
        "/im/%20bob",
        "/im/bob%20",
        "/im/%C2%A0bob",
        "/im/%E3%80%80",
    ],
)
async def test_name_that_nobody_can_have_is_400(
    node: ChatmotorNode, target: str
) -> None:
    """Empty, too long, invisible, or with control characters: refused in words."""
    assert (400, "bad_request", "username") == await refused(
        node, upgrade_request(target)
    )


@pytest.mark.parametrize(
    "target",
    [
        "/im/%ff",
        "/im/%C3",
        "/im/%C0%AF",
        "/im/%ED%A0%80",
        "/im/%F4%90%80%80",
        "/im/a%FFb",
    ],
)
async def test_name_that_is_not_utf8_is_400(node: ChatmotorNode, target: str) -> None:
    """RFC 3986, 2.5: the octets of a name are UTF-8."""
    status, code, _ = await refused(node, upgrade_request(target))

    assert (400, "bad_request") == (status, code)


@pytest.mark.parametrize(
    "target", ["/im", "/IM/bob", "/im2/bob", "//im/bob", "/v1", "/v1/ws/"]
)
async def test_other_path_is_404(node: ChatmotorNode, target: str) -> None:
    """There is one path for the classic mode."""
    assert (404, "not_found", None) == await refused(node, upgrade_request(target))


@pytest.mark.parametrize("target", ["/im/%", "/im/%4", "/im/%zz", "/im/a%u0041"])
async def test_broken_percent_encoding_does_not_break_the_node(
    node: ChatmotorNode, target: str
) -> None:
    """A lone percent sign stands for itself, or is refused; never a failure."""
    response = await answer(node, upgrade_request(target))

    assert response.status in (101, 400)

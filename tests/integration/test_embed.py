# SPDX-License-Identifier: Apache-2.0
"""A node within another Tornado application, over real sockets.

browser --/chat/v1/ws--> the application's HTTPServer --> the node in the same process
"""

import asyncio
import logging
import signal
import ssl
import sys
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import tornado.httpserver
import tornado.web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from tornado.netutil import bind_sockets
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from chatmotor.embed import Chatmotor, HostUser
from chatmotor.errors import NoSuchUser, OperatorError, Unavailable
from tests.harness.node import DEADLINE_SECONDS
from tests.harness.v1_client import V1, Login, Refused, acall, newcomer

BAD_TOKEN = 4502
DRAINING = 4001
TOKEN_EXPIRED = 4010


class Users:
    """The application's own table: token to user; it can be away, or broken."""

    def __init__(self) -> None:
        self.tokens: dict[str, str | HostUser] = {
            "alices": "alice",
            "bobs": HostUser("Bob", device="bobs-laptop"),
        }
        self.answers = True
        self.error: Exception | None = None

    async def __call__(self, token: str) -> str | HostUser | None:
        if self.error is not None:
            raise self.error
        return self.tokens.get(token)


class Own(tornado.web.RequestHandler):
    def get(self) -> None:
        self.write("the application's own")


class Broken(tornado.web.RequestHandler):
    def get(self) -> None:
        raise RuntimeError


@dataclass
class Site:
    """
    The application as its users see it.

    Attributes:
        url: Of the chat, with its prefix; what the harness calls a node.
        root: Of the application.
    """

    url: str
    root: str
    chat: Chatmotor
    users: Users


@asynccontextmanager
async def site(
    data: Path,
    *,
    prefix: str = "/chat",
    users: Users | None = None,
    **options: Any,
) -> AsyncIterator[Site]:
    """A running application; without *users* the chat has its own accounts."""
    chat = Chatmotor({"DATA_DIR": str(data), **options}, users=users)
    application = tornado.web.Application(
        [(r"/", Own), *chat.routes(prefix), (r"/own", Own)],
        debug=True,
        autoreload=False,
    )
    async with serving(application) as root:
        async with chat:
            yield Site(root + prefix, root, chat, users or Users())


@asynccontextmanager
async def serving(application: Any, **given: Any) -> AsyncIterator[str]:
    """*application* on a free port; its URL."""
    server = tornado.httpserver.HTTPServer(application, **given)
    sockets = bind_sockets(0, "127.0.0.1")
    server.add_sockets(sockets)
    scheme = "https" if "ssl_options" in given else "http"
    yield f"{scheme}://127.0.0.1:{sockets[0].getsockname()[1]}"
    server.stop()
    await server.close_all_connections()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A key and its certificate of ``localhost``, good for an hour."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), False)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "localhost.pem"
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        + made.public_bytes(serialization.Encoding.PEM)
    )
    return path


def alice() -> Login:
    """With the application's token."""
    return Login("alice", "host", "alices")


def bob() -> Login:
    """With the application's token."""
    return Login("bob", "bobs-laptop", "bobs")


async def get(url: str) -> tuple[int, str]:
    """Status and content."""

    def read() -> tuple[int, str]:
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(url, timeout=DEADLINE_SECONDS) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as refused:
            with refused:
                return refused.code, refused.read().decode()

    return await asyncio.to_thread(read)


# The application's users.


async def test_the_applications_users_talk_under_its_prefix(tmp_path: Path) -> None:
    """
    A token of the application is one here; its users have accounts from the first
    time that they are seen, over WebSocket and over HTTP.
    """
    async with site(tmp_path, users=Users()) as own:
        async with bob().connect(own, resume="device") as bobs:
            async with alice().connect(own) as alices:
                assert ("alice", "host") == (
                    alices.welcome["user"],
                    alices.welcome["device"],
                )
                assert ("bob", "bobs-laptop") == (
                    bobs.welcome["user"],
                    bobs.welcome["device"],
                )
                await alices.ask("send", cid="k1", to="bob", body="over the socket")
            await acall(
                own,
                "/v1/rpc/send",
                {"cid": "k2", "to": "bob", "body": "over HTTP"},
                token="alices",
            )
            heard = await bobs.messages(2)

    assert ["over the socket", "over HTTP"] == [each["body"] for each in heard]


async def test_nobody_signs_up_or_logs_in_beside_the_applications_users(
    tmp_path: Path,
) -> None:
    """As with JSON web tokens: the users are those of the application."""
    asked = {"username": "mallory", "password": "correct horse battery"}
    async with site(tmp_path, users=Users(), SIGN_UP="open") as own:
        refused = []
        for path in ("/v1/accounts", "/v1/tokens"):
            with pytest.raises(Refused) as raised:
                await acall(own, path, asked)
            refused.append(raised.value.code)

    assert ["forbidden", "forbidden"] == refused


async def test_a_token_that_the_application_does_not_know_is_none(
    tmp_path: Path,
) -> None:
    """Over HTTP 401; a session is closed with 4502."""
    async with site(tmp_path, users=Users()) as own:
        with pytest.raises(Refused) as raised:
            await acall(own, "/v1/rpc/sync", {}, token="nobodys")
        async with Login("x", "x", "nobodys").connect(own, greet=False) as session:
            with pytest.raises((Refused, ConnectionError)):
                await session.hello("nobodys")
            closed = await session.until_closed()

    assert (401, "unauthenticated") == (raised.value.status, raised.value.code)
    assert BAD_TOKEN == closed


async def test_a_token_that_the_application_has_ended_closes_its_sockets(
    tmp_path: Path,
) -> None:
    """
    At the next check of positions it is asked again; the sockets of other tokens stay.
    """
    users = Users()
    async with site(tmp_path, users=users, POSITION_CHECK_SECONDS=0.2) as own:
        async with alice().connect(own) as alices, bob().connect(own) as bobs:
            del users.tokens["alices"]
            closed = await alices.until_closed()
            await bobs.ask("sync")

    assert BAD_TOKEN == closed


async def test_a_token_that_is_another_users_by_now_closes_its_sockets(
    tmp_path: Path,
) -> None:
    """And whoever comes with it is that user, never the old one."""
    users = Users()
    async with site(tmp_path, users=users, POSITION_CHECK_SECONDS=0.2) as own:
        async with alice().connect(own) as alices:
            users.tokens["alices"] = "carol"
            closed = await alices.until_closed()
            async with alice().connect(own) as carols:
                user = carols.welcome["user"]

    assert (BAD_TOKEN, "carol") == (closed, user)


async def test_the_application_can_have_its_word_heard_at_once(tmp_path: Path) -> None:
    """After a log-out nobody need wait for a check of positions."""
    users = Users()
    async with site(tmp_path, users=users, POSITION_CHECK_SECONDS=600) as own:
        async with alice().connect(own) as alices:
            del users.tokens["alices"]
            own.chat.recheck("Alice")
            closed = await alices.until_closed()

    assert BAD_TOKEN == closed


async def test_an_application_that_does_not_answer_revokes_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """
    Whoever is connected stays; whoever comes is told to come again, without a word of
    what went wrong.
    """
    users = Users()
    async with site(tmp_path, users=users, POSITION_CHECK_SECONDS=0.2) as own:
        async with alice().connect(own) as alices:
            users.error = RuntimeError("the table is locked: alices")
            await until(lambda: len(caplog.records) >= 2)
            with pytest.raises(Refused) as raised:
                await acall(own, "/v1/rpc/sync", {}, token="bobs")
            users.error = None
            await alices.ask("sync")

    assert (503, "unavailable") == (raised.value.status, raised.value.code)
    assert "locked" not in str(raised.value.error)
    logged = {each.getMessage() for each in caplog.records}
    assert {
        "the application failed to say whose a token is",
        "POST /chat/v1/rpc/sync 503",
    } == logged


async def test_a_lease_ends_and_the_same_token_begins_another(tmp_path: Path) -> None:
    """
    After TOKEN_DAYS, or twice that, a connection says hello again; the token itself
    is good for as long as the application says so.
    """
    days = 1.0 / 86400
    async with site(
        tmp_path, users=Users(), TOKEN_DAYS=days, POSITION_CHECK_SECONDS=0.2
    ) as own:
        async with alice().connect(own) as alices:
            closed = await alices.until_closed()
            async with alice().connect(own, resume="device") as again:
                resumed = again.welcome["resumed"]

    assert (TOKEN_EXPIRED, True) == (closed, resumed)


# Within the process.


async def test_the_application_writes_and_asks_for_its_users(tmp_path: Path) -> None:
    """``send`` is stored once per cid, and answered as to a client; so is ``call``."""
    async with site(tmp_path, users=Users()) as own:
        async with bob().connect(own) as bobs:
            await own.chat.add_user("alice", display_name="Alice")
            first = await own.chat.send(from_="alice", to="bob", body="hi", cid="k1")
            again = await own.chat.send(from_="alice", to="bob", body="hi", cid="k1")
            await own.chat.send(from_="alice", to="bob", raw="as it is")
            heard = await bobs.messages(2)
        synced: Any = await own.chat.call("bob", "sync")

    assert (1, False, True) == (first.n, first.dup, again.dup)
    assert first.conv == again.conv == synced.convs[0].conv
    assert ["hi", "as it is"] == [each.get("body", each.get("raw")) for each in heard]
    assert (2, 2) == (synced.convs[0].n, synced.convs[0].unread)


async def test_whom_nobody_has_seen_can_be_written_to_once_added(
    tmp_path: Path,
) -> None:
    """A user has an account from the first visit on, or from ``add_user`` on."""
    async with site(tmp_path, users=Users()) as own:
        await own.chat.add_user("alice")
        with pytest.raises(NoSuchUser):
            await own.chat.send(from_="alice", to="bob", body="hi")
        made = [await own.chat.add_user("bob"), await own.chat.add_user("Bob")]
        await own.chat.send(from_="alice", to="bob", body="hi")
        async with bob().connect(own, resume="device") as bobs:
            [message] = await bobs.messages(1)

    assert [True, False] == made
    assert "hi" == message["body"]


async def test_nothing_is_done_before_start_and_after_stop(tmp_path: Path) -> None:
    """Calls are refused, requests are answered with 503, sockets close with 4001."""
    chat = Chatmotor({"DATA_DIR": str(tmp_path)}, users=Users())
    application = tornado.web.Application([*chat.routes("/chat")])
    async with serving(application) as root:
        before = await get(root + "/chat/v1/ws")
        with pytest.raises(Unavailable):
            await chat.send(from_="alice", to="bob", body="hi")
        await chat.start()
        async with alice().connect(Site(root + "/chat", root, chat, Users())) as alices:
            await chat.stop()
            closed = await alices.until_closed()
        after = await get(root + "/chat/healthz")
        with pytest.raises(Unavailable):
            await chat.add_user("bob")

    assert (503, DRAINING, 503) == (before[0], closed, after[0])


# Beside the application.


async def test_the_applications_own_routes_stay_its_own(tmp_path: Path) -> None:
    """With a prefix, and without one: what is not the chat's is the application's."""
    async with site(tmp_path / "a", users=Users()) as own:
        under = [await get(own.root + path) for path in ("/own", "/chatter", "/")]
        chats = [await get(own.url + path) for path in ("/healthz", "/nothing")]
    async with site(tmp_path / "b", prefix="", users=Users()) as own:
        beside = [await get(own.root + path) for path in ("/own", "/healthz", "/no")]

    assert [200, 404, 200] == [status for status, _ in under]
    assert (200, 404) == tuple(status for status, _ in chats)
    assert '"code": "not_found"' in chats[1][1]
    assert [200, 200, 404] == [status for status, _ in beside]
    assert '"code"' not in beside[2][1]


async def test_what_goes_wrong_is_not_shown_where_the_application_debugs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The application shows its tracebacks; the chat never shows its own."""
    chat = Chatmotor({"DATA_DIR": str(tmp_path)}, users=Users())
    application = tornado.web.Application(
        [*chat.routes("/chat"), ("/broken", Broken)], debug=True, autoreload=False
    )
    logging.getLogger("tornado.application").disabled = True
    try:
        async with serving(application) as root, chat:
            monkeypatch.setattr(chat.node.accounts, "authenticate", None)
            _, own = await get(root + "/broken")
            with pytest.raises(Refused) as raised:
                await acall(
                    Site(root + "/chat", root, chat, Users()),
                    "/v1/rpc/sync",
                    {},
                    token="alices",
                )
    finally:
        logging.getLogger("tornado.application").disabled = False

    assert "Traceback" in own
    assert {"code": "internal", "msg": "the server failed", "retry": True} == (
        raised.value.error
    )


async def test_two_nodes_in_one_process_have_nothing_in_common(tmp_path: Path) -> None:
    """Two data directories: two sets of accounts, secrets, counters."""
    async with (
        site(tmp_path / "a", SIGN_UP="open") as one,
        site(tmp_path / "b", SIGN_UP="open") as other,
    ):
        login = await newcomer(one, "alice")
        async with login.connect(one):
            counted = [each.chat.node.metrics.connections for each in (one, other)]
        with pytest.raises(Refused) as raised:
            await acall(other, "/v1/rpc/sync", {}, token=login.token)

    assert [1, 0] == counted
    assert "unauthenticated" == raised.value.code


async def test_two_nodes_do_not_share_a_data_directory(tmp_path: Path) -> None:
    """SQLite has one process, and one node of it."""
    second = Chatmotor({"DATA_DIR": str(tmp_path)})
    async with Chatmotor({"DATA_DIR": str(tmp_path)}):
        with pytest.raises(OperatorError):
            await second.start()


async def test_signals_and_logging_stay_the_applications(tmp_path: Path) -> None:
    """Nothing global is touched from the first line to the last."""

    def globals_now() -> list[object]:
        loop: Any = asyncio.get_running_loop()
        return [
            *(signal.getsignal(each) for each in (signal.SIGTERM, signal.SIGINT)),
            dict(loop._signal_handlers),
            list(logging.getLogger().handlers),
            logging.getLogger("chatmotor").level,
        ]

    before = globals_now()
    async with site(tmp_path) as own:
        await get(own.url + "/healthz")
        during = globals_now()

    assert before == during == globals_now()


async def test_metrics_are_for_whom_the_application_lets(tmp_path: Path) -> None:
    """They are routes of their own, and not among the others."""
    chat = Chatmotor({"DATA_DIR": str(tmp_path)})
    public = tornado.web.Application([*chat.routes("/chat")])
    private = tornado.web.Application([*chat.admin_routes("/chat")])
    async with serving(public) as open_url, serving(private) as own_url, chat:
        shown = await get(own_url + "/chat/metrics")
        hidden = await get(open_url + "/chat/metrics")

    assert (200, True) == (shown[0], "chatmotor_connections 0.0" in shown[1])
    assert 404 == hidden[0]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"SEND_PER_SECOND": 3}, "did you mean SENDS_PER_SECOND?"),
        ({"SENDS_BURST": "many"}, "SENDS_BURST must be"),
        ({"WORKERS": 2}, "WORKERS is of no use here"),
        ({"TORNADO_LISTEN_PORT": 80}, "TORNADO_LISTEN_PORT is of no use here"),
        ({"JWT_SECRET": "s" * 40}, "not both"),
    ],
)
def test_what_cannot_be_right_is_refused_at_once(
    tmp_path: Path, options: dict[str, Any], said: str
) -> None:
    """In one sentence that names the option, as with config.py."""
    with pytest.raises(OperatorError, match=said):
        Chatmotor({"DATA_DIR": str(tmp_path), **options}, users=Users())


def test_a_prefix_has_one_form(tmp_path: Path) -> None:
    """``/chat``: with the first slash, without the last."""
    chat = Chatmotor({"DATA_DIR": str(tmp_path)})

    for prefix in ("chat", "/chat/", "/"):
        with pytest.raises(OperatorError):
            chat.routes(prefix)


async def test_tls_of_the_application_itself_is_refused_in_words(
    tmp_path: Path, certificate: Path
) -> None:
    """
    A socket in the middle of TLS cannot be handed over: 501 with a sentence, and HTTP
    is served all the same.
    """
    chat = Chatmotor({"DATA_DIR": str(tmp_path)}, users=Users())
    application = tornado.web.Application([*chat.routes("/chat")])
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)
    client = ssl.create_default_context(cafile=certificate)
    async with serving(application, ssl_options=context) as root, chat:
        url = root.replace("https://127.0.0.1", "wss://localhost") + "/chat/v1/ws"
        with pytest.raises(InvalidStatus) as raised:
            async with connect(
                url, subprotocols=V1, proxy=None, ssl=client, host="127.0.0.1"
            ):
                pass
    said = raised.value.response.body.decode()

    assert 501 == raised.value.response.status_code
    assert '"code": "tls_in_process"' in said
    assert '"retry": false' in said
    assert "reverse proxy" in said


async def test_the_operators_command_reaches_an_embedded_node(tmp_path: Path) -> None:
    """``chatmotor user``, with the data directory, speaks to it."""
    async with site(tmp_path, users=Users()) as own:
        await own.chat.add_user("alice")
        done = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "chatmotor", "user", "deactivate", "alice"),
            *("--data-dir", str(tmp_path)),
            stdout=asyncio.subprocess.DEVNULL,
        )
        async with asyncio.timeout(DEADLINE_SECONDS):
            status = await done.wait()
        with pytest.raises(Refused) as raised:
            await acall(own, "/v1/rpc/sync", {}, token="alices")

    assert (0, "suspended") == (status, raised.value.code)


async def until(condition: Callable[[], bool]) -> None:
    """Await *condition*, or fail at the deadline."""
    async with asyncio.timeout(DEADLINE_SECONDS):
        while not condition():
            await asyncio.sleep(0.01)

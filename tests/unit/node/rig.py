# SPDX-License-Identifier: Apache-2.0
"""A whole node in memory, on a loop that is turned by hand, and clients on paper.

node = Node(loop)
ann = node.v1("ann")              # greeted; node.v1("ann", greet=False): not yet
ann.asks("send", cid="1", to="bob", body="hi")    # the frames that come of it
"""

import itertools
import json
import struct
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from picows import WSMsgType
from picows.picows import _make_test_ws_frame

from chatmotor.adapters.embedded_broker import EmbeddedBroker
from chatmotor.core.account_parts import AccountParts
from chatmotor.core.accounts import Accounts, SignUp
from chatmotor.core.allowance import Allowance
from chatmotor.core.announcer import Announcer
from chatmotor.core.directory import Directory
from chatmotor.core.dispatcher import Dispatcher
from chatmotor.core.hooks import IncomingHooks
from chatmotor.core.instant_messenger import InstantMessenger
from chatmotor.core.passwords import PasswordRules
from chatmotor.core.throttle import Throttle
from chatmotor.core.typists import Typists
from chatmotor.errors import OutcomeUnknown
from chatmotor.metrics import Metrics
from chatmotor.node.classic_connection import AccountConnection, GuestConnection
from chatmotor.node.connection import Connection
from chatmotor.node.greeting import Greeter, V1Limits
from chatmotor.node.hub import Hub, Limits
from chatmotor.node.neighbours import NODES_KEY
from chatmotor.node.presences import Presences
from chatmotor.node.receipts import Receipts
from chatmotor.node.roster import GROUP_PREFIX, Roster
from chatmotor.node.v1_connection import V1Connection
from chatmotor.ports.accounts import Grant, NewAccount, NewToken, hash_secret
from chatmotor.ports.messages import NewGroup, NewMessage, StoredMessage
from chatmotor.ports.store import Done
from tests.fakes.memory_store import MemoryStore
from tests.fakes.plain_hasher import PlainHasher
from tests.harness.definitions import wrong_frame
from tests.unit.node.fakes import FakeLoop, FakeTransport

Frame = dict[str, Any]

EPOCH_MS = 1_700_000_000_000
CHECK_SECONDS = 60.0
GRACE_SECONDS = 12.0
WATCH_MAX = 1000
# Longer than what is done "soon", and shorter than whatever has a deadline.
SOON = 0.1
NO_TRANSPORT: Any = None

LIMITS = Limits(
    frame_max_bytes=65536,
    connection_buffer_max_bytes=262144,
    slow_reader_seconds=15.0,
    heartbeat_seconds=25.0,
    heartbeat_grace_seconds=10.0,
)
V1_LIMITS = V1Limits(
    window_max_events=256,
    window_max_bytes=262144,
    commands_in_flight=32,
    sockets_max=20,
    hello_seconds=10.0,
    window_seconds=15.0,
    heartbeat_seconds=25.0,
    announced={"frame": 65536},
)

_nodes = itertools.count(1)


class SlowStore(MemoryStore):
    """
    A store whose answers a test holds back.

    Attributes:
        holding: Whether answers to sends wait for ``release``.
        doubts: Sends that are stored, and end with ``OutcomeUnknown``.
    """

    def __init__(self) -> None:
        super().__init__()
        self.holding = False
        self.doubts = 0
        self._held: list[tuple[NewMessage, Done]] = []

    def send_soon(self, message: NewMessage, done: Done) -> None:
        if self.holding:
            self._held.append((message, done))
        else:
            super().send_soon(message, done)

    async def send(self, message: NewMessage) -> StoredMessage:
        stored = await super().send(message)
        self._doubt()
        return stored

    @property
    def held(self) -> int:
        """Sends that wait."""
        return len(self._held)

    def release(self, count: int = 1) -> None:
        """Answer the first *count* of those that wait."""
        for message, done in self._held[:count]:
            answer: StoredMessage | Exception = self._send(message)
            try:
                self._doubt()
            except OutcomeUnknown as error:
                answer = error
            done(answer)
        del self._held[:count]

    def _doubt(self) -> None:
        if self.doubts:
            self.doubts -= 1
            raise OutcomeUnknown("the connection was lost during COMMIT")


class SlowBroker(EmbeddedBroker):
    """
    The embedded broker; a test says when it is behind.

    Attributes:
        behind: Whether whoever publishes should pause.
        deaf: Whether what is published is lost.
        published: What was given to it.
        between: What nodes say to each other of presence.
        linked: Brokers of other nodes that get this one's notices, too.
    """

    def __init__(self, metrics: Metrics) -> None:
        super().__init__(metrics, queue_max_bytes=10_000)
        self.behind = False
        self.deaf = False
        self.published: list[tuple[tuple[str, ...], bytes]] = []
        self.between: list[tuple[str, bytes]] = []
        self.linked: list[SlowBroker] = []

    def publish(
        self, recipients: Sequence[str], body: bytes, *, kept: bool = True
    ) -> bool:
        self.published.append((tuple(recipients), body))
        if not self.deaf:
            super().publish(recipients, body, kept=kept)
        return not self.behind

    @property
    def watched_groups(self) -> set[str]:
        """The keys of groups that are watched."""
        return {each for each in self._watched if each.startswith(GROUP_PREFIX)}

    def notify(self, key: str, body: bytes) -> None:
        if key == NODES_KEY or key.startswith("n."):
            self.between.append((key, body))
        else:
            self.published.append(((key,), body))
        if not self.deaf:
            super().notify(key, body)
            for other in self.linked:
                EmbeddedBroker.notify(other, key, body)


@dataclass(frozen=True)
class ServerFrame:
    """A WebSocket frame from the server."""

    opcode: int
    payload: bytes


def server_frames(written: bytes) -> list[ServerFrame]:
    """The frames that a server wrote; RFC 6455, 5.2: never masked."""
    found = []
    while written:
        opcode, size, head = written[0] & 0x0F, written[1], 2
        if size == 126:
            (size,), head = struct.unpack(">H", written[2:4]), 4
        elif size == 127:
            (size,), head = struct.unpack(">Q", written[2:10]), 10
        found.append(ServerFrame(opcode, written[head : head + size]))
        written = written[head + size :]
    return found


class Client:
    """A client on paper: what it sends is read at once, what it gets is kept."""

    def __init__(self, loop: FakeLoop, connection: Connection) -> None:
        self.loop = loop
        self.connection = connection
        self.transport = FakeTransport()
        connection.wire.connect(self.transport)
        connection.on_ws_connected(NO_TRANSPORT)
        self._seen = 0

    def sends(self, payload: bytes, kind: WSMsgType = WSMsgType.TEXT) -> None:
        """A frame from the client, and whatever follows at once."""
        frame = _make_test_ws_frame(kind, payload, True, False)
        self.connection.on_ws_frame(NO_TRANSPORT, frame)
        self.loop.settle()

    def goes(self) -> None:
        """The socket is gone, without a close handshake."""
        self.connection.on_ws_disconnected(NO_TRANSPORT)
        self.loop.settle()

    @property
    def written(self) -> list[ServerFrame]:
        """Every frame that it got."""
        self.loop.settle()
        return server_frames(self.transport.written)

    @property
    def texts(self) -> list[bytes]:
        """Every text that it got."""
        return [each.payload for each in self.written if each.opcode == 1]

    @property
    def pings(self) -> list[bytes]:
        """The payload of every ping that it got."""
        return [each.payload for each in self.written if each.opcode == 9]

    @property
    def close_code(self) -> int | None:
        """The code that it was closed with, if it was."""
        closes = [each.payload for each in self.written if each.opcode == 8]
        return int.from_bytes(closes[-1][:2], "big") if closes else None


class V1Client(Client):
    """A client that speaks v1.  Every frame is held against its definition."""

    connection: V1Connection

    def __init__(self, loop: FakeLoop, connection: V1Connection) -> None:
        super().__init__(loop, connection)
        self._ids = itertools.count(1)
        self._asked: dict[Any, str] = {}
        self.answer: Frame = {}

    @property
    def frames(self) -> list[Frame]:
        """Every frame that it got."""
        frames = [json.loads(text) for text in self.texts]
        for frame in frames:
            wrong = wrong_frame(frame, self._asked.get(frame.get("id")))
            assert wrong is None, f"{wrong}: {frame}"
        return frames

    def new(self) -> list[Frame]:
        """The frames since it was last asked."""
        frames = self.frames
        new, self._seen = frames[self._seen :], len(frames)
        return new

    def says(self, **frame: Any) -> list[Frame]:
        """Send *frame*; what comes at once."""
        self.new()
        self.sends(json.dumps(frame).encode())
        return self.new()

    def asks(self, op: str, **fields: Any) -> list[Frame]:
        """Send a request with an id of its own; what comes at once."""
        identifier = next(self._ids)
        self._asked[identifier] = op
        return self.says(op=op, id=identifier, **fields)

    def ask(self, op: str, **fields: Any) -> Frame:
        """Send a request; its answer, which comes at once."""
        frames = self.asks(op, **fields)
        (answer,) = [each for each in frames if each["op"] in ("ok", "error")]
        return answer

    def hello(self, token: str | None, **fields: Any) -> list[Frame]:
        """Say hello; what comes at once."""
        if token is not None:
            fields["token"] = token
        return self.asks("hello", **({"v": 1} | fields))

    def ephemerals(self, t: str) -> list[Frame]:
        """Every ``eph`` of this type that it got, its fields alone."""
        return [
            {name: each[name] for name in each.keys() - {"op", "t"}}
            for each in self.frames
            if each["op"] == "eph" and each["t"] == t
        ]

    def events(self) -> list[Frame]:
        """Every ``ev`` that it got."""
        return [each for each in self.frames if each["op"] == "ev"]

    def ops(self) -> list[str]:
        """The ``op`` of every frame that it got."""
        return [each["op"] for each in self.frames]


class Node:
    """
    The parts of a node, wired as in ``bindings.py``.

    Args:
        v1: Changes of the limits of v1.
        others: A node whose store this one shares; its broker is another one, so that
            neither hears of what the other stores.
    """

    def __init__(
        self,
        loop: FakeLoop,
        *,
        store: MemoryStore | None = None,
        others: "Node | None" = None,
        sends_burst: float = 10_000,
        guests_burst: float = 10_000,
        limits: Limits = LIMITS,
        **v1: Any,
    ) -> None:
        self.loop = loop
        self.metrics = Metrics()
        self.store: MemoryStore = store or MemoryStore()
        if others is not None:
            self.store = others.store
        loop.run(self.store.start())
        self.broker = SlowBroker(self.metrics)
        self.directory = Directory(self.store, loop.time)
        self.announcer = Announcer(
            self.broker, self.store, on_recheck=self.directory.forget
        )
        self.accounts = self._accounts()
        sends = Allowance(per_second=20, burst=sends_burst, clock=loop.time)
        self.typists = Typists(self.store, self.announcer, loop.time)
        self.receipts = Receipts(self.store, self.announcer)
        self.presences = Presences(
            *(self.broker, self.store, self.metrics),
            node=f"node{next(_nodes)}",
            grace_seconds=GRACE_SECONDS,
            watch_max=WATCH_MAX,
        )
        self.dispatcher = Dispatcher(
            *(self.store, self.accounts, self.announcer),
            directory=self.directory,
            typists=self.typists,
            incoming=IncomingHooks(
                self.store, url=lambda: "https://chat.example.org", now=self.now
            ),
            on_read=self.receipts.touch,
            now=self.now,
            sends=sends,
            lookups=Allowance(per_second=1, burst=30, clock=loop.time),
            body_max_bytes=32768,
        )
        self.roster = Roster(
            *(self.store, self.broker, sends),
            presences=self.presences,
            receipts=self.receipts,
            on_gone=self.typists.left,
            now=self.now,
            check_seconds=CHECK_SECONDS,
        )
        self.hub = Hub(self.metrics, limits)
        self.messenger = InstantMessenger(
            *(self.broker, self.metrics, self.store, self.directory, self.announcer),
            guests=Allowance(per_second=5, burst=guests_burst, clock=loop.time),
            now=self.now,
            allow_guests=True,
        )
        self.limits = replace(V1_LIMITS, **v1)
        self.greeter = Greeter(
            *(self.store, self.roster, self.accounts.authenticate, self.limits)
        )
        self.roster.start()
        loop.run(
            self.broker.start(
                on_notice=self.roster.on_notice,
                on_writable=self.hub.resume_reading,
                on_connected=self.roster.check_all_soon,
            )
        )
        self._cids = itertools.count(1)

    def now(self) -> int:
        """Milliseconds since the Unix epoch."""
        return EPOCH_MS + int(self.loop.time() * 1000)

    def _accounts(self) -> Accounts:
        secrets = itertools.count(1)
        parts = AccountParts(
            store=self.store,
            hasher=PlainHasher(),
            passwords=PasswordRules(frozenset()),
            throttle=Throttle(self.store, account_attempts=9, address_attempts=9),
            now=self.now,
            new_secret=lambda: f"secret{next(secrets)}",
            tell=self.announcer.tell,
            recheck=self.announcer.recheck,
        )
        return Accounts(parts, sign_up=SignUp.OPEN, token_ms=1, devices_max=50)

    # Who is there.

    def account(self, *usernames: str) -> None:
        """These have accounts; the node is not told."""
        for username in usernames:
            self.loop.run(self.store.create_account(NewAccount(username, self.now())))

    def token(
        self, username: str, device: str = "phone", *, seconds: float = 3600
    ) -> str:
        """A token of a device of *username*."""
        token = f"cm_{username}-{device}-{seconds}"
        new = NewToken(
            *(username, device, hash_secret(token), self.now()),
            expires=self.now() + int(seconds * 1000),
        )
        _, logged = self.loop.run(self.store.add_token(new))
        self.announcer.tell(logged)
        return token

    def grant(self, token: str) -> Grant:
        """What *token* allows."""
        return self.loop.run(self.accounts.authenticate(token))

    def new_v1(self, given: str | None = None) -> V1Client:
        """A v1 WebSocket that has just been opened."""
        connection = V1Connection(
            self.hub,
            store=self.store,
            dispatcher=self.dispatcher,
            greeter=self.greeter,
            roster=self.roster,
            limits=self.limits,
            given=given,
        )
        return V1Client(self.loop, connection)

    def v1(self, username: str, device: str = "phone", **hello: Any) -> V1Client:
        """A v1 client of *username* that has been welcomed and is live."""
        client = self.new_v1()
        client.hello(self.token(username, device), **hello)
        self.loop.advance(SOON)
        assert client.frames[0]["op"] == "welcome"
        client.new()
        return client

    def guest(self, name: str) -> Client:
        """A classic client without an account."""
        connection = GuestConnection(self.hub, self.messenger, name)
        session = self.loop.run(
            self.messenger.start_im_session(name, connection.deliver)
        )
        connection.attach(session)
        return Client(self.loop, connection)

    def classic(self, username: str, device: str = "phone") -> Client:
        """A classic client of an account."""
        grant = self.grant(self.token(username, device))
        connection = AccountConnection(self.hub, self.messenger, self.roster, grant)
        self.loop.run(connection.join())
        client = Client(self.loop, connection)
        self.loop.advance(SOON)
        return client

    # What is stored; this node is not told.

    def stored(
        self, sender: str, to: str = "", body: str = '"hi"', *, conv: str = ""
    ) -> StoredMessage:
        """A message, from elsewhere."""
        message = NewMessage(
            *(sender, f"elsewhere{next(self._cids)}", body.encode(), self.now()),
            to=to or None,
            conv=conv or None,
        )
        stored: StoredMessage = self.loop.run(self.store.send(message))
        return stored

    def group(self, creator: str, *members: str, conv: str = "g.1") -> str:
        """A group, from elsewhere."""
        group = NewGroup(
            *(conv, creator, f"elsewhere{next(self._cids)}", self.now()),
            members=frozenset(members),
        )
        self.loop.run(self.store.create_group(group))
        return conv

    def cursor(self, username: str, device: str = "phone") -> int:
        """What is stored of a device's cursor."""
        devices = self.loop.run(self.store.devices(username))
        (cursor,) = [each.cursor for each in devices if each.name == device]
        return int(cursor)


def link(*nodes: Node) -> None:
    """Each hears the notices of the others from now on, as over RabbitMQ."""
    for node in nodes:
        node.broker.linked = [each.broker for each in nodes if each is not node]
    for node in nodes:
        node.presences.hello()
    nodes[0].loop.settle()


def node_with(loop: FakeLoop, store: SlowStore | None = None, **v1: Any) -> Node:
    """A node with other limits; ann and bob have accounts."""
    node = Node(loop, store=store, **v1)
    node.account("ann", "bob")
    return node


def beat(client: V1Client, after: float) -> None:
    """What the hub does, *after* so many seconds from now."""
    client.connection.beat(client.loop.time() + after)
    client.loop.settle()


def last(client: V1Client) -> Frame:
    """The last frame."""
    return client.frames[-1]

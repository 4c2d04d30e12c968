# SPDX-License-Identifier: Apache-2.0
"""A node within another Tornado application, with that application's own users.

    chat = Chatmotor({"DATA_DIR": "data"}, users=whose_token)
    app = tornado.web.Application([*own_routes, *chat.routes("/chat")])
    await chat.start()  ...  await chat.stop()

It opens no port, handles no signal, configures no logging, and reads neither a file
nor the environment; two of them, with two data directories, get along in one process.
How-to: docs/howto/embed.md.  Why so: docs/decisions/0015-a-node-in-an-application.md.
"""

import secrets
from collections.abc import Mapping
from typing import Any, Final, Self

import msgspec
import tornado.routing
import tornado.web
from tornado.httputil import HTTPMessageDelegate, HTTPServerRequest

from chatmotor.account_bindings import Embedding
from chatmotor.adapters.host_users import HostUser, Users
from chatmotor.application_context import ApplicationContext
from chatmotor.controllers.admin_socket import SOCKET_FILE, AdminSocket
from chatmotor.controllers.base import Controller
from chatmotor.core.names import account_name
from chatmotor.core.operator_commands import OperatorCommands
from chatmotor.errors import Conflict, OperatorError, Unavailable
from chatmotor.node_life import Node
from chatmotor.node_routes import admin_application, embedded_application
from chatmotor.options import Settings
from chatmotor.ports.credentials import PasswordHasher
from chatmotor.protocol.answers import ANSWERS, Sent
from chatmotor.protocol.commands import decode_call
from chatmotor.protocol.replies import encode
from chatmotor.settings import (
    default_bindings,
    given_settings,
    install_secret,
    open_data_dir,
)

__all__ = ["Chatmotor", "HostUser", "Users"]

# Whoever embeds a node has no RabbitMQ by chance, and no guests without saying so.
_DEFAULTS: Final[Mapping[str, Any]] = {"BROKER": "embedded", "ALLOW_GUESTS": "false"}
# The application listens, and decides how many processes there are.
_OF_NO_USE: Final = (
    *("TORNADO_HOST", "TORNADO_LISTEN_PORT"),
    *("ADMIN_LISTEN_PORT", "WORKERS"),
)


class Chatmotor:
    """
    One node.  It starts once and stops once.

    Args:
        options: Those of docs/reference/options.md, by name.
        users: Whose a token is: an async callable that gets the token of a request or
            of a ``hello``, and returns a username, a ``HostUser`` or None.  Without it
            the node has accounts and passwords of its own, as SIGN_UP says.
        hasher: Hashes of passwords, in place of Argon2.

    Attributes:
        node: Its parts, which are no stable interface.

    Raises:
        OperatorError: An option is unknown, wrong, or of no use here, or the data
            directory cannot be used.
    """

    def __init__(
        self,
        options: Mapping[str, Any],
        *,
        users: Users | None = None,
        hasher: PasswordHasher | None = None,
    ) -> None:
        for name in _OF_NO_USE:
            if name in options:
                raise OperatorError(
                    f"{name} is of no use here: the application around the node listens"
                )
        settings = given_settings({**_DEFAULTS, **options})
        self._directory = open_data_dir(settings.DATA_DIR)
        install_secret(self._directory, "cookie_secret")
        context = ApplicationContext(
            default_bindings(),
            {Settings: settings, Embedding: Embedding(users, hasher)},
        )
        self.node: Node = context.get(Node)
        self._admin_socket = AdminSocket(
            OperatorCommands(self.node.administration, self.node.hooks)
        )
        self._serving = False
        self._mounts: list[_Mount] = []

    def routes(self, prefix: str = "") -> list[tornado.routing.Rule]:
        """
        Rules for ``tornado.web.Application``, before or after ``start``.  Until then,
        and after ``stop``, what they serve is answered with 503.

        Args:
            prefix: What stands before ``/v1/ws`` and all other paths, as ``/chat``.
        """
        return self._mount(prefix, lambda: embedded_application(self.node, prefix))

    def admin_routes(self, prefix: str = "") -> list[tornado.routing.Rule]:
        """``/metrics``, for an application that only operators reach."""
        return self._mount(prefix, lambda: admin_application(self.node, prefix))

    async def start(self) -> None:
        """
        Start the node in the running event loop.

        Raises:
            OperatorError: The store cannot be used as it is.
        """
        await self.node.start()
        try:
            self._admin_socket.start(self._directory / SOCKET_FILE)
        except BaseException:
            await self.node.stop()
            raise
        for mount in self._mounts:
            mount.open()
        self._serving = True

    async def stop(self, *, drain: bool = True) -> None:
        """
        Hand over what was accepted, close every client with 4001, and stop.

        Args:
            drain: False: drop every client at once, without a word.
        """
        self._serving = False
        if drain:
            await self.node.drain()
        else:
            self.node.hub.drop_all()
            await self.node.hub.close_all()
        for mount in self._mounts:
            mount.close()
        self._admin_socket.stop()
        await self.node.stop()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def add_user(self, username: str, *, display_name: str | None = None) -> bool:
        """
        Make an account, so that others can write to somebody who was never here.

        Returns:
            False when there is one already; it is left as it is.

        Raises:
            InvalidName, RequestRefused, Unavailable, OutcomeUnknown: It was not made.
        """
        self._check_serving()
        try:
            await self.node.accounts.create_for_server(
                username, None, display_name=display_name
            )
        except Conflict:
            return False
        return True

    def recheck(self, username: str) -> None:
        """
        Ask again, soon and on every node, about the tokens of somebody's sockets, as
        after a log-out.  Else it is done every POSITION_CHECK_SECONDS.
        """
        self._check_serving()
        self.node.dispatcher.announcer.recheck(account_name(username))

    async def send(
        self,
        *,
        from_: str,
        to: str | None = None,
        conv: str | None = None,
        body: Any = msgspec.UNSET,
        raw: str | None = None,
        cid: str | None = None,
        reply_to: int | None = None,
    ) -> Sent:
        """
        Store a message of *from_*, to somebody or into a conversation.

        Args:
            cid: The name of this message: repeated with the same one, and by the same
                account, it is stored once.  None: a new name.

        Raises:
            RequestRefused: Nothing was stored; ``code`` says why.
            OutcomeUnknown: Perhaps it was: repeat it with its ``cid``.
        """
        fields = {"to": to, "conv": conv, "raw": raw, "reply_to": reply_to}
        given = {name: value for name, value in fields.items() if value is not None}
        if body is not msgspec.UNSET:
            given["body"] = body
        cid = secrets.token_hex(16) if cid is None else cid
        sent: Sent = await self.call(from_, "send", cid=cid, **given)
        return sent

    async def call(self, username: str, op: str, **fields: Any) -> Any:
        """
        Run a command for an account, as device "api".

        Returns:
            The answer of *op*, see protocol/answers.py.

        Raises:
            RequestRefused: It has changed nothing; ``code`` says why.
            OutcomeUnknown: No answer would be true.
        """
        self._check_serving()
        command = decode_call(op, msgspec.json.encode(fields))
        node = self.node
        caller = await node.accounts.act_for(username)
        with node.in_flight.one(caller.account.username):
            done = await node.dispatcher.run(command, caller)
        return msgspec.json.decode(encode(done), type=ANSWERS[op])

    def _mount(self, prefix: str, build: Any) -> list[tornado.routing.Rule]:
        if prefix and (prefix[0] != "/" or prefix[-1] == "/"):
            raise OperatorError(f"a prefix is as /chat, and {prefix!r} is not")
        mount = _Mount(prefix, build)
        self._mounts.append(mount)
        if self._serving:
            mount.open()
        return [tornado.routing.Rule(tornado.routing.AnyMatches(), mount)]

    def _check_serving(self) -> None:
        if not self._serving:
            raise Unavailable("the node does not run")


class _NotRunning(Controller):
    """Before ``start`` and after ``stop``."""

    def prepare(self) -> None:
        """Refuse, whatever the method."""
        raise Unavailable("this node does not run now; ask again")


class _Mount(tornado.routing.Router):
    """
    The node's application within the other one.  It has its own settings: how the
    other logs, or shows what went wrong, is not how the node does.
    """

    def __init__(self, prefix: str, build: Any) -> None:
        self._prefix = prefix
        self._build = build
        self._application: tornado.web.Application | None = None
        self._closed = tornado.web.Application([], default_handler_class=_NotRunning)

    def open(self) -> None:
        """The node runs."""
        self._application = self._build()

    def close(self) -> None:
        """It does not any more."""
        self._application = None

    def find_handler(
        self, request: HTTPServerRequest, **kwargs: Any
    ) -> HTTPMessageDelegate | None:
        """Who answers; nobody, where the path is the other application's."""
        if self._prefix and not request.path.startswith(self._prefix + "/"):
            return None
        application = self._application
        if application is None:
            return self._closed.find_handler(request) if self._prefix else None
        if self._prefix:
            return application.find_handler(request)
        return application.default_router.find_handler(request)

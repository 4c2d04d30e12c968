# SPDX-License-Identifier: Apache-2.0
"""The operator's way to a running node: a Unix socket in its data directory.

    chatmotor user list  --POST /user.list-->  admin.sock  -->  OperatorCommands

Whoever may write to the socket, that is, the user who runs the node, may do everything;
there is no password.  Both ends are here.  It takes commands and nothing else.
"""

import contextlib
import http.client
import json
import logging
import os
import socket
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
import tornado.httpserver
import tornado.web

from chatmotor.controllers.base import NotFoundController, log_request
from chatmotor.controllers.requests import ApiController, Edge
from chatmotor.core.operator_commands import OperatorCommands
from chatmotor.errors import BadJson, ChatmotorError, OperatorError

SOCKET_FILE = "admin.sock"
ANSWER_SECONDS = 30.0
# sockaddr_un holds 108 bytes on Linux and 104 on macOS and the BSDs.
_MAX_PATH_BYTES = 100
_BACKLOG = 16
_DESCRIPTORS = Path("/proc/self/fd")

_log = logging.getLogger(__name__)


class NoNode(ChatmotorError):
    """No node answers at the socket."""


class CommandController(ApiController):
    """One command."""

    def initialize(self, edge: Edge, **parts: Any) -> None:
        """Called by Tornado with the arguments of the route."""
        super().initialize(edge)
        self._commands: OperatorCommands = parts["commands"]

    async def post(self, name: str) -> None:
        """Run it."""
        try:
            arguments = msgspec.json.decode(bytes(self.content), type=dict[str, Any])
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise BadJson("a command has a JSON object") from None
        answer = await self._commands.run(name, arguments)
        _log.info("command %s", name)
        self.answer(200, answer)


class AdminSocket:
    """
    The node's end.

    Args:
        limits: Of Tornado's ``HTTPServer``.
    """

    def __init__(self, commands: OperatorCommands, **limits: Any) -> None:
        given = {"edge": Edge(), "commands": commands}
        application = tornado.web.Application(
            [(r"/([a-z.]+)", CommandController, given)],
            default_handler_class=NotFoundController,
            log_function=log_request,
        )
        self._server = tornado.httpserver.HTTPServer(application, **limits)
        self._path: Path | None = None
        self._inode = 0

    def start(self, path: Path) -> bool:
        """
        Serve at *path*, with mode 0600; a file that a killed node left is replaced.

        Returns:
            False when another node of the same directory serves there; it stays.

        Raises:
            OperatorError: The socket cannot be made there.
        """
        if _is_alive(path):
            _log.info("another node has the admin socket of this data directory")
            return False
        draft = path.with_name(f"{path.name}.{os.getpid()}")
        listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            draft.unlink(missing_ok=True)
            with _address(draft) as address:
                listening.bind(address)
            # Nobody can connect before it listens, and then nobody else may.
            draft.chmod(0o600)
            listening.setblocking(False)
            listening.listen(_BACKLOG)
            self._inode = draft.stat().st_ino
            draft.replace(path)
        except OSError as failed:
            listening.close()
            draft.unlink(missing_ok=True)
            raise OperatorError(
                f"the admin socket {path} cannot be made ({failed.strerror or failed});"
                " give another directory with --data-dir or CM_DATA_DIR"
            ) from None
        self._server.add_socket(listening)
        self._path = path
        return True

    def stop(self) -> None:
        """Take no more commands, and remove the file, if it is still this node's."""
        self._server.stop()
        path, self._path = self._path, None
        if path is not None:
            with contextlib.suppress(OSError):
                if path.stat().st_ino == self._inode:
                    path.unlink()


class _UnixConnection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("node", timeout=ANSWER_SECONDS)
        self._path = path

    def connect(self) -> None:
        """Connect to the socket."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        with _address(self._path) as address:
            self.sock.connect(address)


def ask_node(path: Path, name: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """
    Have the node at *path* run a command; its answer.

    Raises:
        NoNode: None answers there.
        OperatorError: It refused, in its words, or broke off; or the socket is
            another user's.
    """
    connection = _UnixConnection(path)
    try:
        connection.request("POST", f"/{name}", json.dumps(arguments).encode())
        answer = connection.getresponse()
        status, content = answer.status, json.loads(answer.read())
    except (FileNotFoundError, ConnectionRefusedError, NotADirectoryError):
        raise NoNode("no node answers") from None
    except PermissionError:
        raise OperatorError(
            f"{path} is the socket of another user's node; run this as that user"
        ) from None
    except (OSError, http.client.HTTPException, ValueError):
        raise OperatorError(
            "the node did not answer; see its log, and whether the command was done"
        ) from None
    finally:
        connection.close()
    if status != 200:
        raise OperatorError(str(content.get("msg", "the node refused")))
    return dict(content)


def _is_alive(path: Path) -> bool:
    with contextlib.closing(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)) as probe:
        probe.settimeout(1.0)
        try:
            with _address(path) as address:
                probe.connect(address)
        except OSError:
            return False
        return True


@contextlib.contextmanager
def _address(path: Path) -> Iterator[str]:
    """*path*, or where it is too long for a socket, a short way to the same file."""
    if len(os.fsencode(path)) <= _MAX_PATH_BYTES:
        yield str(path)
        return
    descriptors = _DESCRIPTORS
    if not descriptors.is_dir():
        raise OSError(None, f"its path is longer than {_MAX_PATH_BYTES} bytes")
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield str(descriptors / str(directory) / path.name)
    finally:
        os.close(directory)

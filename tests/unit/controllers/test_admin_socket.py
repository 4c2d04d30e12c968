# SPDX-License-Identifier: Apache-2.0
"""The operator's socket: commands in, answers out, for the node's user alone."""

import asyncio
import socket
import stat
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from chatmotor.adapters.sqlite_store import SqliteStore
from chatmotor.controllers import admin_socket
from chatmotor.controllers.admin_socket import AdminSocket, NoNode, ask_node
from chatmotor.core.operator_commands import OperatorCommands
from chatmotor.errors import OperatorError
from tests.harness.accounts import DEADLINE_SECONDS, PASSWORD, Desk


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    """Accounts on an empty store."""
    store = SqliteStore(tmp_path / "chat.db")
    await store.start()
    yield Desk(store)
    await store.stop()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the socket is."""
    return tmp_path / "admin.sock"


@pytest.fixture
async def served(desk: Desk, path: Path) -> AsyncIterator[AdminSocket]:
    """A node's socket."""
    made = AdminSocket(
        OperatorCommands(desk.administration, desk.hooks), max_body_size=64 * 1024
    )
    assert made.start(path)
    yield made
    made.stop()


async def ask(path: Path, name: str, **arguments: Any) -> dict[str, Any]:
    """Have the node run a command."""
    async with asyncio.timeout(DEADLINE_SECONDS):
        return await asyncio.to_thread(ask_node, path, name, arguments)


@pytest.mark.usefixtures("served")
async def test_commands_are_run_by_the_node(path: Path, desk: Desk) -> None:
    """Each does what Administration does, and its sockets are looked at again."""
    made = await ask(path, "user.create", username="Ann", password=PASSWORD)
    await desk.token("ann")
    devices = await ask(path, "user.devices", username="ann")
    desk.rechecked.clear()
    await ask(path, "user.deactivate", username="ann")
    await ask(path, "user.admin", username="ann", admin=True)
    listed = await ask(path, "user.list")
    link = await ask(path, "invite.create", uses=3)

    assert "ann" == made["username"]
    assert ["phone"] == [each["device"] for each in devices["items"]]
    assert ["ann"] == desk.rechecked
    assert (True, True) == (listed["items"][0]["closed"], listed["items"][0]["admin"])
    assert not listed["more"]
    assert link["link"].startswith("https://chat.example.org/invite#")


@pytest.mark.usefixtures("served")
@pytest.mark.parametrize(
    ("name", "arguments", "words"),
    [
        ("user.create", {"username": "-", "password": PASSWORD}, "letters and digits"),
        ("user.create", {"username": "ann", "password": "x"}, "at least 8"),
        ("user.create", {"password": PASSWORD}, "username"),
        ("user.reset", {"username": "norman"}, "norman|no such"),
        ("user.revoke", {"username": "norman", "device": "x"}, "norman|no such"),
        ("user.eat", {}, "no such command"),
        ("user.list", {"limit": "all"}, "int"),
    ],
)
async def test_a_refusal_is_a_sentence(
    path: Path, name: str, arguments: dict[str, Any], words: str
) -> None:
    """The operator reads what is wrong, without a traceback."""
    with pytest.raises(OperatorError, match=words) as refused:
        await ask(path, name, **arguments)

    assert PASSWORD not in str(refused.value)


@pytest.mark.usefixtures("served")
async def test_the_socket_is_its_users_alone(path: Path) -> None:
    """Mode 0600, from the moment that it listens."""
    assert 0o600 == stat.S_IMODE(path.stat().st_mode)  # noqa: ASYNC240
    assert ["admin.sock"] == [each.name for each in path.parent.glob("admin*")]


async def test_a_file_that_a_killed_node_left_is_replaced(
    desk: Desk, path: Path
) -> None:
    """It answers to nobody."""
    dead = socket.socket(socket.AF_UNIX)
    dead.bind(str(path))
    dead.close()
    with pytest.raises(NoNode):
        await ask(path, "ping")

    served = AdminSocket(OperatorCommands(desk.administration, desk.hooks))

    assert served.start(path)
    assert {} == await ask(path, "ping")
    served.stop()


async def test_another_node_of_the_directory_keeps_its_socket(
    desk: Desk, path: Path, served: AdminSocket
) -> None:
    """The second serves none, and takes none away when it stops."""
    second = AdminSocket(OperatorCommands(desk.administration, desk.hooks))

    assert not second.start(path)
    second.stop()

    assert {} == await ask(path, "ping")
    served.stop()
    assert not path.exists()  # noqa: ASYNC240


async def test_a_path_that_is_too_long_for_a_socket_works(
    desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By way of the directory's descriptor; where there is none, in one sentence."""
    directory = tmp_path / ("d" * 120)
    directory.mkdir()
    served = AdminSocket(OperatorCommands(desk.administration, desk.hooks))
    if Path("/proc/self/fd").is_dir():  # noqa: ASYNC240
        assert served.start(directory / "admin.sock")
        assert {} == await ask(directory / "admin.sock", "ping")
        served.stop()

    monkeypatch.setattr(admin_socket, "_DESCRIPTORS", tmp_path / "none")
    with pytest.raises(OperatorError, match="--data-dir"):
        AdminSocket(OperatorCommands(desk.administration, desk.hooks)).start(
            directory / "admin.sock"
        )


async def test_without_a_node_the_command_line_is_told(tmp_path: Path) -> None:
    """Then it opens the store itself."""
    with pytest.raises(NoNode):
        await ask(tmp_path / "admin.sock", "ping")
    with pytest.raises(NoNode):
        await ask(tmp_path / "none" / "admin.sock", "ping")

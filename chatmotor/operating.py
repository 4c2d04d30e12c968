# SPDX-License-Identifier: Apache-2.0
"""Runs the operator's commands: through the running node, or on the store itself.

a node answers at DATA_DIR/admin.sock   it runs the command
none does                               the store is opened here; an SQLite file
                                        is locked meanwhile, so there is never a
                                        second writer
"""

import asyncio
import os
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from chatmotor import account_bindings
from chatmotor.account_bindings import now_ms
from chatmotor.adapters.webhook_sender import WebhookSender
from chatmotor.application_context import ApplicationContext
from chatmotor.controllers.admin_socket import SOCKET_FILE, NoNode, ask_node
from chatmotor.core.hooks import Hooks, HookTargets
from chatmotor.core.operator_commands import OperatorCommands
from chatmotor.errors import OperatorError, OutcomeUnknown, RequestRefused
from chatmotor.options import Settings
from chatmotor.ports.hooks import HookKind
from chatmotor.ports.store import Store
from chatmotor.settings import (
    default_bindings,
    default_config_home,
    open_data_dir,
    read_settings,
)

# These make sense before the first start; others would look into an empty store.
_MAY_BEGIN = frozenset({"user.create", "invite.create"})

T = TypeVar("T")


def operator_settings(overrides: Mapping[str, Any]) -> Settings:
    """
    The options, as the node reads them.

    Raises:
        OperatorError: See ``read_settings``.
    """
    config_home = Path(os.environ.get("CM_CONFIG_HOME") or default_config_home())
    return read_settings(config_home, os.environ, overrides)


def run_command(
    settings: Settings, name: str, arguments: Mapping[str, Any]
) -> dict[str, Any]:
    """
    Run a command of ``core/operator_commands.py``.

    Raises:
        OperatorError: It was refused, in words for the operator.
    """
    directory = open_data_dir(settings.DATA_DIR)
    try:
        return ask_node(directory / SOCKET_FILE, name, arguments)
    except NoNode:
        pass
    if settings.STORE == "sqlite" and name not in _MAY_BEGIN and is_empty(settings):
        raise OperatorError(
            f"there is no store in {directory}; name the node's data directory with "
            "--data-dir or CM_DATA_DIR"
        )
    return asyncio.run(_run_here(settings, name, arguments))


def is_empty(settings: Settings) -> bool:
    """Whether the data directory has no SQLite store."""
    return not any(open_data_dir(settings.DATA_DIR).glob("*.db"))


def read_schema(settings: Settings) -> tuple[int, int]:
    """
    The version of the store's schema (0: none yet), and the one needed.

    Raises:
        OperatorError: The store cannot be read.
    """
    store: Any = _store(settings)
    found, needed = asyncio.run(store.schema())
    return found, needed


def upgrade_schema(settings: Settings) -> None:
    """
    Bring a PostgreSQL database to the schema that is needed.

    Raises:
        OperatorError: It is SQLite, or the database cannot be upgraded.
    """
    if settings.STORE == "sqlite":
        raise OperatorError(
            "an SQLite store upgrades itself when its node starts, after a safety "
            "copy; there is nothing to do"
        )
    store: Any = _store(settings)
    asyncio.run(store.upgrade())


def begin_epoch(settings: Settings) -> str:
    """
    Begin another history of the store, after it was restored from a backup.

    Raises:
        OperatorError: A node runs, or the store cannot be opened.
    """
    directory = open_data_dir(settings.DATA_DIR)
    try:
        ask_node(directory / SOCKET_FILE, "ping", {})
    except NoNode:
        pass
    else:
        raise OperatorError("stop every node first: they know the old epoch")
    store = _store(settings)
    return asyncio.run(_opened(store, store.new_epoch))


def _store(settings: Settings) -> Store:
    """The store that a node with these options would have."""
    path = Path(os.environ.get("CM_BINDINGS") or default_bindings())
    context = ApplicationContext(path, {Settings: settings})
    return context.get(Store)  # type: ignore[type-abstract]


async def _run_here(
    settings: Settings, name: str, arguments: Mapping[str, Any]
) -> dict[str, Any]:
    store = _store(settings)
    # Nobody listens here.  Nodes on other machines find out at their next check of
    # positions, which looks at tokens, too.
    parts = account_bindings.account_parts(
        settings, store, tell=lambda logged: None, recheck=lambda username: None
    )
    administration = account_bindings.administration(settings, parts)
    host = settings.TORNADO_HOST
    shown = f"[{host}]" if ":" in host else host
    administration.serve_at(f"http://{shown}:{settings.TORNADO_LISTEN_PORT}")
    targets = HookTargets({HookKind.WEBHOOK: WebhookSender(now=now_ms).target})
    hooks = Hooks(store, targets, now=now_ms, changed=lambda: None)
    commands = OperatorCommands(administration, hooks)
    return await _opened(store, lambda: commands.run(name, arguments))


async def _opened(store: Store, work: Callable[[], Awaitable[T]]) -> T:
    await store.start()
    try:
        return await work()
    except RequestRefused as refused:
        raise OperatorError(refused.msg) from None
    except OutcomeUnknown:
        raise OperatorError(
            "the store failed while it wrote; see whether the command was done"
        ) from None
    finally:
        await store.stop()

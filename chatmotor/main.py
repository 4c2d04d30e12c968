# SPDX-License-Identifier: Apache-2.0
"""Starts Chatmotor: reads the configuration, says what it does, runs the nodes.

``fab runserver`` and ``chatmotor serve`` both end here.
"""

import asyncio
import contextlib
import errno
import logging
import os
import resource
import socket
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tornado.netutil import bind_sockets

from chatmotor import __version__
from chatmotor.adapters.sqlite_store import SqliteStore
from chatmotor.application_context import ApplicationContext
from chatmotor.broker_choice import BrokerChoice
from chatmotor.core.administration import Administration
from chatmotor.errors import OperatorError
from chatmotor.options import Settings
from chatmotor.ports.store import Store
from chatmotor.settings import (
    configure_logging,
    default_bindings,
    default_config_home,
    install_secret,
    is_loopback,
    open_data_dir,
    read_settings,
)
from chatmotor.stop_signals import hold_back
from chatmotor.web_container import WebContainer
from chatmotor.workers import run_workers

FIRST_ADMIN_PORT = 8889
_BACKLOG = 1024

Sockets = list[socket.socket]

logger = logging.getLogger(__name__)


def run(overrides: Mapping[str, Any] | None = None) -> None:
    """
    Serve until told to stop.  Ends the process with status 2, and one sentence on
    standard error, when it cannot.
    """
    try:
        _run(overrides or {})
    except OperatorError as wrong:
        print(f"chatmotor: {wrong}", file=sys.stderr)
        sys.exit(2)


def _run(overrides: Mapping[str, Any]) -> None:
    config_home = Path(os.environ.get("CM_CONFIG_HOME") or default_config_home())
    bindings = Path(os.environ.get("CM_BINDINGS") or default_bindings())
    configure_logging(config_home)
    settings = read_settings(config_home, os.environ, overrides)
    # Made here, so that a directory that cannot be written is one sentence.
    install_secret(open_data_dir(settings.DATA_DIR), "cookie_secret")
    context = ApplicationContext(bindings, {Settings: settings})
    choice = context.get(BrokerChoice)
    if settings.WORKERS > 1 and choice.rabbitmq is None:
        raise OperatorError(
            "several workers reach each other through RabbitMQ, and this node runs "
            f"{choice.sentence}"
        )
    if settings.WORKERS > 1 and _is_for_one_process(context):
        raise OperatorError(
            "several workers share one database, and SQLite has one process: set "
            "STORE to postgres and POSTGRES_DSN to where it is"
        )
    asyncio.run(_check_store(context))
    sockets = _listen(settings.TORNADO_HOST, settings.TORNADO_LISTEN_PORT)
    admin_sockets = _listen_for_admin(settings)
    _raise_file_limit()
    port = sockets[0].getsockname()[1]
    host = settings.TORNADO_HOST
    shown = f"[{host}]" if ":" in host else host
    hold_back()
    url = f"http://{shown}:{port}"
    _say(f"Chatmotor {__version__} on {url} {choice.sentence}")
    if settings.ALLOW_GUESTS == "true" and not is_loopback(host):
        logger.warning(
            "guests are allowed on %s: whoever can reach it can be anyone; set "
            "ALLOW_GUESTS to false to end that",
            host,
        )
    for listener in admin_sockets:
        admin_port = listener[0].getsockname()[1]
        logger.info("metrics on http://127.0.0.1:%d/metrics", admin_port)

    def serve(worker: int, parent: int | None = None) -> None:
        for other, unused in enumerate(admin_sockets):
            if other != worker:
                _close(unused)
        context.get(Administration).serve_at(url)
        context.get(WebContainer).start(
            sockets,
            admin_sockets[worker],
            tell=_say if worker == 0 else None,
            parent=parent,
        )

    if settings.WORKERS == 1:
        serve(0)
    else:
        run_workers(
            settings.WORKERS,
            serve,
            # The parent's copy would go on taking clients that nobody serves.
            on_stop=lambda: _close(sockets),
            stop_seconds=settings.DRAIN_SECONDS + 2,
        )


def _is_for_one_process(context: ApplicationContext) -> bool:
    return isinstance(context.get(Store), SqliteStore)  # type: ignore[type-abstract]


async def _check_store(context: ApplicationContext) -> None:
    """Whatever refuses to serve does so before anything says that it serves."""
    store = context.get(Store)  # type: ignore[type-abstract]
    await store.start()
    await store.stop()


def _say(line: str) -> None:
    print(line, flush=True)


def _listen(host: str, port: int) -> Sockets:
    """
    Listening sockets.

    Raises:
        OperatorError: The port is taken or not allowed, or the host unknown.
    """
    try:
        return bind_sockets(port, host, backlog=_BACKLOG)
    except OSError as failed:
        where = f"{host}:{port}"
        if isinstance(failed, socket.gaierror):
            raise OperatorError(
                f"{host} is no address of this machine; give one with --host or "
                "CM_TORNADO_HOST"
            ) from None
        reason = {
            errno.EADDRINUSE: "is taken by another program",
            errno.EACCES: "needs more rights than this user has",
            errno.EADDRNOTAVAIL: "is no address of this machine",
        }.get(failed.errno or 0, failed.strerror)
        raise OperatorError(
            f"{where} {reason}; choose another with --port or --host, or with "
            "CM_TORNADO_LISTEN_PORT or CM_TORNADO_HOST"
        ) from None


def _listen_for_admin(settings: Settings) -> list[Sockets]:
    """A loopback listener for each worker, on neighbouring ports."""
    wanted = settings.ADMIN_LISTEN_PORT
    port = wanted or FIRST_ADMIN_PORT
    listeners: list[Sockets] = []
    while len(listeners) < settings.WORKERS:
        try:
            listeners.append(bind_sockets(port, "127.0.0.1"))
        except (OSError, OverflowError) as failed:
            if wanted or port > FIRST_ADMIN_PORT + 1000:
                reason = getattr(failed, "strerror", None) or "no such port"
                raise OperatorError(
                    f"127.0.0.1:{port}, for /metrics, cannot be used "
                    f"({reason}); choose another with CM_ADMIN_LISTEN_PORT"
                ) from None
        port += 1
    return listeners


def _raise_file_limit() -> None:
    """A socket is a file; allow as many as the system allows this user."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    for wanted in (hard, 65536, 10240):  # macOS has a lower limit than it says
        with contextlib.suppress(ValueError, OSError):
            if wanted == hard or wanted > soft:
                resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
            return


def _close(sockets: Sockets) -> None:
    for each in sockets:
        each.close()

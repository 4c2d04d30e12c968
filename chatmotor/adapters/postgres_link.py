# SPDX-License-Identifier: Apache-2.0
"""Connections to PostgreSQL: durable, bounded in time, and checked each time.

Every wait ends: statements and locks on the server, before the client gives up on the
connection, and a transaction whose node has fallen silent, so that a frozen node does
not keep its locks.
"""

from typing import Any

import asyncpg

from chatmotor.errors import OperatorError

CONNECT_SECONDS = 5.0
COMMAND_SECONDS = 10.0

SERVER_SETTINGS = {
    "application_name": "chatmotor",
    "default_transaction_isolation": "read committed",
    "lock_timeout": "5s",
    "statement_timeout": "8s",
    "idle_in_transaction_session_timeout": "15s",
}

# The server is away, starting, stopping or full, or the way to it is; or it is the
# primary no more, or has given up on the transaction.
AWAY = (
    OSError,
    TimeoutError,
    asyncpg.PostgresConnectionError,
    asyncpg.InsufficientResourcesError,
    asyncpg.OperatorInterventionError,
    asyncpg.InvalidTransactionStateError,  # read-only after a failover, idle too long
    asyncpg.InterfaceError,  # "the connection is closed"
    asyncpg.InternalClientError,
)
# Another transaction was in the way; nothing was written.
CROSSED = (
    asyncpg.UniqueViolationError,
    asyncpg.TransactionRollbackError,  # deadlock, serialization
    asyncpg.LockNotAvailableError,
    asyncpg.QueryCanceledError,
)
_UNWELCOME = (
    asyncpg.InvalidAuthorizationSpecificationError,  # and a wrong password
    asyncpg.InvalidCatalogNameError,
)


async def connect(dsn: str) -> Any:
    """
    A connection that may be trusted with a commit.

    Raises:
        OperatorError: The server would say "committed" before it is on disk, or it
            does not know us.
    """
    try:
        connection = await asyncpg.connect(
            dsn,
            timeout=CONNECT_SECONDS,
            command_timeout=COMMAND_SECONDS,
            server_settings=SERVER_SETTINGS,
        )
    except _UNWELCOME as error:
        raise OperatorError(f"PostgreSQL refuses the connection: {error}") from error
    try:
        for setting in ("fsync", "synchronous_commit"):
            if await connection.fetchval(f"SHOW {setting}") == "off":
                raise OperatorError(
                    f"PostgreSQL runs with {setting} = off, and would lose messages"
                    f" that it has accepted; set {setting} = on"
                )
    except BaseException:
        connection.terminate()
        raise
    return connection

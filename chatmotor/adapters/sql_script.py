# SPDX-License-Identifier: Apache-2.0
"""SQL that is written once and runs on both databases: scripts.

A script is a generator.  It yields statements, gets their rows, and returns a value:

    def find(username: str) -> Script[int | None]:
        rows = yield "SELECT id FROM account WHERE username = $1", username
        return rows[0][0] if rows else None

It does no I/O; whoever runs it, in one transaction, does.  A script that refuses
(raises a ``RequestRefused``) does so before its first write.

The dialect is PostgreSQL's, as far as ``for_sqlite`` can translate it:

    $1, $2 ...                  stays
    = ANY($1::text[])           a list as one parameter, of texts or numbers
    $1::bigint, $1::text        a type that PostgreSQL cannot guess
    octet_length(a.b)           bytes of a text; of bytes it is length(a.b)
    to_json(a)::text            a text as JSON
    FOR NO KEY UPDATE           a lock; in SQLite there is one writer anyway

What is hot is written for each database by hand: sqlite_tables.py, postgres_sends.py.
"""

import json
import re
from collections.abc import Callable, Generator, Sequence
from functools import lru_cache
from sqlite3 import Connection
from typing import Any, NamedTuple, TypeVar

T = TypeVar("T")

Row = Sequence[Any]
Statement = tuple[Any, ...]  # its SQL and its parameters


class Many(NamedTuple):
    """One statement for each of many rows of parameters; it returns none."""

    sql: str
    rows: Sequence[Sequence[Any]]


Script = Generator[Statement, list[Any], T]
_LOCK = " FOR NO KEY UPDATE"

_ARRAY = re.compile(r"= ANY\(\$(\d+)::\w+\[\]\)")
_CAST = re.compile(r"::\w+")
_OCTETS = re.compile(r"octet_length\(([\w.]+)\)")


@lru_cache(maxsize=512)
def for_sqlite(sql: str) -> str:
    """*sql* in SQLite's dialect."""
    sql = _ARRAY.sub(r"IN (SELECT value FROM json_each($\1))", sql)
    sql = _OCTETS.sub(r"length(CAST(\1 AS BLOB))", sql)
    return _CAST.sub("", sql).replace("to_json(", "json_quote(").replace(_LOCK, "")


def run_on_sqlite(connection: Connection, script: Script[T]) -> T:
    """Run *script* in the transaction that is open on *connection*."""
    execute: Callable[..., Any] = connection.execute
    rows: Any = None  # nothing can be sent to a generator before its first yield
    try:
        while True:
            statement = script.send(rows)
            sql = for_sqlite(statement[0])
            if isinstance(statement, Many):
                connection.executemany(
                    sql, [_named(parameters) for parameters in statement.rows]
                )
                rows = []
            else:
                rows = execute(sql, _named(statement[1:])).fetchall()
    except StopIteration as end:
        result: T = end.value
        return result


async def run_on_postgres(connection: Any, script: Script[T]) -> T:
    """Run *script* in the transaction that is open on *connection* (asyncpg)."""
    rows: Any = None  # nothing can be sent to a generator before its first yield
    try:
        while True:
            statement = script.send(rows)
            if isinstance(statement, Many):
                await connection.executemany(statement.sql, statement.rows)
                rows = []
            else:
                rows = await connection.fetch(statement[0], *statement[1:])
    except StopIteration as end:
        result: T = end.value
        return result


def _named(parameters: Sequence[Any]) -> dict[str, Any]:
    """SQLite takes ``$1`` for a parameter with the name 1; a list goes as JSON."""
    return {
        str(number): json.dumps(value) if isinstance(value, list) else value
        for number, value in enumerate(parameters, 1)
    }

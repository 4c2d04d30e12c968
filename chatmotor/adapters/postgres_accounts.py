# SPDX-License-Identifier: Apache-2.0
"""Which id an account has: asked once, then remembered.

An account is never deleted or renamed, so what is remembered stays true.
"""

from collections.abc import Iterable
from typing import Any

from chatmotor.adapters.store_rows import no_such_user

CACHED = 50_000


class Accounts:
    """Ids by username and usernames by id, bounded."""

    def __init__(self) -> None:
        self._ids: dict[str, int] = {}
        self._usernames: dict[int, str] = {}

    async def learn(
        self, connection: Any, usernames: Iterable[str], ids: Iterable[int] = ()
    ) -> None:
        """Ask for those that are not known; those that do not exist stay unknown."""
        names = {each for each in usernames if each not in self._ids}
        numbers = {each for each in ids if each not in self._usernames}
        if not names and not numbers:
            return
        rows = await connection.fetch(
            "SELECT id, username FROM account"
            " WHERE username = ANY($1::text[]) OR id = ANY($2::bigint[])",
            list(names),
            list(numbers),
        )
        for account, username in rows:
            self._ids[username] = account
            self._usernames[account] = username

    def trim(self) -> None:
        """Keep the memory bounded; call it between transactions only."""
        if len(self._ids) > CACHED:
            self._ids.clear()
            self._usernames.clear()

    def find(self, username: str) -> int | None:
        """The id, if there is such an account and it was learned."""
        return self._ids.get(username)

    def id(self, username: str) -> int:
        """
        The id of an account that was learned.

        Raises:
            NoSuchUser: There is none.
        """
        found = self._ids.get(username)
        if found is None:
            raise no_such_user(username)
        return found

    def username(self, account: int) -> str:
        """The username of an account that was learned."""
        return self._usernames[account]

# SPDX-License-Identifier: Apache-2.0
"""The users of the application that a node is embedded in: it is asked, in process.

    token --the application's own function--> a username, or nobody

There is nothing to verify here, and nothing is remembered: whoever the application
does not name at a moment is nobody at that moment.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from chatmotor.errors import Unauthenticated, Unavailable
from chatmotor.ports.credentials import HostIdentity

MAX_TOKEN_CHARACTERS = 8 * 1024
ASK_SECONDS = 5.0

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class HostUser:
    """
    Somebody of the application.

    Args:
        username: As the application spells it.
        device: What tells this log-in from others of the same user: each device has
            its own place in the mailbox, and can be logged out by its name.
    """

    username: str
    device: str = "host"


Users = Callable[[str], Awaitable[HostUser | str | None]]


class AskedUsers:
    """
    See ``HostTokens``.

    Args:
        users: The application's function: whose the token is, or None.
        lease_ms: How long a connection may go on before it says hello again.
        now: Milliseconds since the Unix epoch.
    """

    def __init__(self, users: Users, *, lease_ms: int, now: Callable[[], int]) -> None:
        self._users = users
        self._lease_ms = lease_ms
        self._now = now

    async def identify(self, token: str) -> HostIdentity:
        """See ``HostTokens.identify``."""
        if len(token) > MAX_TOKEN_CHARACTERS:
            raise Unauthenticated("the token is too long")
        found = await self._ask(token)
        if found is None:
            raise Unauthenticated("the token is not valid")
        user = HostUser(found) if isinstance(found, str) else found
        period = self._now() // self._lease_ms
        return HostIdentity(
            user.username,
            user.device,
            (period + 2) * self._lease_ms,
            lease=f"{period}\n{user.device}\n{user.username}",
        )

    async def _ask(self, token: str) -> HostUser | str | None:
        try:
            async with asyncio.timeout(ASK_SECONDS):
                return await self._users(token)
        except TimeoutError:
            _log.warning("the application did not say in time whose a token is")
        except Exception:  # noqa: BLE001  # it is not ours
            _log.exception("the application failed to say whose a token is")
        raise Unavailable("it cannot be found out now who you are; try again")

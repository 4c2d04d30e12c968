# SPDX-License-Identifier: Apache-2.0
"""The commands that belong to one session: ``presence``, ``watch``, ``unwatch``."""

from typing import Any, Protocol

from chatmotor.core.dispatcher import usernames
from chatmotor.node.roster import LoggedIn, Roster
from chatmotor.node.watchers import Watcher
from chatmotor.protocol import commands
from chatmotor.protocol.presence import Presence

PresenceCommand = commands.Presence | commands.Watch | commands.Unwatch


class PresenceSession(LoggedIn, Watcher, Protocol):
    """A session that says how it stands, and may watch others."""

    is_open: bool
    presence: Presence | None


async def run(
    command: PresenceCommand, session: PresenceSession, roster: Roster
) -> dict[str, Any]:
    """
    Do *command*; returns the fields of its ``ok``.

    Raises:
        NoSuchUser: Nobody can be called so.
        QuotaExceeded: The session would watch too many.
    """
    if isinstance(command, commands.Presence):
        if command.state == "hidden":
            session.presence = None
        else:
            session.presence = Presence(command.state, command.text)
        roster.stands(session)
        return {}
    users = usernames(command.users, "users")
    if isinstance(command, commands.Unwatch):
        roster.presences.unwatch(session, users)
        return {}
    if not session.is_open:  # it would be watched for ever
        return {}
    return {"snapshot": await roster.presences.watch(session, users)}

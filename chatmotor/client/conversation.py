# SPDX-License-Identifier: Apache-2.0
"""One conversation: a place to send to, and to read from.  Made by ``Client``."""

from collections.abc import Iterable
from secrets import token_hex
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import UNSET

from chatmotor.client.errors import Disconnected, Misused
from chatmotor.protocol.answers import (
    Changed,
    ConversationPage,
    HistoryPage,
    Sent,
)

if TYPE_CHECKING:
    from chatmotor.client.client import Client


class _Content(msgspec.Struct, omit_defaults=True):
    """The fields of ``send``."""

    cid: str
    to: str | None = None
    conv: str | None = None
    body: Any = UNSET
    raw: str | None = None
    reply_to: int | None = None


def new_cid() -> str:
    """A name that nothing else has."""
    return token_hex(16)


class Conversation:
    """
    A conversation of the client's account: by its id, or with another account.

    Made by ``Client.conversation``; equal to others of the same address.

    Attributes:
        conv: Its id, if it was named by that.
        to: The other's username, if it was named by that.
    """

    def __init__(self, client: "Client", *, conv: str | None, to: str | None) -> None:
        self.conv = conv
        self.to = to
        self._client = client

    def __repr__(self) -> str:
        where = self.conv if self.to is None else f"to={self.to!r}"
        return f"<Conversation {where}>"

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Conversation)
            and other._client is self._client
            and (other.conv, other.to) == (self.conv, self.to)
        )

    def __hash__(self) -> int:
        return hash((self.conv, self.to))

    async def send(
        self,
        body: Any = UNSET,
        *,
        raw: str | None = None,
        reply_to: int | None = None,
        cid: str | None = None,
    ) -> Sent:
        """
        Send a message; return once it is stored, with its place.

        It is sent again until there is an answer, over reconnects and, with a state
        file, over restarts, and is never stored twice.  While there is no connection
        it waits.  Messages to one conversation are stored in the order in which they
        were sent.

        A program that cancels this call, or ends, does not take the message back.

        Args:
            body: A text, or any JSON value; or
            raw: a text that classic clients get unchanged.
            reply_to: ``n`` of another message of the conversation.
            cid: Its name, unique for the account and for ever, of at most 64
                characters; the same name with the same content is the same message.
                Without one it is random.

        Raises:
            Refused: The server will not have it: ``no_such_user``, ``forbidden``,
                ``not_member``, ``too_large``, ``cid_conflict`` ...  It is not stored,
                and is not sent again.
            SessionEnded: The session has ended; whether it is stored is not known.
                With a state file it is sent after the next start.
            TypeError: The body is no JSON value.
        """
        name = cid or new_cid()
        content = self._content(name, body, raw, reply_to)
        return await self._client._send(name, content)  # noqa: SLF001

    def post(
        self,
        body: Any = UNSET,
        *,
        raw: str | None = None,
        reply_to: int | None = None,
        cid: str | None = None,
    ) -> str:
        """
        ``send`` without waiting.  Returns the ``cid``.

        A refusal is logged and counted; ``Client.drain`` waits until all is stored.
        """
        name = cid or new_cid()
        content = self._content(name, body, raw, reply_to)
        self._client._post(name, content)  # noqa: SLF001
        return name

    def _content(
        self, cid: str, body: Any, raw: str | None, reply_to: int | None
    ) -> bytes:
        if (body is UNSET) == (raw is None):
            raise Misused("a message has either a body or a raw text")
        return msgspec.json.encode(
            _Content(cid, self.to, self.conv, body, raw, reply_to)
        )

    async def history(
        self,
        *,
        before: int | None = None,
        after: int | None = None,
        around: int | None = None,
        limit: int = 50,
    ) -> HistoryPage:
        """
        Messages by rising ``n``: the last ones, or those *before*, *after*, *around*
        an ``n``.

        Raises:
            Refused: ``no_such_conv``, ``not_member``.
            SessionEnded: The session has ended.
        """
        where = {"before": before, "after": after, "around": around}
        given = {name: value for name, value in where.items() if value is not None}
        page: HistoryPage = await self._call("history", limit=limit, **given)
        return page

    async def read(self, n: int) -> None:
        """
        The account has read up to message *n*.

        Raises: As ``history``.
        """
        await self._call("read", n=n)

    async def typing(self, *, on: bool = True) -> None:
        """
        Let the others see that somebody writes, or has stopped.

        Without a connection it is lost, as it may be.

        Raises: As ``history``.
        """
        try:
            await self._call("typing", state="on" if on else "off")
        except Disconnected:
            return

    async def get(self) -> ConversationPage:
        """
        The conversation as it is; of a group, with the first members.

        Raises: As ``history``.
        """
        page: ConversationPage = await self._call("conv.get")
        return page

    async def invite(self, users: Iterable[str]) -> Changed:
        """
        Add members to a group.

        Raises: As ``history``; also ``no_such_user``, ``quota_exceeded``.
        """
        changed: Changed = await self._call("conv.invite", users=list(users))
        return changed

    async def remove(self, users: Iterable[str]) -> Changed:
        """
        Remove members from a group.

        Raises: As ``history``; also ``forbidden``: not with this role.
        """
        changed: Changed = await self._call("conv.remove", users=list(users))
        return changed

    async def leave(self) -> None:
        """
        Leave a group.

        Raises: As ``history``.
        """
        await self._call("conv.leave")

    async def _call(self, op: str, **fields: Any) -> Any:
        conv = await self.id()
        return await self._client.call(op, conv=conv, **fields)

    async def id(self) -> str:
        """
        Its id; of one with another account, asked of the server if need be.

        Raises:
            Refused: ``no_such_conv``: nobody has written in it yet.
            SessionEnded: The session has ended.
        """
        if self.conv is not None:
            return self.conv
        assert self.to is not None
        return await self._client._direct(self.to)  # noqa: SLF001

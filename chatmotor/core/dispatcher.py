# SPDX-License-Identifier: Apache-2.0
"""What each v1 command does, for whoever asks: a socket, or HTTP.

    command, caller --> may it do this? --> store --> tell the readers --> fields

The fields are those of ``ok``; a refusal is raised.  Who may read or write what is
decided in the store, together with what is read or written.
"""

import secrets
from collections.abc import Awaitable, Callable
from functools import lru_cache
from typing import Any, Protocol

import msgspec

from chatmotor.core.allowance import Allowance
from chatmotor.core.announcer import Announcer
from chatmotor.core.directory import Directory
from chatmotor.core.hooks import IncomingHooks
from chatmotor.core.names import account_form
from chatmotor.core.typists import Typists
from chatmotor.errors import (
    NoSuchConv,
    NoSuchUser,
    NotMember,
    OutcomeUnknown,
    RateLimited,
    RequestRefused,
    StoreUnavailable,
    TooLarge,
)
from chatmotor.ports.accounts import Account, Device, Grant
from chatmotor.ports.messages import (
    MAX_MEMBERS,
    Conversation,
    GroupLog,
    Mailbox,
    MemberChange,
    NewGroup,
    NewMessage,
)
from chatmotor.ports.store import LogStore, MessageStore, StoreLife
from chatmotor.protocol import commands as c
from chatmotor.protocol.events import fragment_of, item, message_item
from chatmotor.protocol.json_text import check_body
from chatmotor.protocol.replies import SignalNow

Fields = dict[str, Any]

SIGNAL_MAX_BYTES = 8192

# Where a command has the names of accounts.
_USER_FIELDS: dict[type, str] = {
    c.Send: "to",
    c.Signal: "to",
    c.ConvCreate: "members",
    c.ConvInvite: "users",
    c.ConvRemove: "users",
    c.UserGet: "user",
}


class MessagesAndLogs(StoreLife, MessageStore, LogStore, Protocol):
    """What the dispatcher asks of the store."""


class AccountCases(Protocol):
    """What the dispatcher asks of the accounts."""

    async def profile(self, username: str) -> Account:
        """Raises ``NoSuchUser``."""

    async def set_display_name(self, username: str, display_name: str) -> None:
        """Tells the account's other devices, too."""

    async def devices(self, username: str) -> tuple[Device, ...]:
        """By name."""

    async def revoke_device(self, username: str, device: str) -> None:
        """Raises ``NoSuchDevice``."""


class Dispatcher:
    """
    Runs commands.

    Args:
        now: Milliseconds since the Unix epoch.
        sends, lookups: Allowances by username.
        on_read: Called with a conversation in which a read pointer has moved.
    """

    def __init__(
        self,
        store: MessagesAndLogs,
        accounts: AccountCases,
        announcer: Announcer,
        *,
        directory: Directory,
        typists: Typists,
        incoming: IncomingHooks,
        on_read: Callable[[str], None],
        now: Callable[[], int],
        sends: Allowance,
        lookups: Allowance,
        body_max_bytes: int,
        members_max: int = MAX_MEMBERS,
    ) -> None:
        self.announcer = announcer
        self.typists = typists
        self._directory = directory
        self._on_read = on_read
        self._store = store
        self._accounts = accounts
        self._now = now
        self._sends = sends
        self._lookups = lookups
        self._body_max_bytes = body_max_bytes
        self._members_max = members_max
        self._cases: dict[type, Callable[[Any, Grant], Awaitable[Fields]]] = {
            c.Send: self._send,
            c.Read: self._read,
            c.Typing: self._type,
            c.Signal: self._signal,
            c.Sync: self._sync,
            c.Events: self._events,
            c.History: self._history,
            c.ConvCreate: self._create,
            c.ConvGet: self._get,
            c.ConvInvite: self._invite,
            c.ConvRemove: self._remove,
            c.ConvLeave: self._leave,
            c.HookCreate: incoming.create,
            c.HookList: incoming.list,
            c.HookRemove: incoming.remove,
            c.DeviceList: self._list_devices,
            c.DeviceRevoke: self._revoke_device,
            c.UserGet: self._get_user,
            c.UserSet: self._set_user,
            c.UserFind: self._find_user,
        }

    async def run(self, command: c.Called, caller: Grant) -> Fields:
        """
        Do *command* for *caller*; returns the fields of its ``ok``.

        Raises:
            RequestRefused: It is refused, and has changed nothing.
            OutcomeUnknown: No answer would be true.
        """
        try:
            return await self._cases[type(command)](command, caller)
        except RequestRefused as refused:
            explain(type(command), refused)
            raise

    # Messages.

    def new_message(self, command: c.Send, caller: Grant) -> NewMessage:
        """
        The message that *command* wants stored, once it is known to be one.

        Raises:
            RequestRefused: It is none, or is one too many.
        """
        if (command.to is None) == (command.conv is None):
            raise RequestRefused("a message has either to or conv", field="to")
        raw = command.raw is not None
        if raw == bool(command.body):
            raise RequestRefused("a message has either body or raw", field="body")
        body = command.raw.encode() if command.raw is not None else bytes(command.body)
        _limit(body, self._body_max_bytes, "raw" if raw else "body")
        if not raw:
            check_body(body)
        username = caller.account.username
        message = NewMessage(
            *(username, command.cid, body, self._now()),
            to=None if command.to is None else _username(command.to, "to"),
            conv=command.conv,
            raw=raw,
            reply_to=command.reply_to,
        )
        _spend(self._sends, username, "messages")
        return message

    async def _send(self, command: c.Send, caller: Grant) -> Fields:
        message = self.new_message(command, caller)
        stored = await self._store.send(message)
        self.announcer.message(message, stored)
        self.typists.wrote(message.sender, stored.conv)
        fields: Fields = {"conv": stored.conv, "n": stored.n}
        if stored.seq is not None:
            fields["seq"] = stored.seq
        return fields | {"ts": stored.ts, "dup": stored.dup}

    async def _read(self, command: c.Read, caller: Grant) -> Fields:
        logged = await self._store.mark_read(
            *(caller.account.username, command.conv, command.n), ts=self._now()
        )
        if logged is not None:
            self.announcer.tell((logged,))
            self._on_read(command.conv)
        return {}

    # What is of now.

    async def _type(self, command: c.Typing, caller: Grant) -> Fields:
        username = caller.account.username
        if command.state == "on":
            await self.typists.begin(username, command.conv)
        else:
            self.typists.end(username, command.conv)
        return {}

    async def _signal(self, command: c.Signal, caller: Grant) -> Fields:
        body, username = bytes(command.body), caller.account.username
        _limit(body, SIGNAL_MAX_BYTES, "body")
        check_body(body)
        _spend(self._sends, username, "messages")
        to = await self._directory.find(command.to)
        if to is None:
            raise _no_such_user(command.to, "to")
        signal = SignalNow(
            sender=username, device=caller.device, body=msgspec.Raw(body)
        )
        self.announcer.ephemeral(to, signal, author=username, device=caller.device)
        return {}

    # Logs.

    async def _sync(self, command: c.Sync, caller: Grant) -> Fields:
        seq, after = _read_cursor(command.cursor)
        page = await self._store.conversations(
            caller.account.username, after=after, limit=command.limit
        )
        seq = page.seq if seq is None else seq
        convs = [_shown(each, caller) for each in page.conversations]
        last = page.conversations[-1].conv if page.conversations else ""
        return {
            "at": {"epoch": self._store.epoch, "seq": seq},
            "convs": convs,
            "contacts": [],
            "blocks": [],
            "cursor": f"{seq}/{last}" if page.more else None,
        }

    async def _events(self, command: c.Events, caller: Grant) -> Fields:
        username = caller.account.username
        place, log = "seq", Mailbox(username)
        if command.conv is not None:
            place, log = "pos", GroupLog(command.conv, username)  # type: ignore[assignment]
        page = await self._store.events(log, since=command.since, limit=command.limit)
        events = [
            item(place, each.at, fragment_of(each), username) for each in page.events
        ]
        return {"events": events, "more": page.more}

    async def _history(self, command: c.History, caller: Grant) -> Fields:
        bounds = (command.before, command.after, command.around)
        if sum(bound is not None for bound in bounds) > 1:
            raise RequestRefused("one of before, after and around", field="before")
        username = caller.account.username
        page = await self._store.history(
            command.conv,
            reader=username,
            limit=command.limit,
            before=command.before,
            after=command.after,
            around=command.around,
        )
        return {
            "items": [message_item(each, username) for each in page.messages],
            "more": page.more,
            "receipts": {user: list(each) for user, each in page.receipts.items()},
        }

    # Groups.

    async def _create(self, command: c.ConvCreate, caller: Grant) -> Fields:
        members = usernames(command.members, "members")
        group = NewGroup(
            f"g.{secrets.token_hex(8)}",
            caller.account.username,
            command.cid,
            self._now(),
            members,
            title=command.title,
            max_members=self._members_max,
        )
        changed = await self._store.create_group(group)
        self.announcer.tell(changed.logged)
        return await self._shown(changed.conv, caller)

    async def _get(self, command: c.ConvGet, caller: Grant) -> Fields:
        username = caller.account.username
        found = await self._store.conversation(command.conv, reader=username)
        fields: Fields = {"conv": _shown(found, caller)}
        if found.peer is not None:
            return fields
        members = await self._store.members(
            command.conv, reader=username, after=command.cursor, limit=command.limit + 1
        )
        more = len(members) > command.limit
        shown = members[: command.limit]
        fields["members"] = [
            {"user": each.username, "role": each.role.value} for each in shown
        ]
        fields["cursor"] = shown[-1].username if more else None
        return fields

    async def _invite(self, command: c.ConvInvite, caller: Grant) -> Fields:
        return await self._change(
            command, caller, add=usernames(command.users, "users")
        )

    async def _remove(self, command: c.ConvRemove, caller: Grant) -> Fields:
        remove = usernames(command.users, "users")
        if caller.account.username in remove:
            raise RequestRefused("to leave a group is conv.leave", field="users")
        return await self._change(command, caller, remove=remove)

    async def _leave(self, command: c.ConvLeave, caller: Grant) -> Fields:
        await self._change(command, caller, remove=frozenset({caller.account.username}))
        return {}

    async def _change(
        self,
        command: c.ConvInvite | c.ConvRemove | c.ConvLeave,
        caller: Grant,
        *,
        add: frozenset[str] = frozenset(),
        remove: frozenset[str] = frozenset(),
    ) -> Fields:
        username = caller.account.username
        cid = command.cid or secrets.token_urlsafe(24)
        change = MemberChange(
            *(command.conv, username, cid, self._now()),
            *(add, remove),
            max_members=self._members_max,
        )
        changed = await self._store.change_members(change)
        self.announcer.tell(changed.logged)
        return {} if username in remove else await self._shown(changed.conv, caller)

    async def _shown(self, conv: str, caller: Grant) -> Fields:
        """
        The conversation after a change that was made: whatever goes wrong now, the
        answer is no error.
        """
        try:
            found = await self._store.conversation(conv, reader=caller.account.username)
        except (NotMember, NoSuchConv):  # removed by another since
            return {"conv": {"conv": conv}}
        except StoreUnavailable as error:
            raise OutcomeUnknown("changed, and not to be read again") from error
        return {"conv": _shown(found, caller)}

    # Devices and users.

    async def _list_devices(self, _: c.DeviceList, caller: Grant) -> Fields:
        devices = await self._accounts.devices(caller.account.username)
        return {
            "devices": [
                {
                    "device": each.name,
                    "ts": each.ts,
                    "seen": each.seen,
                    "current": each.name == caller.device,
                }
                for each in devices
            ]
        }

    async def _revoke_device(self, command: c.DeviceRevoke, caller: Grant) -> Fields:
        await self._accounts.revoke_device(caller.account.username, command.device)
        return {}

    async def _get_user(self, command: c.UserGet, caller: Grant) -> Fields:
        _spend(self._lookups, caller.account.username, "lookups")
        return {"user": _user(await self._accounts.profile(command.user))}

    async def _set_user(self, command: c.UserSet, caller: Grant) -> Fields:
        username = caller.account.username
        await self._accounts.set_display_name(username, command.display_name)
        try:
            return {"user": _user(await self._accounts.profile(username))}
        except StoreUnavailable as error:
            raise OutcomeUnknown("changed, and not to be read again") from error

    async def _find_user(self, command: c.UserFind, caller: Grant) -> Fields:
        _spend(self._lookups, caller.account.username, "lookups")
        try:
            return {"users": [_user(await self._accounts.profile(command.q))]}
        except NoSuchUser:
            return {"users": []}


def explain(kind: type, error: Exception) -> None:
    """Name the field that a refusal of the store is about, as *kind* calls it."""
    if isinstance(error, NoSuchUser):
        error.field = _USER_FIELDS.get(kind, error.field)
    elif isinstance(error, RequestRefused) and error.field == "remove":
        error.field = "users"


def _limit(body: bytes, max_bytes: int, field: str) -> None:
    if len(body) > max_bytes:
        raise TooLarge(f"a body may have at most {max_bytes} bytes", field=field)


def _spend(allowance: Allowance, username: str, what: str) -> None:
    wait = allowance.take(username)
    if wait is not None:
        raise RateLimited(
            f"too many {what}; wait a moment", retry_ms=int(wait * 1000) + 1
        )


def _shown(conversation: Conversation, caller: Grant) -> Fields:
    """A conversation as the wire has it."""
    fields: Fields = {"conv": conversation.conv, "ts": conversation.ts}
    if conversation.peer is None:
        fields |= {
            "type": "group",
            "title": conversation.title,
            "role": None if conversation.role is None else conversation.role.value,
            "members": conversation.members,
            "pos": conversation.pos,
        }
    else:
        kind = "guest" if conversation.guest else "direct"
        fields |= {"type": kind, "user": conversation.peer}
    fields |= {
        "n": conversation.n,
        "read": conversation.read,
        "unread": conversation.unread,
        "mentions": 0,
    }
    if conversation.last is not None:
        fields["last"] = message_item(conversation.last, caller.account.username)
    return fields


def _user(account: Account) -> Fields:
    return {"username": account.username, "display_name": account.shown_name}


def _username(name: str, field: str) -> str:
    """The one form of a name; of one that nobody can have, the refusal."""
    form = _form(name)
    if form is None:
        raise _no_such_user(name, field)
    return form


# The rules of names are a fifth of what a send costs.
_form = lru_cache(10_000)(account_form)


def _no_such_user(name: str, field: str) -> NoSuchUser:
    return NoSuchUser(f"nobody here is called {name!r}", field=field)


def usernames(names: list[str], field: str) -> frozenset[str]:
    """
    The one form of each.

    Raises:
        NoSuchUser: Nobody can be called so.
    """
    return frozenset(_username(name, field) for name in names)


def _read_cursor(cursor: str | None) -> tuple[int | None, str]:
    if not cursor:
        return None, ""
    seq, _, after = cursor.partition("/")
    if not seq.isascii() or not seq.isdigit() or len(seq) > 16:
        raise RequestRefused("this is no cursor of sync", field="cursor")
    return int(seq), after

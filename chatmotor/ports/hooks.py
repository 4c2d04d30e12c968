# SPDX-License-Identifier: Apache-2.0
"""Hooks: where an account's events go outside, and how messages come in from there.

    outgoing   events of an account --> Target, once it has answered for them --> place
    incoming   POST with a secret code --> a message in one conversation

An outgoing hook reads the logs of its account as a client does, and its places in them
are in the store: whichever node has the hook's lease goes on from there.  Events reach
the target **at least once**, in the order of each log, each with an ``id`` that is the
same whenever it comes again.

What every store promises (tests/contract/test_hook_store.py): durable on return, all or
nothing, read your writes, as in ports/store.py.  Usernames are in their one form; times
are milliseconds since the Unix epoch, as arguments.
"""

import ipaddress
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, Protocol

from chatmotor.errors import ChatmotorError
from chatmotor.ports.accounts import Account

MAX_INCOMING = 50
# Of a secret to sign with; then it goes on in base64.
SECRET_PREFIX: Final = "whsec_"  # noqa: S105  # how secrets begin
# Where clouds tell a machine its secrets, beside the link-local addresses.
_METADATA: Final = frozenset(
    ipaddress.ip_address(each)
    for each in (
        "100.100.100.200",
        "168.63.129.16",
        "192.0.0.192",
        "fd00:ec2::254",
        "fd20:ce::254",
    )
)
_THIS_NETWORK: Final = ipaddress.IPv4Network("0.0.0.0/8")
# IPv6 addresses that lead to an IPv4 address, which is their last four bytes.
_TRANSLATED: Final = (
    ipaddress.IPv6Network("::/96"),
    ipaddress.IPv6Network("64:ff9b::/96"),
)


class HookKind(StrEnum):
    """Where an outgoing hook's events go."""

    WEBHOOK = "webhook"
    AMQP = "amqp"


@dataclass(frozen=True, slots=True)
class Outgoing:
    """
    One event on its way to a target.

    Args:
        id: The same whenever this event is delivered again, and of no other event.
        t: Its type, as ``message.new``.
        conv: The group whose log it is of; none: the account's mailbox.
        at: Its place there, ``pos`` or ``seq``.
        body: The event as JSON, UTF-8, in the form of the command ``events``.
    """

    id: str
    t: str
    conv: str | None
    at: int
    body: bytes


class TargetFailed(ChatmotorError):
    """
    The target did not take a batch, or it is not known whether it did.

    Args:
        msg: Why, for the operator; it has no secret and nothing of the events.
        retry_after: Seconds that the target asks to be left alone for, if it does.
        gone: The target wants no events ever again: the hook is switched off.
        full: It has no room now, and is asked again within seconds.
    """

    def __init__(
        self,
        msg: str,
        *,
        retry_after: float | None = None,
        gone: bool = False,
        full: bool = False,
    ) -> None:
        super().__init__(msg)
        self.msg = msg
        self.retry_after = retry_after
        self.gone = gone
        self.full = full


class Target(Protocol):
    """Where the events of one hook go.  One call at a time; whoever calls repeats."""

    @property
    def batch_max(self) -> int:
        """How many events it takes at once, from 1."""

    async def deliver(self, batch: Sequence[Outgoing]) -> None:
        """
        Hand over *batch*, in order; on return the target answers for all of it.

        Raises:
            TargetFailed: Some of it may have arrived; all of it is to be repeated.
        """

    async def close(self) -> None:
        """Nothing more will be delivered."""


@dataclass(frozen=True, slots=True)
class NewHook:
    """
    An outgoing hook to be made; it begins with what comes next.

    Args:
        url: Of a webhook; else empty.
        secret: To sign with; empty where nothing is signed.
        types: Types of events that it is for; none: all.
        conv: The conversation that it is for; none: the whole account.
    """

    id: str
    username: str
    kind: HookKind
    ts: int
    url: str = ""
    secret: str = field(default="", repr=False)
    types: tuple[str, ...] = ()
    conv: str | None = None


@dataclass(frozen=True, slots=True)
class Hook:
    """
    An outgoing hook.  The fields of ``NewHook``, and:

    Args:
        closed: Its account is deactivated, and it waits.
        old_secret: The one before, good until the time *old_until*.
        on: Whether it is at work; it is switched off when its target is gone, or has
            failed for too long.
        revision: Counts what operators have changed, from 1.
        seq: Its place in the mailbox.
        behind: How many events of the account's logs it has before it.
        failures: Attempts that failed, one after the other, up to now.
        failing_since: When the first of them did.
        next_try: When it is tried again.
        error: What the last one failed of.
    """

    id: str
    username: str
    closed: bool
    kind: HookKind
    ts: int
    url: str
    secret: str = field(repr=False)
    old_secret: str = field(repr=False)
    old_until: int
    types: tuple[str, ...]
    conv: str | None
    on: bool
    revision: int
    seq: int
    behind: int = 0
    failures: int = 0
    failing_since: int | None = None
    next_try: int = 0
    error: str = ""


@dataclass(frozen=True, slots=True)
class HookChange:
    """
    What an operator changes; none leaves it as it is.

    Args:
        resume: Switch it on, and forget its failures.
        secret: To sign with from now on.
        old_until: Until when the one before it signs, too.
    """

    id: str
    resume: bool = False
    secret: str | None = field(default=None, repr=False)
    old_until: int = 0


@dataclass(frozen=True, slots=True)
class Progress:
    """
    How far a hook has come, as the node that has its lease says.

    Args:
        owner: That node.
        seq: Its place in the mailbox.
        positions: Its place in the groups whose logs it has read, or is to read.
        on, failures, failing_since, next_try, error: See ``Hook``.
    """

    id: str
    owner: str
    seq: int
    positions: Mapping[str, int] = field(default_factory=dict)
    on: bool = True
    failures: int = 0
    failing_since: int | None = None
    next_try: int = 0
    error: str = ""


@dataclass(frozen=True, slots=True)
class NewIncoming:
    """
    An incoming hook to be made.

    Args:
        code: Hash of its secret code (``hash_secret``).
        username: Whose messages it writes.
    """

    id: str
    code: bytes
    username: str
    conv: str
    name: str
    ts: int


@dataclass(frozen=True, slots=True)
class Incoming:
    """An incoming hook; *username* has made it, and writes what comes."""

    id: str
    username: str
    conv: str
    name: str
    ts: int


def is_refused_address(address: str) -> bool:
    """
    Whether no webhook goes to this IP address, whoever says so: link-local, multicast,
    unspecified, reserved, and those where clouds tell secrets.  Loopback and private
    addresses are not: a receiver often stands beside the server.
    """
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return True
    if isinstance(found, ipaddress.IPv6Address) and not found.is_loopback:
        inner = found.ipv4_mapped or found.sixtofour
        if inner is None and any(found in network for network in _TRANSLATED):
            inner = ipaddress.IPv4Address(int(found) & 0xFFFFFFFF)
        if inner is not None:
            found = inner
    return not found.is_loopback and (
        found.is_link_local
        or found.is_multicast
        or found.is_unspecified
        or found.is_reserved
        or found in _METADATA
        or (isinstance(found, ipaddress.IPv4Address) and found in _THIS_NETWORK)
    )


class HookStore(Protocol):
    """Outgoing hooks, for operators."""

    async def add_hook(self, new: NewHook) -> Hook:
        """
        Make a hook; its places are the ends of the account's logs.

        Raises:
            NoSuchUser: There is no such account.
            NoSuchConv, NotMember: The account is not in *conv*.
            Conflict: The account has a hook of kind ``amqp``, and this is another.
            StoreUnavailable, OutcomeUnknown: See ports/store.py.
        """

    async def hook(self, id_: str) -> Hook:
        """
        One hook.

        Raises:
            NoSuchHook: There is none.
            StoreUnavailable: See ports/store.py.
        """

    async def hooks(self, *, after: str, limit: int) -> tuple[Hook, ...]:
        """
        At most *limit* hooks with an id greater than *after* ("": all), by id.

        Raises:
            StoreUnavailable: See ports/store.py.
        """

    async def change_hook(self, change: HookChange) -> Hook:
        """
        Change a hook; it has another revision then.

        Raises:
            NoSuchHook: There is none.
            StoreUnavailable, OutcomeUnknown: See ports/store.py.
        """

    async def remove_hook(self, id_: str) -> None:
        """
        Remove a hook, with its places.

        Raises:
            NoSuchHook: There is none.
            StoreUnavailable, OutcomeUnknown: See ports/store.py.
        """


class ForwardingStore(Protocol):
    """Outgoing hooks, for the nodes, of which one at a time has the lease of each."""

    async def lease_hooks(
        self, owner: str, kinds: Collection[HookKind], *, now: int, until: int
    ) -> tuple[Hook, ...]:
        """
        The hooks that are *owner*'s until the time *until*: those that are its
        already, and all that are nobody's now.  They are on, of these *kinds*, and
        their accounts are not closed; ``behind`` is 0.

        Two nodes never have the same one, as far as their clocks agree.

        Raises:
            StoreUnavailable, OutcomeUnknown: See ports/store.py.
        """

    async def release_hooks(self, owner: str) -> None:
        """
        Let others have all that are *owner*'s.

        Raises:
            StoreUnavailable, OutcomeUnknown: See ports/store.py.
        """

    async def hook_positions(self, id_: str) -> Mapping[str, int]:
        """
        The hook's places in groups, by conv; also in those that the account has left.

        Raises:
            StoreUnavailable: See ports/store.py.
        """

    async def save_progress(self, progress: Progress) -> bool:
        """
        Keep how far a hook has come.  Groups that are not named stay where they are.

        Returns:
            False when another node has its lease, or it was removed or switched off:
            nothing is written.

        Raises:
            StoreUnavailable, OutcomeUnknown: See ports/store.py.
        """


class IncomingStore(Protocol):
    """
    Incoming hooks.  One ends when its account is closed or leaves the conversation,
    and does not come back with it.
    """

    async def add_incoming(self, new: NewIncoming) -> Incoming:
        """
        Make one.

        Raises:
            NoSuchUser, NoSuchConv, NotMember: The account is not in *conv*.
            Forbidden: Its role in the group does not allow it (owner and admins may);
                or the conversation is with a guest, to whom nobody can write.
            QuotaExceeded: The conversation has ``MAX_INCOMING``.
            StoreUnavailable, OutcomeUnknown: See ports/store.py.
        """

    async def incoming(self, conv: str, *, reader: str) -> tuple[Incoming, ...]:
        """
        Those of a conversation, by id.

        Raises:
            NoSuchUser, NoSuchConv, NotMember, Forbidden: As for ``add_incoming``.
            StoreUnavailable: See ports/store.py.
        """

    async def remove_incoming(self, id_: str, *, actor: str) -> None:
        """
        Remove one.

        Raises:
            NoSuchHook: There is none, or not in a conversation of *actor*'s.
            Forbidden: As for ``add_incoming``.
            StoreUnavailable, OutcomeUnknown: See ports/store.py.
        """

    async def incoming_by_code(self, code: bytes) -> tuple[Incoming, Account] | None:
        """
        The one with this hash of its code, and its account; none, if there is none
        any more.

        Raises:
            StoreUnavailable: See ports/store.py.
        """

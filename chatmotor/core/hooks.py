# SPDX-License-Identifier: Apache-2.0
"""What operators do with outgoing hooks, and members with incoming ones.

    Hooks          operators and administrators: where an account's events go outside
    IncomingHooks  members of a conversation: URLs to which anyone who has one can post

A secret or a code is told once, when it is made; a code is stored as a hash only.
Outgoing hooks have the server make requests wherever they say, so they are not for
everybody.
"""

import base64
import secrets
from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import SplitResult, urlsplit

from chatmotor.core.account_parts import sought_name
from chatmotor.errors import (
    NoSuchConv,
    NoSuchHook,
    NoSuchUser,
    NotFound,
    RequestRefused,
)
from chatmotor.ports.accounts import Grant, hash_secret
from chatmotor.ports.hooks import (
    SECRET_PREFIX,
    Hook,
    HookChange,
    HookKind,
    HookStore,
    Incoming,
    IncomingStore,
    NewHook,
    NewIncoming,
    Outgoing,
    Target,
    TargetFailed,
    is_refused_address,
)
from chatmotor.ports.messages import EventType
from chatmotor.protocol.commands import HookCreate, HookList, HookRemove
from chatmotor.protocol.replies import encode

SECRET_BYTES = 32
MAX_URL = 2000
MAX_ID = 64
# How long the secret before the present one signs, too.
OVERLAP_MS = 24 * 3600 * 1000
PATH = "/v1/in/"

Fields = dict[str, Any]


class HookTargets(dict[HookKind, Callable[[Hook], Target]]):
    """Makes the target of a hook, by its kind."""


class Hooks:
    """
    Outgoing hooks.

    Args:
        targets: To try a hook; one of a kind that is not there cannot be made here.
        now: Milliseconds since the Unix epoch.
        changed: Tells the node that hooks are others now.
    """

    def __init__(
        self,
        store: HookStore,
        targets: HookTargets,
        *,
        now: Callable[[], int],
        changed: Callable[[], None],
    ) -> None:
        self._store = store
        self._targets = targets
        self._now = now
        self._changed = changed

    async def add(
        self,
        username: str,
        *,
        kind: str = HookKind.WEBHOOK.value,
        url: str = "",
        types: Sequence[str] = (),
        conv: str | None = None,
    ) -> Hook:
        """
        Make a hook; its secret is in what is returned.

        Raises:
            RequestRefused: Of a field, which it names.
            NoSuchUser, NoSuchConv, NotMember, Conflict: See ``HookStore.add_hook``.
            StoreUnavailable, OutcomeUnknown: See the ports.
        """
        accepted = self._accepted_kind(kind)
        is_webhook = accepted is HookKind.WEBHOOK
        if not is_webhook and url:
            raise RequestRefused("only a webhook has a URL", field="url")
        new = NewHook(
            f"h{secrets.token_hex(8)}",
            sought_name(username),
            accepted,
            self._now(),
            url=accepted_url(url) if is_webhook else "",
            secret=_new_secret() if is_webhook else "",
            types=_accepted_types(types),
            conv=conv,
        )
        if conv is not None and not _is_plain(conv):
            raise NoSuchConv("there is no such conversation", field="conv")
        try:
            hook = await self._store.add_hook(new)
        except NoSuchUser as refused:
            refused.field = "username"
            raise
        self._changed()
        return hook

    async def hooks(self, *, after: str = "", limit: int = 100) -> Sequence[Hook]:
        """
        Hooks with an id greater than *after*, by id.

        Raises:
            RequestRefused: No hook can have this id.
            StoreUnavailable: See the ports.
        """
        if after and not _is_plain(after):
            raise RequestRefused("this is no id of a hook", field="after")
        return await self._store.hooks(after=after, limit=limit)

    async def remove(self, id_: str) -> None:
        """
        Remove a hook.

        Raises:
            NoSuchHook, StoreUnavailable, OutcomeUnknown: See the ports.
        """
        await self._store.remove_hook(_sought(id_))
        self._changed()

    async def resume(self, id_: str) -> None:
        """
        Switch a hook on again, from its place; or have it try now, if it waits.

        Raises:
            NoSuchHook, StoreUnavailable, OutcomeUnknown: See the ports.
        """
        await self._store.change_hook(HookChange(_sought(id_), resume=True))
        self._changed()

    async def rotate(self, id_: str) -> Hook:
        """
        Another secret, which is in what is returned; the old one is good for 24 h.

        Raises:
            RequestRefused: The hook signs nothing.
            NoSuchHook, StoreUnavailable, OutcomeUnknown: See the ports.
        """
        if (await self._store.hook(_sought(id_))).kind is not HookKind.WEBHOOK:
            raise RequestRefused("only webhooks have a secret", field="hook")
        until = self._now() + OVERLAP_MS
        change = HookChange(id_, secret=_new_secret(), old_until=until)
        hook = await self._store.change_hook(change)
        self._changed()
        return hook

    async def test(self, id_: str) -> str | None:
        """
        Have the target take an event ``hook.test``, which is in no log.

        Returns:
            What it failed of; none, when the target has taken it.

        Raises:
            RequestRefused: Hooks of its kind cannot be reached from here.
            NoSuchHook, StoreUnavailable: See the ports.
        """
        hook = await self._store.hook(_sought(id_))
        self._accepted_kind(hook.kind)
        target = self._targets[hook.kind](hook)
        now = self._now()
        body = encode({"t": "hook.test", "ts": now})
        event = Outgoing(f"{hook.id}-test-{now}", "hook.test", None, 0, body)
        try:
            await target.deliver([event])
        except TargetFailed as failed:
            return failed.msg
        finally:
            await target.close()
        return None

    def _accepted_kind(self, kind: str) -> HookKind:
        if kind not in self._targets:
            kinds = ", ".join(sorted(each.value for each in self._targets))
            raise RequestRefused(f"the kind of a hook is here {kinds}", field="kind")
        return HookKind(kind)


class IncomingHooks:
    """
    Incoming hooks.

    Args:
        url: How clients reach this installation, ``https://host``.
        now: Milliseconds since the Unix epoch.
    """

    def __init__(
        self, store: IncomingStore, *, url: Callable[[], str], now: Callable[[], int]
    ) -> None:
        self._store = store
        self._url = url
        self._now = now

    async def create(self, command: HookCreate, caller: Grant) -> Fields:
        """
        Make one.

        Raises:
            RequestRefused: Of the name.
            NoSuchConv, NotMember, Forbidden, QuotaExceeded: See ``IncomingStore``.
            StoreUnavailable, OutcomeUnknown: See the ports.
        """
        name = command.name
        if not name.isprintable() or not name.strip():
            raise RequestRefused(
                "a hook's name has 1 to 64 visible characters", field="name"
            )
        code = secrets.token_urlsafe(SECRET_BYTES)
        new = NewIncoming(
            f"i{secrets.token_hex(8)}",
            hash_secret(code),
            *(caller.account.username, command.conv, name, self._now()),
        )
        made = _shown(await self._store.add_incoming(new))
        return {"hook": made | {"url": self._url() + PATH + code}}

    async def list(self, command: HookList, caller: Grant) -> Fields:
        """
        Those of a conversation, without their URLs.

        Raises:
            NoSuchConv, NotMember, Forbidden, StoreUnavailable: See ``IncomingStore``.
        """
        username = caller.account.username
        found = await self._store.incoming(command.conv, reader=username)
        return {"hooks": [_shown(each) for each in found]}

    async def remove(self, command: HookRemove, caller: Grant) -> Fields:
        """
        End one.

        Raises:
            NoSuchHook, Forbidden, StoreUnavailable, OutcomeUnknown: See
                ``IncomingStore``.
        """
        username = caller.account.username
        await self._store.remove_incoming(command.hook, actor=username)
        return {}

    async def by_code(self, code: str) -> tuple[Incoming, Grant]:
        """
        The hook with this code, and what it allows: to be its account.

        Raises:
            NotFound: There is none, or none any more.
            StoreUnavailable: See the ports.
        """
        found = await self._store.incoming_by_code(hash_secret(code))
        if found is None or found[1].closed:
            raise no_such_path()
        hook, account = found
        return hook, Grant(account, "hook", b"", 0, 0)


def no_such_path() -> NotFound:
    """The same for a code that is none, that was one, and that is somebody else's."""
    return NotFound("there is nothing at this path")


def described(hook: Hook) -> Fields:
    """An outgoing hook as operators and administrators see it: without its secrets."""
    state = "on" if hook.on else "off"
    return {
        "hook": hook.id,
        "username": hook.username,
        "kind": hook.kind.value,
        "url": hook.url,
        "types": list(hook.types),
        "conv": hook.conv,
        "created": hook.ts,
        "state": "closed" if hook.on and hook.closed else state,
        "behind": hook.behind,
        "failures": hook.failures,
        "failing_since": hook.failing_since,
        "error": hook.error,
    }


def accepted_url(url: str) -> str:
    """
    Where a webhook goes.

    Raises:
        RequestRefused: It is not http or https, names a user, or an address that is
            refused; a name is looked up when it is connected to.
    """
    parts = _split(url)
    if (
        parts is None
        or parts.scheme not in ("http", "https")
        or not parts.hostname
        or not 0 < len(url) <= MAX_URL
        or not url.isascii()
        or not url.isprintable()
        or " " in url
    ):
        raise RequestRefused(
            "a webhook has a URL as https://host/path, in ASCII, of at most "
            f"{MAX_URL} characters",
            field="url",
        )
    if "@" in parts.netloc or "#" in url:
        raise RequestRefused(
            "the URL of a webhook has no user and no fragment", field="url"
        )
    if _is_address(parts.hostname) and is_refused_address(parts.hostname):
        raise RequestRefused("webhooks may not go to this address", field="url")
    return url


def _split(url: str) -> SplitResult | None:
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        return None
    return parts


def _is_plain(id_: str) -> bool:
    """Whether it can be an id: not every store can be asked for another text."""
    return id_.isascii() and id_.isprintable() and 0 < len(id_) <= MAX_ID


def _sought(id_: str) -> str:
    if not _is_plain(id_):
        raise NoSuchHook("there is no such hook", field="hook")
    return id_


def _is_address(host: str) -> bool:
    return ":" in host or host.replace(".", "").isdecimal()


def _accepted_types(types: Sequence[str]) -> tuple[str, ...]:
    known = {each.value for each in EventType}
    for each in types:
        if each not in known:
            raise RequestRefused(
                f"{each[:64]!r} is no type of event; there are "
                + ", ".join(sorted(known)),
                field="types",
            )
    return tuple(dict.fromkeys(types))


def _new_secret() -> str:
    code = base64.b64encode(secrets.token_bytes(SECRET_BYTES))
    return SECRET_PREFIX + code.decode()


def _shown(hook: Incoming) -> Fields:
    return {
        "hook": hook.id,
        "conv": hook.conv,
        "name": hook.name,
        "user": hook.username,
        "ts": hook.ts,
    }

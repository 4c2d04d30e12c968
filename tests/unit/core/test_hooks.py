# SPDX-License-Identifier: Apache-2.0
"""What operators do with outgoing hooks."""

from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from chatmotor.adapters.sqlite_store import SqliteStore
from chatmotor.core.hooks import OVERLAP_MS, accepted_url
from chatmotor.errors import Conflict, NoSuchHook, NoSuchUser, RequestRefused
from chatmotor.ports.hooks import Hook, HookKind, Outgoing, TargetFailed
from tests.harness.accounts import Desk

URL = "https://hooks.example.org/in?user=ann"


class Bin:
    """A target that keeps what it is given, or fails."""

    batch_max = 1

    def __init__(self, failure: TargetFailed | None = None) -> None:
        self.failure = failure
        self.hooks: list[Hook] = []
        self.taken: list[Outgoing] = []
        self.closed = 0

    def of(self, hook: Hook) -> "Bin":
        self.hooks.append(hook)
        return self

    async def deliver(self, batch: Sequence[Outgoing]) -> None:
        self.taken += batch
        if self.failure is not None:
            raise self.failure

    async def close(self) -> None:
        self.closed += 1


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    """With ann and bob, and targets of both kinds."""
    store = SqliteStore(tmp_path / "chat.db")
    await store.start()
    made = Desk(store)
    for username in ("ann", "bob"):
        await made.administration.create(username, None)
    for kind in HookKind:
        made.targets[kind] = Bin().of
    yield made
    await store.stop()


async def test_a_hook_is_made_with_a_secret_of_its_own(desk: Desk) -> None:
    """The node is told, and hooks are listed without their secrets."""
    first = await desk.hooks.add("Ann", url=URL, types=["message.new", "message.new"])
    second = await desk.hooks.add("bob", url=URL)

    assert ("ann", URL, ("message.new",)) == (first.username, first.url, first.types)
    assert first.secret != second.secret
    assert len("whsec_" + 44 * "x") == len(first.secret)
    assert {first.id, second.id} == {each.id for each in await desk.hooks.hooks()}
    assert 2 == desk.changes


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"url": ""}, "url"),
        ({"url": URL, "types": ["message"]}, "types"),
        ({"url": URL, "kind": "mail"}, "kind"),
        ({"url": URL, "conv": "g.\0"}, "conv"),
        ({"url": URL, "conv": "g.1"}, "conv"),
        ({"url": URL, "kind": "amqp"}, "url"),
    ],
)
async def test_what_cannot_be_is_refused(
    desk: Desk, given: dict[str, object], field: str
) -> None:
    """With the field that is wrong."""
    with pytest.raises(RequestRefused) as refused:
        await desk.hooks.add("ann", **given)  # type: ignore[arg-type]

    assert field == refused.value.field
    assert () == await desk.hooks.hooks()


async def test_a_hook_is_of_an_account_that_is_there(desk: Desk) -> None:
    """In any spelling; a name that nobody can have is nobody's."""
    for username in ("zoe", "a b"):
        with pytest.raises(NoSuchUser):
            await desk.hooks.add(username, url=URL)


async def test_a_queue_needs_rabbitmq(desk: Desk) -> None:
    """Where there is none, no hook waits for it; and an account has one queue."""
    made = await desk.hooks.add("ann", kind="amqp")
    assert ("", HookKind.AMQP) == (made.secret, made.kind)
    with pytest.raises(Conflict):
        await desk.hooks.add("ann", kind="amqp")
    with pytest.raises(RequestRefused):
        await desk.hooks.rotate(made.id)

    del desk.targets[HookKind.AMQP]
    with pytest.raises(RequestRefused) as refused:
        await desk.hooks.add("bob", kind="amqp")
    assert "kind" == refused.value.field


async def test_a_secret_is_replaced_with_an_overlap(desk: Desk) -> None:
    """For a day both sign."""
    made = await desk.hooks.add("ann", url=URL)

    changed = await desk.hooks.rotate(made.id)

    assert made.secret == changed.old_secret != changed.secret
    assert desk.now + OVERLAP_MS == changed.old_until
    assert 2 == desk.changes


async def test_a_hook_is_tried_once(desk: Desk) -> None:
    """With an event that is in no log; what it fails of is the answer."""
    target = Bin()
    desk.targets[HookKind.WEBHOOK] = target.of
    made = await desk.hooks.add("ann", url=URL)

    assert None is await desk.hooks.test(made.id)
    target.failure = TargetFailed("the answer was 500", gone=True)
    assert "the answer was 500" == await desk.hooks.test(made.id)

    assert [made.secret] * 2 == [each.secret for each in target.hooks]
    event = target.taken[0]
    assert f"{made.id}-test-{desk.now}" == event.id
    assert b'{"t":"hook.test","ts":%d}' % desk.now == event.body
    assert 2 == target.closed
    assert (await desk.hooks.hooks())[0].on


async def test_what_is_not_there_cannot_be_changed(desk: Desk) -> None:
    """Whatever is asked for."""
    hooks = desk.hooks
    for call in (hooks.remove, hooks.resume, hooks.rotate, hooks.test):
        with pytest.raises(NoSuchHook):
            await call("h1")
        with pytest.raises(NoSuchHook):
            await call("h\0")
    with pytest.raises(RequestRefused):
        await hooks.hooks(after="\0")
    assert 0 == desk.changes


@pytest.mark.parametrize(
    "url",
    [
        URL,
        "http://127.0.0.1:8080/",
        "http://[::1]:8080",
        "http://receiver",
        "https://10.0.0.5/a%20b",
        "https://example.org/" + "x" * 1980,
    ],
)
def test_a_webhook_may_go_to_any_host(url: str) -> None:
    """Also one beside the server."""
    assert url == accepted_url(url)


@pytest.mark.parametrize(
    "url",
    [
        *(
            "",
            "example.org",
            "//example.org",
            "ftp://example.org",
            "file:///etc/passwd",
        ),
        *("https://", "https:///path", "https://:80/", "http://example.org:99999"),
        *("https://user@example.org", "https://user:pw@example.org/", "http://a#b"),
        *("http://exa mple.org", "http://example.org/\n", "http://ex\u00e4mple.org/"),
        *("http://169.254.169.254/latest/", "http://[fe80::1]/", "http://0.0.0.0:80/"),
        *("http://[::ffff:169.254.169.254]/", "http://224.0.0.1/", "http://[::]/"),
        *("http://2852039166/", "https://example.org/" + "x" * 2000, "http://[::1/"),
    ],
)
def test_a_webhook_has_a_plain_url(url: str) -> None:
    """No user, no fragment, no other scheme, and no address that is refused."""
    with pytest.raises(RequestRefused) as refused:
        accepted_url(url)

    assert "url" == refused.value.field

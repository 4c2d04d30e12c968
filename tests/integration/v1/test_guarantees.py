# SPDX-License-Identifier: Apache-2.0
"""G1 to G5 under random use: lost, duplicated, reordered, missing, divergent are 0.

    some accounts, each with devices on both nodes; each device does one random thing
    after the other, all at once: send, repeat, acknowledge late, vanish, come back from
    some older position, invite, remove ...
        | now and then a lull: whoever is there must soon have everything, with no
        | later event that would make it look
    heal; wait until all is quiet; read everything through both nodes; tests/harness/
    ledger.py holds it against what was answered and what each device has presented

``CM_TEST_SECONDS`` is the time of each run, ``CM_TEST_SEED`` its seed; it is printed.
"""

import asyncio
import contextlib
import itertools
import json
import os
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any
from urllib.parse import quote

import pytest

from tests.harness import ledger
from tests.harness.devices import Device, Notes, canonical, entry_of
from tests.harness.ledger import Entry, Item, Stay
from tests.harness.node import ChatmotorNode
from tests.harness.postgres import PrivatePostgres
from tests.harness.rabbitmq import PrivateRabbit
from tests.harness.v1_client import Refused, log_in, sign_up
from tests.integration.conftest import Nodes, on_rabbit
from tests.integration.v1.conftest import QUICK, cluster_options

SECONDS = float(os.environ.get("CM_TEST_SECONDS", "20"))
SEED = int(os.environ.get("CM_TEST_SEED", "0")) or time.time_ns() % 10**9
ACCOUNTS = 6
DEVICES = 3
QUIET_SECONDS = 8.0
# Longer than a run: what is not told at once must not be found by the check, but where
# RabbitMQ fails.
NEVER = {"CM_POSITION_CHECK_SECONDS": "600"}
OFTEN = {"CM_POSITION_CHECK_SECONDS": "1"}


@dataclass
class World:
    """The accounts of a run, their devices and groups."""

    nodes: Nodes
    random: Random
    notes: Notes = field(default_factory=Notes)
    devices: dict[str, list[Device]] = field(default_factory=dict)
    owners: dict[str, str] = field(default_factory=dict)
    sent: dict[str, list[dict[str, Any]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._numbers = itertools.count(1)
        self.stop = asyncio.Event()
        self.go = asyncio.Event()
        self.busy = 0

    @property
    def every(self) -> list[Device]:
        """All devices."""
        return [each for some in self.devices.values() for each in some]

    async def add_account(self, username: str, devices: int) -> None:
        """An account with this many devices, half of them eager."""
        await sign_up(self.nodes.left, username)
        self.sent[username] = []
        self.devices[username] = []
        for _ in range(devices):
            await self.add_device(username)

    async def add_device(self, username: str) -> Device:
        """One more device of an account, connected."""
        count = len(self.devices[username])
        login = await log_in(self.node(), username, f"d{count}")
        seed = self.random.random()
        device = Device(login, self.notes, Random(seed), eager=count % 2 == 0)
        await device.connect(self.node(), "first")
        self.devices[username].append(device)
        return device

    def node(self) -> ChatmotorNode:
        """One of the two."""
        return self.random.choice((self.nodes.left, self.nodes.right))

    def message(self, device: Device, **where: str) -> dict[str, Any]:
        """A new message: its cid is in its body, too."""
        cid = f"{device.name}.{next(self._numbers)}"
        body = {"cid": cid, "pad": "x" * device.random.choice((0, 10, 2000))}
        fields = {"cid": cid, "body": body, **where}
        self.sent[device.username].append(fields)
        return fields


class Actor:
    """One device, used at random."""

    def __init__(self, world: World, device: Device) -> None:
        self.world = world
        self.device = device
        self.random = device.random
        self._steps: list[tuple[int, Callable[[], Coroutine[Any, Any, None]]]] = [
            (30, self.send),
            (30, self.send_to_group),
            (8, self.send_many),
            (10, self.repeat),
            (6, self.send_twice_at_once),
            (6, self.be_refused),
            (6, self.hold),
            (4, self.stall),
            (6, self.read),
            (4, self.read_history),
            (6, self.invite),
            (6, self.remove),
            (3, self.leave),
            (3, self.back_up),
            (12, self.reconnect),
        ]

    async def run(self) -> None:
        """One thing after the other."""
        weights = [weight for weight, _ in self._steps]
        while not self.world.stop.is_set():
            await self.world.go.wait()
            ((_, step),) = self.random.choices(self._steps, weights)
            if not self.device.online:
                step = self.reconnect
            self.world.busy += 1
            with contextlib.suppress(ConnectionError):
                await step()
            self.world.busy -= 1
            self.world.notes.counts["steps"] += 1
            await asyncio.sleep(self.random.uniform(0, 0.06))

    # Messages.

    async def _send(self, fields: dict[str, Any]) -> None:
        await self.device.send(**fields)

    def _peer(self) -> str:
        return self.random.choice(sorted(self.world.devices))

    def _group(self) -> str | None:
        mine = sorted(self.device.memory.groups)
        every = sorted(self.world.owners)
        if self.random.random() < 0.1 or not mine:
            mine = every
        return self.random.choice(mine) if mine else None

    async def send(self) -> None:
        """To anybody, oneself included."""
        await self._send(self.world.message(self.device, to=self._peer()))

    async def send_to_group(self) -> None:
        """To a group; sometimes to one that one is not in."""
        conv = self._group()
        if conv is not None:
            await self._send(self.world.message(self.device, conv=conv))

    async def send_many(self) -> None:
        """Without awaiting the answers; sometimes the socket is gone before them."""
        conv = self._group()
        tasks = []
        for _ in range(self.random.randint(2, 12)):
            to_group = conv is not None and self.random.random() < 0.5
            where = {"conv": conv} if to_group else {"to": self._peer()}
            fields = self.world.message(self.device, **where)  # type: ignore[arg-type]
            tasks.append(asyncio.create_task(self._send(fields)))
        if self.random.random() < 0.3:
            await asyncio.sleep(self.random.uniform(0, 0.01))
            await self.device.disconnect(abruptly=True)
        await asyncio.gather(*tasks)

    async def repeat(self) -> None:
        """Something this account has sent before, from this device or over HTTP."""
        sent = self.world.sent[self.device.username]
        if not sent:
            return
        fields = self.random.choice(sent[-40:] if self.random.random() < 0.7 else sent)
        if self.random.random() < 0.3:
            await self.device.post(self.world.node(), **fields)
        else:
            await self._send(fields)

    async def send_twice_at_once(self) -> None:
        """A new message from two devices, or twice from this one, or thrice."""
        others = self.world.devices[self.device.username]
        fields = self.world.message(self.device, to=self._peer())
        pair = self.random.choices(others, k=self.random.randint(1, 2))
        await asyncio.gather(
            self._send(fields), *(each.send(**fields) for each in pair)
        )

    async def be_refused(self) -> None:
        """In one of several ways; the cid must not appear."""
        fields = self.world.message(self.device, to="nobody-of-this-name")
        match self.random.randrange(4):
            case 0:
                sent = self.world.sent[self.device.username]
                body = fields["body"]
                fields = self.random.choice(sent[:-1] or sent) | {"body": body}
            case 1:
                fields["to"], fields["body"] = self._peer(), "x" * 40_000
            case 2:
                del fields["to"]
                fields["conv"] = "g.0123456789abcdef"
            case _:
                pass
        if await self._is_new_to_the_store(fields):
            attempt = await self.device.send(**fields)
            if attempt.place is not None:
                self.world.notes.find(f"not refused: {attempt}")

    async def _is_new_to_the_store(self, fields: dict[str, Any]) -> bool:
        """A conflict needs a first one that is there for certain."""
        if fields["body"] == "x" * 40_000 or fields.get("to") == "nobody-of-this-name":
            return True
        return fields.get("conv") == "g.0123456789abcdef" or any(
            each.cid == fields["cid"] and each.place is not None
            for each in self.world.notes.attempts
        )

    # The session.

    async def hold(self) -> None:
        """Acknowledge nothing for a while."""
        self.device.holding = True
        await asyncio.sleep(self.random.uniform(0, 1))
        self.device.holding = False
        if self.device.link is not None:
            await self.device.ack(self.device.link)

    async def stall(self) -> None:
        """Read nothing for a while."""
        link = self.device.link
        if link is not None:
            link.socket.transport.pause_reading()
            await asyncio.sleep(self.random.uniform(0, 0.5))
            link.socket.transport.resume_reading()

    async def back_up(self) -> None:
        """What the device knows now it may know again later."""
        self.device.save()

    async def reconnect(self) -> None:
        """Leave, and come back from some position, on one node or the other."""
        await self.device.disconnect(abruptly=self.random.random() < 0.5)
        if self.random.random() < 0.3:
            await asyncio.sleep(self.random.uniform(0, 1))
        mode = self.random.choice(("own", "own", "device", "older", "backup"))
        await self.device.connect(self.world.node(), mode)

    # Reading, and groups.

    async def _ask(self, op: str, **fields: Any) -> dict[str, Any] | None:
        link = self.device.link
        if link is None:
            return None
        try:
            return await link.ask(op, **fields)
        except Refused as refused:
            if refused.code not in ("not_member", "no_such_conv", "forbidden"):
                self.world.notes.find(f"{op} {fields}: {refused}")
            return None

    async def read(self) -> None:
        """Move a read pointer."""
        known = sorted(self.device.memory.top_n.items())
        if known:
            conv, n = self.random.choice(known)
            await self._ask("read", conv=conv, n=self.random.randint(0, n))

    async def read_history(self) -> None:
        """A page, which has no hole whatever is written meanwhile."""
        known = sorted(self.device.memory.top_n.items())
        if not known:
            return
        conv, n = self.random.choice(known)
        where = self.random.choice(("before", "after", "around"))
        limit = self.random.randint(1, 100)
        page = await self._ask(
            "history", conv=conv, limit=limit, **{where: self.random.randint(0, n + 1)}
        )
        numbers = [each["n"] for each in page["items"]] if page else []
        if numbers and numbers != list(range(numbers[0], numbers[-1] + 1)):
            self.world.notes.find(f"a page of {conv} has {numbers}")

    async def invite(self) -> None:
        """Somebody to a group, or to a new one; an earlier member comes back, too."""
        conv = self._group()
        who = self.random.sample(sorted(self.world.devices), k=2)
        if conv is None or len(self.world.owners) < 8:
            cid = f"{self.device.name}.{self.random.random()}"
            made = await self._ask(
                "conv.create", cid=cid, title="Tea", members=["keeper", *who]
            )
            if made is not None:
                self.world.owners[made["conv"]["conv"]] = self.device.username
        else:
            await self._ask("conv.invite", conv=conv, users=who)

    async def remove(self) -> None:
        """Somebody from a group that one owns."""
        me = self.device.username
        mine = sorted(conv for conv, owner in self.world.owners.items() if owner == me)
        others = sorted(set(self.world.devices) - {me, "keeper"})
        if mine:
            conv = self.random.choice(mine)
            await self._ask(
                "conv.remove", conv=conv, users=[self.random.choice(others)]
            )

    async def leave(self) -> None:
        """A group of somebody else's."""
        me = self.device.username
        theirs = [
            conv
            for conv in sorted(self.device.memory.groups)
            if self.world.owners.get(conv, me) != me
        ]
        if theirs:
            await self._ask("conv.leave", conv=self.random.choice(theirs))


async def use(world: World, nemesis: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Everybody at once, for the time of a run; some devices come late."""
    for number in range(ACCOUNTS):
        await world.add_account(f"user{number}", DEVICES)
    async with asyncio.TaskGroup() as group, watcher(world, "keeper") as ask:
        for device in world.every:
            group.create_task(Actor(world, device).run())
        faults = group.create_task(nemesis())
        ends = time.monotonic() + SECONDS
        while time.monotonic() < ends:
            world.go.set()
            await asyncio.sleep(world.random.uniform(0.5, 3))
            if len(world.every) < ACCOUNTS * (DEVICES + 1):
                username = world.random.choice(sorted(world.devices))
                device = await world.add_device(username)
                group.create_task(Actor(world, device).run())
            world.go.clear()
            while world.busy:
                await asyncio.sleep(0.01)
            await until_quiet(world, ask)
        faults.cancel()
        world.stop.set()
        world.go.set()


async def heal(world: World) -> None:
    """Everybody comes back; some of what is undecided is sent again."""
    for device in world.every:
        if not device.online:
            await device.disconnect(abruptly=True)
            await device.connect(world.node(), "own")
        await release(device)
    undecided = {
        each.key
        for each in world.notes.attempts
        if each.place is None and each.refusal is None
    }
    for username, sent in world.sent.items():
        for fields in sent:
            if (username, fields["cid"]) in undecided and world.random.random() < 0.7:
                await world.random.choice(world.devices[username]).send(**fields)


@dataclass
class Truth:
    """What the store has, as fresh devices read it."""

    mailboxes: dict[str, list[Entry]] = field(default_factory=dict)
    groups: dict[str, list[Entry]] = field(default_factory=dict)
    states: dict[str, dict[str, tuple[int, int]]] = field(default_factory=dict)
    memberships: dict[str, dict[str, int]] = field(default_factory=dict)
    readings: dict[str, dict[str, list[Item]]] = field(default_factory=dict)

    @property
    def logs(self) -> dict[str, list[Item]]:
        """Each conversation, as one of its accounts reads it."""
        return {
            conv: log for some in self.readings.values() for conv, log in some.items()
        }


async def until_quiet(world: World, ask: Any) -> None:
    """
    Return once every device that is there has everything that its account has.

    Args:
        ask: Requests of the keeper, who is in all groups.
    """
    world.notes.counts["lulls"] += 1
    for device in world.every:
        if device.online:
            await release(device)
    tops = {}
    for conv in world.owners:
        tops[conv] = (await ask("conv.get", conv=conv))["conv"]["pos"]
    deadline = time.monotonic() + QUIET_SECONDS
    waiting = ["everybody"]
    while waiting and time.monotonic() < deadline:
        await asyncio.sleep(0.02)
        waiting = []
        for device in world.every:
            memory, link = device.memory, device.link
            if link is None or link.ended is not None:
                continue
            at = (await link.ask("sync", limit=1))["at"]["seq"]
            if memory.seq < at:
                waiting.append(f"the mailbox has {at}, {device.name} {memory.seq}")
            waiting += [
                f"{conv} has {tops[conv]}, {device.name} {memory.cursors[conv]}"
                for conv in memory.groups
                if memory.cursors[conv] < tops[conv]
            ]
    for each in waiting:
        world.notes.find(f"undelivered: {each}")


async def release(device: Device) -> None:
    """Have it acknowledge what it has."""
    device.holding = False
    if device.link is not None:
        with contextlib.suppress(ConnectionError):
            await device.ack(device.link)


@asynccontextmanager
async def watcher(world: World, username: str) -> AsyncIterator[Any]:
    """Requests of a fresh device, by one node or the other."""
    device = Device(
        await log_in(world.node(), username, f"w{world.random.random()}"),
        Notes(),
        Random(1),
        eager=True,
    )
    await device.connect(world.node(), "first")
    assert device.link is not None
    try:
        yield device.link.ask
    finally:
        await device.disconnect(abruptly=False)


async def read_all(world: World) -> Truth:
    """Everything, in pages of random sizes, through both nodes."""
    truth = Truth()
    for username in world.devices:
        for node in dict.fromkeys((world.nodes.left, world.nodes.right)):
            random = Random(f"{SEED} {username} {node.url}")
            login = await log_in(node, username, f"reader{random.random()}")
            device = Device(login, Notes(), random, eager=True)
            await device.connect(node, "first")
            assert device.link is not None
            ask = device.link.ask
            mailbox = await pulled(ask, random, "seq")
            # The log-in of the second reader is an event, too.
            before = truth.mailboxes.get(username, [])
            truth.mailboxes[username] = mailbox
            if mailbox[: len(before)] != before:
                world.notes.find(f"divergent: the mailbox of {username}")
            state = await synced(ask, random)
            truth.states[username] = {
                conv["conv"]: (conv["n"], conv["read"]) for conv in state
            }
            truth.memberships[username] = {
                conv["conv"]: conv["pos"] for conv in state if conv["type"] == "group"
            }
            reading = truth.readings.setdefault(f"{username} by {node.url}", {})
            for conv in state:
                if conv["unread"] != conv["n"] - conv["read"]:
                    world.notes.find(f"unread: {conv}")
                reading[conv["conv"]] = await history(ask, random, conv["conv"])
                if conv["type"] == "group":
                    log = await pulled(ask, random, "pos", conv=conv["conv"])
                    if log != truth.groups.setdefault(conv["conv"], log):
                        world.notes.find(f"divergent: the log of {conv['conv']}")
            world.notes.findings += device.notes.findings
            await device.disconnect(abruptly=False)
    return truth


async def pulled(ask: Any, random: Random, place: str, **which: str) -> list[Entry]:
    """A log, by ``events``."""
    entries: list[Entry] = []
    while True:
        since = entries[-1].at if entries else 0
        limit = random.randint(1, 500)
        page = await ask("events", since=since, limit=limit, **which)
        entries += [entry_of(place, event) for event in page["events"]]
        if not page["more"]:
            return entries


async def synced(ask: Any, random: Random) -> list[dict[str, Any]]:
    """All conversations, by ``sync``."""
    found: list[dict[str, Any]] = []
    cursor = None
    while True:
        page = await ask("sync", cursor=cursor, limit=random.randint(1, 7))
        found += page["convs"]
        cursor = page["cursor"]
        if cursor is None:
            return found


async def history(ask: Any, random: Random, conv: str) -> list[Item]:
    """A conversation, by ``history``, from its beginning or from its end."""
    forward = random.random() < 0.5
    items: list[Item] = []
    more = True
    while more:
        where = {"after": items[-1].n if items else 0}
        if not forward:
            where = {"before": items[0].n} if items else {}
        page = await ask("history", conv=conv, limit=random.randint(1, 100), **where)
        found = [
            Item(
                each["n"],
                each["from"],
                each["body"]["cid"],
                canonical(each["body"]),
                each["ts"],
            )
            for each in page["items"]
        ]
        items = items + found if forward else found + items
        more = page["more"]
    return items


def judge(world: World, truth: Truth) -> list[str]:
    """All checkers."""
    attempts, logs = world.notes.attempts, truth.logs
    found = [
        *world.notes.findings,
        *ledger.lost(attempts, logs),
        *ledger.duplicated(logs),
        *ledger.changed_answers(attempts),
        *ledger.gaps(logs),
        *ledger.divergent(truth.readings),
        *ledger.reordered(attempts),
        *ledger.refused_but_present(attempts, logs),
        *ledger.unexpected(attempts, logs),
    ]
    for username, mailbox in truth.mailboxes.items():
        if [each.at for each in mailbox] != list(range(1, len(mailbox) + 1)):
            found.append(f"gap: the mailbox of {username}")
        found += ledger.crossed(username, numbers(mailbox))
    for conv, log in truth.groups.items():
        if [each.at for each in log] != list(range(1, len(log) + 1)):
            found.append(f"gap: the log of {conv}")
        found += ledger.crossed(conv, numbers(log))
    stays = stays_of(truth.groups)
    for username, devices in world.devices.items():
        pushed = world.notes.pushed.get(username, ())
        found += ledger.leaked(username, pushed, stays.get(username, {}))
        for device in devices:
            found += judge_device(device, truth)
    return found


def judge_device(device: Device, truth: Truth) -> list[str]:
    """What it has presented, and what it shows in the end."""
    memory, username = device.memory, device.username
    top = memory.seq
    mailbox = [each for each in truth.mailboxes[username] if each.at <= top]
    found = ledger.misapplied(device.name, memory.start, memory.applied, mailbox)
    for conv, stays in memory.stays.items():
        log = truth.groups[conv]
        for start, applied in stays:
            last = applied[-1].at if applied else start
            whole = [each for each in log if each.at <= last]
            found += ledger.misapplied(f"{device.name} {conv}", start, applied, whole)
    membership = truth.memberships[username]
    if memory.groups != set(membership):
        found.append(f"{device.name} is in {memory.groups}, not in {set(membership)}")
    for conv in memory.groups & set(membership):
        if memory.cursors[conv] != membership[conv]:
            found.append(
                f"undelivered: {device.name} has {conv} to {memory.cursors[conv]}"
                f" of {membership[conv]}"
            )
    fresh = truth.states[username]
    for conv, (n, read) in device.state().items():
        if fresh.get(conv) != (n, fresh[conv][1] if read is None else read):
            found.append(f"{device.name}: {conv} is {n, read}, fresh {fresh.get(conv)}")
    directs = {conv for conv in fresh if conv.startswith("d.")}
    if not directs <= set(device.state()):
        found.append(f"{device.name} does not know {directs - set(device.state())}")
    return found


def numbers(log: list[Entry]) -> list[tuple[str, int]]:
    """(conv, n) of the messages of a log."""
    contents = [json.loads(each.content) for each in log]
    return [
        (each["conv"], each["n"]) for each in contents if each["t"] == "message.new"
    ]


def stays_of(groups: dict[str, list[Entry]]) -> dict[str, dict[str, list[Stay]]]:
    """Of each account and group, from where to where it was a member."""
    stays: dict[str, dict[str, list[Stay]]] = {}
    for conv, log in groups.items():
        for entry in log:
            event = json.loads(entry.content)
            if event["t"] != "conv.member":
                continue
            for username in event["added"]:
                theirs = stays.setdefault(username, {}).setdefault(conv, [])
                theirs.append(Stay(entry.at, None, event["ts"]))
            for username in event["removed"]:
                theirs = stays[username][conv]
                theirs[-1] = replace(theirs[-1], went=entry.at)
    return stays


async def prove(
    nodes: Nodes, nemesis: Callable[[Random, Notes], Coroutine[Any, Any, None]]
) -> None:
    """A run, and its judgement."""
    print(f"CM_TEST_SEED={SEED}")
    random = Random(SEED)
    world = World(nodes, random)
    await sign_up(nodes.left, "keeper")  # of each group, so that somebody can read it
    began = time.monotonic()
    await use(world, lambda: nemesis(random, world.notes))
    for node in dict.fromkeys((nodes.left, nodes.right)):
        await node.until_broker_is("connected")
    await heal(world)
    async with watcher(world, "keeper") as ask:
        await until_quiet(world, ask)
    world.devices["keeper"] = []
    truth = await read_all(world)
    found = judge(world, truth)
    for device in world.every:
        await device.disconnect(abruptly=False)
    attempts = world.notes.attempts
    report = dict(sorted(world.notes.counts.items())) | {
        "seconds": round(time.monotonic() - began),
        "sends": len(attempts),
        "ok": sum(each.place is not None for each in attempts),
        "dup": sum(each.dup for each in attempts),
        "refused": sum(each.refusal is not None for each in attempts),
        "messages": sum(len(log) for log in truth.logs.values()),
        "groups": len(truth.groups),
    }
    print(report)
    for each in found:
        print(each[:300])
    closes = {name for name in report if name.startswith("closed")}

    assert [] == found
    assert set() == closes
    assert report["steps"] > 50 * SECONDS


async def no_faults(_: Random, __: Notes) -> None:
    """Nothing fails but the clients."""


async def test_embedded() -> None:
    """One node on SQLite: nothing is lost, doubled, reordered, missing or told late."""
    async with ChatmotorNode(CM_BROKER="embedded", **QUICK, **NEVER) as node:
        await prove(Nodes(node, node), no_faults)


@asynccontextmanager
async def cluster_of(
    rabbit: PrivateRabbit, postgres: PrivatePostgres, **more: str
) -> AsyncIterator[Nodes]:
    """Two nodes on PostgreSQL and RabbitMQ, connected."""
    options = await cluster_options(postgres) | more
    async with on_rabbit(rabbit, **options) as left, on_rabbit(rabbit, **options) as it:
        await left.until_broker_is("connected")
        await it.until_broker_is("connected")
        yield Nodes(left, it)


async def test_cluster(rabbit: PrivateRabbit, postgres: PrivatePostgres) -> None:
    """The same on two nodes, with the devices of an account on both."""
    async with cluster_of(rabbit, postgres, **NEVER) as nodes:
        await prove(nodes, no_faults)


@pytest.mark.parametrize("fault", ["connections", "queues"])
async def test_cluster_while_rabbitmq_fails(
    rabbit: PrivateRabbit, postgres: PrivatePostgres, fault: str
) -> None:
    """AMQP connections are cut, or queues deleted, again and again."""

    async def nemesis(random: Random, notes: Notes) -> None:
        while True:
            await asyncio.sleep(random.uniform(0.5, 2))
            if fault == "connections":
                every = await asyncio.to_thread(rabbit.api, "connections")
                chosen = [each["name"] for each in every if random.random() < 0.5]
                for name in chosen:
                    await asyncio.to_thread(cut, rabbit, name)
            else:
                every = await asyncio.to_thread(rabbit.queues)
                for name in random.sample(every, k=min(2, len(every))):
                    with contextlib.suppress(Exception):
                        await asyncio.to_thread(rabbit.ctl, "delete_queue", name)
            notes.counts[f"faults: {fault}"] += 1

    async with cluster_of(rabbit, postgres, **OFTEN) as nodes:
        await prove(nodes, nemesis)


def cut(rabbit: PrivateRabbit, name: str) -> None:
    """Close an AMQP connection, if it is still there."""
    with contextlib.suppress(OSError):
        rabbit.api(f"connections/{quote(name, safe='')}", method="DELETE")

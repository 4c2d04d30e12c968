# SPDX-License-Identifier: Apache-2.0
"""Accounts with several devices each, all used at once and at random.

A ``World`` has the accounts, their devices and their groups; an ``Actor`` uses one
device.  ``use`` lets them, with a lull now and then, ``heal`` brings everybody back.
What they see goes into ``Notes``; tests/harness/truth.py judges it.
"""

import asyncio
import contextlib
import itertools
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from random import Random
from typing import Any

from tests.harness.devices import Device
from tests.harness.links import Notes
from tests.harness.node import ChatmotorNode
from tests.harness.v1_client import Refused, log_in, sign_up

ACCOUNTS = 6
DEVICES = 3
GROUPS = 8
QUIET_SECONDS = 8.0


@dataclass
class World:
    """
    The accounts of a run, their devices and groups.

    Args:
        left, right: Two nodes, or one under both names.
        seconds: For how long it is used.
    """

    left: ChatmotorNode
    right: ChatmotorNode
    random: Random
    seconds: float
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
        await sign_up(self.left, username)
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
        return self.random.choice((self.left, self.right))

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
            fields = self.world.message(self.device, **where)
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
        if conv is None or len(self.world.owners) < GROUPS:
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
        ends = time.monotonic() + world.seconds
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
            await part(world)
            await until_quiet(world, ask)
        faults.cancel()
        world.stop.set()
        world.go.set()


async def part(world: World) -> None:
    """
    The last acts before a lull, after which nothing would make up for what was missed.

    Devices vanish in the middle of a replay of old comings and goings; an account that
    acknowledges nothing, and so learns late, is removed and added; and so are others,
    while their groups are written to.
    """
    random = world.random
    for username in random.sample(sorted(world.devices), k=2):
        device = random.choice(world.devices[username])
        with contextlib.suppress(ConnectionError):
            device.save()
            await device.disconnect(abruptly=True)
            await device.connect(world.node(), "older", window=4, holding=True)
            await asyncio.sleep(random.choice((0, 0.002, 0.01)))
            await device.disconnect(abruptly=True)
    late = random.choice(sorted(world.devices))
    for device in world.devices[late]:
        with contextlib.suppress(ConnectionError):
            await device.disconnect(abruptly=False)
            await device.connect(world.node(), "own", window=4, holding=True)
    for conv, owner in random.sample(sorted(world.owners.items()), k=len(world.owners)):
        online = [each for each in world.devices[owner] if each.online]
        if not online:
            continue
        device = random.choice(online)
        others = sorted(set(world.devices) - {owner})
        who = (
            late if late in others and random.random() < 0.5 else random.choice(others)
        )
        with contextlib.suppress(ConnectionError):
            await come_back(world, device, conv, who)


async def come_back(world: World, device: Device, conv: str, who: str) -> None:
    """Remove a member and add it again, while the group is written to."""
    assert device.link is not None
    for _ in range(world.random.choice((0, 5))):
        await device.send(**world.message(device, to=who))
    if world.random.random() < 0.7:
        await device.link.ask("conv.remove", conv=conv, users=[who])
    sends = [device.send(**world.message(device, conv=conv)) for _ in range(3)]
    await asyncio.gather(device.link.ask("conv.invite", conv=conv, users=[who]), *sends)


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

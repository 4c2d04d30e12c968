# SPDX-License-Identifier: Apache-2.0
"""Devices that keep the client's rule, and remember all that they are told.

    next number -> apply | not above the cursor -> ignore | else -> fetch ``events``

The rule holds for the mailbox and for each group.  A device comes to its groups by
``conv.new``, or by ``sync``; a group of which it knows that there is more, from
``behind`` or from an event that is not the next, it pulls.  Two ways to join: an eager
device pulls a new group from its beginning, a lazy one begins where it was added and
asks for nothing that it has no sign of.

What a server must not do is noted as a finding where it is seen.
"""

import asyncio
import itertools
import json
import time
from copy import deepcopy
from dataclasses import dataclass, field
from random import Random
from typing import Any

from websockets.asyncio.client import connect

from tests.harness.ledger import Attempt, Entry
from tests.harness.links import Frame, Link, Notes, settle
from tests.harness.node import ChatmotorNode
from tests.harness.v1_client import V1, Login, Refused, acall

_numbers = itertools.count(1)


def canonical(value: object) -> str:
    """One text for equal JSON values."""
    return json.dumps(value, sort_keys=True, ensure_ascii=False)


def entry_of(place: str, event: Frame) -> Entry:
    """An event of a log, without what differs between its readers."""
    content = {
        key: value for key, value in event.items() if key not in ("op", place, "cid")
    }
    return Entry(event[place], canonical(content))


@dataclass
class Memory:
    """
    What a device keeps, and a backup of it brings back.

    Attributes:
        cursors: How far it is in each group that it was ever in.
        groups: Those that it is in.
        tops: How far it knows that groups reach.
        stays: Of each group, where it began, and what it has applied from there.
        since: Of each group, where it was added.
        top_n, read: Of each conversation; ``read`` has none where it cannot know.
    """

    epoch: str = ""
    seq: int = 0
    start: int = 0
    applied: list[Entry] = field(default_factory=list)
    cursors: dict[str, int] = field(default_factory=dict)
    groups: set[str] = field(default_factory=set)
    tops: dict[str, int] = field(default_factory=dict)
    since: dict[str, int] = field(default_factory=dict)
    stays: dict[str, list[tuple[int, list[Entry]]]] = field(default_factory=dict)
    top_n: dict[str, int] = field(default_factory=dict)
    read: dict[str, int | None] = field(default_factory=dict)


class Device:
    """
    One device of an account.

    Attributes:
        holding: Whether it acknowledges nothing for the time being.
        acked: The highest ``seq`` that it has ever acknowledged.
    """

    def __init__(
        self, login: Login, notes: Notes, random: Random, *, eager: bool
    ) -> None:
        self.login = login
        self.username = login.username
        self.name = f"{login.username}/{login.device}"
        self.notes = notes
        self.random = random
        self.eager = eager
        self.memory = Memory()
        self.backup: Memory | None = None
        self.link: Link | None = None
        self.holding = False
        self.acked = 0
        self._applier: asyncio.Task[None] | None = None
        notes.pushed.setdefault(self.username, [])

    @property
    def online(self) -> bool:
        """Whether it has a socket that is open."""
        return self.link is not None and self.link.ended is None

    # A socket comes and goes.

    async def connect(
        self,
        node: ChatmotorNode,
        mode: str,
        *,
        window: int | None = None,
        holding: bool = False,
    ) -> None:
        """
        Open a socket and go on.

        Args:
            mode: ``first``; ``own``: from its own position; ``device``: from the
                server's; ``older``: as if it had less; ``backup``: with less.
            holding: Acknowledge nothing, from the beginning.
        """
        if mode == "backup" and self.backup is not None:
            self.memory, self.backup = self.backup, None
        memory = self.memory
        resume = self._resume(mode)
        url = node.url.replace("http", "ws", 1) + "/v1/ws"
        socket = await connect(
            url, subprotocols=V1, proxy=None, compression=None, max_size=None
        )
        link = Link(socket, self.notes, f"{self.name}.{next(_numbers)}")
        window = window or self.random.choice((4, 16, 64, 256))
        link.welcome = await link.ask(
            "hello", v=1, token=self.login.token, resume=resume, window=window
        )
        self.notes.counts[f"resume {mode}"] += 1
        self._check_welcome(link.welcome, resume)
        link.place = link.welcome["seq"] - link.welcome["replay"]
        self.link = link
        self.holding = holding
        memory.epoch = link.welcome["epoch"]
        self._applier = asyncio.create_task(self._apply(link, mode))

    def _resume(self, mode: str) -> Any:
        memory = self.memory
        if mode in ("first", "device"):
            return None if mode == "first" else "device"
        less = self.random.randint(0, 60) if mode == "older" else 0
        return {
            "epoch": memory.epoch,
            "seq": max(0, memory.seq - less),
            "groups": {
                conv: max(0, memory.cursors[conv] - less) for conv in memory.groups
            },
        }

    def _check_welcome(self, welcome: Frame, resume: Any) -> None:
        start = welcome["seq"] - welcome["replay"]
        if resume is None:
            expected: Any = (False, "first", welcome["seq"])
        elif resume == "device":
            expected = (True, None, start)
            if start > self.acked:
                self.notes.find(f"{self.name} goes on at {start}, acked {self.acked}")
        else:
            expected = (True, None, resume["seq"])
        if expected != (welcome["resumed"], welcome["reason"], start):
            self.notes.find(f"{self.name} asked {resume} and got {welcome}")

    async def disconnect(self, *, abruptly: bool) -> None:
        """End the socket; what has come is still applied."""
        if self.link is not None:
            await self.link.close(abruptly=abruptly)
        if self._applier is not None:
            await self._applier
        self.link = None

    # What comes.

    async def _apply(self, link: Link, mode: str) -> None:
        try:
            await self._begin(link, mode)
            while (frame := await link.frames.get()) is not None:
                await self._take(link, frame)
                if not self.holding and (
                    link.frames.empty() or self.random.random() < 0.1
                ):
                    await self.ack(link)
        except ConnectionError:
            pass  # what it does not have, it will fetch the next time
        except Exception as error:  # noqa: BLE001  # a finding, whatever it is
            self.notes.find(f"{self.name}: {error!r}")
        if not link.ours and link.ended is not None:
            self.notes.counts[f"closed {link.ended}"] += 1

    async def _begin(self, link: Link, mode: str) -> None:
        if mode == "first":
            await self._sync(link)
        for each in link.welcome["behind"]:
            await self._beyond(link, each["conv"], each["pos"])
        if mode == "device":
            # It says where the mailbox goes on, and of groups what is unread.
            for conv in sorted(self.memory.groups):
                await self._pull(link, conv)

    async def _sync(self, link: Link) -> None:
        memory = self.memory
        cursor = None
        at: Frame | None = None
        while at is None or cursor is not None:
            page = await link.ask(
                "sync", cursor=cursor, limit=self.random.randint(1, 5)
            )
            at, cursor = at or page["at"], page["cursor"]
            for conv in page["convs"]:
                name = conv["conv"]
                memory.top_n[name], memory.read[name] = conv["n"], conv["read"]
                if conv["type"] == "group":
                    memory.groups.add(name)
                    memory.cursors[name] = conv["pos"]
                    memory.stays[name] = [(conv["pos"], [])]
        memory.seq = memory.start = at["seq"]

    async def _take(self, link: Link, frame: Frame) -> None:
        op = frame["op"]
        if op == "behind":
            await self._beyond(link, frame["conv"], frame["pos"])
        elif op == "live":
            expected = (link.welcome["replay"], link.welcome["seq"])
            if (link.mailbox_read, frame["seq"]) != expected:
                self.notes.find(f"live after {link.mailbox_read}, {expected}: {frame}")
        elif op == "ev":
            link.read += 1
            self._check_cid(frame)
            if "seq" in frame:
                await self._take_from_mailbox(link, frame)
            else:
                await self._take_from_group(link, frame)

    def _check_cid(self, event: Frame) -> None:
        if event["t"] != "message.new":
            return
        mine = event["body"]["cid"] if event["from"] == self.username else None
        if event.get("cid") != mine:
            self.notes.find(f"{self.name} got the cid of {event}")

    async def _take_from_mailbox(self, link: Link, event: Frame) -> None:
        seq = event["seq"]
        link.mailbox_read += 1
        if seq != link.place + 1:
            self.notes.find(f"{self.name} was sent {seq} after {link.place}")
        link.place = seq
        if seq == self.memory.seq + 1:
            await self._apply_to_mailbox(link, event)
        elif seq > self.memory.seq:
            await self._pull_mailbox(link, seq)
        else:
            self.notes.counts["ignored"] += 1

    async def _pull_mailbox(self, link: Link, seq: int) -> None:
        self.notes.counts["mailbox pulls"] += 1
        while self.memory.seq < seq:
            since, limit = self.memory.seq, self.random.randint(1, 200)
            page = await link.ask("events", since=since, limit=limit)
            for event in page["events"]:
                self._check_cid(event)
                if event["seq"] != self.memory.seq + 1:
                    self.notes.find(f"{self.name} pulled {event['seq']} after {since}")
                await self._apply_to_mailbox(link, event)
            if not page["events"]:
                self.notes.find(
                    f"{self.name} pulled nothing after {since}, below {seq}"
                )
                return

    async def _apply_to_mailbox(self, link: Link, event: Frame) -> None:
        memory = self.memory
        memory.seq = event["seq"]
        memory.applied.append(entry_of("seq", event))
        self.notes.counts["applied"] += 1
        conv = event.get("conv", "")
        if event["t"] == "message.new":
            self._message(event)
        elif event["t"] == "conv.read":
            memory.read[conv] = max(event["n"], memory.read.get(conv) or 0)
        elif event["t"] == "conv.member" and self.username in event["removed"]:
            memory.groups.discard(conv)
        elif event["t"] == "conv.new":
            await self._join(link, conv, event["since"])

    async def _join(self, link: Link, conv: str, since: int) -> None:
        memory = self.memory
        memory.groups.add(conv)
        memory.read[conv], memory.since[conv] = None, since
        begin = 0 if self.eager else since
        if conv not in memory.cursors or begin > memory.cursors[conv]:
            memory.cursors[conv] = begin
            memory.top_n.pop(conv, None)
            memory.stays.setdefault(conv, []).append((begin, []))
        if self.eager:
            await self._pull(link, conv)
        else:
            await self._beyond(link, conv, 0)

    def _message(self, event: Frame) -> None:
        memory, conv, n = self.memory, event["conv"], event["n"]
        memory.top_n[conv] = max(n, memory.top_n.get(conv, 0))
        if "pos" not in event:
            memory.read.setdefault(conv, 0)
        elif event["pos"] <= memory.since.get(conv, 0):
            return  # of another stay
        if event["from"] == self.username:
            memory.read[conv] = max(n, memory.read.get(conv) or 0)

    async def _take_from_group(self, link: Link, event: Frame) -> None:
        conv, pos = event["conv"], event["pos"]
        if conv in self.memory.groups and pos == self.memory.cursors[conv] + 1:
            self.memory.tops[conv] = max(pos, self.memory.tops.get(conv, 0))
            self._apply_to_group(event)
        else:
            await self._beyond(link, conv, pos)

    async def _beyond(self, link: Link, conv: str, pos: int) -> None:
        """A group reaches *pos*: fetch what is missing, once one is in it."""
        top = self.memory.tops[conv] = max(pos, self.memory.tops.get(conv, 0))
        if conv in self.memory.groups and self.memory.cursors[conv] < top:
            await self._pull(link, conv)

    async def _pull(self, link: Link, conv: str) -> None:
        memory = self.memory
        self.notes.counts["group pulls"] += 1
        more = True
        while more:
            since, limit = memory.cursors[conv], self.random.randint(1, 200)
            try:
                page = await link.ask("events", since=since, conv=conv, limit=limit)
            except Refused as refused:
                # Removed meanwhile; the mailbox says so, or has said so.
                if refused.code != "not_member":
                    self.notes.find(f"{self.name} pulls {conv}: {refused}")
                return
            for event in page["events"]:
                self._check_cid(event)
                if event["pos"] != memory.cursors[conv] + 1:
                    self.notes.find(f"{self.name} pulled {event}, after {since}")
                self._apply_to_group(event)
            more = page["more"]
        if memory.cursors[conv] < memory.tops.get(conv, 0):
            self.notes.find(f"{self.name} cannot pull {conv} to {memory.tops[conv]}")

    def _apply_to_group(self, event: Frame) -> None:
        conv = event["conv"]
        self.memory.cursors[conv] = event["pos"]
        self.memory.stays[conv][-1][1].append(entry_of("pos", event))
        self.notes.counts["applied"] += 1
        if event["t"] == "message.new":
            self._message(event)

    # What it does.

    async def ack(self, link: Link) -> None:
        """All that was applied."""
        self.acked = max(self.acked, self.memory.seq)
        await link.say(op="ack", h=link.read, seq=self.memory.seq)

    def save(self) -> None:
        """Make the backup that ``connect("backup")`` brings back."""
        self.backup = deepcopy(self.memory)

    async def send(self, cid: str, body: Any, **where: str) -> Attempt:
        """A message, noted as an attempt; with an answer, a refusal or neither."""
        attempt = Attempt(self.username, cid, canonical(body), "", 0, time.monotonic())
        self.notes.attempts.append(attempt)
        if self.link is not None:
            await self.link.send(attempt, {"cid": cid, "body": body, **where})
        return attempt

    async def post(
        self, node: ChatmotorNode, cid: str, body: Any, **where: str
    ) -> Attempt:
        """The same over HTTP."""
        attempt = Attempt(self.username, cid, canonical(body), "", 0, time.monotonic())
        attempt.socket = f"http.{next(_numbers)}"
        self.notes.attempts.append(attempt)
        fields = {"cid": cid, "body": body, **where}
        try:
            settle(
                attempt,
                await acall(node, "/v1/rpc/send", fields, token=self.login.token),
            )
        except Refused as refused:
            attempt.refusal = refused.code
        except OSError:
            return attempt
        attempt.ended = time.monotonic()
        return attempt

    def state(self) -> dict[str, tuple[int, int | None]]:
        """Last ``n`` and read pointer of each conversation that it is in."""
        memory = self.memory
        return {
            conv: (n, memory.read.get(conv))
            for conv, n in memory.top_n.items()
            if conv in memory.groups or conv.startswith("d.")
        }

# SPDX-License-Identifier: Apache-2.0
"""What the store has in the end, as fresh devices read it; and all checkers, on that.

Everything is read in pages of random sizes, through both nodes.
"""

import json
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any

from tests.harness import ledger
from tests.harness.crowd import World
from tests.harness.devices import Device, canonical, entry_of
from tests.harness.ledger import Entry, Item, Stay
from tests.harness.links import Notes
from tests.harness.v1_client import log_in


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


async def read_all(world: World) -> Truth:
    """Everything, in pages of random sizes, through both nodes."""
    truth = Truth()
    for username in world.devices:
        for node in dict.fromkeys((world.left, world.right)):
            random = Random(world.random.random())
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

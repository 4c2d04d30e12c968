# SPDX-License-Identifier: Apache-2.0
"""The sessions of tests/vectors/session.json, played on a node in memory."""

from typing import Any

from tests.harness.vectors import each_vector
from tests.unit.node.fakes import FakeLoop
from tests.unit.node.rig import SOON, Node, V1Client

Names = dict[str, Any]


def filled(value: Any, names: Names) -> Any:
    """*value* with its names replaced."""
    if isinstance(value, dict):
        return {key: filled(each, names) for key, each in value.items()}
    return names[value] if isinstance(value, str) and value in names else value


def matches(pattern: Any, found: Any, names: Names) -> bool:
    """Whether *found* is what *pattern* says; a new name stands for what is found."""
    if isinstance(pattern, str) and pattern.startswith("$"):
        return bool(names.setdefault(pattern, found) == found)
    if isinstance(pattern, dict) and isinstance(found, dict):
        return pattern.keys() == found.keys() and all(
            matches(each, found[key], names) for key, each in pattern.items()
        )
    return type(pattern) is type(found) and bool(pattern == found)


class Player:
    """Plays the steps of one case."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self.names: Names = {
            "$ann": node.token("ann"),
            "$short": node.token("ann", seconds=20),
            "$expired": node.token("ann", seconds=0),
            "$epoch": node.store.epoch,
        }
        self.bob = node.v1("bob")
        self.client: V1Client = node.new_v1()
        self.seen = 0

    def play(self, step: dict[str, Any]) -> None:
        """One step."""
        if "client" in step:
            self.client.says(**filled(step["client"], self.names))
        elif "bytes" in step:
            self.client.sends(bytes.fromhex(step["bytes"]))
        elif "sends" in step:
            self.bob.ask("send", **filled(step["sends"], self.names))
        elif "creates" in step:
            made = self.bob.ask("conv.create", **step["creates"])
            self.names[step["as"]] = made["conv"]["conv"]
        elif "seconds" in step:
            self.node.loop.advance(step["seconds"])
        elif "server" in step:
            self.expect(step["server"])
        else:
            assert step["close"] == self.client.close_code
            assert self.seen == len(self.client.frames)
        if "server" not in step:
            self.node.loop.advance(SOON)

    def expect(self, pattern: dict[str, Any]) -> None:
        """The next frame is the one of the step."""
        frames = self.client.frames
        assert self.seen < len(frames), f"no frame, but expected: {pattern}"
        frame = frames[self.seen]
        self.seen += 1
        for key, value in pattern.items():
            assert key in frame, f"{key} is not in {frame}"
            assert matches(value, frame[key], self.names), f"{pattern} is not {frame}"


@each_vector("session.json")
def test_session_goes_as_the_vector_says(loop: FakeLoop, case: dict[str, Any]) -> None:
    """Frame by frame, and nothing between them."""
    node = Node(loop)
    node.account("ann", "bob")
    player = Player(node)
    for step in case["steps"]:
        player.play(step)

    assert player.seen == len(player.client.frames)

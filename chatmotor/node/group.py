# SPDX-License-Identifier: Apache-2.0
"""One group on this node: each event of its log goes once to every member who is here.

The node has one cursor for a group, not one per member: the frame is made once, and a
thousand members cost a thousand writes and nothing else.  A member who missed some, for
want of room, is told ``behind`` and pulls.
"""

import logging
import sys
from typing import TYPE_CHECKING

import msgspec

from chatmotor.node.feed import Feed
from chatmotor.ports.messages import GroupLog
from chatmotor.protocol.events import Fragment, group_frame
from chatmotor.protocol.notices import EphemeralNotice, ephemeral_frame

if TYPE_CHECKING:
    from chatmotor.node.roster import Roster

logger = logging.getLogger(__name__)


class Group:
    """
    A group with members on this node.

    Attributes:
        members: By username, from which ``pos`` on it is known to be one.
    """

    room = sys.maxsize

    def __init__(self, roster: "Roster", conv: str, *, pos: int) -> None:
        self.conv = conv
        self.members: dict[str, int] = {}
        self.feed = Feed(roster.logs, GroupLog(conv, None), self, since=pos, top=pos)
        self._roster = roster

    def take(self, at: int, fragment: Fragment) -> None:
        """Write the event to every member's sockets; whoever was removed is not one."""
        if fragment.concerns_members:
            self._heed(at, fragment)
        frame = group_frame(at, fragment, "")
        for username in tuple(self.members):
            theirs = frame
            if username == fragment.sender:
                theirs = group_frame(at, fragment, username)
            for reader in self._roster.readers(username):
                reader.take_from_group(self.conv, at, theirs)

    def tell(self, notice: EphemeralNotice) -> None:
        """Something of now, for every member here but its author."""
        frame = ephemeral_frame(notice)
        for username in tuple(self.members):
            if username != notice.author:
                for reader in self._roster.readers(username):
                    reader.take_ephemeral(frame)

    def lose_position(self, reason: str) -> None:
        """The next position check tries again."""
        logger.warning("the log of a group: %s", reason)

    def _heed(self, at: int, fragment: Fragment) -> None:
        try:
            removed = fragment.fields().get("removed", [])
        except msgspec.MsgspecError:
            return
        for username in removed:
            # Who was added again, as its mailbox has said already, stays.
            if self.members.get(username, at) < at:
                self._roster.leave(username, self.conv)

# SPDX-License-Identifier: Apache-2.0
"""The Python client: ten lines, and no thought of reconnects.

    client.py        what a program uses       conversation.py  reader.py  http.py
    driver.py        sockets, timers, file     transport.py  state_file.py
    session.py       the core without I/O      inbox.py  log_follower.py  acks.py
                     states.py                 outbox.py  requests.py  standing.py

It imports nothing of the server but the definitions of its frames.
How to: docs/howto/use-the-python-client.md.  Reference: docs/reference/client.md.
"""

from chatmotor.client.client import Client
from chatmotor.client.conversation import Conversation
from chatmotor.client.errors import (
    ClientError,
    Disconnected,
    Misused,
    NotUnderstood,
    Refused,
    SessionEnded,
    StateFileRefused,
)
from chatmotor.client.http import log_in, log_out, renew, sign_up
from chatmotor.client.memory import Reset
from chatmotor.client.states import State
from chatmotor.client.transport import Connector
from chatmotor.protocol.answers import Sent
from chatmotor.protocol.event_types import (
    ConvMember,
    ConvNew,
    ConvRead,
    DeviceGone,
    DeviceNew,
    MessageNew,
    ProfileSet,
    UnknownEvent,
)
from chatmotor.protocol.replies import PresenceNow, Receipt, SignalNow, TypingNow

__all__ = [
    "Client",
    "ClientError",
    "Connector",
    "ConvMember",
    "ConvNew",
    "ConvRead",
    "Conversation",
    "DeviceGone",
    "DeviceNew",
    "Disconnected",
    "MessageNew",
    "Misused",
    "NotUnderstood",
    "PresenceNow",
    "ProfileSet",
    "Receipt",
    "Refused",
    "Reset",
    "Sent",
    "SessionEnded",
    "SignalNow",
    "State",
    "StateFileRefused",
    "TypingNow",
    "UnknownEvent",
    "log_in",
    "log_out",
    "renew",
    "sign_up",
]

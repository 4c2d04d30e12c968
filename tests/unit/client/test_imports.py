# SPDX-License-Identifier: Apache-2.0
"""What comes with ``import chatmotor.client``."""

import inspect
import re
import subprocess
import sys

import chatmotor.client
from chatmotor.client import Client, Conversation, State
from tests.harness.node import ROOT

SERVER_ONLY = {
    "argon2",
    "asyncpg",
    "click",
    "injector",
    "pika",
    "picows",
    "prometheus_client",
}


def test_the_server_does_not_come_with_it() -> None:
    """A program that chats loads no broker, no store and no password hasher."""
    code = "import sys, chatmotor.client; print(*sys.modules)"
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, check=True, text=True
    )
    loaded = run.stdout.split()

    assert "tornado.websocket" in loaded
    assert set() == SERVER_ONLY & set(loaded)
    assert [] == [
        each
        for each in loaded
        if each.startswith("chatmotor.")
        and not each.startswith(
            ("chatmotor.client", "chatmotor.protocol", "chatmotor.ports")
        )
        and each != "chatmotor.errors"
    ]


def test_what_is_public_is_there() -> None:
    """Each name of ``__all__`` exists, in order, and has a docstring."""
    names = chatmotor.client.__all__

    assert sorted(names) == list(names)
    assert [] == [name for name in names if not getattr(chatmotor.client, name).__doc__]


def test_the_reference_names_everything() -> None:
    """Each public name, method, parameter, state and count has its place there."""
    page = (ROOT / "docs/reference/client.md").read_text("utf-8")
    source = "".join(
        each.read_text("utf-8") for each in (ROOT / "chatmotor/client").glob("*.py")
    )
    counted = set(re.findall(r'counts\["([\w ]+)"\]', source))
    methods = {
        name
        for kind in (Client, Conversation)
        for name in vars(kind)
        if not name.startswith("_")
    }
    parameters = set(inspect.signature(Client).parameters)
    states = {each.name for each in State}
    names = {*chatmotor.client.__all__} - {"State"} | methods | parameters | states

    assert {"messages refused", "events ignored"} <= counted
    assert [] == sorted(
        each for each in names | counted if not re.search(rf"\b{each}\b", page)
    )

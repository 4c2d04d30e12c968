# SPDX-License-Identifier: Apache-2.0
"""Outgoing hooks over HTTP, on a real SQLite file."""

import logging
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from chatmotor.adapters.sqlite_store import SqliteStore
from chatmotor.ports.hooks import HookKind
from tests.harness.accounts import Desk, Served, serve_desk
from tests.unit.core.test_hooks import URL, Bin

BODY = {"username": "ann", "url": URL}
PATHS = [
    ("GET", "/v1/admin/hooks"),
    ("POST", "/v1/admin/hooks"),
    ("DELETE", "/v1/admin/hooks/h1"),
    ("POST", "/v1/admin/hooks/h1/resume"),
    ("POST", "/v1/admin/hooks/h1/rotate"),
    ("POST", "/v1/admin/hooks/h1/test"),
]


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    """With a target that takes all."""
    store = SqliteStore(tmp_path / "chat.db")
    await store.start()
    made = Desk(store)
    made.targets[HookKind.WEBHOOK] = Bin().of
    yield made
    await store.stop()


@pytest.fixture
async def api(desk: Desk) -> AsyncIterator[Served]:
    """The server."""
    served = serve_desk(desk)
    yield served
    await served.stop()


@pytest.mark.parametrize(("method", "path"), PATHS)
async def test_hooks_are_for_administrators(
    desk: Desk, api: Served, method: str, path: str
) -> None:
    """The server makes requests wherever they say."""
    token = await desk.token("ann")
    body = BODY if method == "POST" else None

    nobody = await api.request(method, path, body)
    somebody = await api.request(method, path, body, token=token)

    assert (401, "unauthenticated") == (nobody.status, nobody.json["code"])
    assert (403, "forbidden") == (somebody.status, somebody.json["code"])
    assert () == await desk.hooks.hooks()


async def test_a_hook_from_beginning_to_end(
    desk: Desk, api: Served, caplog: pytest.LogCaptureFixture
) -> None:
    """Its secrets are in two answers, and nowhere else."""
    caplog.set_level(logging.DEBUG)
    token = await desk.admin_token()
    await desk.token("ann")

    async def ask(method: str, path: str, body: Any = None) -> Any:
        answer = await api.request(method, path, body, token=token)
        return answer.status, answer.json if answer.content else None

    status, made = await ask("POST", "/v1/admin/hooks", BODY)
    assert 201 == status
    hook, secret = made["hook"], made["secret"]
    path = f"/v1/admin/hooks/{hook['hook']}"
    expected = {
        "hook": hook["hook"],
        "username": "ann",
        "kind": "webhook",
        "url": URL,
        "types": [],
        "conv": None,
        "created": desk.now,
        "state": "on",
        "behind": 0,
        "failures": 0,
        "failing_since": None,
        "error": "",
    }
    assert expected == hook
    assert (200, {"delivered": True, "error": ""}) == await ask("POST", path + "/test")
    assert (204, None) == await ask("POST", path + "/resume")
    status, rotated = await ask("POST", path + "/rotate")
    assert {"secret", "old_until"} == rotated.keys()
    await desk.administration.deactivate("ann")
    status, found = await ask("GET", "/v1/admin/hooks")
    assert (200, [expected | {"state": "closed", "behind": 0}], False) == (
        *(status, found["items"], found["more"]),
    )
    assert (204, None) == await ask("DELETE", path)
    status, answer = await ask("DELETE", path)
    assert (404, "no_such_hook") == (status, answer["code"])
    for each in (secret, rotated["secret"]):
        assert each not in caplog.text


async def test_hooks_come_in_pages(desk: Desk, api: Served) -> None:
    """As accounts do."""
    token = await desk.admin_token()
    for _ in range(3):
        await desk.hooks.add("boss", url=URL)

    first = await api.request("GET", "/v1/admin/hooks?limit=2", token=token)
    after = first.json["items"][-1]["hook"]
    rest = await api.request("GET", f"/v1/admin/hooks?after={after}", token=token)
    wrong = await api.request("GET", "/v1/admin/hooks?limit=0", token=token)

    assert (2, True) == (len(first.json["items"]), first.json["more"])
    assert (1, False) == (len(rest.json["items"]), rest.json["more"])
    assert (400, "limit") == (wrong.status, wrong.json["field"])


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "username"),
        (BODY | {"url": "ftp://x"}, "url"),
        (BODY | {"types": "message.new"}, "types"),
        (BODY | {"types": ["x"]}, "types"),
        (BODY | {"conv": "g.1"}, "conv"),
        (BODY | {"username": "zoe"}, "username"),
    ],
)
async def test_what_cannot_be_is_refused(
    desk: Desk, api: Served, body: Any, field: str
) -> None:
    """In the form of every error, with the field."""
    token = await desk.admin_token()
    await desk.token("ann")

    answer = await api.request("POST", "/v1/admin/hooks", body, token=token)

    assert answer.status in (400, 404)
    assert field == answer.json["field"]

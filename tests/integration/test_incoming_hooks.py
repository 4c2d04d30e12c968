# SPDX-License-Identifier: Apache-2.0
"""Incoming hooks of a real node: one URL, and messages that come through it."""

import asyncio
import json
import shutil
import urllib.error
import urllib.request
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest

from tests.harness.node import DEADLINE_SECONDS, ROOT, ChatmotorNode
from tests.harness.v1_client import Login, Refused, acall, newcomer

_direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))


@dataclass
class Site:
    """A node, its owner ann and member bob in a group, and a hook of ann's there."""

    node: ChatmotorNode
    ann: Login
    bob: Login
    conv: str
    hook: dict[str, Any]

    async def call(self, login: Login, op: str, **fields: Any) -> Any:
        """A command over HTTP."""
        return await acall(self.node, f"/v1/rpc/{op}", fields, token=login.token)

    async def history(self) -> list[dict[str, Any]]:
        """The messages of the group, as bob sees them."""
        found = await self.call(self.bob, "history", conv=self.conv)
        return list(found["items"])

    async def post(
        self, content: bytes, kind: str = "application/json", **headers: str
    ) -> tuple[int, Any]:
        """Through the hook."""
        return await post(self.hook["url"], content, kind, **headers)


async def post(
    url: str, content: bytes, kind: str = "application/json", **headers: str
) -> tuple[int, Any]:
    """Status and decoded answer."""
    request = urllib.request.Request(url, content, {"Content-Type": kind})
    for name, value in headers.items():
        request.add_header(name.replace("_", "-"), value)
    return await asyncio.to_thread(_open, request)


def _open(request: urllib.request.Request) -> tuple[int, Any]:
    try:
        with _direct.open(request, timeout=DEADLINE_SECONDS) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as refused:
        with refused:
            return refused.code, json.loads(refused.read())


@pytest.fixture(scope="module")
async def node(
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator[ChatmotorNode]:
    """It logs everything that there is to log."""
    home = tmp_path_factory.mktemp("config")
    shutil.copytree(ROOT / "configuration", home, dirs_exist_ok=True)
    file = home / "logging.cfg"
    file.write_text(file.read_text().replace("level=INFO", "level=DEBUG"))
    async with ChatmotorNode(
        CM_BROKER="embedded",
        CM_CONFIG_HOME=str(home),
        CM_SENDS_PER_SECOND="1",
        CM_SENDS_BURST="20",
    ) as node:
        yield node


_names = iter(range(100))


@pytest.fixture
async def site(node: ChatmotorNode) -> Site:
    """Fresh accounts."""
    number = next(_names)
    ann = await newcomer(node, f"ann{number}")
    bob = await newcomer(node, f"bob{number}")
    group = {"cid": "g", "title": "Builds", "members": [bob.username]}
    made = await acall(node, "/v1/rpc/conv.create", group, token=ann.token)
    conv = made["conv"]["conv"]
    fields = {"conv": conv, "name": "deploys"}
    hook = await acall(node, "/v1/rpc/hook.create", fields, token=ann.token)
    return Site(node, ann, bob, conv, hook["hook"])


async def test_a_post_is_a_message_of_whoever_made_the_hook(site: Site) -> None:
    """The answer is that of send."""
    status, answer = await site.post(b'{"text": "deployed \\u2713"}')

    (message,) = await site.history()
    assert 200 == status
    assert {"conv": site.conv, "n": 1, "ts": message["ts"], "dup": False} == answer
    assert (site.ann.username, "deployed ✓") == (message["from"], message["body"])
    assert site.hook["url"].startswith(site.node.url + "/v1/in/")


@pytest.mark.parametrize(
    ("content", "kind", "body"),
    [
        (b'{"text":"a","channel":"#x","username":"ci"}', "application/json", "a"),
        (b'{"body":{"a":[1, 2]}}', "application/json; charset=utf-8", {"a": [1, 2]}),
        (b"payload=%7B%22text%22%3A%22h%C3%A9%22%7D", "form", "hé"),
        (b'{"text":"curl -d"}', "form", "curl -d"),
        ("just h\u00e9\n".encode(), "text/plain", "just hé\n"),
        (b'{"text":"no type"}', "", "no type"),
    ],
)
async def test_the_usual_forms_are_understood(
    site: Site, content: bytes, kind: str, body: Any
) -> None:
    """JSON, a form with a payload, a text; what curl sends without a header, too."""
    kind = "application/x-www-form-urlencoded" if kind == "form" else kind

    status, answer = await site.post(content, kind)

    assert 200 == status, answer
    assert [body] == [each["body"] for each in await site.history()]


@pytest.mark.parametrize(
    ("content", "kind", "code", "field"),
    [
        (b"{}", "application/json", "bad_request", "text"),
        (b'{"text":"a","body":1}', "application/json", "bad_request", "text"),
        (b'{"text":" "}', "application/json", "bad_request", "text"),
        (b'{"text":5}', "application/json", "bad_request", "text"),
        (b'{"text":"a","text":"b"}', "application/json", "bad_json", None),
        (b"[]", "application/json", "bad_json", None),
        (b"text=a", "application/x-www-form-urlencoded", "bad_json", None),
        (b"payload=a", "application/x-www-form-urlencoded", "bad_json", None),
        (b"payload=%ff", "application/x-www-form-urlencoded", "bad_json", None),
        (b"\xff", "text/plain", "bad_request", "text"),
        (b"", "text/plain", "bad_request", "text"),
        (b'{"text":"a","cid":""}' + b" " * 70_000, "text/plain", "too_large", None),
        (b'{"text":"%s"}' % (b"x" * 33_000), "application/json", "too_large", "body"),
        (b'{"body":%s}' % (b"[" * 17 + b"]" * 17), "", "bad_request", "body"),
    ],
)
async def test_what_is_no_message_is_refused(
    site: Site, content: bytes, kind: str, code: str, field: str | None
) -> None:
    """In the form of every error, with the field; nothing is stored."""
    status, answer = await site.post(content, kind)

    assert (code, field) == (answer["code"], answer.get("field"))
    assert {"too_large": 413}.get(code, 400) == status
    assert [] == await site.history()


async def test_a_retry_with_its_key_is_stored_once(site: Site) -> None:
    """By the field or the header; hooks do not share keys, nor with own cids."""
    made = await site.call(site.ann, "hook.create", conv=site.conv, name="other")
    first = await site.post(b'{"text":"a","cid":"key"}')
    again = await site.post(b'{"text":"a"}', Idempotency_Key="key")
    other = await post(made["hook"]["url"], b'{"text":"a"}', Idempotency_Key="key")
    own = await site.call(site.ann, "send", conv=site.conv, cid="key", body="own")
    conflict, answer = await site.post(b'{"text":"b"}', Idempotency_Key="key")
    long, _ = await site.post(b'{"text":"b"}', Idempotency_Key="k" * 256)

    assert [False, True, False] == [x[1]["dup"] for x in (first, again, other)]
    assert [1, 1, 2, 3] == [x["n"] for x in (first[1], again[1], other[1], own)]
    assert (409, "cid_conflict") == (conflict, answer["code"])
    assert 400 == long
    assert 3 == len(await site.history())


async def test_a_code_that_is_none_is_a_path_that_is_not_there(site: Site) -> None:
    """In the same words; also for one that has ended."""
    nowhere = await post(site.node.url + "/v1/nowhere", b"{}")
    urls = [f"{site.node.url}/v1/in/{code}" for code in ("", "x" * 43, "%00", "a/b")]
    answers = [await post(url, b'{"text":"a"}') for url in urls]
    await site.call(site.ann, "hook.remove", hook=site.hook["hook"])
    answers.append(await site.post(b'{"text":"a"}'))

    assert [nowhere] * 5 == answers
    assert 404 == nowhere[0]


async def test_a_hook_ends_with_its_member(site: Site) -> None:
    """Who leaves takes it along; it does not come back with them."""
    await site.call(site.ann, "conv.leave", conv=site.conv)
    ended, _ = await site.post(b'{"text":"a"}')
    invite = {"conv": site.conv, "users": [site.ann.username]}
    await site.call(site.bob, "conv.invite", **invite)
    again, _ = await site.post(b'{"text":"a"}')

    assert (404, 404) == (ended, again)


async def test_a_hook_ends_with_its_account(site: Site) -> None:
    """Deactivated, it writes nothing more; activated, neither."""
    await site.node.operate("user", "deactivate", site.ann.username)
    ended, _ = await site.post(b'{"text":"a"}')
    await site.node.operate("user", "activate", site.ann.username)
    again, _ = await site.post(b'{"text":"a"}')

    assert (404, 404) == (ended, again)


async def test_a_hook_has_the_allowance_of_its_account(site: Site) -> None:
    """Whoever floods it is told when there is more."""
    answers = await asyncio.gather(*(site.post(b'{"text":"a"}') for _ in range(25)))

    refused = [answer for status, answer in answers if status == 429]
    assert refused
    assert {"rate_limited"} == {each["code"] for each in refused}
    assert all(each["retry_ms"] > 0 for each in refused)
    assert 25 - len(refused) == len(await site.history())


async def test_hooks_are_listed_without_their_urls(site: Site) -> None:
    """To the owner and admins; others learn nothing of them."""
    found = await site.call(site.ann, "hook.list", conv=site.conv)

    shown = {key: each for key, each in site.hook.items() if key != "url"}
    assert {"hooks": [shown]} == found
    assert {"hook", "conv", "name", "user", "ts"} == shown.keys()
    for op, fields in (
        ("hook.list", {"conv": site.conv}),
        ("hook.create", {"conv": site.conv, "name": "x"}),
        ("hook.remove", {"hook": site.hook["hook"]}),
    ):
        with pytest.raises(Refused) as refused:
            await site.call(site.bob, op, **fields)
        assert "forbidden" == refused.value.code
    with pytest.raises(Refused) as refused:
        await site.call(site.ann, "hook.create", conv=site.conv, name="a\nb")
    assert ("bad_request", "name") == (refused.value.code, refused.value.error["field"])
    with pytest.raises(Refused) as refused:
        await site.call(site.ann, "hook.remove", hook="i1")
    assert ("no_such_hook", "hook") == (
        *(refused.value.code, refused.value.error["field"]),
    )


async def test_either_side_of_a_direct_conversation_may(site: Site) -> None:
    """The message goes to both mailboxes, so the answer has seq."""
    sent = await site.call(
        site.ann, "send", to=site.bob.username, cid="1", body="hello"
    )
    fields = {"conv": sent["conv"], "name": "alerts"}
    hook = (await site.call(site.bob, "hook.create", **fields))["hook"]

    status, answer = await post(hook["url"], b'{"text":"alert"}')

    assert (200, 2) == (status, answer["n"])
    assert answer["seq"] > 0
    listed = await site.call(site.ann, "hook.list", conv=sent["conv"])
    assert [hook["hook"]] == [each["hook"] for each in listed["hooks"]]
    await site.call(site.ann, "hook.remove", hook=hook["hook"])
    assert 404 == (await post(hook["url"], b'{"text":"alert"}'))[0]


async def test_a_page_of_another_origin_cannot_post(site: Site) -> None:
    """As everywhere."""
    status, answer = await site.post(b'{"text":"a"}', Origin="https://evil.example")

    assert (403, "forbidden") == (status, answer["code"])


async def test_the_code_is_in_no_log(site: Site) -> None:
    """However the path is written, whatever becomes of the request."""
    url = site.hook["url"]
    code = url.rpartition("/")[2]
    await site.post(b'{"text":"a"}')
    await site.post(b"nonsense")
    await post(url + "/more", b'{"text":"a"}')
    await post(url + "?query", b'{"text":"a"}')
    await post(url.replace("/v1/in/", "/v1/IN/"), b'{"text":"a"}')
    await post(url.replace("/v1/in/", "//v1/in/"), b'{"text":"a"}')
    await post(url, b'{"text":"a"}', Origin="https://evil.example")
    await asyncio.to_thread(
        _open, urllib.request.Request(url, method="DELETE", data=b"x")
    )
    await site.call(site.ann, "hook.remove", hook=site.hook["hook"])
    await site.post(b'{"text":"a"}')

    log = site.node.log()
    assert "POST /v1/in/- 200" in log
    assert "DELETE /v1/in/- 405" in log
    assert code not in log

# SPDX-License-Identifier: Apache-2.0
"""Accounts over HTTP: a Tornado server on a free port, on a real SQLite file."""

import asyncio
import json
import logging
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import jwt
import pytest

from chatmotor.adapters.jwt_verifier import JwtVerifier
from chatmotor.adapters.sqlite_store import SqliteStore
from chatmotor.controllers.accounts import account_routes
from chatmotor.controllers.requests import (
    MAX_CONTENT_BYTES,
    ApiController,
    Edge,
    authenticated,
    trusted_networks,
)
from chatmotor.core.accounts import Accounts, SignUp
from chatmotor.errors import OutcomeUnknown, StoreUnavailable
from tests.harness.accounts import (
    DEADLINE_SECONDS,
    OTHER_PASSWORD,
    PASSWORD,
    SERVER_KEY,
    Answer,
    Desk,
    Served,
    serve_desk,
)

PAGE = "https://app.example.org"
MINUTE_MS = 60_000


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    """An empty store."""
    store = SqliteStore(tmp_path / "chat.db")
    await store.start()
    yield store
    await store.stop()


@pytest.fixture
def desk(store: SqliteStore) -> Desk:
    """Open sign-up, 3 attempts per account."""
    return Desk(store)


@pytest.fixture
async def api(desk: Desk) -> AsyncIterator[Served]:
    """The API of the desk; pages of PAGE may use it."""
    server = serve_desk(desk, Edge(allowed_origins=frozenset({PAGE})))
    yield server
    await server.stop()


def log_in_body(username: str = "ann", password: str = PASSWORD) -> dict[str, str]:
    """The content of a log-in."""
    return {"username": username, "password": password, "device": "phone"}


def said(answer: Answer) -> tuple[int, str, str | None]:
    """Status, code and field of a refusal, which has all that refusals have."""
    body = answer.json
    assert (
        {"code", "msg", "retry"}
        <= body.keys()
        <= {*("code", "msg", "retry", "retry_ms", "field")}
    )
    return answer.status, body["code"], body.get("field")


async def test_sign_up_log_in_and_log_out(api: Served, desk: Desk) -> None:
    """The way of a client, with the statuses and contents of the reference."""
    signed_up = await api.request(
        "POST",
        "/v1/accounts",
        {"username": "Ann", "password": PASSWORD, "display_name": "Ann B."},
    )
    logged_in = await api.request("POST", "/v1/tokens", log_in_body("ANN"))
    token = logged_in.json["token"]
    logged_out = await api.request("DELETE", "/v1/tokens/current", token=token)
    again = await api.request("DELETE", "/v1/tokens/current", token=token)

    assert (201, {"user": {"username": "ann", "display_name": "Ann B."}}) == (
        signed_up.status,
        signed_up.json,
    )
    assert (
        201,
        {"token": token, "device": "phone", "expires": desk.now + 1000_000},
    ) == (
        logged_in.status,
        logged_in.json,
    )
    assert (204, b"") == (logged_out.status, logged_out.content)
    assert (401, "unauthenticated", None) == said(again)
    assert "Bearer" == again.headers["www-authenticate"]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", (400, "bad_json", None)),
        (b"{", (400, "bad_json", None)),
        (b"username=ann", (400, "bad_json", None)),
        (b"[]", (400, "bad_json", None)),
        (b'"ann"', (400, "bad_json", None)),
        (b"[" * 60_000, (400, "bad_json", None)),
        (b'{"username": "\xff", "password": "x"}', (400, "bad_json", None)),
        (b'{"username": "\\ud800", "password": "x"}', (400, "bad_json", None)),
        # In a field that is not ours, with a key twice and without.
        (b'{"username": "ann", "x": "\xff", "x": 1}', (400, "bad_json", None)),
        (b'{"username": "ann", "x": "\xc0\xaf"}', (400, "bad_json", None)),
        (b'{"username": "ann", "x": ' + b"[" * 60_000, (400, "bad_json", None)),
        (b"{}", (400, "bad_request", "username")),
        (b'{"username": 5}', (400, "bad_request", "username")),
        (b'{"username": null}', (400, "bad_request", "username")),
        (b'{"username": {}}', (400, "bad_request", "username")),
        (b'{"username": ["ann"]}', (400, "bad_request", "username")),
        (b'{"username": "ann"}', (400, "bad_request", "password")),
        (b'{"username": "ann", "password": 1e999}', (400, "bad_request", "password")),
        (b'{"username": "", "password": "x"}', (400, "bad_request", "username")),
        (b'{"username": "\\u0430nn"}', (400, "bad_request", "password")),
        (b'{"username": "ann", "password": "short"}', (400, "bad_request", "password")),
    ],
)
async def test_content_that_is_wrong_is_refused_by_its_field(
    api: Served, content: bytes, expected: tuple[int, str, str | None]
) -> None:
    """What is not JSON is bad_json; a field of the wrong type is named."""
    answer = await api.request("POST", "/v1/accounts", content)

    assert expected == said(answer)
    for secret in (b"Traceback", b"msgspec", b"/work", b".py"):
        assert secret not in answer.content


async def test_whole_number_may_be_written_with_a_fraction(
    api: Served, desk: Desk
) -> None:
    """2.0 is 2, as JSON Schema has it; 2.5 is none."""
    boss = await desk.admin_token()

    whole = await api.request("POST", "/v1/admin/invites", {"uses": 2.0}, token=boss)
    broken = await api.request("POST", "/v1/admin/invites", {"uses": 2.5}, token=boss)

    assert 201 == whole.status
    assert (400, "bad_request", "uses") == said(broken)


async def test_display_name_is_measured_as_it_was_sent(api: Served) -> None:
    """As in the document, which knows nothing of spaces that are taken away."""
    body = {"username": "ann", "password": PASSWORD, "display_name": "x" * 64 + " "}

    long = await api.request("POST", "/v1/accounts", body)
    padded = await api.request("POST", "/v1/accounts", body | {"display_name": " Ann "})

    assert (400, "bad_request", "display_name") == said(long)
    assert (201, "Ann") == (padded.status, padded.json["user"]["display_name"])


async def test_unknown_fields_are_ignored(api: Served) -> None:
    """Clients of a later version are served."""
    body = {"username": "ann", "password": PASSWORD, "later": [1]}

    assert 201 == (await api.request("POST", "/v1/accounts", body)).status


@pytest.mark.parametrize("extra", [0, 1, 70_000])
async def test_content_over_64_kib_is_too_large(api: Served, extra: int) -> None:
    """To the byte, and also where the answer must wait for the rest to be read."""
    content = json.dumps({"username": "ann", "password": PASSWORD}).encode()
    content += b" " * (MAX_CONTENT_BYTES - len(content) + extra)

    answer = await api.request("POST", "/v1/accounts", content)

    if extra:
        assert (413, "too_large", None) == said(answer)
    else:
        assert 201 == answer.status


async def test_content_that_is_announced_as_huge_is_not_read(api: Served) -> None:
    """The answer does not wait for what will not be read."""
    async with asyncio.timeout(DEADLINE_SECONDS):
        reader, writer = await asyncio.open_connection("127.0.0.1", api.port)
        writer.write(b"POST /v1/accounts HTTP/1.1\r\nHost: x\r\n")
        writer.write(b"Content-Length: 99999999999999999999999\r\n\r\n")
        line = await reader.readline()
        writer.close()

    assert b"HTTP/1.1 413 " in line


async def test_unknown_name_and_wrong_password_are_byte_equal(
    api: Served, desk: Desk
) -> None:
    """Status, headers and content; also where attempts are over."""
    await desk.administration.create("ann", PASSWORD)
    names = ("ann", "norman", "no such name!")
    answers: dict[str, list[Any]] = {name: [] for name in names}
    for name in names:
        for _ in range(4):
            answer = await api.request(
                "POST", "/v1/tokens", log_in_body(name, OTHER_PASSWORD)
            )
            headers = dict(answer.headers) | {"date": ""}
            answers[name].append((answer.status, headers, answer.content))

    assert [401, 401, 401, 429] == [each[0] for each in answers["ann"]]
    assert answers["ann"] == answers["norman"] == answers["no such name!"]


async def test_too_many_attempts_say_when_to_come_again(
    api: Served, desk: Desk
) -> None:
    """429 with retry_ms and Retry-After, whatever the letter case of the name."""
    await desk.administration.create("ann", PASSWORD)
    for name in ("ann", "Ann", "ＡＮＮ"):  # noqa: RUF001
        wrong = log_in_body(name, OTHER_PASSWORD)
        assert 401 == (await api.request("POST", "/v1/tokens", wrong)).status

    answer = await api.request("POST", "/v1/tokens", log_in_body())

    assert (429, "rate_limited", None) == said(answer)
    assert (15 * MINUTE_MS, True) == (answer.json["retry_ms"], answer.json["retry"])
    assert "900" == answer.headers["retry-after"]


async def test_addresses_are_counted_behind_a_trusted_proxy_only(
    store: SqliteStore,
) -> None:
    """A forged X-Forwarded-For is one address after all; a proxy's truth is several."""
    headers = [{"X_Forwarded_For": f"203.0.113.{number}"} for number in range(3)]
    outcomes: list[int] = []
    for rows in ([], ["127.0.0.1"]):
        desk = Desk(store, address_attempts=2, now=1_700_000_000_000 + len(outcomes))
        api = serve_desk(desk, Edge(proxies=trusted_networks(rows)))
        for each in headers:
            body = log_in_body(f"user{len(outcomes)}")
            answer = await api.request("POST", "/v1/tokens", body, **each)
            outcomes.append(answer.status)
        await api.stop()

    assert [401, 401, 429, 401, 401, 401] == outcomes


async def test_a_token_is_renewed(api: Served, desk: Desk) -> None:
    """201 with another token for the same device."""
    old = await desk.token()

    renewed = await api.request("POST", "/v1/tokens/renew", token=old)

    assert (201, "phone") == (renewed.status, renewed.json["device"])
    assert old != renewed.json["token"]
    desk.now += 1000_000
    late = await api.request("POST", "/v1/tokens/renew", token=old)
    assert (401, "token_expired", None) == said(late)


@pytest.mark.parametrize(
    "header", ["", "Bearer", "Bearer ", "Basic YTpi", "Bearer cm_made-up", "cm_x"]
)
async def test_without_a_good_token_nobody_is_served(api: Served, header: str) -> None:
    """Every path that needs one answers 401, before it looks at the content."""
    for method, path in [
        ("DELETE", "/v1/tokens/current"),
        ("POST", "/v1/tokens/renew"),
        ("POST", "/v1/password"),
        ("GET", "/v1/admin/accounts"),
        ("POST", "/v1/admin/invites"),
        ("POST", "/v1/admin/reset-links"),
        ("POST", "/v1/admin/accounts/ann/deactivate"),
    ]:
        answer = await api.request(method, path, {}, Authorization=header)
        assert (401, "unauthenticated", None) == said(answer)


async def test_a_token_in_the_url_is_none(api: Served, desk: Desk) -> None:
    """URLs are logged by everybody on the way."""
    token = await desk.token()

    path = f"/v1/tokens/current?token={token}&access_token={token}"

    assert 401 == (await api.request("DELETE", path)).status


async def test_the_password_is_changed_with_the_current_one(
    api: Served, desk: Desk
) -> None:
    """204; a wrong current one is 403, a weak new one names its field."""
    token, other = await desk.token(), await desk.token(device="other")

    async def change(current: str, new: str) -> Answer:
        body = {"password": current, "new_password": new}
        return await api.request("POST", "/v1/password", body, token=token)

    assert (403, "forbidden", "password") == said(await change("no", OTHER_PASSWORD))
    assert (400, "bad_request", "new_password") == said(await change(PASSWORD, "short"))
    assert 204 == (await change(PASSWORD, OTHER_PASSWORD)).status
    ended = await api.request("DELETE", "/v1/tokens/current", token=other)
    assert 401 == ended.status


async def test_the_links_of_an_administrator(api: Served, desk: Desk) -> None:
    """A reset link and an invitation, each used once, by people without a token."""
    boss = await desk.admin_token()
    await desk.token("ann")
    body = {"username": "Ann"}
    reset = await api.request("POST", "/v1/admin/reset-links", body, token=boss)
    invite = await api.request("POST", "/v1/admin/invites", {"uses": 2}, token=boss)
    assert (201, 201) == (reset.status, invite.status)
    assert desk.now + 15 * MINUTE_MS == reset.json["expires"]
    assert invite.json["link"].startswith("https://chat.example.org/invite#")

    code = reset.json["link"].partition("#")[2]
    use = {"code": code, "password": OTHER_PASSWORD}

    assert 204 == (await api.request("POST", "/v1/password/reset", use)).status
    again = await api.request("POST", "/v1/password/reset", use)
    assert (403, "forbidden", None) == said(again)
    logged_in = await api.request(
        "POST", "/v1/tokens", log_in_body("ann", OTHER_PASSWORD)
    )
    assert 201 == logged_in.status


async def test_sign_up_by_invitation(store: SqliteStore) -> None:
    """Without one 403 and the field's name, with one 201, and once only."""
    desk = Desk(store, sign_up=SignUp.INVITE)
    api = serve_desk(desk)
    made = await desk.administration.new_invite()
    body = {"username": "ann", "password": PASSWORD}
    invited = body | {"invite": made.url.partition("#")[2]}

    without = await api.request("POST", "/v1/accounts", body)
    first = await api.request("POST", "/v1/accounts", invited)
    second = await api.request("POST", "/v1/accounts", invited | {"username": "bob"})
    await api.stop()

    assert (403, "forbidden", "invite") == said(without)
    assert 201 == first.status
    assert (403, "forbidden", None) == said(second)


async def test_the_first_administrator(api: Served, desk: Desk) -> None:
    """By the set-up link, once; the account can do what administrators can."""
    link = await desk.administration.new_setup_link()
    assert link is not None
    body = {
        "code": link.url.partition("#")[2],
        "username": "boss",
        "password": PASSWORD,
    }

    made = await api.request("POST", "/v1/setup", body)
    again = await api.request("POST", "/v1/setup", body | {"username": "eve"})

    assert (201, "boss") == (made.status, made.json["user"]["username"])
    assert (403, "forbidden", None) == said(again)
    token = await desk.token("boss")
    listed = await api.request("GET", "/v1/admin/accounts", token=token)
    assert 200 == listed.status


async def test_only_administrators_administrate(api: Served, desk: Desk) -> None:
    """Everybody else gets 403, whatever they ask for; nothing happens."""
    await desk.administration.create("bob", PASSWORD)
    token = await desk.token("ann")
    for method, path in [
        ("GET", "/v1/admin/accounts"),
        ("POST", "/v1/admin/invites"),
        ("POST", "/v1/admin/reset-links"),
        ("POST", "/v1/admin/accounts/bob/deactivate"),
        ("POST", "/v1/admin/accounts/none/activate"),
    ]:
        answer = await api.request(method, path, {"username": "bob"}, token=token)
        assert (403, "forbidden", None) == said(answer)
    assert not (await desk.accounts.profile("bob")).closed


async def test_accounts_are_deactivated_and_activated(api: Served, desk: Desk) -> None:
    """Its tokens are good for nothing; oneself is not deactivated by mistake."""
    boss, token = await desk.admin_token(), await desk.token("ann")

    async def act(username: str, action: str) -> Answer:
        path = f"/v1/admin/accounts/{username}/{action}"
        return await api.request("POST", path, token=boss)

    assert 204 == (await act("Ann", "deactivate")).status
    renewal = await api.request("POST", "/v1/tokens/renew", token=token)
    assert (403, "suspended", None) == said(renewal)
    suspended = await api.request("POST", "/v1/tokens", log_in_body())
    assert (403, "suspended", None) == said(suspended)
    assert 204 == (await act("ann", "activate")).status
    assert 401 == (await api.request("POST", "/v1/tokens/renew", token=token)).status
    assert 201 == (await api.request("POST", "/v1/tokens", log_in_body())).status
    assert (403, "forbidden", None) == said(await act("boss", "deactivate"))
    assert (404, "no_such_user") == said(await act("norman", "activate"))[:2]


async def test_accounts_are_listed_in_pages(api: Served, desk: Desk) -> None:
    """By username; ``more`` says whether others follow."""
    boss = await desk.admin_token()
    for name in ("ann", "cyd"):
        await desk.administration.create(name, PASSWORD, display_name=name.upper())

    first = await api.request("GET", "/v1/admin/accounts?limit=2", token=boss)
    last = await api.request("GET", "/v1/admin/accounts?after=boss", token=boss)
    wrong = await api.request("GET", "/v1/admin/accounts?limit=many", token=boss)

    assert True is first.json["more"]
    assert ["ann", "boss"] == [each["username"] for each in first.json["items"]]
    created = desk.now
    assert last.json == {
        "items": [
            {
                "username": "cyd",
                "display_name": "CYD",
                "admin": False,
                "closed": False,
                "created": created,
            }
        ],
        "more": False,
    }
    assert (400, "bad_request", "limit") == said(wrong)


async def test_the_server_makes_accounts_where_sign_up_is_closed(
    store: SqliteStore,
) -> None:
    """With its key, and without a password; a wrong key makes none."""
    api = serve_desk(Desk(store, sign_up=SignUp.CLOSED))
    body = {"username": "ann"}

    made = await api.request("POST", "/v1/accounts", body, token=SERVER_KEY)
    wrong = await api.request("POST", "/v1/accounts", body, token=SERVER_KEY + "x")
    admin = await api.request("GET", "/v1/admin/accounts", token=SERVER_KEY)
    own = await api.request("POST", "/v1/password", {}, token=SERVER_KEY)
    await api.stop()

    assert (201, "ann") == (made.status, made.json["user"]["username"])
    assert (401, "unauthenticated", None) == said(wrong)
    assert (400, "bad_request", "Chatmotor-User") == said(admin)
    assert (401, "unauthenticated", None) == said(own)


class WhoController(ApiController):
    """Answers who asks."""

    def initialize(self, edge: Edge, **parts: Any) -> None:
        super().initialize(edge)
        self._accounts: Accounts = parts["accounts"]

    async def get(self) -> None:
        grant = await authenticated(self, self._accounts)
        self.answer(200, {"who": grant.account.username, "device": grant.device})


async def test_the_server_acts_for_an_account(desk: Desk) -> None:
    """Chatmotor-User names it, in UTF-8 or percent-encoded; an own token needs none."""
    await desk.administration.create("иван", PASSWORD)
    token = await desk.token("ann")
    given = {"edge": Edge(), "accounts": desk.accounts}
    api = Served([(r"/who", WhoController, given)])
    for name, status in [("ann", 200), ("norman", 404), ("no such", 404)]:
        answer = await api.request("GET", "/who", token=SERVER_KEY, Chatmotor_User=name)
        assert status == answer.status
    acted = []
    for name in ("иван".encode().decode("latin-1"), quote("иван")):
        answer = await api.request("GET", "/who", token=SERVER_KEY, Chatmotor_User=name)
        acted.append(answer.json)
    own = await api.request("GET", "/who", token=token, Chatmotor_User="boss")
    await api.stop()

    assert [{"who": "иван", "device": "api"}] * 2 == acted
    assert {"who": "ann", "device": "phone"} == own.json


async def test_the_tokens_of_a_host_replace_the_own_log_in(desk: Desk) -> None:
    """A signed one is an account; forms and log-in are refused in words."""
    secret = "h" * 32
    host = replace(desk, host_tokens=JwtVerifier(secret=secret))
    given = {"edge": Edge(), "accounts": host.accounts}
    api = Served(
        [
            (r"/who", WhoController, given),
            *account_routes(host.accounts, host.administration, Edge()),
        ]
    )
    token = jwt.encode(
        {"sub": "Ann", "exp": int(time.time()) + 60}, secret, algorithm="HS256"
    )
    host.now = time.time_ns() // 1_000_000

    who = await api.request("GET", "/who", token=token)
    logged_in = await api.request("POST", "/v1/tokens", log_in_body())
    signed_up = await api.request("POST", "/v1/accounts", log_in_body("bob"))
    await api.stop()

    assert {"who": "ann", "device": "jwt"} == who.json
    assert (403, "forbidden", None) == said(logged_in) == said(signed_up)


@pytest.mark.parametrize(
    "origin",
    [
        "https://evil.example",
        "null",
        f"{PAGE}.evil.example",
        f"{PAGE}:8443",
        f"{PAGE}/",
        "http://app.example.org",
        "https://app.example.org@evil.example",
        "file://",
        "",
    ],
)
async def test_pages_of_other_sites_are_refused(
    api: Served, desk: Desk, origin: str
) -> None:
    """They neither change anything nor are allowed to ask."""
    body = {"username": "ann", "password": PASSWORD}
    answer = await api.request("POST", "/v1/accounts", body, Origin=origin)
    asked = await api.request("OPTIONS", "/v1/accounts", Origin=origin)

    assert (403, "forbidden", "Origin") == said(answer)
    assert 403 == asked.status
    for each in (answer, asked):
        assert "access-control-allow-origin" not in each.headers
    assert () == tuple(await desk.administration.accounts())


async def test_an_allowed_page_is_answered_with_its_origin(api: Served) -> None:
    """Preflight, success and refusal; never with credentials or a wildcard."""
    body = {"username": "ann", "password": PASSWORD}
    asked = await api.request("OPTIONS", "/v1/tokens/current", Origin=PAGE)
    made = await api.request("POST", "/v1/accounts", body, Origin=PAGE)
    refused = await api.request("DELETE", "/v1/tokens/current", Origin=PAGE)

    assert (204, "DELETE") == (
        asked.status,
        asked.headers["access-control-allow-methods"],
    )
    assert "Authorization" in asked.headers["access-control-allow-headers"]
    assert (201, 401) == (made.status, refused.status)
    for each in (asked, made, refused):
        assert PAGE == each.headers["access-control-allow-origin"]
        assert "Origin" == each.headers["vary"]
        assert "access-control-allow-credentials" not in each.headers


async def test_the_own_page_may(api: Served) -> None:
    """Of the host that the request names."""
    own = f"http://127.0.0.1:{api.port}"
    body = {"username": "ann", "password": PASSWORD}

    assert 201 == (await api.request("POST", "/v1/accounts", body, Origin=own)).status


async def test_another_method_is_405(api: Served) -> None:
    """With the methods that there are."""
    answer = await api.request("GET", "/v1/tokens")

    assert (405, "method_not_allowed", None) == said(answer)
    assert "POST, OPTIONS" == answer.headers["allow"]


async def test_a_store_that_fails_lets_nobody_in(
    api: Served, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """503 while it is away, 500 when nobody knows; never a token."""
    await desk.administration.create("ann", PASSWORD)

    async def away(*arguments: Any, **given: Any) -> None:
        raise StoreUnavailable("the store is away")

    async def unknown(*arguments: Any, **given: Any) -> None:
        raise OutcomeUnknown("COMMIT")

    monkeypatch.setattr(desk.store, "take_attempts", away)
    refused = await api.request("POST", "/v1/tokens", log_in_body())
    monkeypatch.setattr(desk.store, "take_attempts", unknown)
    lost = await api.request("POST", "/v1/tokens", log_in_body())

    assert (503, "unavailable", None) == said(refused)
    assert (500, "internal", None) == said(lost)
    assert b"COMMIT" not in lost.content


async def test_logs_say_who_and_where_but_no_secret(
    api: Served, desk: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    """A username with line breaks stays one line; a flood is not logged at all."""
    await desk.administration.create("ann", PASSWORD)
    with caplog.at_level(logging.INFO, logger="chatmotor.controllers.accounts"):
        for _ in range(5):
            wrong = log_in_body("x\r\nINFO fake \x1b[31m", OTHER_PASSWORD)
            await api.request("POST", "/v1/tokens", wrong)
        answer = await api.request("POST", "/v1/tokens", log_in_body())

    lines = [record.getMessage() for record in caplog.records]
    shown = r"'x\r\nINFO fake \x1b[31m'"
    refused = f"log-in refused (unauthenticated): {shown} from 127.0.0.1"
    assert [*[refused] * 3, "log-in: 'ann' from 127.0.0.1"] == lines
    for secret in (PASSWORD, OTHER_PASSWORD, answer.json["token"]):
        assert secret not in "".join(lines)

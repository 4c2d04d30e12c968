# SPDX-License-Identifier: Apache-2.0
"""The documents as a node serves them."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from chatmotor.adapters.sqlite_store import SqliteStore
from chatmotor.controllers.documents import DOCUMENTS
from tests.harness.accounts import Desk, Served, serve_desk


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Served]:
    """The HTTP API over an empty store."""
    store = SqliteStore(tmp_path / "chat.db")
    await store.start()
    served = serve_desk(Desk(store))
    yield served
    await served.stop()
    await store.stop()


@pytest.mark.parametrize("name", DOCUMENTS)
async def test_document_is_served_to_anybody(api: Served, name: str) -> None:
    """As JSON, without a token, and to be kept for a while."""
    answer = await api.request("GET", f"/v1/{name}.json")

    assert 200 == answer.status
    assert DOCUMENTS[name]() == answer.json
    assert "public, max-age=3600" == answer.headers["cache-control"]


async def test_document_that_is_known_is_not_sent_again(api: Served) -> None:
    """Whoever has it asks with its ETag (RFC 9110, 13.1.2)."""
    tag = (await api.request("GET", "/v1/schema.json")).headers["etag"]

    again = await api.request("GET", "/v1/schema.json", If_None_Match=tag)

    assert (304, b"") == (again.status, again.content)


async def test_there_are_no_other_documents(api: Served) -> None:
    """A name that is like one of them is nothing."""
    answer = await api.request("GET", "/v1/schemas.json")

    assert (404, "not_found") == (answer.status, answer.json["code"])

# SPDX-License-Identifier: Apache-2.0
"""A bot's token is renewed before it expires."""

import logging
import os
import stat
from pathlib import Path

import pytest

from chatmotor.bot import token_file
from chatmotor.bot.token_file import TokenFile
from chatmotor.client import Client
from chatmotor.testing import TestServer


def _file(path: Path, token: str, *, age: float) -> TokenFile:
    path.write_text(token)
    then = path.stat().st_mtime - age
    os.utime(path, (then, then))
    return TokenFile(path)


async def test_an_old_token_is_renewed_in_its_place(
    chatmotor_server: TestServer, tmp_path: Path
) -> None:
    """The first server that answers does it; the new one is good, and the owner's."""
    path = tmp_path / "bot.token"
    old = await chatmotor_server.token("helper")
    file = _file(path, old, age=token_file.RENEW_SECONDS + 1)

    await file.look(["http://127.0.0.1:9", chatmotor_server.url])

    new = await file.token()
    assert new not in ("", old)
    assert 0o600 == stat.S_IMODE(path.stat().st_mode)
    assert not path.with_name("bot.token.new").exists()
    async with Client(chatmotor_server.url, token=new) as client:
        await client.until_live()


async def test_a_young_token_stays(
    chatmotor_server: TestServer, tmp_path: Path
) -> None:
    """A bot that is started often does not renew each time."""
    old = await chatmotor_server.token("helper")
    file = _file(tmp_path / "bot.token", old, age=token_file.RENEW_SECONDS - 60)

    await file.look([chatmotor_server.url])

    assert old == await file.token()


async def test_a_token_that_cannot_be_renewed_is_told_without_its_text(
    chatmotor_server: TestServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The file stays as it is; the session says the rest."""
    file = _file(tmp_path / "bot.token", "cm_nobody", age=token_file.RENEW_SECONDS + 1)

    with caplog.at_level(logging.WARNING, "chatmotor.bot"):
        await file.look([chatmotor_server.url])

    assert ["the token cannot be renewed: unauthenticated"] == [
        each.getMessage() for each in caplog.records if "bot" in each.name
    ]
    assert "cm_nobody" == await file.token()

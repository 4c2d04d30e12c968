# SPDX-License-Identifier: Apache-2.0
"""The page behind one-time links, in a real browser."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from playwright.async_api import Browser, Page, expect

from chatmotor.adapters.sqlite_store import SqliteStore
from chatmotor.core.accounts import SignUp
from tests.harness.accounts import OTHER_PASSWORD, PASSWORD, Desk, Served, serve_desk
from tests.harness.node import ROOT

SCREENSHOTS = ROOT / "test-results"


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    """Sign-up by invitation."""
    store = SqliteStore(tmp_path / "chat.db")
    await store.start()
    yield Desk(store, sign_up=SignUp.INVITE)
    await store.stop()


@pytest.fixture
async def served(desk: Desk) -> AsyncIterator[Served]:
    """The desk over HTTP."""
    server = serve_desk(desk)
    yield server
    await server.stop()


@pytest.fixture
async def page(browser: Browser) -> AsyncIterator[Page]:
    """A phone at night; a complaint of the browser about a script fails the test."""
    page = await browser.new_page(
        viewport={"width": 390, "height": 700}, color_scheme="dark"
    )
    complaints: list[str] = []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    yield page
    await page.close()
    assert [] == complaints


async def follow(page: Page, served: Served, link: str) -> None:
    """Open *link* on the server of this test."""
    path = link.removeprefix("https://chat.example.org")
    await page.goto(f"http://127.0.0.1:{served.port}{path}")


async def fill(page: Page, password: str, again: str | None = None) -> None:
    """Type the password twice and send the form."""
    await page.get_by_label("Password", exact=False).first.fill(password)
    await page.get_by_label("The same password again").fill(again or password)
    await page.get_by_role("button").click()


async def test_the_first_administrator_sets_chatmotor_up(
    page: Page, served: Served, desk: Desk
) -> None:
    """Mistakes are named and can be mended; then the link is used up."""
    link = await desk.administration.new_setup_link()
    assert link is not None
    status = page.get_by_role("status")
    await follow(page, served, link.url)
    await page.get_by_label("Username").fill("Boss")
    await fill(page, PASSWORD, OTHER_PASSWORD)
    await expect(status).to_have_text("The two passwords are not the same.")
    await fill(page, "password1")
    await expect(status).to_contain_text("take another")
    await expect(page.get_by_label("Password").first).to_be_focused()
    SCREENSHOTS.mkdir(exist_ok=True)
    await page.screenshot(path=SCREENSHOTS / "join-dark-phone.png")

    await fill(page, PASSWORD)

    await expect(status).to_have_text("Done. boss is the administrator and can log in.")
    assert "#" not in page.url
    assert (await desk.accounts.profile("boss")).admin
    await follow(page, served, link.url)
    await page.get_by_label("Username").fill("eve")
    await fill(page, PASSWORD)
    await expect(status).to_contain_text("That did not work")


async def test_an_invitation_and_a_reset(
    page: Page, served: Served, desk: Desk
) -> None:
    """The same page: with a username, and without."""
    invite = await desk.administration.new_invite()
    await follow(page, served, invite.url)
    await page.get_by_label("Username").fill("ann")
    await page.get_by_label("Display name").fill("Ann B.")
    await fill(page, PASSWORD)
    await expect(page.get_by_role("status")).to_contain_text("Welcome, ann.")
    assert "Ann B." == (await desk.accounts.profile("ann")).display_name

    reset = await desk.administration.new_reset_link("ann")
    await follow(page, served, reset.url)
    await expect(page.get_by_label("Username")).to_be_hidden()
    await fill(page, OTHER_PASSWORD)
    await expect(page.get_by_role("status")).to_contain_text("new password")
    assert f"plain1:{OTHER_PASSWORD}" == (await desk.accounts.profile("ann")).password


async def test_a_link_that_was_cut_says_so(page: Page, served: Served) -> None:
    """Mail programs cut links; the form is not shown in vain."""
    await follow(page, served, "/invite")

    await expect(page.get_by_role("status")).to_contain_text("not complete")
    await expect(page.get_by_label("Username")).to_be_hidden()

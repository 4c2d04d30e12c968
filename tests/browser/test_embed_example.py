# SPDX-License-Identifier: Apache-2.0
"""The page of examples/embed in a real browser: two users of the application chat."""

from pathlib import Path

from playwright.async_api import Browser, Page, expect

from tests.harness.example import running
from tests.harness.ports import free_port


async def log_in(browser: Browser, root: str, name: str) -> tuple[Page, list[str]]:
    """The page of somebody with cookies of their own; what the browser complains of."""
    context = await browser.new_context()
    page = await context.new_page()
    complaints: list[str] = []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    await page.goto(root)
    await page.get_by_label("Name").fill(name)
    await page.get_by_label("Password").fill(f"{name}s secret")
    await page.get_by_role("button", name="Log in").click()
    await expect(page.get_by_text(f"You are {name}.")).to_be_visible()
    return page, complaints


async def test_two_users_of_the_application_chat(
    browser: Browser, tmp_path: Path
) -> None:
    """
    Each as whom they have logged in as; markup stays text, and who logs out sees the
    form again.
    """
    async with running(
        *("embed/app.py", "--port", str(free_port()), "--data-dir", str(tmp_path)),
        log=tmp_path / "log",
    ) as root:
        alice, complaints = await log_in(browser, root, "alice")
        bob, others = await log_in(browser, root, "bob")
        await alice.get_by_label("To").fill("bob")
        await alice.get_by_label("Text").fill("hello <b>bob</b>")
        await alice.get_by_role("button", name="Send").click()
        for page in (alice, bob):
            line = page.get_by_role("listitem").filter(has_text="alice:")
            await expect(line).to_have_text("alice: hello <b>bob</b>")
        await bob.reload()
        await alice.get_by_role("button", name="Log out").click()
        await expect(alice.get_by_label("Password")).to_be_visible()
        for page in (alice, bob):
            await page.context.close()

    assert [] == complaints + others

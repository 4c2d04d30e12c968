# SPDX-License-Identifier: Apache-2.0
"""The page at ``/`` in a real browser: two tabs, one chat."""

from pathlib import Path

from playwright.async_api import Browser, Page, expect

from tests.harness.node import ROOT, ChatmotorNode

SCREENSHOTS = ROOT / "test-results"


async def join(page: Page, node: ChatmotorNode, me: str, peer: str) -> list[str]:
    """Open the page and connect; what the browser complains about."""
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    await page.goto(node.url)
    await page.get_by_label("Your name").fill(me)
    await page.get_by_label("Talk to").fill(peer)
    await page.get_by_role("button", name="Connect").click()
    await expect(page.get_by_role("status")).to_have_text(f"connected as {me}")
    return complaints


async def test_two_tabs_chat(browser: Browser) -> None:
    """Pick a name, pick a peer, write; markup stays text; the policy allows it all."""
    async with ChatmotorNode(CM_BROKER="embedded") as node:
        left = await browser.new_page(viewport={"width": 900, "height": 640})
        right = await browser.new_page(
            viewport={"width": 390, "height": 700}, color_scheme="dark"
        )
        requests: list[str] = []
        left.on("request", lambda request: requests.append(request.url))
        complaints = await join(left, node, "alice", "böb")
        complaints += await join(right, node, "böb", "alice")

        await left.get_by_label("Message", exact=True).fill("Hello <b>böb</b> 👋")
        await left.get_by_role("button", name="Send").click()
        theirs = right.get_by_role("list").get_by_role("listitem")
        await expect(theirs).to_have_text("aliceHello <b>böb</b> 👋")
        await right.get_by_label("Message", exact=True).fill("Hello alice")
        await right.get_by_label("Message", exact=True).press("Enter")
        mine = left.get_by_role("list").get_by_role("listitem")
        await expect(mine).to_have_text(["to böbHello <b>böb</b> 👋", "böbHello alice"])

        SCREENSHOTS.mkdir(exist_ok=True)
        await left.screenshot(path=SCREENSHOTS / "home-light.png")
        await right.screenshot(path=SCREENSHOTS / "home-dark-phone.png")
        assert [] == complaints
        assert [] == [url for url in requests if not url.startswith(node.url)]
        await left.close()
        await right.close()


async def test_a_tab_returns_by_itself(browser: Browser) -> None:
    """The node restarts: the page says so and is connected again without a click."""
    page = await browser.new_page()
    async with ChatmotorNode(CM_BROKER="embedded") as node:
        port = node.url.rsplit(":", 1)[1]
        await join(page, node, "alice", "alice")
    await expect(page.get_by_role("status")).to_contain_text("not connected")
    async with ChatmotorNode("--port", port, CM_BROKER="embedded"):
        await expect(page.get_by_role("status")).to_have_text(
            "connected as alice", timeout=20_000
        )
    await page.close()


def test_the_page_is_small() -> None:
    """One file, no build, at most 200 lines, nothing from elsewhere."""
    page = Path(ROOT / "chatmotor" / "controllers" / "home.html").read_text()

    assert 200 >= len(page.splitlines())
    assert "http://" not in page
    assert "https://" not in page

# SPDX-License-Identifier: Apache-2.0
"""A real browser."""

import shutil
from collections.abc import AsyncIterator

import pytest
from playwright.async_api import Browser, async_playwright

_MAC = (
    "/Applications/Chromium.app/Contents/MacOS/Chromium",
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
)


def chromium() -> str:
    """The system's Chromium; ``make test`` installs it."""
    for name in ("chromium", "chromium-browser", "google-chrome", *_MAC):
        found = shutil.which(name)
        if found is not None:
            return found
    raise FileNotFoundError("Chromium is not installed; run make test")


@pytest.fixture(scope="module")
async def browser() -> AsyncIterator[Browser]:
    """Headless, and silent towards the outside."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=chromium(),
            args=[
                "--no-sandbox",
                "--disable-gpu",
                "--disable-background-networking",
                "--disable-component-update",
                "--disable-sync",
                "--no-first-run",
            ],
        )
        yield browser
        await browser.close()

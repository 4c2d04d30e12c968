# SPDX-License-Identifier: Apache-2.0
"""``/``: one small page to try the chat with."""

from pathlib import Path

from chatmotor.controllers.pages import PageController


class HomeController(PageController):
    """Serves the page."""

    page = Path(__file__).with_name("home.html")

# SPDX-License-Identifier: Apache-2.0
"""A small Tornado application with users of its own, and Chatmotor within it.

    python examples/embed/app.py [--port 8000] [--data-dir data]

Its users are rows of its own SQLite table, and log in with its own form and cookie.
Chatmotor asks it whose a token is; it has no passwords and no sign-up.
"""

import argparse
import asyncio
import contextlib
import hashlib
import hmac
import secrets
import signal
import sqlite3
from pathlib import Path
from typing import Any

import tornado.web

from chatmotor.embed import Chatmotor

HERE = Path(__file__).parent
TABLES = """
CREATE TABLE IF NOT EXISTS user (name TEXT PRIMARY KEY, salt BLOB, password BLOB);
CREATE TABLE IF NOT EXISTS visit (cookie TEXT PRIMARY KEY, chat TEXT UNIQUE, name TEXT);
"""


class UserTable:
    """The application's users, and who of them is logged in."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._db = sqlite3.connect(path, isolation_level=None)
        self._db.executescript(TABLES)

    def add(self, name: str, password: str) -> None:
        """Make a user, or give one another password."""
        salt = secrets.token_bytes(16)
        self._db.execute(
            "INSERT OR REPLACE INTO user VALUES (?, ?, ?)",
            (name, salt, _hashed(password, salt)),
        )

    def log_in(self, name: str, password: str) -> str | None:
        """A new cookie; None: the name or the password is wrong."""
        found = self._db.execute(
            "SELECT salt, password FROM user WHERE name = ?", (name,)
        ).fetchone()
        salt, known = found or (b"", b"")
        if not hmac.compare_digest(_hashed(password, salt), known):
            return None
        cookie = secrets.token_urlsafe(32)
        self._db.execute(
            "INSERT INTO visit VALUES (?, ?, ?)",
            (cookie, secrets.token_urlsafe(32), name),
        )
        return cookie

    def visit(self, cookie: str) -> tuple[str, str] | None:
        """The user behind a cookie, and the token with which that page may chat."""
        found: tuple[str, str] | None = self._db.execute(
            "SELECT name, chat FROM visit WHERE cookie = ?", (cookie,)
        ).fetchone()
        return found

    def log_out(self, cookie: str) -> None:
        """Forget a visit, and with it the page's token."""
        self._db.execute("DELETE FROM visit WHERE cookie = ?", (cookie,))

    async def whose(self, token: str) -> str | None:
        """What Chatmotor asks: the user of a token, or None."""
        found = self._db.execute(
            "SELECT name FROM visit WHERE chat = ?", (token,)
        ).fetchone()
        return None if found is None else str(found[0])


def _hashed(password: str, salt: bytes) -> bytes:
    return hashlib.scrypt(password.encode(), salt=salt, n=2**14, r=8, p=1)


class Page(tornado.web.RequestHandler):
    """The base of the application's pages."""

    def initialize(self, users: UserTable, chat: Chatmotor) -> None:
        """Called by Tornado with the arguments of the route."""
        self.users = users
        self.chat = chat

    def get_current_user(self) -> tuple[str, str] | None:
        """Name and chat token of whoever is logged in."""
        return self.users.visit(self.get_cookie("visit") or "")


class Home(Page):
    """``/``: a form to log in, or the chat."""

    def get(self) -> None:
        """Show it."""
        name = self.current_user[0] if self.current_user else None
        self.render("page.html", name=name)


class LogIn(Page):
    """``/login``"""

    def post(self) -> None:
        """Check the password, and set the cookie."""
        cookie = self.users.log_in(
            self.get_body_argument("name"), self.get_body_argument("password")
        )
        if cookie is None:
            raise tornado.web.HTTPError(403, "wrong name or password")
        self.set_cookie("visit", cookie, httponly=True, samesite="Lax")
        self.redirect("/")


class LogOut(Page):
    """``/logout``"""

    def post(self) -> None:
        """End the visit, and the page's connections to the chat with it."""
        if self.current_user:
            self.users.log_out(self.get_cookie("visit") or "")
            self.chat.recheck(self.current_user[0])
        self.clear_cookie("visit")
        self.redirect("/")


class ChatToken(Page):
    """``/chat-token``: the page asks for it; other sites cannot read the answer."""

    def get(self) -> None:
        """The token of this visit."""
        if not self.current_user:
            raise tornado.web.HTTPError(401)
        self.set_header("Cache-Control", "no-store")
        self.write({"token": self.current_user[1]})


async def main(port: int, data_dir: Path) -> None:
    """Serve until SIGTERM or SIGINT."""
    users = UserTable(data_dir / "users.db")
    users.add("alice", "alices secret")
    users.add("bob", "bobs secret")

    chat = Chatmotor({"DATA_DIR": str(data_dir / "chat")}, users=users.whose)
    given: dict[str, Any] = {"users": users, "chat": chat}
    app = tornado.web.Application(
        [
            ("/", Home, given),
            ("/login", LogIn, given),
            ("/logout", LogOut, given),
            ("/chat-token", ChatToken, given),
            *chat.routes("/chat"),
        ],
        template_path=str(HERE),
        xsrf_cookies=True,
    )

    await chat.start()
    for name in ("alice", "bob"):  # so that they can be written to before they come
        await chat.add_user(name)
    server = app.listen(port, "127.0.0.1")
    print(f"open http://127.0.0.1:{port}", flush=True)

    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    await stopping.wait()
    server.stop()
    await chat.stop()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--data-dir", type=Path, default=Path("data"))
    asked = parser.parse_args()
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(main(asked.port, asked.data_dir))

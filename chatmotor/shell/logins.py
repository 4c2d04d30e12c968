# SPDX-License-Identifier: Apache-2.0
"""Who the shell is: a server's URL, and a token for it.

    --url, CM_URL             the URL, else the one that was logged in to last
    CM_TOKEN, CM_TOKEN_FILE   the token, else the one of a log-in at this URL

Log-ins are kept in ``logins.json``, in ``~/.config/chatmotor`` or where
XDG_CONFIG_HOME says, readable by their owner only.  A token is never sent to another
URL than the one it is for, and is no argument, which other users could see.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from chatmotor.shell.exits import NOT_ALLOWED, USAGE, fail


@dataclass(frozen=True, slots=True)
class LogIn:
    """
    A token of *username* at *url*.

    Args:
        since, expires: From when to when it is good; milliseconds since the epoch.
    """

    url: str
    username: str
    token: str
    since: int = 0
    expires: int = 0


_ENTRY: Final = ("username", "token", "since", "expires")


class Logins:
    """
    The file.

    Args:
        environment: Of the process.
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        home = environment.get("XDG_CONFIG_HOME")
        base = Path(home) if home else Path.home() / ".config"
        self.path = base / "chatmotor" / "logins.json"

    def find(self, url: str | None) -> LogIn | None:
        """The log-in at *url*, or the last one."""
        known = self._read()
        url = known.get("last") if url is None else url
        entry = known.get("logins", {}).get(url)
        if url is None or entry is None:
            return None
        return LogIn(url, **{name: entry[name] for name in _ENTRY})

    def keep(self, log_in: LogIn, *, is_last: bool = True) -> None:
        """Remember it; as the last one, unless it is only a fresh token."""
        known = self._read()
        entry = {name: getattr(log_in, name) for name in _ENTRY}
        logins = known.get("logins", {}) | {log_in.url: entry}
        last = log_in.url if is_last else known.get("last")
        self._write({"last": last, "logins": logins})

    def forget(self, log_in: LogIn) -> None:
        """Remember it no more."""
        known = self._read()
        logins = known.get("logins", {})
        logins.pop(log_in.url, None)
        last = known.get("last")
        if last == log_in.url:
            last = next(iter(logins), None)
        self._write({"last": last, "logins": logins})

    def _read(self) -> dict[str, Any]:
        try:
            known = json.loads(self.path.read_text("utf-8"))
            for each in known["logins"].values():
                _ = each["username"] + each["token"], each["since"] + each["expires"]
            return {"last": known["last"], "logins": known["logins"]}
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, LookupError, TypeError, AttributeError) as failed:
            reason = getattr(failed, "strerror", None) or "it is damaged"
            fail(USAGE, f"{self.path} cannot be read: {reason}")

    def _write(self, known: dict[str, Any]) -> None:
        """Write beside the file and rename: a reader sees all of it or nothing."""
        draft = self.path.with_name(f"{self.path.name}.{os.getpid()}")
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            draft.unlink(missing_ok=True)
            descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                json.dump(known, file, indent=1)
            draft.replace(self.path)
        except OSError as failed:
            fail(USAGE, f"{self.path} cannot be written: {failed.strerror}")


def chosen_login(environment: Mapping[str, str], url: str | None) -> LogIn:
    """The log-in that a command is to use; without one it ends with 77."""
    url = url or environment.get("CM_URL")
    url = None if url is None else accepted_url(url)
    token = given_secret(environment, "CM_TOKEN")
    if token is not None:
        if url is None:
            fail(USAGE, "name the server that CM_TOKEN is for, with --url or CM_URL")
        return LogIn(url, "", token)
    kept = Logins(environment).find(url)
    if kept is None:
        at = f" at {url}" if url else ""
        fail(NOT_ALLOWED, f"nobody is logged in{at}: chatmotor login URL USERNAME")
    return kept


def accepted_url(url: str) -> str:
    """*url* without the last slash, if it can be that of a server."""
    try:
        parts = urlsplit(url)
        is_url = parts.scheme in ("http", "https") and bool(parts.hostname)
        is_bare = not parts.query and not parts.fragment and not parts.username
        _ = parts.port
    except ValueError:
        is_url = is_bare = False
    if not is_url or not is_bare:
        fail(USAGE, "a server's URL is as https://chat.example.org")
    return url.rstrip("/")


def is_in_the_clear(url: str) -> bool:
    """Whether others on the way could read what goes there."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    own = host in ("localhost", "::1") or host.startswith("127.")
    return parts.scheme == "http" and not own


def given_secret(environment: Mapping[str, str], name: str) -> str | None:
    """The variable *name*, or the content of the file that ``<name>_FILE`` names."""
    path = environment.get(f"{name}_FILE")
    if not path:
        return environment.get(name) or None
    try:
        return Path(path).read_text("utf-8").strip("\r\n")
    except (OSError, UnicodeDecodeError) as failed:
        reason = getattr(failed, "strerror", None) or "it is not text"
        fail(USAGE, f"{name}_FILE: {path} cannot be read: {reason}")

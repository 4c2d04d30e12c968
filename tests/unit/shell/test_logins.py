# SPDX-License-Identifier: Apache-2.0
"""Which server and which token a command uses."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from chatmotor.shell.exits import NOT_ALLOWED, USAGE
from chatmotor.shell.logins import (
    LogIn,
    Logins,
    accepted_url,
    chosen_login,
    given_secret,
    is_in_the_clear,
)

HERE = LogIn("https://here.example", "ann", "cm_1", 1, 5)
THERE = LogIn("https://there.example/chat", "bob", "cm_2", 2, 6)


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """With two log-ins, the second of which was the last."""
    environment = {"XDG_CONFIG_HOME": str(tmp_path)}
    Logins(environment).keep(HERE)
    Logins(environment).keep(THERE)
    return environment


def test_the_last_login_counts_or_the_one_of_the_url(
    environment: dict[str, str],
) -> None:
    """The option before the variable; a slash at the end says nothing."""
    assert THERE == chosen_login(environment, None)
    assert HERE == chosen_login(environment, "https://here.example/")
    environment["CM_URL"] = HERE.url
    assert HERE == chosen_login(environment, None)
    assert THERE == chosen_login(environment, THERE.url)


def test_a_token_is_of_the_environment_or_of_a_file(
    environment: dict[str, str], tmp_path: Path
) -> None:
    """Then it is for the URL that is named beside it, whoever is logged in there."""
    environment |= {"CM_URL": HERE.url, "CM_TOKEN": "cm_3"}
    assert LogIn(HERE.url, "", "cm_3") == chosen_login(environment, None)

    (tmp_path / "token").write_text("cm_4\n")
    environment["CM_TOKEN_FILE"] = str(tmp_path / "token")
    assert "cm_4" == chosen_login(environment, None).token


@pytest.mark.parametrize(
    ("given", "status"),
    [
        ({"CM_URL": "https://elsewhere.example"}, NOT_ALLOWED),
        ({"CM_TOKEN": "cm_3"}, USAGE),
        ({"CM_URL": "ftp://here.example"}, USAGE),
        ({"CM_URL": HERE.url, "CM_TOKEN_FILE": "/nowhere"}, USAGE),
    ],
)
def test_no_token_goes_where_it_does_not_belong(
    environment: dict[str, str],
    given: dict[str, str],
    status: int,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A sentence says why, without a token."""
    with pytest.raises(SystemExit) as ended:
        chosen_login(environment | given, None)

    said = capsys.readouterr().err
    assert status == ended.value.code
    assert said.startswith("chatmotor: ")
    assert "cm_" not in said


def test_a_fresh_token_makes_its_login_not_the_last(
    environment: dict[str, str],
) -> None:
    """Whoever sends to another server by its URL stays where they were."""
    Logins(environment).keep(replace(HERE, token="cm_8"), is_last=False)

    assert THERE == chosen_login(environment, None)
    assert "cm_8" == chosen_login(environment, HERE.url).token


def test_who_logs_out_is_forgotten(environment: dict[str, str]) -> None:
    """And whoever is left is the last one."""
    logins = Logins(environment)
    logins.forget(THERE)

    assert HERE == logins.find(None)
    assert logins.find(THERE.url) is None

    logins.forget(HERE)
    assert logins.find(None) is None


@pytest.mark.parametrize("content", ["{", "[]", '"x"', '{"logins": {"u": {}}}'])
def test_a_damaged_file_is_said_to_be_so(
    tmp_path: Path, content: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """In a sentence, with its path."""
    environment = {"XDG_CONFIG_HOME": str(tmp_path)}
    path = Logins(environment).path
    path.parent.mkdir()
    path.write_text(content)

    with pytest.raises(SystemExit) as ended:
        Logins(environment).find("u")

    assert USAGE == ended.value.code
    assert str(path) in capsys.readouterr().err


def test_what_was_kept_before_stays(environment: dict[str, str]) -> None:
    """Another log-in at the same server replaces its own only."""
    Logins(environment).keep(LogIn(HERE.url, "carol", "cm_9", 3, 9))
    kept = json.loads(Logins(environment).path.read_text())

    assert {HERE.url: "carol", THERE.url: "bob"} == {
        url: each["username"] for url, each in kept["logins"].items()
    }


@pytest.mark.parametrize(
    "url",
    [
        *("", "chat.example.org", "ftp://x", "https://", "http://x:y:z"),
        *(
            "https://u:p@x",
            "https://x/?q",
            "https://x/#f",
            "https://[x",
            "http://x:99999",
        ),
    ],
)
def test_what_is_no_url_of_a_server_is_refused(url: str) -> None:
    """Nothing is guessed."""
    with pytest.raises(SystemExit):
        accepted_url(url)


@pytest.mark.parametrize(
    ("url", "clear"),
    [
        ("http://chat.example.org", True),
        ("https://chat.example.org", False),
        ("http://127.0.0.1:8888", False),
        ("http://localhost:8888", False),
        ("http://[::1]:8888", False),
    ],
)
def test_a_password_in_the_clear_is_known_to_be_so(url: str, clear: bool) -> None:
    """On this machine nobody listens in."""
    assert clear is is_in_the_clear(url)


def test_an_empty_variable_is_none() -> None:
    """As a script has it that has lost its secret."""
    assert given_secret({"CM_TOKEN": ""}, "CM_TOKEN") is None

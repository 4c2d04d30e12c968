# SPDX-License-Identifier: Apache-2.0
"""Reading the configuration: whatever is wrong refuses to start, in one sentence."""

import json
import logging
import stat
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from chatmotor.errors import OperatorError
from chatmotor.options import Settings, options
from chatmotor.settings import (
    configure_logging,
    default_bindings,
    default_config_home,
    given_settings,
    install_secret,
    is_loopback,
    open_data_dir,
    read_settings,
)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A configuration directory whose config.py sets nothing."""
    directory = tmp_path / "configuration"
    directory.mkdir()
    (directory / "config.py").write_text("CONFIGURATION = {}\n")
    return directory


def refusal(
    home: Path,
    *,
    file: str | None = None,
    environment: Mapping[str, str] | None = None,
    overrides: Mapping[str, Any] | None = None,
) -> str:
    """The sentence that refuses this configuration."""
    if file is not None:
        (home / "config.py").write_text(file)
    with pytest.raises(OperatorError) as refused:
        read_settings(home, environment or {}, overrides)
    said = str(refused.value)
    assert "\n" not in said
    return said


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        ({"CM_TORNADO_HOST": ""}, "must name an address"),
        ({"CM_ALLOWED_ORIGINS": "example.org"}, "https://chat.example.org"),
        ({"CM_ALLOWED_ORIGINS": "https://a.example/chat"}, "is none"),
        ({"CM_INSTANT_MESSAGE_EXCHANGE_NAME": "amq.fanout"}, "RabbitMQ's own"),
        ({"CM_INSTANT_MESSAGE_EXCHANGE_NAME": "cm_nodes"}, "cm_nodes"),
        ({"CM_INSTANT_MESSAGE_EXCHANGE_NAME": "x" * 128}, "1 to 127 bytes"),
        (
            {"CM_RABBIT_PASSWORD": "a", "CM_RABBIT_PASSWORD_FILE": "/b"},
            "both set; keep one",
        ),
    ],
    ids=lambda value: str(value)[:40],
)
def test_value_that_could_never_work(
    home: Path, environment: dict[str, str], words: str
) -> None:
    """Of the right type, and still refused at start rather than met at night."""
    assert words in refusal(home, environment=environment)


# Values, and who wins.


def test_nothing_set_is_the_defaults(home: Path) -> None:
    """An empty configuration is valid."""
    assert Settings() == read_settings(home, {})


def test_sample_configuration_is_valid() -> None:
    """The first start needs no editing; guests are welcome on this machine."""
    settings = read_settings(default_config_home(), {})

    assert "true" == settings.ALLOW_GUESTS
    assert "127.0.0.1" == settings.TORNADO_HOST
    assert default_bindings().is_file()


def test_later_sources_win(home: Path) -> None:
    """Default, then config.py, then the environment, then the command line."""
    (home / "config.py").write_text(
        'CONFIGURATION = {"TORNADO_LISTEN_PORT": 1, "RABBIT_PORT": 2, "WORKERS": 3}'
    )

    settings = read_settings(
        home,
        {"CM_RABBIT_PORT": "20", "CM_WORKERS": "30"},
        {"WORKERS": 4},
    )

    assert (1, 20, 4) == (
        settings.TORNADO_LISTEN_PORT,
        settings.RABBIT_PORT,
        settings.WORKERS,
    )


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("ALLOW_GUESTS", "true", "true"),
        ("ALLOW_GUESTS", "YES", "true"),
        ("ALLOW_GUESTS", " 1 ", "true"),
        ("ALLOW_GUESTS", "Loopback", "loopback"),
        ("ALLOW_GUESTS", "false", "false"),
        ("ALLOW_GUESTS", "0", "false"),
        ("ALLOW_GUESTS", "No", "false"),
        ("ALLOW_GUESTS", "off", "false"),
        ("TORNADO_LISTEN_PORT", "0", 0),
        ("TORNADO_LISTEN_PORT", "65535", 65535),
        ("SLOW_READER_SECONDS", "2", 2.0),
        ("SLOW_READER_SECONDS", "2.5", 2.5),
        ("BROKER", "embedded", "embedded"),
        ("RABBIT_VHOST", "", ""),
        ("RABBIT_PASSWORD", " päss word ", " päss word "),
        ("ALLOWED_ORIGINS", "", []),
        ("ALLOWED_ORIGINS", "https://a, https://b,", ["https://a", "https://b"]),
        ("HTTP_SETTINGS", '{"xheaders": true}', {"xheaders": True}),
    ],
)
def test_environment_is_parsed_by_type(
    home: Path, name: str, text: str, value: object
) -> None:
    """Text, as the environment has it, becomes the option's type."""
    assert value == getattr(read_settings(home, {f"CM_{name}": text}), name)


@pytest.mark.parametrize(
    ("name", "source", "value"),
    [
        ("ALLOWED_ORIGINS", "('https://a',)", ["https://a"]),
        ("SLOW_READER_SECONDS", "2", 2.0),
        ("HTTP_SETTINGS", "{'cookie_secret': 'x'}", {"cookie_secret": "x"}),
        ("ALLOW_GUESTS", "True", "true"),
        ("ALLOW_GUESTS", "False", "false"),
    ],
)
def test_file_values_are_converted_where_nothing_is_lost(
    home: Path, name: str, source: str, value: object
) -> None:
    """A tuple is a list, a whole number is a number."""
    (home / "config.py").write_text(f"CONFIGURATION = {{{name!r}: {source}}}")
    settings = read_settings(home, {})

    assert value == getattr(settings, name)
    assert type(value) is type(getattr(settings, name))


# Refusals.


def test_unknown_option_in_the_file_is_refused_with_a_suggestion(home: Path) -> None:
    """A typing error must not silently leave the default in force."""
    said = refusal(home, file='CONFIGURATION = {"TORNADO_LISTEN_PROT": 1}')

    assert "unknown option 'TORNADO_LISTEN_PROT'" in said
    assert "did you mean TORNADO_LISTEN_PORT?" in said


def test_unknown_option_that_is_like_none_is_refused_without_one(home: Path) -> None:
    """A wrong guess would not help."""
    said = refusal(home, file='CONFIGURATION = {"FAVOURITE_COLOUR": 1}')

    assert "unknown option 'FAVOURITE_COLOUR'" in said
    assert "did you mean" not in said


def test_mistyped_variable_is_refused_with_a_suggestion(home: Path) -> None:
    """A variable with our prefix that is nearly an option is meant to be one."""
    said = refusal(home, environment={"CM_ALLOW_GUEST": "true"})

    assert "unknown option CM_ALLOW_GUEST; did you mean CM_ALLOW_GUESTS?" == said


def test_variables_of_the_commands_for_shells_are_no_options(
    home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Whoever has them set for ``chatmotor send`` can serve beside it, in silence."""
    theirs = ("CM_URL", "CM_TOKEN", "CM_TOKEN_FILE", "CM_PASSWORD_FILE")
    settings = read_settings(home, dict.fromkeys(theirs, "x"))

    assert Settings() == settings
    assert [] == caplog.messages


def test_options_of_an_application_are_checked_as_all_others() -> None:
    """By name and type; no file and no environment has a word in it."""
    assert 7 == given_settings({"SENDS_BURST": 7}).SENDS_BURST
    for wrong in ({"SEND_BURST": 7}, {"SENDS_BURST": "x"}, {"SENDS_BURST": 0}):
        with pytest.raises(OperatorError):
            given_settings(wrong)


def test_foreign_variable_with_our_prefix_is_ignored_with_a_warning(
    home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The prefix is short: another program may own it."""
    settings = read_settings(home, {"CM_FAVOURITE_COLOUR": "red", "PATH": "/bin"})

    assert Settings() == settings
    assert ["CM_FAVOURITE_COLOUR is no option; ignored"] == caplog.messages


def test_variables_that_are_no_options_are_known(
    home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """CM_CONFIG_HOME and CM_BINDINGS are read elsewhere."""
    read_settings(home, {"CM_CONFIG_HOME": "x", "CM_BINDINGS": "y"})

    assert [] == caplog.messages


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("TORNADO_LISTEN_PORT", "http"),
        ("TORNADO_LISTEN_PORT", "80.5"),
        ("TORNADO_LISTEN_PORT", ""),
        ("TORNADO_LISTEN_PORT", 80.0),
        ("TORNADO_LISTEN_PORT", True),
        ("TORNADO_LISTEN_PORT", None),
        ("TORNADO_LISTEN_PORT", [80]),
        ("ALLOW_GUESTS", "maybe"),
        ("ALLOW_GUESTS", ""),
        ("ALLOW_GUESTS", 2),
        ("ALLOW_GUESTS", None),
        ("SLOW_READER_SECONDS", "soon"),
        ("SLOW_READER_SECONDS", True),
        ("SLOW_READER_SECONDS", "nan"),
        ("SLOW_READER_SECONDS", float("nan")),
        ("SLOW_READER_SECONDS", "inf"),
        ("TORNADO_HOST", 127),
        ("TORNADO_HOST", None),
        ("BROKER", "kafka"),
        ("BROKER", ""),
        ("BROKER", None),
        ("ALLOWED_ORIGINS", {"a": 1}),
        ("ALLOWED_ORIGINS", 1),
        ("ALLOWED_ORIGINS", [1]),
        ("HTTP_SETTINGS", "{"),
        ("HTTP_SETTINGS", "[]"),
        ("HTTP_SETTINGS", []),
    ],
)
def test_value_of_another_type_is_refused_by_name(
    home: Path, name: str, value: object
) -> None:
    """The sentence names the option and says what it must be."""
    said = refusal(home, overrides={name: value})

    assert said.startswith(f"{name} must be ")


NUMBERS = [row for row in options().values() if row.minimum is not None]


@pytest.mark.parametrize("row", NUMBERS, ids=[row.name for row in NUMBERS])
def test_bounds_are_inclusive_and_enforced(home: Path, row: Any) -> None:
    """Each number is accepted at its bounds and refused beyond them."""
    for bound in (row.minimum, row.maximum):
        text = str(row.type(bound))
        settings = read_settings(home, {f"CM_{row.name}": text})
        assert row.type(bound) == getattr(settings, row.name)
    for beyond in (row.minimum - 1, row.maximum + 1):
        said = refusal(home, environment={f"CM_{row.name}": str(row.type(beyond))})
        assert said.startswith(f"{row.name} must be ")
        assert f"from {row.minimum} to {row.maximum}" in said


def test_choice_names_the_choices(home: Path) -> None:
    """Whoever chose wrongly sees what there is."""
    said = refusal(home, environment={"CM_BROKER": "kafka"})

    assert "BROKER must be one of auto, rabbitmq, embedded, and 'kafka' is not" == said


@pytest.mark.parametrize("name", ["debug", "autoreload"])
def test_debugging_of_tornado_is_refused(home: Path, name: str) -> None:
    """It would show tracebacks to clients."""
    said = refusal(home, overrides={"HTTP_SETTINGS": {name: True}})

    assert "HTTP_SETTINGS must not have debug or autoreload" in said


@pytest.mark.parametrize(
    "file",
    [
        "CONFIGURATION = {",
        "raise RuntimeError('no')",
        "import no_such_module_anywhere",
        "CONFIGURATION = 1",
        "CONFIGURATION = None",
        "x = 1",
        "CONFIGURATION = {1: 2}",
    ],
)
def test_broken_file_is_refused_by_name(home: Path, file: str) -> None:
    """The sentence says which file; no traceback."""
    assert "config.py" in refusal(home, file=file)


def test_key_error_inside_the_file_is_not_taken_for_a_missing_configuration(
    home: Path,
) -> None:
    """A missing environment variable is what config.py most often fails on."""
    said = refusal(
        home, file="import os\nCONFIGURATION = {'DATA_DIR': os.environ['NO']}"
    )

    assert "has no CONFIGURATION" not in said
    assert "NO" in said


def test_missing_file_is_refused_with_what_to_set(tmp_path: Path) -> None:
    """CM_CONFIG_HOME is the way out."""
    said = refusal(tmp_path)

    assert "there is no config.py in" in said
    assert "CM_CONFIG_HOME" in said


# Secrets from files.


@pytest.mark.parametrize("ending", ["", "\n", "\r\n"])
def test_secret_comes_from_a_file_without_its_line_break(
    home: Path, tmp_path: Path, ending: str
) -> None:
    """As container platforms mount secrets."""
    file = tmp_path / "password"
    file.write_bytes(b"p\xc3\xa4ss " + ending.encode())

    settings = read_settings(home, {"CM_RABBIT_PASSWORD_FILE": str(file)})

    assert "päss " == settings.RABBIT_PASSWORD


def test_secret_file_that_is_missing_or_binary_is_refused(
    home: Path, tmp_path: Path
) -> None:
    """The sentence names the variable and the file, not the contents."""
    binary = tmp_path / "binary"
    binary.write_bytes(b"\xff\xfe")
    for path in (tmp_path / "absent", tmp_path, binary):
        said = refusal(home, environment={"CM_RABBIT_PASSWORD_FILE": str(path)})

        assert f"CM_RABBIT_PASSWORD_FILE: {path} cannot be read" in said


def test_only_secrets_come_from_files(home: Path) -> None:
    """An option that is no secret has no _FILE."""
    said = refusal(home, environment={"CM_RABBIT_HOST_FILE": "/etc/hostname"})

    assert "unknown option CM_RABBIT_HOST_FILE" in said


def test_refused_secret_is_not_shown(home: Path) -> None:
    """The sentence is printed, and often kept."""
    said = refusal(home, overrides={"RABBIT_PASSWORD": 12345678})

    assert "12345678" not in said


# The data directory and its secrets.


def mode(path: Path) -> int:
    """The permission bits of *path*."""
    return stat.S_IMODE(path.stat().st_mode)


def test_data_directory_is_made_for_its_owner_only(tmp_path: Path) -> None:
    """Absent parents are made, too; what exists is left as it is."""
    made = open_data_dir(str(tmp_path / "a" / "b"))

    assert 0o700 == mode(made)
    assert made == open_data_dir(str(made))


def test_data_directory_below_a_file_is_refused_with_what_to_give(
    tmp_path: Path,
) -> None:
    """Root may write everywhere but there."""
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file", tmp_path / "file" / "data"):
        with pytest.raises(OperatorError) as refused:
            open_data_dir(str(path))

        assert "cannot be written" in str(refused.value)
        assert "--data-dir" in str(refused.value)


def test_secret_is_made_once_and_kept(tmp_path: Path) -> None:
    """A second start, and a second secret, leave the first as it was."""
    first = install_secret(tmp_path, "cookie_secret")
    other = install_secret(tmp_path, "other_secret")

    assert first == install_secret(tmp_path, "cookie_secret")
    assert other != first
    assert 43 == len(first)
    assert 0o600 == mode(tmp_path / "secrets.json")
    assert {"cookie_secret", "other_secret"} == set(
        json.loads((tmp_path / "secrets.json").read_text())
    )
    assert {"secrets.json", "secrets.lock"} == {
        path.name for path in tmp_path.iterdir()
    }


def test_starts_at_once_agree_on_one_secret(tmp_path: Path) -> None:
    """Two nodes on one directory must not log each other's users out."""
    with ThreadPoolExecutor(8) as pool:
        made = set(pool.map(lambda _: install_secret(tmp_path, "s"), range(32)))

    assert 1 == len(made)


def test_draft_of_a_start_that_was_killed_does_not_stand_in_the_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a container every start has the same process id."""
    monkeypatch.setattr("os.getpid", lambda: 1)
    (tmp_path / "secrets.1.new").write_text('{"s')

    assert install_secret(tmp_path, "s") == install_secret(tmp_path, "s")


@pytest.mark.parametrize(
    "damage", ["", "{", "[]", "null", '"text"', '{"cookie_secret": ', "\udcff"]
)
def test_damaged_secrets_are_refused_and_left_alone(
    tmp_path: Path, damage: str
) -> None:
    """New secrets would log everyone out; that is for the operator to decide."""
    path = tmp_path / "secrets.json"
    path.write_bytes(damage.encode("utf-8", "surrogateescape"))
    before = path.read_bytes()

    with pytest.raises(OperatorError) as refused:
        install_secret(tmp_path, "cookie_secret")

    assert f"{path} is damaged" in str(refused.value)
    assert before == path.read_bytes()


def test_secrets_that_cannot_be_written_are_refused(tmp_path: Path) -> None:
    """The same sentence as for the directory itself."""
    (tmp_path / "file").write_text("")

    with pytest.raises(OperatorError) as refused:
        install_secret(tmp_path / "file", "cookie_secret")

    assert "cannot be written" in str(refused.value)


# Addresses.


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("::", False),
        ("192.0.2.1", False),
        ("no such host", False),
    ],
)
def test_loopback_is_this_machine_alone(host: str, *, expected: bool) -> None:
    """What others may reach, or what nobody knows, is not."""
    assert expected is is_loopback(host)


# Logging.


def test_logging_needs_its_file(tmp_path: Path) -> None:
    """The sentence says where it was looked for."""
    with pytest.raises(OperatorError) as refused:
        configure_logging(tmp_path)

    assert f"there is no logging.cfg in {tmp_path}" in str(refused.value)


def test_broken_logging_is_refused(tmp_path: Path) -> None:
    """The sentence names the file."""
    (tmp_path / "logging.cfg").write_text("[loggers]\nkeys=root\n")
    handlers = list(logging.getLogger().handlers)
    try:
        with pytest.raises(OperatorError) as refused:
            configure_logging(tmp_path)
    finally:
        logging.getLogger().handlers[:] = handlers

    assert "logging.cfg cannot be used" in str(refused.value)

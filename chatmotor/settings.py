# SPDX-License-Identifier: Apache-2.0
"""Reads the configuration: the directory, the environment, the data directory.

    CM_CONFIG_HOME/config.py    CONFIGURATION = {"TORNADO_LISTEN_PORT": 8888, …}
    CM_CONFIG_HOME/logging.cfg  logging.config.fileConfig
    DATA_DIR/secrets.json       generated at the first start, mode 0600

Nothing here is optional to be right: an unknown or ill-typed option refuses to
start, in one sentence that names it.
"""

import difflib
import fcntl
import ipaddress
import json
import logging.config
import os
import runpy
import secrets
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from chatmotor.errors import OperatorError
from chatmotor.options import Option, Settings, options

# Variables with our prefix that are no options: of the start, and of shells.
_OTHER_VARIABLES = frozenset(
    {
        *("CM_CONFIG_HOME", "CM_BINDINGS"),
        *("CM_URL", "CM_TOKEN", "CM_TOKEN_FILE", "CM_PASSWORD_FILE"),
    }
)
_TRUE = frozenset({"1", "true", "yes", "on"})
_FALSE = frozenset({"0", "false", "no", "off"})


def default_config_home() -> Path:
    """The sample configuration: in the package, or beside it in a checkout."""
    package = Path(__file__).resolve().parent
    packaged = package / "configuration"
    return packaged if packaged.is_dir() else package.parent / "configuration"


def default_bindings() -> Path:
    """The bindings that fit the sample configuration."""
    return Path(__file__).resolve().parent / "bindings.py"


def read_settings(
    config_home: Path,
    environment: Mapping[str, str],
    overrides: Mapping[str, Any] | None = None,
) -> Settings:
    """
    The values in force, each checked against its row of the table.

    Args:
        overrides: From the command line, by option name; these win.

    Raises:
        OperatorError: A file is missing or broken, an option is unknown, or a
            value has the wrong type or is out of bounds.
    """
    table = options()
    values = _read_config_file(config_home)
    _refuse_unknown(values, table, f"config.py in {config_home}")
    values |= _read_environment(environment, table)
    values |= overrides or {}
    return _checked(values, table)


def given_settings(values: Mapping[str, Any]) -> Settings:
    """
    The options of a node within another program, which gives them by name; neither a
    file nor the environment is read.

    Raises:
        OperatorError: As for ``read_settings``.
    """
    table = options()
    _refuse_unknown(values, table, "the options")
    return _checked(values, table)


def _refuse_unknown(
    values: Mapping[str, Any], table: Mapping[str, Option], where: str
) -> None:
    for name in values:
        if name not in table:
            suggestion = _suggestion(str(name), table)
            raise OperatorError(f"{where}: unknown option {name!r}{suggestion}")


def _checked(values: Mapping[str, Any], table: Mapping[str, Option]) -> Settings:
    return Settings(**{name: _check(table[name], values[name]) for name in values})


def configure_logging(config_home: Path) -> None:
    """
    Set logging up from ``logging.cfg``.

    Raises:
        OperatorError: The file is missing or broken.
    """
    path = config_home / "logging.cfg"
    if not path.is_file():
        raise OperatorError(
            f"there is no logging.cfg in {config_home}; set CM_CONFIG_HOME to the "
            "directory that has it"
        )
    try:
        logging.config.fileConfig(path, disable_existing_loggers=False)
    except Exception as broken:
        raise OperatorError(f"{path} cannot be used: {broken}") from broken
    # Chatmotor says in one line what pika says in many, with tracebacks; a
    # logging.cfg that names pika hears it all.
    pika_logger = logging.getLogger("pika")
    if pika_logger.level == logging.NOTSET:
        pika_logger.setLevel(logging.CRITICAL)


def is_loopback(host: str) -> bool:
    """Whether every address of *host* is one of this machine alone."""
    try:
        found = socket.getaddrinfo(host, None)
    except OSError:
        return False
    addresses = [ipaddress.ip_address(str(each[4][0]).split("%")[0]) for each in found]
    return all(address.is_loopback for address in addresses)


def open_data_dir(data_dir: str) -> Path:
    """
    The directory of this installation's files, created when absent.

    Raises:
        OperatorError: It cannot be created or written to.
    """
    path = Path(data_dir).expanduser().resolve()
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as failed:
        raise _unwritable(path, failed) from None
    if not os.access(path, os.W_OK | os.X_OK):
        raise _unwritable(path, "not writable")
    return path


def install_secret(data_dir: Path, name: str) -> str:
    """
    This installation's secret *name*: 256 random bits, made on first use.

    Kept in ``secrets.json``, which only its owner can read.  Two processes that
    start at once agree on one value.

    Raises:
        OperatorError: The file cannot be written or is damaged.
    """
    path = data_dir / "secrets.json"
    try:
        with (data_dir / "secrets.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            known = _read_secrets(path)
            if name not in known:
                known[name] = secrets.token_urlsafe(32)
                _write_secrets(path, known)
    except OSError as failed:
        raise _unwritable(data_dir, failed) from None
    return known[name]


def _read_secrets(path: Path) -> dict[str, str]:
    try:
        known = json.loads(path.read_text("utf-8"))
        return {str(name): str(value) for name, value in known.items()}
    except FileNotFoundError:
        return {}
    except (ValueError, AttributeError):
        raise OperatorError(
            f"{path} is damaged; restore it from a backup, or delete it to have "
            "new secrets made (everyone is then logged out)"
        ) from None


def _write_secrets(path: Path, known: dict[str, str]) -> None:
    """Write beside the file and rename: a reader sees all of it or nothing."""
    draft = path.with_suffix(f".{os.getpid()}.new")
    draft.unlink(missing_ok=True)  # of a start that was killed; we hold the lock
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        json.dump(known, file, indent=1)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)


def _unwritable(path: Path, why: object) -> OperatorError:
    reason = getattr(why, "strerror", None) or why
    return OperatorError(
        f"the data directory {path} cannot be written ({reason}); give one that "
        "can with --data-dir or CM_DATA_DIR"
    )


def _read_config_file(config_home: Path) -> dict[str, Any]:
    path = config_home / "config.py"
    if not path.is_file():
        raise OperatorError(
            f"there is no config.py in {config_home}; set CM_CONFIG_HOME to the "
            "directory that has it"
        )
    try:
        found = runpy.run_path(str(path))
        if "CONFIGURATION" in found:
            return dict(found["CONFIGURATION"])
    except Exception as broken:
        raise OperatorError(
            f"{path} cannot be read: {type(broken).__name__}: {broken}"
        ) from broken
    raise OperatorError(f"{path} has no CONFIGURATION = {{…}}")


def _read_environment(
    environment: Mapping[str, str], table: Mapping[str, Option]
) -> dict[str, str]:
    values: dict[str, str] = {}
    for variable, value in environment.items():
        if not variable.startswith("CM_") or variable in _OTHER_VARIABLES:
            continue
        name = variable.removeprefix("CM_")
        if name in table:
            values[name] = value
            continue
        named = table.get(name.removesuffix("_FILE"))
        if named is not None and named.secret:
            if f"CM_{named.name}" in environment:
                raise OperatorError(
                    f"CM_{named.name} and {variable} are both set; keep one"
                )
            values[named.name] = _read_secret_file(variable, value)
        elif suggestion := _suggestion(name, table, prefix="CM_"):
            raise OperatorError(f"unknown option {variable}{suggestion}")
        else:  # the prefix is short: another program may own it
            logging.getLogger(__name__).warning("%s is no option; ignored", variable)
    return values


def _read_secret_file(variable: str, path: str) -> str:
    try:
        return Path(path).read_text("utf-8").rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as failed:
        reason = getattr(failed, "strerror", None) or "not text"
        raise OperatorError(f"{variable}: {path} cannot be read ({reason})") from None


def _suggestion(name: str, table: Mapping[str, Option], prefix: str = "") -> str:
    near = difflib.get_close_matches(name.upper(), table, n=1, cutoff=0.75)
    return f"; did you mean {prefix}{near[0]}?" if near else ""


def _check(row: Option, value: Any) -> Any:
    """*value* as *row* wants it; text, as the environment has it, is parsed."""
    try:
        parsed = _parse(row.type, _as_word(row, value))
    except ValueError:
        shown = "the given value" if row.secret else repr(value)
        raise OperatorError(
            f"{row.name} must be {_kind(row)}, and {shown} is not"
        ) from None
    # Said this way round, NaN is both.
    too_small = row.minimum is not None and not parsed >= row.minimum
    too_large = row.maximum is not None and not parsed <= row.maximum
    if too_small or too_large or (row.choices and parsed not in row.choices):
        raise OperatorError(f"{row.name} must be {_kind(row)}, and {value!r} is not")
    if row.name == "TORNADO_HOST" and not parsed:
        raise OperatorError("TORNADO_HOST must name an address, as 127.0.0.1")
    if row.name == "INSTANT_MESSAGE_EXCHANGE_NAME" and not _is_exchange(parsed):
        raise OperatorError(
            "INSTANT_MESSAGE_EXCHANGE_NAME must have 1 to 127 bytes and be neither "
            f"cm_nodes nor one of RabbitMQ's own (amq.…), and {parsed!r} is not"
        )
    if row.name == "ALLOWED_ORIGINS":
        for origin in parsed:
            _check_origin(origin)
    if row.name == "HTTP_SETTINGS" and {"debug", "autoreload"} & parsed.keys():
        raise OperatorError(
            "HTTP_SETTINGS must not have debug or autoreload: they show tracebacks "
            "to clients"
        )
    return parsed


def _is_exchange(name: str) -> bool:
    reserved = name.startswith("amq.") or name == "cm_nodes"
    return 1 <= len(name.encode()) <= 127 and not reserved


def _check_origin(origin: str) -> None:
    parts = urlsplit(origin)
    if not parts.netloc or origin != f"{parts.scheme}://{parts.netloc}":
        raise OperatorError(
            "ALLOWED_ORIGINS must have origins as https://chat.example.org, and "
            f"{origin!r} is none"
        )


def _as_word(row: Option, value: Any) -> Any:
    """True, yes and 1 are ``true`` for an option that chooses between such words."""
    if "true" not in row.choices:
        return value
    word = str(value).strip().lower()
    return "true" if word in _TRUE else "false" if word in _FALSE else word


def _parse(kind: type, value: Any) -> Any:  # one branch per type
    if isinstance(value, bool):
        raise ValueError
    if kind is float and isinstance(value, int | str):
        return float(value)
    if kind is int and isinstance(value, str):
        return int(value)
    if kind is list and isinstance(value, str):
        return [part.strip() for part in value.split(",") if part.strip()]
    if kind is dict and isinstance(value, str):
        value = json.loads(value)
    if kind is list and isinstance(value, tuple):
        value = list(value)
    if not isinstance(value, kind):
        raise ValueError
    if isinstance(value, list) and not all(isinstance(part, str) for part in value):
        raise ValueError
    return value


def _kind(row: Option) -> str:
    if row.choices:
        return "one of " + ", ".join(row.choices)
    words = {
        int: "a whole number",
        float: "a number",
        str: "text",
        list: "a list, in the environment separated by commas",
        dict: "a dictionary, in the environment as JSON",
    }
    bounds = (
        f" from {row.minimum} to {row.maximum}"
        if row.minimum is not None and row.maximum is not None
        else ""
    )
    return words[row.type] + bounds

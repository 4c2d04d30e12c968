# SPDX-License-Identifier: Apache-2.0
"""Every option of Chatmotor: one row each, and nowhere else.

A row is a field of ``Settings``: its name, type and default, and beside them the
unit, the bounds, what it does and why it is so.  The reference page
(docs/reference/options.md) and the checks of ``settings.py`` come from here.

Values come, the last one winning, from the default, from ``config.py`` in the
directory ``CM_CONFIG_HOME``, from the environment (``CM_<NAME>``; for secrets also
``CM_<NAME>_FILE``, a file that holds the value), and from the command line.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import Any

KIB = 1024
MIB = 1024 * KIB


@dataclass(frozen=True, slots=True)
class Option:
    """One row of the table; ``type`` is int, float, str, list or dict."""

    name: str
    type: type
    default: Any
    unit: str
    minimum: float | None
    maximum: float | None
    choices: Sequence[str]
    secret: bool
    doc: str
    why: str


def _option(
    default: Any,
    doc: str,
    *,
    why: str,
    unit: str = "",
    minimum: float | None = None,
    maximum: float | None = None,
    choices: Sequence[str] = (),
    secret: bool = False,
) -> Any:
    row = {
        "unit": unit,
        "minimum": minimum,
        "maximum": maximum,
        "choices": choices,
        "secret": secret,
        "doc": doc,
        "why": why,
    }
    if isinstance(default, list | dict):
        return field(
            default_factory=default.copy, metadata=row, repr=not secret, kw_only=True
        )
    return field(default=default, metadata=row, repr=not secret, kw_only=True)


@dataclass(frozen=True)
class Settings:
    """The values that are in force.  Build it with ``settings.read_settings``."""

    TORNADO_HOST: str = _option(
        "127.0.0.1",
        "The address to listen on. Several addresses: one with a name that has them.",
        why="Only this machine, until the operator decides otherwise.",
    )
    TORNADO_LISTEN_PORT: int = _option(
        8888,
        "The port of the WebSocket API and the web page. 0 takes a free one.",
        why="The port of the first Chatmotor.",
        unit="port",
        minimum=0,
        maximum=65535,
    )
    ADMIN_LISTEN_PORT: int = _option(
        0,
        "The port of /metrics, on 127.0.0.1 only. 0 takes the first free one from "
        "8889 on. Each worker has its own: this port and the next ones.",
        why="Metrics never share the public port; two nodes on one machine start "
        "without settings.",
        unit="port",
        minimum=0,
        maximum=65535,
    )
    WORKERS: int = _option(
        1,
        "Processes that share the port. More than one needs RabbitMQ.",
        why="A Python process uses one core.",
        unit="processes",
        minimum=1,
        maximum=64,
    )
    DATA_DIR: str = _option(
        "data",
        "The directory of this installation's own files: its generated secrets. "
        "Created with mode 0700 when absent.",
        why="A secret is never a constant in a repository.",
        unit="path",
    )
    HTTP_SETTINGS: dict[str, Any] = _option(
        {},
        "Further settings of tornado.web.Application. `cookie_secret` is generated "
        "when absent; `debug` and `autoreload` are refused.",
        why="Kept from the first Chatmotor.",
    )
    BROKER: str = _option(
        "auto",
        "`rabbitmq`: always RabbitMQ, connecting until it answers. `embedded`: this "
        "process only. `auto`: RabbitMQ when one answers at start, else embedded.",
        why="RabbitMQ is the engine; without one the first start still works.",
        choices=("auto", "rabbitmq", "embedded"),
    )
    RABBIT_HOST: str = _option(
        "127.0.0.1", "Where RabbitMQ is.", why="A broker beside Chatmotor."
    )
    RABBIT_PORT: int = _option(
        5672,
        "RabbitMQ's AMQP port.",
        why="RabbitMQ's default.",
        unit="port",
        minimum=1,
        maximum=65535,
    )
    RABBIT_VHOST: str = _option(
        "/",
        "The virtual host. Give Chatmotor one of its own (README, RabbitMQ).",
        why="RabbitMQ's default.",
    )
    RABBIT_USERID: str = _option(
        "guest",
        "The RabbitMQ user.",
        why="RabbitMQ's default, which RabbitMQ itself allows on loopback only.",
    )
    RABBIT_PASSWORD: str = _option(
        "guest", "The RabbitMQ user's password.", why="As above.", secret=True
    )
    RABBIT_HEARTBEAT_SECONDS: int = _option(
        10,
        "A RabbitMQ that is silent for about twice this long counts as lost.",
        why="Shorter costs traffic and false alarms, longer delays the switch.",
        unit="seconds",
        minimum=2,
        maximum=600,
    )
    RABBIT_RECONNECT_MAX_SECONDS: float = _option(
        1.5,
        "The longest pause between two attempts to reach RabbitMQ, and the time a "
        "returning node gives the others before it publishes what it held.",
        why="Traffic between nodes flows again within 5 s of RabbitMQ's return.",
        unit="seconds",
        minimum=0.1,
        maximum=60,
    )
    INSTANT_MESSAGE_EXCHANGE_NAME: str = _option(
        "im_exchange",
        "The direct exchange of the users' messages.",
        why="Foreign AMQP programs know it by this name.",
    )
    AMQP_API: str = _option(
        "on",
        "`on`: with RabbitMQ, whoever may write to the exchange `cm.in` there can act "
        "as the account with the name of its RabbitMQ user, and hooks can have queues "
        "there. `off`: neither.",
        why="Nobody may write to it whom RabbitMQ's administrator has not allowed to.",
        choices=("on", "off"),
    )
    STORE: str = _option(
        "sqlite",
        "`sqlite`: a file in DATA_DIR, for one process. `postgres`: the database of "
        "POSTGRES_DSN, for any number of nodes; needs the extra `postgres`.",
        why="Nothing to install, and every promise holds.",
        choices=("sqlite", "postgres"),
    )
    POSTGRES_DSN: str = _option(
        "",
        "Where PostgreSQL is: `postgresql://user:password@host:port/database`.",
        why="It has a password, and no default could be right.",
        secret=True,
    )
    SIGN_UP: str = _option(
        "open",
        "Who may make an account: `open`, anyone; `invite`, whoever has an invitation "
        "link; `closed`, nobody but the operator and the server API key.",
        why="The first start needs no administrator to try it.",
        choices=("open", "invite", "closed"),
    )
    PUBLIC_URL: str = _option(
        "",
        "How people reach this installation, as `https://chat.example.org`; it begins "
        "the links that Chatmotor prints. Empty: the address it listens on.",
        why="Behind a proxy only the operator knows it.",
        unit="URL",
    )
    TOKEN_DAYS: float = _option(
        30.0,
        "How long a token is good after log-in or renewal.",
        why="A lost device does not stay logged in for ever.",
        unit="days",
        minimum=0.00001,
        maximum=3650,
    )
    LOGIN_ATTEMPTS: int = _option(
        10,
        "Log-ins with a wrong password for one account in 15 minutes, on all nodes "
        "together; then further ones wait, but for addresses that the account has "
        "logged in from before.",
        why="Guessing a password takes for ever; who mistypes it does not notice.",
        unit="attempts",
        minimum=1,
        maximum=1_000_000,
    )
    ADDRESS_ATTEMPTS: int = _option(
        1000,
        "Log-ins, sign-ups and uses of links from one address (of IPv6: one /64) in an "
        "hour, on all nodes together.",
        why="An office behind one address gets in; guessing is bounded by account.",
        unit="attempts",
        minimum=1,
        maximum=1_000_000,
    )
    TRUSTED_PROXIES: list[str] = _option(
        [],
        "Addresses or networks of reverse proxies whose `X-Forwarded-For` is believed, "
        "as `127.0.0.1` or `10.0.0.0/8`.",
        why="Anyone can write this header; only your proxy writes the truth.",
        unit="networks",
    )
    SERVER_API_KEY: str = _option(
        "",
        "A key of at least 32 characters with which a backend of yours may create "
        "accounts and act for them. Empty: there is none.",
        why="An application that embeds chat has users of its own.",
        secret=True,
    )
    JWT_SECRET: str = _option(
        "",
        "Accept JSON web tokens of a host application, signed with this secret "
        "(HS256), in place of the own log-in. At least 32 characters.",
        why="An installation that belongs to an application has its users.",
        secret=True,
    )
    JWT_JWKS: str = _option(
        "",
        "Accept JSON web tokens that are signed with a key (RS256, ES256) of this key "
        "set, in place of the own log-in: an https URL, or a file. Needs the extra "
        "`jwt`.",
        why="The usual way of identity providers.",
        unit="URL or path",
    )
    JWT_ISSUER: str = _option(
        "", "The `iss` that a JSON web token must have. Empty: any.", why="As above."
    )
    JWT_AUDIENCE: str = _option(
        "",
        "The `aud` that a JSON web token must have. Empty: it must have none.",
        why="A token for another service is not one for this.",
    )
    JWT_USERNAME_CLAIM: str = _option(
        "sub", "The claim that is the username.", why="What RFC 7519 says it is for."
    )
    ALLOW_GUESTS: str = _option(
        "loopback",
        "Whether a username without an account may connect: `true`, `false`, or "
        "`loopback`, that is, only while the node listens on this machine alone. "
        "Whoever asks for a guest's name gets it, so say `true` only where everyone "
        "may be anyone.",
        why="A configuration of the first Chatmotor, which does not have it, works as "
        "before on its own machine, and is not open to the world on another address.",
        choices=("true", "false", "loopback"),
    )
    ALLOWED_ORIGINS: list[str] = _option(
        [],
        "Origins of web pages, besides Chatmotor's own, that may open WebSockets, "
        "each as `https://chat.example.org`. Programs send no origin and may.",
        why="A page of another site must not act in its visitor's name.",
        unit="origins",
    )
    FRAME_MAX_BYTES: int = _option(
        64 * KIB,
        "The longest message, in one frame or in fragments. Over it: close 1009.",
        why="A conversation needs no more; memory per connection stays bounded.",
        unit="bytes",
        minimum=KIB,
        maximum=16 * MIB,
    )
    BODY_MAX_BYTES: int = _option(
        32 * KIB,
        "The longest `body` or `raw` of a v1 message, in UTF-8. Over it: `too_large`.",
        why="It leaves room in a frame for the rest of the command.",
        unit="bytes",
        minimum=KIB,
        maximum=8 * MIB,
    )
    WINDOW_MAX_EVENTS: int = _option(
        256,
        "Events that may be sent to a v1 session and not yet be acknowledged, unless "
        "it asks for less.",
        why="At a round trip of 100 ms, 2,500 events/s; the rest waits in the store.",
        unit="events",
        minimum=1,
        maximum=1024,
    )
    WINDOW_MAX_BYTES: int = _option(
        256 * KIB,
        "The same in bytes.",
        why="10,000 sessions that do not read hold at most 2.5 GiB, for 15 s.",
        unit="bytes",
        minimum=16 * KIB,
        maximum=64 * MIB,
    )
    COMMANDS_IN_FLIGHT: int = _option(
        32,
        "Commands of one v1 session that may be under way; then its reading waits.",
        why="Enough to fill a group commit, too few to fill the memory.",
        unit="commands",
        minimum=1,
        maximum=4096,
    )
    SENDS_PER_SECOND: float = _option(
        20.0,
        "Messages an account may send per second, on one node. Over it: "
        "`rate_limited`.",
        why="Faster than anyone types; bots get along with it.",
        unit="messages per second",
        minimum=0.1,
        maximum=1_000_000,
    )
    SENDS_BURST: int = _option(
        40,
        "Messages an account may send at once, after a pause.",
        why="A queue that was written offline leaves at once.",
        unit="messages",
        minimum=1,
        maximum=1_000_000,
    )
    GUEST_SENDS_PER_SECOND: float = _option(
        5.0,
        "Classic texts for accounts that a guest may send per second, on one node, "
        "after a burst of twice as many. Over it the guest is read more slowly.",
        why="They are stored, and nobody answers for them.",
        unit="messages per second",
        minimum=0.1,
        maximum=1_000_000,
    )
    LOOKUPS_PER_MINUTE: float = _option(
        120.0,
        "`user.get` and `user.find` of an account per minute, on one node.",
        why="Nobody needs more to chat, and to list all names takes for ever.",
        unit="lookups per minute",
        minimum=1,
        maximum=1_000_000,
    )
    MEMBERS_MAX: int = _option(
        10_000,
        "Members of a group.",
        why="A message is one row for all of them; a change of members is not.",
        unit="members",
        minimum=2,
        maximum=100_000,
    )
    DEVICES_MAX: int = _option(
        50,
        "Devices of an account. Over it: `too_many_devices`.",
        why="More are forgotten ones.",
        unit="devices",
        minimum=1,
        maximum=10_000,
    )
    SOCKETS_MAX: int = _option(
        20,
        "Open connections of an account, on one node.",
        why="Tabs and devices of a person, and no more.",
        unit="connections",
        minimum=1,
        maximum=100_000,
    )
    WATCH_MAX: int = _option(
        5000,
        "Accounts that a v1 session may watch. Over it: `quota_exceeded`.",
        why="More contacts than anyone has; each costs some hundred bytes.",
        unit="accounts",
        minimum=1,
        maximum=1_000_000,
    )
    PRESENCE_GRACE_SECONDS: float = _option(
        12.0,
        "Until an account without a session is `offline`. The same on all nodes.",
        why="Who changes the network, or reconnects, was not away.",
        unit="seconds",
        minimum=0.2,
        maximum=600,
    )
    HELLO_SECONDS: float = _option(
        10.0,
        "A v1 session that has not said `hello` by then is closed with 4501.",
        why="Whoever is nobody holds a socket no longer.",
        unit="seconds",
        minimum=0.2,
        maximum=600,
    )
    MAILBOX_DAYS: float = _option(
        30.0,
        "How long events are kept in mailboxes. A device that was away for longer "
        "begins with `sync`; messages and group logs are kept.",
        why="Who comes back after a month wants the present, not each step.",
        unit="days",
        minimum=0.0001,
        maximum=36500,
    )
    POSITION_CHECK_SECONDS: float = _option(
        30.0,
        "How often a node asks the store whether it has missed something (and a fifth "
        "more or less).",
        why="What RabbitMQ loses is made good, and a revocation holds, in a minute.",
        unit="seconds",
        minimum=0.2,
        maximum=600,
    )
    CONNECTION_BUFFER_MAX_BYTES: int = _option(
        256 * KIB,
        "Unsent bytes a connection may have before its messages wait at the broker.",
        why="A burst fits. A client that does not read may take it twice, here and in "
        "the transport, until SLOW_READER_SECONDS have passed.",
        unit="bytes",
        minimum=16 * KIB,
        maximum=64 * MIB,
    )
    QUEUE_MAX_BYTES: int = _option(
        32 * MIB,
        "What may wait at the broker for one client that reads slowly; in the memory "
        "of a node, for all of them together, four times as much. Then new messages "
        "for it are dropped and counted (`queue_full`).",
        why="A burst fits, and clients that do not read cannot fill a node's memory.",
        unit="bytes",
        minimum=MIB,
        maximum=1024 * MIB,
    )
    OUTBOX_MAX_BYTES: int = _option(
        16 * MIB,
        "Messages a node holds that RabbitMQ has not confirmed. Over it, senders "
        "are read more slowly; while RabbitMQ is away, the oldest are dropped and "
        "counted (`outbox_full`).",
        why="Some seconds of traffic, in bounded memory.",
        unit="bytes",
        minimum=MIB,
        maximum=1024 * MIB,
    )
    SLOW_READER_SECONDS: float = _option(
        15.0,
        "A client that reads nothing for this long, with its buffer full, is closed "
        "with 4002.",
        why="Long enough for a tunnel, short enough for a dead phone.",
        unit="seconds",
        minimum=0.5,
        maximum=600,
    )
    HEARTBEAT_SECONDS: float = _option(
        25.0,
        "A client that was silent for this long gets a WebSocket ping.",
        why="Below the 30 s after which common proxies drop idle connections.",
        unit="seconds",
        minimum=0.5,
        maximum=600,
    )
    HEARTBEAT_GRACE_SECONDS: float = _option(
        10.0,
        "The time to answer that ping; then the connection is closed with 4004.",
        why="A slow mobile network answers within it.",
        unit="seconds",
        minimum=0.2,
        maximum=600,
    )
    DRAIN_SECONDS: float = _option(
        10.0,
        "After SIGTERM: the time to hand over what was accepted and to close.",
        why="Half of what container platforms allow before they kill.",
        unit="seconds",
        minimum=4,
        maximum=600,
    )


def options() -> dict[str, Option]:
    """The table: every row by its name, in the order of the reference page."""
    empty = Settings()
    return {
        row.name: Option(
            name=row.name,
            type=type(getattr(empty, row.name)),
            default=getattr(empty, row.name),
            **row.metadata,
        )
        for row in fields(Settings)
    }

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

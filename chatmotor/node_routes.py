# SPDX-License-Identifier: Apache-2.0
"""What a node answers to requests, as Tornado applications.

``public_application`` is for everyone, ``admin_application`` for this machine alone.
Both need a node that has started.
"""

import re
from collections.abc import Sequence
from typing import Any

import tornado.web

from chatmotor.controllers.accounts import account_routes
from chatmotor.controllers.base import NotFoundController, log_request
from chatmotor.controllers.health import HealthController, ReadinessController
from chatmotor.controllers.home import HomeController
from chatmotor.controllers.hooks import hook_routes
from chatmotor.controllers.incoming import incoming_routes
from chatmotor.controllers.instant_message_websockets import (
    FrontDoor,
    InstantMessageWebSocketController,
)
from chatmotor.controllers.metrics import MetricsController, registry
from chatmotor.controllers.rpc import RpcController
from chatmotor.node.greeting import Greeter, V1Limits
from chatmotor.node.v1_connection import V1Connection
from chatmotor.node_life import Node
from chatmotor.options import Settings
from chatmotor.settings import install_secret, open_data_dir

# Of Tornado's HTTPServer.
HTTP_LIMITS: dict[str, Any] = {
    "max_header_size": 16 * 1024,
    "max_body_size": 64 * 1024,
    "max_buffer_size": 128 * 1024,
    "idle_connection_timeout": 10.0,  # also the time to send a request's headers
    "body_timeout": 10.0,
}


def public_application(node: Node) -> tornado.web.Application:
    """The API and the pages."""
    return embedded_application(node, "", pages=[(r"/", HomeController)])


def embedded_application(
    node: Node, prefix: str, *, pages: Sequence[tuple[Any, ...]] = ()
) -> tornado.web.Application:
    """
    The API.

    Args:
        prefix: What stands before each path, as ``/chat``.
        pages: Routes beside it.
    """
    routes = [
        (re.escape(prefix) + path, *rest)
        for path, *rest in (*pages, *_public_routes(node))
    ]
    data_dir = open_data_dir(node.settings.DATA_DIR)
    cookie_secret = install_secret(data_dir, "cookie_secret")
    return _application(node, routes, cookie_secret=cookie_secret)


def admin_application(node: Node, prefix: str = "") -> tornado.web.Application:
    """The metrics."""
    collected = registry(node.metrics, node.broker)
    path = re.escape(prefix) + "/metrics"
    return _application(node, [(path, MetricsController, {"registry": collected})])


def _application(
    node: Node, routes: list[Any], **given: Any
) -> tornado.web.Application:
    chosen: dict[str, Any] = {
        "default_handler_class": NotFoundController,
        "log_function": log_request,
    }
    chosen |= given | node.settings.HTTP_SETTINGS
    return tornado.web.Application(routes, **chosen)


def _public_routes(node: Node) -> list[Any]:
    door = {"door": _front_door(node)}
    return [
        (r"/im/(.*)", InstantMessageWebSocketController, door),
        (r"/v1/ws", InstantMessageWebSocketController, door),
        (
            r"/v1/rpc/(.*)",
            RpcController,
            {
                "edge": node.edge,
                "accounts": node.accounts,
                "dispatcher": node.dispatcher,
                "in_flight": node.in_flight,
                "hub": node.hub,
                "metrics": node.metrics,
            },
        ),
        *account_routes(node.accounts, node.administration, node.edge),
        *hook_routes(node.hooks, node.accounts, node.administration, node.edge),
        *incoming_routes(
            edge=node.edge,
            incoming=node.incoming,
            dispatcher=node.dispatcher,
            in_flight=node.in_flight,
            hub=node.hub,
            metrics=node.metrics,
        ),
        (r"/healthz", HealthController),
        (
            r"/readyz",
            ReadinessController,
            {"hub": node.hub, "broker": node.broker, "store": node.store},
        ),
    ]


def _front_door(node: Node) -> FrontDoor:
    limits = _v1_limits(node.settings)
    greeter = Greeter(node.store, node.roster, node.accounts.authenticate, limits)

    def v1(given: str | None) -> V1Connection:
        return V1Connection(
            node.hub,
            store=node.store,
            dispatcher=node.dispatcher,
            greeter=greeter,
            roster=node.roster,
            limits=limits,
            given=given,
        )

    return FrontDoor(
        hub=node.hub,
        messenger=node.messenger,
        roster=node.roster,
        authenticate=node.accounts.authenticate,
        v1=v1,
        allowed_origins=node.edge.allowed_origins,
        sockets_max=node.settings.SOCKETS_MAX,
    )


def _v1_limits(settings: Settings) -> V1Limits:
    return V1Limits(
        window_max_events=settings.WINDOW_MAX_EVENTS,
        window_max_bytes=settings.WINDOW_MAX_BYTES,
        commands_in_flight=settings.COMMANDS_IN_FLIGHT,
        sockets_max=settings.SOCKETS_MAX,
        hello_seconds=settings.HELLO_SECONDS,
        window_seconds=settings.SLOW_READER_SECONDS,
        heartbeat_seconds=settings.HEARTBEAT_SECONDS,
        announced={
            "frame_bytes": settings.FRAME_MAX_BYTES,
            "body_bytes": settings.BODY_MAX_BYTES,
            "in_flight": settings.COMMANDS_IN_FLIGHT,
            "sends_per_second": _plain(settings.SENDS_PER_SECOND),
            "sends_burst": settings.SENDS_BURST,
            "members": settings.MEMBERS_MAX,
            "devices": settings.DEVICES_MAX,
            "sockets": settings.SOCKETS_MAX,
            "watch": settings.WATCH_MAX,
            "mailbox_days": _plain(settings.MAILBOX_DAYS),
        },
    )


def _plain(number: float) -> float:
    """Without a fraction that says nothing."""
    return int(number) if number == int(number) else number

# SPDX-License-Identifier: Apache-2.0
"""The default bindings: every part of a node, and how it is built.

The broker is the one that ``BROKER`` decides.  The string keys are those of the
first Chatmotor; they answer with today's parts.
"""

import os
import secrets
import socket
import time
from typing import Any

from injector import CallableProvider, Injector, Provider, inject, singleton

from chatmotor import account_bindings
from chatmotor.account_bindings import Embedding, now_ms
from chatmotor.adapters.embedded_broker import EmbeddedBroker
from chatmotor.adapters.rabbitmq_api import AmqpApi
from chatmotor.adapters.rabbitmq_broker import RabbitBroker
from chatmotor.adapters.rabbitmq_events import EventQueues
from chatmotor.adapters.sqlite_store import SqliteStore
from chatmotor.adapters.webhook_sender import WebhookSender
from chatmotor.broker_choice import BrokerChoice, choose_broker
from chatmotor.core.account_parts import AccountParts
from chatmotor.core.accounts import Accounts
from chatmotor.core.administration import DAY_MS, Administration
from chatmotor.core.allowance import Allowance
from chatmotor.core.amqp_requests import AmqpRequests
from chatmotor.core.announcer import Announcer
from chatmotor.core.directory import Directory
from chatmotor.core.dispatcher import Dispatcher
from chatmotor.core.hooks import Hooks, HookTargets, IncomingHooks
from chatmotor.core.instant_messenger import InstantMessenger
from chatmotor.core.typists import Typists
from chatmotor.errors import OperatorError
from chatmotor.metrics import Metrics
from chatmotor.node.forwarder import Forwarder
from chatmotor.node.hook_pace import Pace
from chatmotor.node.housekeeping import Housekeeping
from chatmotor.node.presences import Presences
from chatmotor.node.receipts import Receipts
from chatmotor.node.roster import Roster
from chatmotor.node_life import Node
from chatmotor.options import Settings
from chatmotor.ports.broker import Broker
from chatmotor.ports.hooks import HookKind
from chatmotor.ports.requests import RequestSource
from chatmotor.ports.store import Store
from chatmotor.settings import is_loopback, open_data_dir
from chatmotor.web_container import WebContainer


class AliasProvider(Provider[Any]):
    """Answers a key of the first Chatmotor with the part of another key."""

    def __init__(self, interface: type) -> None:
        self._interface = interface

    def get(self, injector: Injector) -> Any:
        """The other key's part."""
        return injector.get(self._interface)


def node_name() -> str:
    """A name that no other process has, now or before: host and random bits."""
    host = "".join(c for c in socket.gethostname().lower() if c.isalnum() or c == "-")
    return f"{host[:20] or 'node'}-{os.getpid()}-{secrets.token_hex(3)}"


@inject
def broker(settings: Settings, choice: BrokerChoice, metrics: Metrics) -> Broker:
    """The broker that was chosen."""
    if choice.rabbitmq is None:
        return EmbeddedBroker(metrics, queue_max_bytes=settings.QUEUE_MAX_BYTES)
    return RabbitBroker(
        choice.rabbitmq,
        metrics,
        node=node_name(),
        exchange=settings.INSTANT_MESSAGE_EXCHANGE_NAME,
        queue_max_bytes=settings.QUEUE_MAX_BYTES,
        outbox_max_bytes=settings.OUTBOX_MAX_BYTES,
        body_max_bytes=settings.FRAME_MAX_BYTES,
        reconnect_max_seconds=settings.RABBIT_RECONNECT_MAX_SECONDS,
    )


@inject
def broker_choice(settings: Settings) -> BrokerChoice:
    """Decided once, before the workers are forked."""
    return choose_broker(settings)


@inject
def store(settings: Settings) -> Store:
    """The store that STORE names."""
    if settings.STORE == "postgres":
        return postgres_store(settings)
    return SqliteStore(open_data_dir(settings.DATA_DIR) / "chatmotor.db")


def postgres_store(settings: Settings) -> Store:
    """The database of POSTGRES_DSN."""
    if not settings.POSTGRES_DSN:
        raise OperatorError(
            "PostgreSQL needs POSTGRES_DSN, as postgresql://user:password@host/database"
        )
    try:
        from chatmotor.adapters.postgres_store import PostgresStore  # noqa: PLC0415
    except ModuleNotFoundError:
        raise OperatorError(
            "PostgreSQL needs asyncpg; install it with: pip install chatmotor[postgres]"
        ) from None
    return PostgresStore(settings.POSTGRES_DSN)


@inject
def directory(store: Store) -> Directory:
    """Which names have an account."""
    return Directory(store, time.monotonic)


@inject
def announcer(broker: Broker, store: Store, directory: Directory) -> Announcer:
    """Tells readers what was stored."""
    return Announcer(broker, store, on_recheck=directory.forget)


@inject
def instant_messenger(
    settings: Settings,
    broker: Broker,
    metrics: Metrics,
    store: Store,
    directory: Directory,
    announcer: Announcer,
) -> InstantMessenger:
    """The use case of the classic mode."""
    allow_guests = settings.ALLOW_GUESTS == "true" or (
        settings.ALLOW_GUESTS == "loopback" and is_loopback(settings.TORNADO_HOST)
    )
    return InstantMessenger(
        *(broker, metrics, store, directory, announcer),
        guests=Allowance(
            per_second=settings.GUEST_SENDS_PER_SECOND,
            burst=max(1.0, settings.GUEST_SENDS_PER_SECOND * 2),
            clock=time.monotonic,
        ),
        now=now_ms,
        allow_guests=allow_guests,
    )


@inject
def account_parts(
    settings: Settings, store: Store, announcer: Announcer, embedding: Embedding
) -> AccountParts:
    """What the use cases of accounts share."""
    return account_bindings.account_parts(
        settings,
        store,
        tell=announcer.tell,
        recheck=announcer.recheck,
        hasher=embedding.hasher,
    )


@inject
def accounts(settings: Settings, parts: AccountParts, embedding: Embedding) -> Accounts:
    """The use cases of people."""
    return account_bindings.accounts(settings, parts, embedding)


@inject
def administration(
    settings: Settings, parts: AccountParts, embedding: Embedding
) -> Administration:
    """The use cases of operators."""
    return account_bindings.administration(settings, parts, embedding)


@inject
def dispatcher(
    settings: Settings,
    store: Store,
    accounts: Accounts,
    announcer: Announcer,
    directory: Directory,
    typists: Typists,
    receipts: Receipts,
    incoming: IncomingHooks,
    sends: Allowance,
) -> Dispatcher:
    """What each v1 command does."""
    per_second = settings.LOOKUPS_PER_MINUTE / 60
    return Dispatcher(
        *(store, accounts, announcer),
        directory=directory,
        typists=typists,
        incoming=incoming,
        on_read=receipts.touch,
        now=now_ms,
        sends=sends,
        lookups=Allowance(
            per_second=per_second,
            burst=max(1.0, settings.LOOKUPS_PER_MINUTE / 2),
            clock=time.monotonic,
        ),
        body_max_bytes=settings.BODY_MAX_BYTES,
        members_max=settings.MEMBERS_MAX,
    )


@inject
def sends(settings: Settings) -> Allowance:
    """How much each account may send."""
    return Allowance(
        per_second=settings.SENDS_PER_SECOND,
        burst=settings.SENDS_BURST,
        clock=time.monotonic,
    )


@inject
def typists(store: Store, announcer: Announcer) -> Typists:
    """Who writes in which conversation."""
    return Typists(store, announcer, time.monotonic)


@inject
def receipts(store: Store, announcer: Announcer) -> Receipts:
    """What was delivered and read, for the other side."""
    return Receipts(store, announcer)


@inject
def presences(
    settings: Settings, broker: Broker, store: Store, metrics: Metrics
) -> Presences:
    """How accounts stand."""
    return Presences(
        *(broker, store, metrics),
        node=node_name(),
        grace_seconds=settings.PRESENCE_GRACE_SECONDS,
        watch_max=settings.WATCH_MAX,
    )


@inject
def roster(
    settings: Settings,
    store: Store,
    broker: Broker,
    sends: Allowance,
    accounts: Accounts,
    presences: Presences,
    receipts: Receipts,
    typists: Typists,
) -> Roster:
    """Who is logged in on this node."""
    return Roster(
        *(store, broker, sends),
        presences=presences,
        receipts=receipts,
        on_gone=typists.left,
        now=now_ms,
        check_seconds=settings.POSITION_CHECK_SECONDS,
        token_states=accounts.token_states,
    )


@inject
def housekeeping(settings: Settings, store: Store) -> Housekeeping:
    """What is dropped, and when."""
    return Housekeeping(
        store, now=now_ms, mailbox_ms=int(settings.MAILBOX_DAYS * DAY_MS)
    )


@inject
def requests(
    settings: Settings,
    broker: Broker,
    metrics: Metrics,
    accounts: Accounts,
    dispatcher: Dispatcher,
) -> RequestSource:
    """Commands by AMQP; with the embedded broker none ever come."""
    asked = AmqpRequests(
        *(accounts, dispatcher, metrics), max_bytes=settings.FRAME_MAX_BYTES
    )
    api = AmqpApi(asked.answer, metrics, in_flight=settings.COMMANDS_IN_FLIGHT)
    if isinstance(broker, RabbitBroker) and settings.AMQP_API == "on":
        broker.share(api.use)
    return api


@inject
def hook_targets(settings: Settings, broker: Broker) -> HookTargets:
    """Where hooks of each kind go."""
    targets = HookTargets({HookKind.WEBHOOK: WebhookSender(now=now_ms).target})
    if isinstance(broker, RabbitBroker) and settings.AMQP_API == "on":
        queues = EventQueues()
        broker.share(queues.use)
        targets[HookKind.AMQP] = lambda hook: queues.target(hook.username)
    return targets


@inject
def forwarder(
    settings: Settings,
    store: Store,
    roster: Roster,
    metrics: Metrics,
    targets: HookTargets,
    pace: Pace,
) -> Forwarder:
    """The outgoing hooks of this node."""
    return Forwarder(
        *(store, roster, metrics, targets),
        owner=node_name(),
        now=now_ms,
        check_seconds=settings.POSITION_CHECK_SECONDS,
        pace=pace,
    )


@inject
def hooks(store: Store, targets: HookTargets, forwarder: Forwarder) -> Hooks:
    """What operators do with outgoing hooks."""
    return Hooks(store, targets, now=now_ms, changed=forwarder.beat_soon)


@inject
def incoming(store: Store, administration: Administration) -> IncomingHooks:
    """What members do with incoming hooks."""
    return IncomingHooks(store, url=lambda: administration.url, now=now_ms)


@inject
def node(
    settings: Settings,
    broker: Broker,
    store: Store,
    metrics: Metrics,
    messenger: InstantMessenger,
    accounts: Accounts,
    administration: Administration,
    dispatcher: Dispatcher,
    roster: Roster,
    housekeeping: Housekeeping,
    requests: RequestSource,
    forwarder: Forwarder,
    hooks: Hooks,
    incoming: IncomingHooks,
) -> Node:
    """All parts, from start to stop."""
    return Node(
        settings,
        broker=broker,
        store=store,
        metrics=metrics,
        messenger=messenger,
        accounts=accounts,
        administration=administration,
        dispatcher=dispatcher,
        roster=roster,
        housekeeping=housekeeping,
        requests=requests,
        forwarder=forwarder,
        hooks=hooks,
        incoming=incoming,
        edge=account_bindings.edge(settings),
    )


@inject
def web_container(node: Node) -> WebContainer:
    """Tornado, and the node in it."""
    return WebContainer(node)


def _one(provider: Any) -> dict[str, Any]:
    """Built once, when somebody asks for it."""
    return {"to": CallableProvider(provider), "scope": singleton}


interface_bindings: dict[Any, dict[str, Any]] = {
    Metrics: _one(Metrics),
    Embedding: _one(Embedding),
    BrokerChoice: _one(broker_choice),
    Broker: _one(broker),
    Store: _one(store),
    Directory: _one(directory),
    Announcer: _one(announcer),
    Allowance: _one(sends),
    InstantMessenger: _one(instant_messenger),
    AccountParts: _one(account_parts),
    Accounts: _one(accounts),
    Administration: _one(administration),
    Typists: _one(typists),
    Receipts: _one(receipts),
    Presences: _one(presences),
    Dispatcher: _one(dispatcher),
    Roster: _one(roster),
    Housekeeping: _one(housekeeping),
    RequestSource: _one(requests),
    HookTargets: _one(hook_targets),
    Pace: _one(Pace),
    Forwarder: _one(forwarder),
    Hooks: _one(hooks),
    IncomingHooks: _one(incoming),
    Node: _one(node),
    WebContainer: _one(web_container),
    "configuration": {"to": AliasProvider(Settings), "scope": singleton},
    "instant_messenger": {"to": AliasProvider(InstantMessenger), "scope": singleton},
    "web_container": {"to": AliasProvider(WebContainer), "scope": singleton},
}

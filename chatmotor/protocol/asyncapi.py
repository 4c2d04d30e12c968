# SPDX-License-Identifier: Apache-2.0
"""``/v1/ws`` as an AsyncAPI 3.0 document, as the server sees it.

    channel v1      the WebSocket, with every frame of either side
    operations      receive: each command, with what answers it
                    send:    what comes without having been asked for

Made from the same definitions as the JSON Schema (schema.py).
"""

from typing import Any, Final

from chatmotor import __version__
from chatmotor.protocol import schema
from chatmotor.protocol.answers import ANSWERS
from chatmotor.protocol.schema import BY_OP, name_of, ok_name

SUBPROTOCOL: Final = "chatmotor.v1"

_CHANNEL = {"$ref": "#/channels/v1"}
_UNASKED = {
    "LiveFrame": "The replay is done.",
    "EvFrame": "An event of a log.",
    "EphFrame": "Something of now.",
    "BehindFrame": "A group moved on while the window was full.",
    "ByeFrame": "The connection is about to be closed.",
    "ErrorFrame": "What could not be read, or a refused command without an id.",
}


def document() -> dict[str, Any]:
    """The AsyncAPI document."""
    messages = _messages()
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Chatmotor v1",
            "version": __version__,
            "description": "Accounts, stored messages, groups, several devices. What "
            "an answer or a close means is in docs/reference/protocol.md.",
            "license": {
                "name": "Apache-2.0",
                "url": "https://www.apache.org/licenses/LICENSE-2.0",
            },
        },
        "defaultContentType": "application/json",
        "servers": {
            "node": {
                "host": "{host}",
                "protocol": "ws",
                "description": "A node; wss behind a proxy that has a certificate.",
                "variables": {"host": {"default": "127.0.0.1:8888"}},
                "security": [
                    {"$ref": f"#/components/securitySchemes/{name}"}
                    for name in ("hello", "upgrade")
                ],
            }
        },
        "channels": {
            "v1": {
                "address": "/v1/ws",
                "description": f"Text frames, under the subprotocol {SUBPROTOCOL}.",
                "messages": {
                    name: {"$ref": f"#/components/messages/{name}"} for name in messages
                },
                "bindings": {"ws": _upgrade()},
            }
        },
        "operations": _operations(),
        "components": {
            "schemas": schema.definitions("#/components/schemas/"),
            "messages": messages,
            "securitySchemes": {
                "hello": {
                    "type": "apiKey",
                    "in": "password",
                    "description": "A log-in's token, as `token` in `hello`.",
                },
                "upgrade": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "The same on the upgrade; a browser cannot do it.",
                },
            },
        },
    }


def _upgrade() -> dict[str, Any]:
    """The request that opens the socket."""
    subprotocol = {"type": "string", "const": SUBPROTOCOL}
    return {
        "method": "GET",
        "headers": {
            "type": "object",
            "properties": {"Sec-WebSocket-Protocol": subprotocol},
            "required": ["Sec-WebSocket-Protocol"],
        },
        "bindingVersion": "0.1.0",
    }


def _messages() -> dict[str, Any]:
    """Every frame, by the name of its schema."""
    names = [name_of(kind) for kind in BY_OP.values()]
    names += ["WelcomeFrame", "PongFrame", *_UNASKED]
    names += [ok_name(op) for op in ANSWERS]
    return {
        name: {
            "name": name,
            "payload": {"$ref": f"#/components/schemas/{name}"},
            "correlationId": {"location": "$message.payload#/id"},
        }
        if name.endswith(("Command", "Ok")) or name in ("WelcomeFrame", "PongFrame")
        else {"name": name, "payload": {"$ref": f"#/components/schemas/{name}"}}
        for name in names
    }


def _operations() -> dict[str, Any]:
    found: dict[str, Any] = {}
    for op, kind in BY_OP.items():
        words, _ = schema.described(kind)
        operation: dict[str, Any] = {
            "action": "receive",
            "channel": _CHANNEL,
            "summary": words,
            "messages": [_message(name_of(kind))],
        }
        if op in ANSWERS or op in ("hello", "ping"):
            answers = [_message(ok_name(op)), _message("ErrorFrame")]
            operation["reply"] = {"channel": _CHANNEL, "messages": answers}
        found[op.replace(".", "_")] = operation
    for name, words in _UNASKED.items():
        found["on" + name.removesuffix("Frame")] = {
            "action": "send",
            "channel": _CHANNEL,
            "summary": words,
            "messages": [_message(name)],
        }
    return found


def _message(name: str) -> dict[str, str]:
    return {"$ref": f"#/channels/v1/messages/{name}"}

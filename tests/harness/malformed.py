# SPDX-License-Identifier: Apache-2.0
"""What nobody should send: valid commands, damaged in every way that is known to hurt.

    a command --> other values, keys twice, escapes --> JSON --> bytes flipped, cut,
    inserted --> a text; or whole, in a binary frame, or in fragments

All of it comes from one ``Random``, so a seed brings a run back.
"""

import json
from collections.abc import Mapping
from random import Random
from typing import Any

Fields = dict[str, Any]

# One valid example of each, but for what it refers to.
COMMANDS: Mapping[str, Fields] = {
    "hello": {"v": 1, "token": "cm_none", "resume": {"epoch": "e", "seq": 0}},
    "auth": {"token": "cm_none"},
    "ack": {"h": 0, "seq": 0},
    "ping": {},
    "pong": {},
    "send": {"cid": "c", "to": "sink", "body": {"text": "hi", "n": [1, 2.5, None]}},
    "read": {"conv": "d.1.2", "n": 1},
    "sync": {"cursor": "5/d.1.2", "limit": 10},
    "events": {"since": 0, "conv": "g.1", "limit": 5},
    "history": {"conv": "d.1.2", "before": 9, "limit": 10},
    "conv.create": {"cid": "g", "title": "Tea", "members": ["sink"]},
    "conv.get": {"conv": "d.1.2", "cursor": "", "limit": 10},
    "conv.invite": {"conv": "g.1", "users": ["sink"], "cid": "i"},
    "conv.remove": {"conv": "g.1", "users": ["sink"]},
    "conv.leave": {"conv": "g.1"},
    "device.list": {},
    "device.revoke": {"device": "not-a-device"},
    "user.get": {"user": "sink"},
    "user.set": {"display_name": "Me"},
    "user.find": {"q": "sink"},
}
ACCOUNT_CALLS: Mapping[str, Fields] = {
    "/v1/accounts": {
        "username": "someone",
        "password": "gravel-oak-77",
        "display_name": "Some One",
        "invite": "code",
    },
    "/v1/tokens": {"username": "sink", "password": "wrong-one-1", "device": "d"},
    "/v1/tokens/renew": {},
    "/v1/password": {"password": "wrong-one-1", "new_password": "gravel-oak-78"},
    "/v1/password/reset": {"code": "none", "password": "gravel-oak-79"},
    "/v1/setup": {"code": "none", "username": "root1", "password": "gravel-oak-80"},
    "/v1/admin/invites": {"uses": 1, "days": 1.5},
    "/v1/admin/reset-links": {"username": "sink"},
}

_LONG = "9" * 400
# As JSON: some of them no serializer would write.
_VALUES = (
    *("null", "true", "false", "0", "-0", "-1", "1.5", "1e3", "1e400", "-1e-400"),
    *("9007199254740992", "9223372036854775808", "18446744073709551616", _LONG),
    *(f"-{_LONG}", f"1{'0' * 5000}", "0.1e99999999999", "NaN", "-Infinity", "01", "+1"),
    *('""', '" "', '"\\u0000"', '"\\ud800"', '"\\udc00\\ud800"', '"\\uD83D\\uDE00"'),
    *('"\u202e\u200b"', '"\U0010ffff"', '"\x7f"', '"\n"', '"\\x41"', '"\\', "'a'"),
    *("[]", "{}", "[[]]", "[null]", '{"": ""}', '{"a": 1, "a": 2}', '["a", "a"]'),
    *('"../../etc/passwd"', '"\' OR 1=1 --"', '"%s%n{0}"', '"$1"', '"d.1.2\\u0000"'),
    *('"g.1"', '"d.0.0"', '"d.99999999999999999999.1"', '"q.1.a"', '"device"'),
    *(
        '{"epoch": 1}',
        '{"epoch": "e", "seq": 0, "groups": {"g.1": -1}}',
        '"' + "x" * 70,
    ),
)
_NESTED = (("[", "]"), ('{"a":', "}"), ('[{"":', "}]"))
_TEXTS = (
    *(b"", b" ", b"\0", b"null", b"[]", b"{}", b'""', b"0", b"{", b"}", b"[", b'"'),
    *(b'{"op":"ping"}{"op":"ping"}', b'{"op":"ping"},', b"{'op':'ping'}", b"{op:1}"),
    *(b'\xef\xbb\xbf{"op":"ping","id":1}', '{"op":"ping"}'.encode("utf-16"), b"\xff"),
    *(b"\xed\xa0\x80", b"\xc0\xaf", b"\xf8\x88\x80\x80\x80", b"\xe2\x28\xa1", b"\x80"),
    *(
        b'{"op":"ping","id":1}\0',
        b'{"\\u006fp":"ping","id":1}',
        b'{"op":"ping","id":{}}',
    ),
    *(b'{"op":["ping"],"id":1}', b'{"op":null}', b'{"op":""}', b'{"op":"PING","id":1}'),
    *(b'{"op":"ping","id":1e999}', b"-", b"nul", b"\\", b"//", b"/**/{}", b"\x1b[2J"),
    *(b"[" * 5000, b'{"a":' * 5000, b"[" * 30000, b"[{}," * 3000, b'"' + b"\\" * 999),
    *(b"9" * 60_000, b"{" + b'"a":1,' * 5000 + b'"op":"ping"}', b" " * 65_536),
)


class Malformer:
    """Makes texts; a few of them are still in order."""

    def __init__(self, random: Random) -> None:
        self.random = random
        self._count = 0

    def frame(self) -> bytes:
        """A text that might be a command."""
        op = self.random.choice(list(COMMANDS))
        return self._text({"op": op, "id": self._id(), **COMMANDS[op]})

    def call(self, fields: Fields) -> bytes:
        """The content of an HTTP request."""
        return self._text(dict(fields))

    def _id(self) -> int | str:
        self._count += 1
        return self.random.choice((self._count, f"i{self._count}"))

    def _text(self, fields: Fields) -> bytes:
        if self.random.random() < 0.06:
            return self.random.choice(_TEXTS)
        text = self._json(fields)
        if self.random.random() < 0.35:
            text = self._damaged(text)
        return text

    def _json(self, fields: Fields) -> bytes:
        """*fields*, with some of them wrong, by hand, so that it may be no JSON."""
        random = self.random
        pairs = [(json.dumps(key), json.dumps(each)) for key, each in fields.items()]
        for _ in range(random.choice((0, 1, 1, 1, 2, 4))):
            at = random.randrange(len(pairs) + 1)
            here = pairs[at : at + 1]
            key = here[0][0] if here else '"new"'
            match random.randrange(7):
                case 0 | 1 | 2:
                    pairs[at : at + 1] = [(key, self._value())]
                case 3:
                    pairs[at : at + 1] = []
                case 4:
                    pairs.insert(at, (key, self._value()))
                case 5:
                    pairs[at : at + 1] = [
                        (self._spelled(key), here[0][1] if here else "1")
                    ]
                case _:
                    pairs.insert(at, (self._value(), self._value()))
        text = ",".join(f"{key}:{value}" for key, value in pairs)
        return ("{" + text + "}").encode("utf-8", "surrogatepass")

    def _value(self) -> str:
        random = self.random
        match random.randrange(12):
            case 0:
                left, right = random.choice(_NESTED)
                depth = random.choice((2, 15, 16, 17, 100, 1000, 6000))
                return left * depth + "1" + right * depth
            case 1:
                return json.dumps(
                    "x" * random.choice((33, 65, 129, 8193, 33_000, 66_000))
                )
            case 2:
                return json.dumps(
                    [random.choice((1, "a", None))] * random.choice((2, 5001))
                )
            case 3:
                return json.dumps(random.randint(-(2**70), 2**70))
            case _:
                return random.choice(_VALUES)

    def _spelled(self, key: str) -> str:
        """The same key with an escape in it, or another case."""
        if len(key) < 3 or self.random.random() < 0.3:
            return key.upper()
        return f'"\\u{ord(key[1]):04x}{key[2:]}'

    def _damaged(self, text: bytes) -> bytes:
        random, damaged = self.random, bytearray(text)
        for _ in range(random.randint(1, 4)):
            at = random.randrange(len(damaged) + 1)
            match random.randrange(6):
                case 0 if at < len(damaged):
                    damaged[at] ^= 1 << random.randrange(8)
                case 1:
                    del damaged[at:]
                case 2:
                    del damaged[at : at + random.randint(1, 12)]
                case 3:
                    damaged[at:at] = random.randbytes(random.randint(1, 6))
                case 4:
                    damaged[at:at] = random.choice(
                        (
                            b"\0",
                            b'"',
                            b"\\",
                            b"\\u",
                            b"\\ud83d",
                            b",",
                            b"}",
                            b"\xf0\x9f",
                        )
                    )
                case _:
                    damaged[at:at] = damaged[at : at + random.randint(1, 40)]
        return bytes(damaged)

    def pieces(self, text: bytes) -> list[bytes]:
        """*text* in up to five parts, which may be empty and may divide a character."""
        cuts = sorted(
            self.random.randint(0, len(text)) for _ in range(self.random.randint(1, 4))
        )
        return [
            text[begin:end]
            for begin, end in zip([0, *cuts], [*cuts, len(text)], strict=True)
        ]

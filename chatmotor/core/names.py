# SPDX-License-Identifier: Apache-2.0
"""What a username may be, and the one form in which it is routed.

A name becomes an AMQP routing key, which holds at most 255 bytes, and node keys
put a two-character prefix before it: hence the limit in bytes beside the one in
characters.  Two spellings of the same characters (Unicode TR15: composed and
decomposed) are one name.
"""

import unicodedata

from chatmotor.errors import InvalidName

MAX_CHARACTERS = 64
MAX_BYTES = 253

# Invisible, but within a word part of how Persian, Hindi and many emoji are written.
_JOINERS = "\u200c\u200d"
# Letters and symbols that are drawn as nothing at all.
_BLANK = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0")
# Control, format, surrogate, line separator, paragraph separator.
_REFUSED = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})


def canonical_name(name: str) -> str:
    """
    The form of *name* that is compared and routed: Unicode NFC.

    Raises:
        InvalidName: Nobody can have this name; the text says why.
    """
    if not name.isascii():
        name = unicodedata.normalize("NFC", name)
    if not name:
        raise InvalidName("the name is empty; use /im/<username>", field="username")
    if len(name) > MAX_CHARACTERS or len(name.encode("utf-8", "replace")) > MAX_BYTES:
        raise InvalidName(
            f"the name is longer than {MAX_CHARACTERS} characters"
            f" or {MAX_BYTES} bytes of UTF-8",
            field="username",
        )
    if not (name.isascii() and name.isprintable()) and any(map(_is_refused, name)):
        raise InvalidName(
            "the name has control or invisible characters", field="username"
        )
    if name != name.strip(_JOINERS):
        raise InvalidName(
            "the name begins or ends with an invisible character", field="username"
        )
    if name != name.strip():
        raise InvalidName("the name begins or ends with a space", field="username")
    return name


def _is_refused(character: str) -> bool:
    if character in _JOINERS:
        return False
    return character in _BLANK or unicodedata.category(character) in _REFUSED

# SPDX-License-Identifier: Apache-2.0
"""What a username may be, and the one form in which it is routed and compared.

    canonical_name   any name: a guest's, or where a text is sent to
    account_name     the username of an account, whose look-alikes are refused

A name becomes an AMQP routing key, which holds at most 255 bytes, and node keys
put a two-character prefix before it: hence the limit in bytes beside the one in
characters.  Two spellings of the same characters (Unicode TR15: composed and
decomposed) are one name.
"""

import re
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

# Of an account's name.  Longer ones are refused before they are normalized.
_MAX_RAW = 4 * MAX_CHARACTERS
_MAX_MARKS = 3
_SIGNS = "._-"
_SHAPE = re.compile(r"[^\W_](?:.*[^._-])?")
_COMMON = "COMMON"
# First words of character names, for Unicode TR39's recommended scripts (table 5).
_RECOMMENDED = """
ARABIC ARMENIAN BENGALI BOPOMOFO CYRILLIC DEVANAGARI ETHIOPIC GEORGIAN GREEK GUJARATI
GURMUKHI HANGUL HEBREW HIRAGANA KANNADA KATAKANA KHMER LAO LATIN MALAYALAM MYANMAR
ORIYA SINHALA TAMIL TELUGU THAANA THAI TIBETAN
"""
_SCRIPTS = {word: word for word in _RECOMMENDED.split()}
_SCRIPTS |= {"CJK": "HAN", "IDEOGRAPHIC": "HAN"}
_WRITTEN_TOGETHER = (
    {"HAN", "HIRAGANA", "KATAKANA"},
    {"HAN", "HANGUL"},
    {"HAN", "BOPOMOFO"},
)
# Small capitals, turned and struck letters, clicks: Latin, but in nobody's name.
_PHONETIC = (
    ("\u0180", "\u0185"),
    ("\u01bb", "\u01c3"),
    ("\u0237", "\u0239"),
    ("\u0250", "\u02ff"),
    ("\u1d00", "\u1dbf"),
    ("\u2c60", "\u2c7f"),
    ("\ua720", "\ua7ff"),
    ("\uab30", "\uab6f"),
    ("\U00010780", "\U000107bf"),
    ("\U0001df00", "\U0001dfff"),
)
# Those that readers cannot tell from a Latin letter, of Unicode TR39's confusables.txt:
# Cyrillic, Greek, Armenian, Georgian and a few round ones, then phonetic letters.
_MIMICS = {
    "a": "\u0430\u03b1\u0251",
    "c": "\u0441\u03f2\u1d04",
    "d": "\u0501",
    "e": "\u0435\u1d07",
    "g": "\u0261\u0581",
    "h": "\u04bb\u0570",
    "i": "\u0456\u03b9\u0269",
    "j": "\u0458\u03f3\u0237",
    "l": "\u04cf\u01c0\u029f",
    "n": "\u0578",
    "o": "\u043e\u03bf\u0585\u0b20\u0d20\u101d\u12d0\u1d0f",
    "p": "\u0440\u03c1",
    "q": "\u051b\u0566",
    "s": "\u0455\ua731",
    "u": "\u057d\u03c5",
    "v": "\u0475\u03bd\u1d20",
    "w": "\u051d\u1d21",
    "x": "\u0445",
    "y": "\u0443\u04af\u10e7",
    "z": "\u1d22",
}
_LOOK_ALIKES = {ord(each): letter for letter, all_ in _MIMICS.items() for each in all_}
_DIGITS_AS_LETTERS = str.maketrans("01345l", "oieasi")
_RESERVED_WORDS = """
abuse admin administrator admins all anonymous api bot channel chatmotor deleted
everyone guest help helpdesk here hostmaster info me moderator moderators nobody noreply
null official operator owner postmaster root security self server staff superuser
support sysadmin system team undefined unknown webmaster
"""
_RESERVED = {word.translate(_DIGITS_AS_LETTERS) for word in _RESERVED_WORDS.split()}


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


def account_name(name: str) -> str:
    """
    The one form of an account's username: what people see as one name is one name.

    Compatibility forms and letter case are gone (NFKC, case folding), digits are
    0 to 9, and the letters are of one script (Unicode TR39, "recommended" scripts).

    Raises:
        InvalidName: No account can have this name; the text says why.
    """
    form = _spelled(name)
    if _reserved_form(form) in _RESERVED:
        raise InvalidName("this username is reserved", field="username")
    return form


def account_form(name: str) -> str | None:
    """
    The username of the account that a reader would take *name* for, were there one.

    Invisible characters and look-alikes of Latin letters count as what they look like;
    so a guest cannot pass as an account by spelling.  None: no account can be meant.
    """
    try:
        return account_name(name)
    except InvalidName:
        seen = "".join(c for c in name[:_MAX_RAW] if not _is_invisible(c))
        try:
            apart = unicodedata.normalize("NFD", _fold(seen))
            return account_name(apart.translate(_LOOK_ALIKES))
        except InvalidName:
            return None


def _fold(name: str) -> str:
    """NFKC and case folding until nothing changes; digits as ASCII; one letter i."""
    for _ in range(4):
        folded = unicodedata.normalize("NFKC", name.casefold())
        # Turkish writes i in two ways, which other readers take for one letter.
        folded = folded.replace("i\u0307", "i").replace("\u0131", "i")
        if folded == name:
            break
        name = folded
    return "".join(str(unicodedata.decimal(c)) if c.isdecimal() else c for c in name)


def _spelled(name: str) -> str:
    # Many combining marks make normalization slow: refuse before, not after.
    if len(name) > _MAX_RAW:
        raise InvalidName(
            f"the name is longer than {MAX_CHARACTERS} characters", field="username"
        )
    form = canonical_name(_fold(name))
    if not _SHAPE.fullmatch(form):
        raise InvalidName(
            "a username has letters and digits, and . _ - between them",
            field="username",
        )
    if any(map(_is_unfit, form)) or _has_piled_marks(form):
        raise InvalidName("the username has unusual characters", field="username")
    scripts = {_script(c) for c in form} - {_COMMON}
    if len(scripts) > 1 and not any(scripts <= mixed for mixed in _WRITTEN_TOGETHER):
        raise InvalidName("the username mixes scripts", field="username")
    if scripts - {"LATIN"} and _looks_latin(form):
        raise InvalidName(
            "the username looks like one in Latin letters", field="username"
        )
    return form


def _script(character: str) -> str:
    """The script of a character of an account's name, by its Unicode name."""
    if character in _SIGNS or character.isdecimal():
        return _COMMON
    word = unicodedata.name(character, "").partition(" ")[0].partition("-")[0]
    if word == "COMBINING" or character in "\u30fc\u3005":
        # Of the script of what they follow (they repeat a Han sign, or a vowel).
        return _COMMON
    return _SCRIPTS.get(word, "")


def _is_unfit(character: str) -> bool:
    category = unicodedata.category(character)
    is_letter = category[0] in "LM" and category != "Me"
    return (
        not (is_letter or character in _SIGNS or character.isdecimal())
        or _is_invisible(character)
        or not _script(character)
        or any(first <= character <= last for first, last in _PHONETIC)
    )


def _is_invisible(character: str) -> bool:
    return (
        character in _BLANK
        or unicodedata.category(character) == "Cf"
        or "VARIATION SELECTOR" in unicodedata.name(character, "")
    )


def _has_piled_marks(form: str) -> bool:
    in_a_row = 0
    for character in form:
        is_mark = unicodedata.category(character)[0] == "M"
        in_a_row = in_a_row + 1 if is_mark else 0
        if in_a_row > _MAX_MARKS:
            return True
    return False


def _looks_latin(form: str) -> bool:
    """Whether each letter, its accents aside, looks like a Latin one."""
    bare = (
        c
        for c in unicodedata.normalize("NFD", form)
        if unicodedata.category(c)[0] != "M"
    )
    return all(c.isascii() or ord(c) in _LOOK_ALIKES for c in bare)


def _reserved_form(form: str) -> str:
    """*form* without accents and signs, and with digits as the letters they mimic."""
    bare = (c for c in unicodedata.normalize("NFD", form) if c.isalnum())
    return "".join(bare).translate(_DIGITS_AS_LETTERS)

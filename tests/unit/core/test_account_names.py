# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: RUF001  # look-alikes are what this is about
"""Usernames of accounts: what people see as one name is one name."""

import unicodedata

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from chatmotor.core.names import (
    MAX_BYTES,
    MAX_CHARACTERS,
    account_form,
    account_name,
    canonical_name,
)
from chatmotor.errors import InvalidName


def name_or_none(name: str) -> str | None:
    """The account's name, or None when no account can have it."""
    try:
        return account_name(name)
    except InvalidName:
        return None


@pytest.mark.parametrize(
    "name",
    [
        "bob",
        "a",
        "1",
        "bob_1.x-y",
        "zoë",
        "nguyễn",
        "иван",
        "катя",
        "ко",
        "νικοσ",
        "რომან",
        "רוני",
        "سوسن",
        "नमस्ते",
        "কৃষ্ণ",
        "สมชาย",
        "김철수",
        "金철수",
        "李小龙",
        "ひらカタ漢字",
        "サーバー",
        "佐々木",
        "n" * MAX_CHARACTERS,
        "日" * MAX_CHARACTERS,
    ],
)
def test_a_name_of_one_script_is_its_own_form(name: str) -> None:
    """Letters, marks and digits of one script, with . _ - inside."""
    assert name == account_name(name)


@pytest.mark.parametrize(
    ("spelled", "form"),
    [
        ("Alice", "alice"),
        ("ALICE", "alice"),
        ("ａｌｉｃｅ", "alice"),
        ("𝐚𝐥𝐢𝐜𝐞", "alice"),
        ("Zoe\u0308", "zoë"),
        ("Straße", "strasse"),
        ("ﬁona", "fiona"),
        ("ΝΊΚΟΣ", "νίκοσ"),
        ("İrem", "irem"),
        ("ırmak", "irmak"),
        ("bob٣", "bob3"),
        ("علی۳", "علی3"),
        ("①", "1"),
        ("ﾊﾞｰ", "バー"),
    ],
)
def test_spellings_of_a_name_are_one(spelled: str, form: str) -> None:
    """Case, compatibility forms and other digits make no other account."""
    assert form == account_name(spelled)


@pytest.mark.parametrize(
    "name",
    [
        "аlice",  # a Cyrillic a
        "рауl",
        "aliсe",
        "Ωmega",
        "あbob",
        "한글かな",
        "עברitחת",
    ],
)
def test_mixed_scripts_are_refused(name: str) -> None:
    """One letter of another script is how names are imitated."""
    assert name_or_none(name) is None


@pytest.mark.parametrize("name", ["а", "сосо", "рор", "ёо", "νυο", "օոս", "ყ"])
def test_names_that_look_latin_and_are_not_are_refused(name: str) -> None:
    """All its letters are look-alikes, so nobody could tell it from a Latin name."""
    assert name_or_none(name) is None


@pytest.mark.parametrize(
    "name",
    [
        "admin",
        "ADMIN",
        "Adm1n",
        "ad.min",
        "a-d-m-i-n",
        "r00t",
        "ádmin",
        "system",
        "support",
        "Chatmotor",
        "everyone",
        "ｒｏｏｔ",
    ],
)
def test_reserved_names_are_refused(name: str) -> None:
    """Nobody speaks for the installation by the choice of a name."""
    assert name_or_none(name) is None


@pytest.mark.parametrize(
    "name",
    [
        "",
        " ",
        "bob smith",
        "bob@example.org",
        "o'neil",
        "a/b",
        "a:b",
        "-bob",
        ".bob",
        "_bob",
        "bob-",
        "bob.",
        "bob\x00",
        "bob\n",
        "ali\u200dce",
        "ali\u200cce",
        "ali\u200bce",
        "alice\ufe0f",
        "\u202ealice",
        "alice\U000e0041",
        "\u0301a",
        "a\u0301\u0302\u0303\u0304\u0305",
        "\ud800",
        "ɑlice",
        "ᴀlice",
        "ǀ",
        "ʼbob",
        "👩",
        "ᏣᎳᎩ",
        "a\u20dd",
        "n" * (MAX_CHARACTERS + 1),
        "a\u0301" * 2000,
    ],
)
def test_other_characters_are_refused(name: str) -> None:
    """Invisible, ornamental and phonetic characters, spaces, signs at the ends."""
    assert name_or_none(name) is None


@settings(suppress_health_check=[HealthCheck.filter_too_much])
@given(
    st.text(max_size=80)
    | st.text("abİıßΣσаеν٣._-", max_size=20)
    | st.text("あカ漢ー々ﾊﾞ3", max_size=8)
)
def test_the_form_is_stable_and_a_name(name: str) -> None:
    """A form is its own form, and a canonical name that fits a routing key."""
    form = name_or_none(name)
    assume(form is not None)
    assert form is not None

    assert form == account_name(form)
    assert form == canonical_name(form)
    assert form == account_form(name)
    assert 1 <= len(form) <= MAX_CHARACTERS
    assert len(form.encode()) <= MAX_BYTES


@given(st.text(alphabet=st.characters(categories=["L", "M", "N", "P"]), max_size=20))
def test_case_and_composition_never_matter(name: str) -> None:
    """Whatever a client does to letter case and composition, it is the same account."""
    folded = unicodedata.normalize("NFD", name.casefold())

    assert name_or_none(name) == name_or_none(folded)


@given(st.text())
def test_the_form_of_a_guests_name_is_always_found(name: str) -> None:
    """Looking up a classic name never fails, whatever a client made of it."""
    form = account_form(name)

    assert form is None or form == account_name(form)


@pytest.mark.parametrize(
    ("guest", "account"),
    [
        ("Alice", "alice"),
        ("аlice", "alice"),
        ("ali\u200dce", "alice"),
        ("alice\ufe0f", "alice"),
        ("ɑlice", "alice"),
        ("сосо", "coco"),
        ("bob@example.org", None),
        ("admin", None),
        ("", None),
    ],
)
def test_a_guest_that_passes_for_an_account_is_known(
    guest: str, account: str | None
) -> None:
    """A look-alike of an account's name counts as that name, so its token is asked."""
    assert account == account_form(guest)

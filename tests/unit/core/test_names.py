# SPDX-License-Identifier: Apache-2.0
"""Which names there are, and that each has one form."""

import unicodedata

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from chatmotor.core.names import MAX_BYTES, MAX_CHARACTERS, canonical_name
from chatmotor.errors import InvalidName


def canonical_or_none(name: str) -> str | None:
    """The canonical form, or None when nobody can have the name."""
    try:
        return canonical_name(name)
    except InvalidName:
        return None


@pytest.mark.parametrize(
    "name",
    [
        "bob",
        "a",
        "bob@example.org",
        "Bob Smith",
        "../etc/passwd",
        "*",
        "#",
        "amq.direct",
        "Grüße",
        "日本語",
        "علی\u200cرضا",  # noqa: RUF001  # Persian
        "👩\u200d👩\u200d👧",
        "n" * MAX_CHARACTERS,
        "日" * MAX_CHARACTERS,
    ],
)
def test_name_is_its_own_form(name: str) -> None:
    """Any script and most signs; upper and lower case are different."""
    assert name == canonical_name(name)


@pytest.mark.parametrize(
    "name",
    [
        "",
        " ",
        " bob",
        "bob ",
        "\u3000bob",
        "bob\u00a0",
        "\x00",
        "bob\n",
        "bob\r\nX: y",
        "\x1b[31m",
        "\x7f",
        "\x85",
        "\u200bbob",
        "bob\ufeff",
        "\u202ebob",
        "bob\u2028",
        "bob\u2029",
        "\ud800",
        "\U000e0041",
        "\u200c",
        "bob\u200d",
        "\u2800",
        "bob\u3164",
        "n" * (MAX_CHARACTERS + 1),
        "é" * (MAX_CHARACTERS + 1),
        "👩" * MAX_CHARACTERS,
    ],
)
def test_name_that_nobody_can_have(name: str) -> None:
    """Empty, too long, invisible, with control characters, or padded."""
    with pytest.raises(InvalidName) as refused:
        canonical_name(name)

    assert ("username", 400) == (refused.value.field, refused.value.status)


@given(st.text())
def test_composed_and_decomposed_spellings_are_one_name(name: str) -> None:
    """Unicode TR15: the same characters, whatever the client's keyboard makes."""
    composed = unicodedata.normalize("NFC", name)
    decomposed = unicodedata.normalize("NFD", name)

    assert canonical_or_none(composed) == canonical_or_none(decomposed)


@given(st.text())
def test_canonical_form_is_stable(name: str) -> None:
    """A canonical name is its own canonical name."""
    canonical = canonical_or_none(name)
    assume(canonical is not None)
    assert canonical is not None

    assert canonical == canonical_name(canonical)


@given(st.text(max_size=80))
def test_canonical_name_fits_an_amqp_routing_key(name: str) -> None:
    """255 bytes, two of which are ours; and a log line stays a line."""
    canonical = canonical_or_none(name)
    assume(canonical is not None)
    assert canonical is not None

    assert 1 <= len(canonical) <= MAX_CHARACTERS
    assert len(canonical.encode()) <= MAX_BYTES
    assert 1 == len(canonical.splitlines())

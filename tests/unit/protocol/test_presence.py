# SPDX-License-Identifier: Apache-2.0
"""How an account stands is the best of how its sessions do."""

import pytest

from chatmotor.protocol.presence import ONLINE, Presence, best, told
from chatmotor.protocol.replies import UserPresence

AWAY = Presence("away")
DND = Presence("dnd")


@pytest.mark.parametrize(
    ("presences", "expected"),
    [
        ([], None),
        ([None, None], None),
        ([None, AWAY], AWAY),
        ([ONLINE, AWAY], ONLINE),
        ([AWAY, DND, ONLINE], DND),
    ],
)
def test_the_best_counts(
    presences: list[Presence | None], expected: Presence | None
) -> None:
    """Before online comes dnd, after it away; hidden is as if there was no session."""
    assert expected == best(presences)
    assert expected == best(reversed(presences))


def test_the_text_is_that_of_the_session_that_decides() -> None:
    """Not of one that counts less; of equal ones, not of the one without a text."""
    working, lunch = Presence("dnd", "working"), Presence("away", "lunch")

    assert working == best([lunch, working, ONLINE])
    assert Presence("online", "here") == best([ONLINE, Presence("online", "here")])


def test_a_client_is_told_a_state_in_any_case() -> None:
    """Whoever does not stand at all is offline."""
    assert UserPresence(user="bob", state="offline") == told("bob", None)
    assert UserPresence(user="bob", state="dnd", text="x") == told(
        "bob", Presence("dnd", "x")
    )

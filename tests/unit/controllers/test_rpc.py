# SPDX-License-Identifier: Apache-2.0
"""How many requests an account may have under way over HTTP."""

import pytest

from chatmotor.controllers.rpc import InFlight
from chatmotor.errors import TooManyInFlight


def test_one_too_many_is_refused() -> None:
    """It can be tried again; those under way are not touched."""
    in_flight = InFlight(2)
    in_flight.begin("ann")
    in_flight.begin("ann")
    with pytest.raises(TooManyInFlight) as refused:
        in_flight.begin("ann")

    assert (429, True) == (refused.value.status, refused.value.temporary)
    in_flight.end("ann")
    in_flight.begin("ann")


def test_accounts_have_their_own() -> None:
    """One that asks for much does not stop another."""
    in_flight = InFlight(1)
    in_flight.begin("ann")

    in_flight.begin("bob")


def test_nothing_is_kept_of_who_has_gone() -> None:
    """A node that has been up for a year has no table of everybody."""
    in_flight = InFlight(1)
    in_flight.begin("ann")
    in_flight.end("ann")

    assert 0 == len(in_flight._counts)

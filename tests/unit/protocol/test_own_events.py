# SPDX-License-Identifier: Apache-2.0
"""Which events wait for the ``ok`` before them, whatever they have in them."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatmotor.ports.messages import Message
from chatmotor.protocol.events import (
    cid_at_end,
    cid_of_frame,
    group_frame,
    mailbox_frame,
    message_fragment,
)
from chatmotor.protocol.session import OwnEvents

cids = st.text(
    st.characters(exclude_characters="\0", exclude_categories=["Cs"]),
    min_size=1,
    max_size=64,
)


def frame(cid: str, body: object = "hi", *, reader: str = "ann") -> bytes:
    """The event of a message of ann."""
    text = json.dumps(body).encode()
    message = Message("d.1.2", 1, "ann", cid, 5, text, raw=False)
    return mailbox_frame(7, message_fragment(message), reader)


@given(cid=cids, body=st.text() | st.dictionaries(st.just("cid"), cids))
def test_cid_of_an_own_event_is_found(cid: str, body: object) -> None:
    """However long it is, and whatever stands before it."""
    assert cid_at_end(cid) == cid_of_frame(frame(cid, body))


@given(
    cid=cids,
    wrap=st.sampled_from(['{"a":1,"cid":%s}', '[{"a":1,"cid":%s}]', "%s"]),
)
def test_body_is_not_taken_for_a_cid(cid: str, wrap: str) -> None:
    """Somebody else's message ends as its body does, and then with a brace."""
    body = (wrap % json.dumps(cid)).encode()
    message = Message("g.1", 1, "bob", "theirs", 5, body, raw=False)
    theirs = group_frame(7, message_fragment(message), "ann")
    kept = OwnEvents()
    kept.begin(cid)

    assert not kept.keeps(theirs)


@pytest.mark.parametrize("times", [1, 2])
def test_event_goes_with_the_last_answer(times: int) -> None:
    """A cid that was sent twice at once is answered twice."""
    kept = OwnEvents()
    for _ in range(times):
        kept.begin("c1")
    assert kept.keeps(frame("c1"))
    for _ in range(times - 1):
        assert [] == kept.end("c1")

    assert [frame("c1")] == kept.end("c1")
    assert not kept.keeps(frame("c1"))


def test_what_follows_waits_until_nothing_before_it_does() -> None:
    """The order of a log is kept."""
    kept = OwnEvents()
    for cid in ("c1", "c2"):
        kept.begin(cid)
    frames = [frame("c1"), frame("x", reader="bob"), frame("c2"), frame("y")]
    assert [True] * 4 == [kept.keeps(each) for each in frames]

    assert frames[:2] == kept.end("c1")
    assert frames[2:] == kept.end("c2")

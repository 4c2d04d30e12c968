# SPDX-License-Identifier: Apache-2.0
"""chatmotor/adapters/rabbitmq_outbox.py: order, bounds and the switch, without I/O."""

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from chatmotor.adapters.rabbitmq_outbox import ENTRY_BYTES, Outbox


def filled(*bodies: bytes, first_tag: int = 1) -> Outbox:
    """An outbox with *bodies* sent under consecutive tags."""
    outbox = Outbox(10_000)
    for tag, body in enumerate(bodies, first_tag):
        outbox.send(tag, ["bob"], body)
    return outbox


def test_a_confirm_settles_one_tag() -> None:
    """Confirms come in any order; an unknown or repeated tag settles nothing."""
    outbox = filled(b"1", b"2", b"3")

    assert [b"2"] == [entry.body for entry in outbox.confirm(2, multiple=False)]
    assert [] == outbox.confirm(2, multiple=False)
    assert [] == outbox.confirm(9, multiple=False)
    assert 2 == len(outbox)


def test_a_multiple_confirm_settles_all_up_to_its_tag() -> None:
    """AMQP: the tag and every earlier one that is not settled yet."""
    outbox = filled(b"1", b"2", b"3", b"4")
    outbox.confirm(2, multiple=False)

    done = outbox.confirm(3, multiple=True)

    assert [b"1", b"3"] == [entry.body for entry in done]
    assert 1 == len(outbox)


def test_recall_puts_what_was_sent_before_what_was_held() -> None:
    """At the switch nothing overtakes an older message."""
    outbox = filled(b"1", b"2")
    outbox.hold(["bob"], b"3", delivered_here=False)
    outbox.confirm(1, multiple=False)

    assert [b"2", b"3"] == [entry.body for entry in outbox.recall()]
    assert b"2" == outbox.take(1).body
    assert b"3" == outbox.take(2).body
    assert not outbox.holds


def test_the_oldest_held_entries_go_first() -> None:
    """A full outbox drops from the front, only as much as it must."""
    outbox = Outbox(3 * (ENTRY_BYTES + 10))
    for n in range(5):
        outbox.hold(["bob"], b"%010d" % n, delivered_here=True)
    assert outbox.is_full

    assert 2 == outbox.drop_oldest()

    assert not outbox.is_full
    assert b"%010d" % 2 == outbox.take(1).body


async def test_emptiness_can_be_awaited() -> None:
    """until_empty returns once the last entry is confirmed or dropped, not before."""
    outbox = filled(b"1", b"2")
    waiting = asyncio.ensure_future(outbox.until_empty())
    outbox.confirm(1, multiple=False)
    await asyncio.sleep(0)
    assert not waiting.done()

    outbox.confirm(2, multiple=False)

    await waiting
    await outbox.until_empty()


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("send"), st.binary(max_size=50)),
            st.tuples(st.just("hold"), st.binary(max_size=50)),
            st.tuples(st.just("confirm"), st.integers(0, 30)),
            st.tuples(st.just("multiple"), st.integers(0, 30)),
            st.tuples(st.just("recall"), st.just(0)),
            st.tuples(st.just("drop"), st.just(0)),
        )
    )
)
def test_the_purse_is_always_right(steps: list[tuple[str, int | bytes]]) -> None:
    """Whatever happens, the bytes in the books are those of the entries there."""
    outbox = Outbox(600)
    tag = 0
    for step, value in steps:
        if isinstance(value, bytes):
            if step == "send":
                tag += 1
                outbox.send(tag, ["bob"], value)
            else:
                outbox.hold(["bob"], value, delivered_here=False)
        elif step in ("confirm", "multiple"):
            outbox.confirm(value, multiple=step == "multiple")
        elif step == "recall":
            outbox.recall()
        else:
            outbox.drop_oldest()
        entries = [*outbox._sent.values(), *outbox._held]
        assert sum(len(e.body) + ENTRY_BYTES for e in entries) == outbox._bytes
        assert (not entries) == outbox._empty.is_set()

# SPDX-License-Identifier: Apache-2.0
"""What is acknowledged, and when."""

from chatmotor.client.acks import Acks


def arrived(count: int, *, window: int = 256) -> Acks:
    """As many events, none of them handled."""
    acks = Acks(window, 0)
    for _ in range(count):
        acks.arrive(0.0)
    return acks


def test_a_few_are_acknowledged_a_moment_later() -> None:
    """Together, a tenth of a second after the first one."""
    acks = arrived(5)
    for n in range(3):
        acks.release(n / 100)

    assert acks.due(0.09, 3) is None
    assert 0.1 == acks.deadline()
    assert {"h": 3, "seq": 3} == acks.due(0.1, 3)
    assert acks.due(0.2, 3) is None


def test_many_are_acknowledged_at_once() -> None:
    """32, or an eighth of a smaller window, so that the server need not wait."""
    for window, batch in ((256, 32), (64, 8), (4, 1), (1, 1)):
        acks = arrived(batch, window=window)
        for n in range(batch):
            assert acks.due(0.0, 0) is None, n
            acks.release(0.0)

        assert {"h": batch, "seq": 0} == acks.due(0.0, 0)


def test_what_is_held_for_long_is_acknowledged_one_by_one() -> None:
    """Every five seconds, without the place: a slow program keeps its connection."""
    acks = arrived(3)

    assert acks.due(4.9, 0) is None
    assert 5.0 == acks.deadline()
    assert {"h": 1, "seq": 0} == acks.due(5.0, 0)
    assert acks.due(9.9, 0) is None
    assert {"h": 2, "seq": 0} == acks.due(10.0, 0)
    for _ in range(2):
        acks.release(10.0)
    assert acks.due(10.2, 0) is None
    acks.release(10.2)
    assert {"h": 3, "seq": 0} == acks.due(10.3, 0)
    assert float("inf") == acks.deadline()


def test_a_place_alone_is_news() -> None:
    """An event that was fetched counts for no window, and moves the place."""
    acks = arrived(0)
    acks.moved(0.0)

    assert {"h": 0, "seq": 9} == acks.due(0.1, 9)
    acks.moved(0.2)
    assert acks.due(0.3, 9) is None


def test_without_a_place_none_is_said() -> None:
    """While it is not known where the client begins, only arrivals are told."""
    acks = arrived(1)
    acks.release(0.0)

    assert {"h": 1} == acks.due(0.1, None)


def test_a_goodbye_says_what_is_left_to_say() -> None:
    """And nothing, if there is no news."""
    acks = arrived(2)
    acks.release(0.0)

    assert {"h": 1, "seq": 1} == acks.last(1)
    assert acks.last(1) is None

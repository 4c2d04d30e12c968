# SPDX-License-Identifier: Apache-2.0
"""How long a client waits before it connects again."""

from random import Random

from chatmotor.client.backoff import Backoff


class Highest(Random):
    """Always the bound itself."""

    def random(self) -> float:
        return 1.0


def test_the_bound_doubles_to_half_a_minute() -> None:
    """Half a second, one, two ... thirty, and it stays there."""
    backoff = Backoff(Highest())

    expected = [0.5, 1, 2, 4, 8, 16, 30, 30]
    assert expected == [backoff.delay(None) for _ in expected]
    assert [30] * 2000 == [backoff.delay(None) for _ in range(2000)]
    backoff.reset()
    assert 0.5 == backoff.delay(None)


def test_any_time_up_to_the_bound_is_as_likely() -> None:
    """Full jitter: who was cut off together does not come back together."""
    delays = []
    for seed in range(1000):
        backoff = Backoff(Random(seed))
        backoff.delay(None)
        delays.append(backoff.delay(None))

    assert 0 <= min(delays) < 0.02
    assert 0.98 < max(delays) <= 1
    assert 0.45 < sum(delays) / 1000 < 0.55


def test_the_server_says_how_long_it_takes() -> None:
    """First exactly so long, since it has spread its clients; later at least."""
    backoff = Backoff(Highest())

    assert [1.5, 1.5, 2, 4] == [backoff.delay(1.5) for _ in range(4)]
    assert 100 == backoff.delay(100)

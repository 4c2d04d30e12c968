# SPDX-License-Identifier: Apache-2.0
"""A bot that nobody asked says only so much in a minute."""

from chatmotor.bot.brake import CONVERSATIONS_MAX, Brake


def test_a_conversation_has_its_limit_in_each_minute_of_its_messages() -> None:
    """The third reply to a minute's messages is one too many; a minute later not."""
    brake = Brake(2)

    allowed = [brake.allows("d.1", ts=ts) for ts in (0, 1000, 59_999, 60_000, 60_001)]

    assert [True, True, False, True, False] == allowed


def test_conversations_do_not_count_for_each_other() -> None:
    """Another one has its own limit."""
    brake = Brake(1)

    assert brake.allows("d.1", ts=0)
    assert brake.allows("d.2", ts=0)
    assert not brake.allows("d.1", ts=0)


def test_each_silence_is_news_once() -> None:
    """And again after the bot has spoken in between."""
    brake = Brake(1)
    brake.allows("d.1", ts=0)

    assert [True, False] == [brake.is_news("d.1"), brake.is_news("d.1")]
    brake.allows("d.1", ts=60_000)
    assert brake.is_news("d.1")


def test_conversations_are_forgotten_beyond_a_number() -> None:
    """Strangers cannot fill the memory of a bot."""
    brake = Brake(1)

    for number in range(CONVERSATIONS_MAX + 1):
        brake.allows(f"d.{number}", ts=0)

    assert CONVERSATIONS_MAX == len(brake._said)
    assert brake.allows("d.0", ts=0)

# SPDX-License-Identifier: Apache-2.0
"""The scenarios for clients in any language, played with this one: twice."""

from pathlib import Path

import pytest

from tests.conformance.runner import Play, Scenario, scenarios
from tests.unit.client.subjects import ClientSubject, CoreSubject

each_scenario = pytest.mark.parametrize("scenario", scenarios(), ids=str)


def test_there_are_scenarios() -> None:
    """The tests below play something, and every name is there once."""
    names = [str(each) for each in scenarios()]

    assert len(names) > 60
    assert len(names) == len(set(names))


@each_scenario
async def test_the_core_does_what_the_scenario_says(scenario: Scenario) -> None:
    """Without a socket, a loop or a file: every rule is in the core."""
    await Play(scenario, CoreSubject(scenario)).run()


@each_scenario
async def test_the_client_does_what_the_scenario_says(
    scenario: Scenario, tmp_path: Path
) -> None:
    """With everything that a program has, on a clock and a wire that are made up."""
    subject = ClientSubject(scenario, tmp_path)
    try:
        await Play(scenario, subject).run()
    finally:
        await subject.finish()

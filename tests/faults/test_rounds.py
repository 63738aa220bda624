"""A few seeded rounds; `make faults` plays as many as are wanted."""

import asyncio
from pathlib import Path

import pytest

from tests.faults.rig import Servers
from tests.faults.rounds import Options, Outcome, play_round

EVENTS = 1500


def play(loop: asyncio.Runner, servers: Servers, folder: Path, seed: int, options: Options) -> Outcome:
    return loop.run(play_round(servers, folder, seed, options))


@pytest.fixture(params=["embedded", "apache"])
def servers(request: pytest.FixtureRequest) -> Servers:
    return request.getfixturevalue(f"{request.param}_servers")


def test_a_round_leaves_no_drift(servers: Servers, folder: Path, loop: asyncio.Runner) -> None:
    """Whatever a seed's schedule breaks, what comes out equals the offline rating."""
    outcome = play(loop, servers, folder, 21, Options(EVENTS, faults=4, feed_s=3.0))

    assert not outcome.drift, outcome
    assert outcome.injected, outcome


@pytest.mark.parametrize("workers", [1, 2, 4])
def test_the_same_lines_with_any_number_of_workers(
    embedded_servers: Servers, folder: Path, loop: asyncio.Runner, workers: int
) -> None:
    """One, two and four workers make of the same journal the same lines: those of the offline rating."""
    options = Options(EVENTS, workers, faults=0, feed_s=0.5)

    outcome = play(loop, embedded_servers, folder, 23, options)

    assert not outcome.drift, outcome
    assert outcome.lines > EVENTS / 3

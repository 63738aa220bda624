"""Who is measured: how each is started, on how much input, and what it does less than ours."""

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Literal

import msgspec
import orjson

from bench.peers.environments import HERE, java_class_path, python_of
from bench.peers.programs.decoding import Event
from pipeline.domain.records import EVENTS_TOPIC, LINES_TOPIC
from tests.fixtures.fetch_kafka import java_command

PROGRAMS = HERE / "programs"
Command = Callable[[Path, Path], list[list[str]]]
"""From the run's folder and our catalog to the commands to run, one after the other; the last one is measured."""


@dataclass(frozen=True)
class Peer:
    """A program to measure.

    `warm` is the share of the input after which the measuring begins; `progress` says how the harness sees what is done:
    records in the output topic, lines in its records, or the count that the program prints.
    """

    name: str
    command: Command | None
    """None: `decode` alone is measured, in the harness."""
    less: str
    per_message: int = 1
    events: int = 100_000
    warm: float = 0.3
    topic: str = "events"
    output: str = "rated"
    progress: Literal["records", "lines", "printed"] = "records"
    rounds_max: int = 1_000
    variables: Mapping[str, str] = field(default_factory=dict)
    decode: Callable[[bytes], object] | None = None


def _program(environment: str, name: str, folder: Path, catalog: Path) -> list[list[str]]:  # noqa: ARG001
    return [[str(python_of(environment)), str(PROGRAMS / f"{name}.py")]]


def _floor(name: str, folder: Path, catalog: Path) -> list[list[str]]:  # noqa: ARG001
    return [[sys.executable, str(PROGRAMS / f"{name}.py")]]


def _faust(folder: Path, catalog: Path) -> list[list[str]]:  # noqa: ARG001
    return [[str(python_of("faust").with_name("faust")), "-A", "faust_app", "worker", "-l", "warn", "--without-web"]]


def _bytewax(folder: Path, catalog: Path) -> list[list[str]]:  # noqa: ARG001
    python, store = str(python_of("bytewax")), str(folder / "recovery")
    Path(store).mkdir()
    run = [python, "-m", "bytewax.run", "bytewax_app:flow", "-r", store, "-b", "0"]
    return [[python, "-m", "bytewax.recovery", store, "1"], run]


def _kafka_streams(folder: Path, catalog: Path) -> list[list[str]]:  # noqa: ARG001
    return [
        [
            java_command(),
            "-Xmx1g",
            "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
            "-cp",
            java_class_path(),
            "bench.Rater",
        ]
    ]


def _ours(folder: Path, catalog: Path) -> list[list[str]]:  # noqa: ARG001
    return [[sys.executable, "-m", "pipeline", "worker", "--catalog", str(catalog), "--log-level", "WARNING"]]


_LESS = "no 35-day horizon, known ids not compared, no validation, no seq, one allowance and price"
_LESS_35_DAYS = "known ids not compared, no validation, no seq, one allowance and price; crash: rated twice"
_PRINTED = partial(Peer, less="everything but fetch and decode", progress="printed", warm=0.2)
_QUIX = partial(Peer, command=partial(_program, "quix", "quix_app"), less=f"{_LESS}; crash: rated twice")
_BYTEWAX = partial(Peer, command=_bytewax, less=f"{_LESS}; state on a local disk only, each second; crash: rated twice")
_OURS = partial(Peer, command=_ours, less="-", topic=EVENTS_TOPIC, output=LINES_TOPIC, progress="lines")
FAUST = Peer("faust, idiomatic", _faust, f"{_LESS}; crash: lost or rated twice", events=20_000)
STREAMS = Peer(
    "kafka streams",
    _kafka_streams,
    _LESS_35_DAYS,
    events=500_000,
    warm=0.7,  # the JVM compiles for half a minute
    rounds_max=2,
)
PEERS = (
    Peer("floor: orjson alone", None, "everything but decode", decode=orjson.loads),
    Peer("floor: msgspec alone", None, "everything but decode", decode=msgspec.json.Decoder(Event).decode),
    _PRINTED("floor: aiokafka", partial(_floor, "floor_aiokafka")),
    _PRINTED("floor: librdkafka", partial(_program, "floor", "floor_librdkafka")),
    FAUST,
    _QUIX("quix"),
    _QUIX("quix, 35 days", less=_LESS_35_DAYS, variables={"BENCH_HORIZON_DAYS": "35"}),
    _BYTEWAX("bytewax"),
    STREAMS,
    _OURS("ours"),
    _PRINTED("floor: aiokafka, 500", partial(_floor, "floor_aiokafka"), per_message=500, events=200_000),
    _QUIX("quix, 500", per_message=500, events=200_000),
    _BYTEWAX("bytewax, 500", per_message=500, events=200_000),
    _OURS("ours, 500", per_message=500, events=200_000),
)
"""The order in which they take turns."""

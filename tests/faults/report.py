"""What is printed: a line a round, and a summary."""

import argparse
import json
import statistics
import sys
from collections import Counter
from typing import Any

from tests.faults.rounds import Outcome


class Report:
    """Counts rounds, faults, drift and recoveries."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self._arguments = arguments
        self.rounds = 0
        self.drifted: list[Outcome] = []
        self._faults: Counter[str] = Counter()
        self._missed: Counter[str] = Counter()
        self._drift: Counter[str] = Counter()
        self._deaths = 0
        self._recoveries_s: list[float] = []
        self._took_s = 0.0
        self._lines = 0

    def add(self, outcome: Outcome) -> None:
        """Count a round, and say how it went."""
        self.rounds += 1
        self._faults.update(outcome.injected)
        self._missed.update(outcome.missed)
        self._drift.update(outcome.drift.counts)
        self._deaths += sum(outcome.deaths.values())
        self._recoveries_s += outcome.recoveries_s
        self._took_s += outcome.took_s
        self._lines += outcome.lines
        if outcome.drift:
            self.drifted.append(outcome)
        if self._arguments.format == "text":
            self._tell(outcome)

    def _tell(self, outcome: Outcome) -> None:
        faults = ", ".join(outcome.injected) or "none"
        recovered = f"recovered in {max(outcome.recoveries_s):.1f} s" if outcome.recoveries_s else "nothing to recover"
        drift = sum(outcome.drift.counts.values())
        _say(
            f"{self.rounds:>4}  seed {outcome.seed}  {outcome.workers} workers  {outcome.lines} lines  drift {drift}  "
            f"{recovered}  {outcome.took_s:.0f} s  faults: {faults}"
        )
        for kind, count in outcome.drift.counts.items():
            _say(f"      {kind}: {count}, such as {outcome.drift.examples[kind][0]}")
        if outcome.drift:
            _say(f"      again with: {self.command(outcome)}\n      logs: {outcome.folder}")

    def command(self, outcome: Outcome) -> str:
        """Return the command that plays a round again."""
        given = self._arguments
        command = (
            f"python -m tests.faults --rounds 1 --seed {outcome.seed} --broker {given.broker} --events {given.events}"
        )
        for name, value in (("workers", given.workers), ("faults", given.faults)):
            command += "" if value is None else f" --{name} {value}"
        return command + "".join(f" --only {name}" for name in given.only)

    def end(self) -> None:
        """Print the summary."""
        summary = self._summary()
        if self._arguments.format == "json":
            _say(json.dumps(summary, indent=2, ensure_ascii=False))
            return
        _say(f"\n{self.rounds} rounds in {self._took_s:.0f} s on {self._arguments.broker}, {self._lines} lines")
        for title, counted in (("faults", self._faults), ("faults that did not come to pass", self._missed)):
            _say(f"{title}: {counted.total()}")
            for name, count in sorted(counted.items()):
                _say(f"  {count:>5}  {name}")
        _say(f"processes that ended by themselves and were started again: {self._deaths}")
        _say(f"time to recover: median {summary['recover_s_median']} s, max {summary['recover_s_max']} s")
        _say(f"drift: {self._drift.total()} in {len(self.drifted)} rounds")
        for name, count in self._drift.most_common():
            _say(f"  {count:>5}  {name}")
        for outcome in self.drifted:
            _say(f"  again with: {self.command(outcome)}")

    def _summary(self) -> dict[str, Any]:
        recoveries = self._recoveries_s
        return {
            "broker": self._arguments.broker,
            "rounds": self.rounds,
            "seed": self._arguments.seed,
            "took_s": round(self._took_s, 1),
            "lines": self._lines,
            "faults": dict(sorted(self._faults.items())),
            "faults_missed": dict(sorted(self._missed.items())),
            "restarts": self._deaths,
            "recover_s_median": round(statistics.median(recoveries), 1) if recoveries else None,
            "recover_s_max": round(max(recoveries), 1) if recoveries else None,
            "drift": dict(self._drift.most_common()),
            "rounds_with_drift": [
                {"seed": each.seed, "command": self.command(each), "examples": each.drift.examples}
                for each in self.drifted
            ],
        }


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()

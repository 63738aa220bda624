"""One process of the coverage-guided fuzzer: `python -m tests.fuzz.engine TARGET STATISTICS libFuzzer's arguments`.

Atheris (libFuzzer) leaves without returning, so the statistics are written while it runs.
"""

import json
import sys
import time
from collections import Counter
from pathlib import Path
from random import Random

import atheris

WRITE_S = 0.5


def main() -> None:
    """Fuzz until libFuzzer's arguments say it is enough, or until something is found."""
    name, statistics = sys.argv[1], Path(sys.argv[2])
    with atheris.instrument_imports(include=["pipeline"]):
        from tests.fuzz.targets import SIZE_MAX, TARGETS
    target = TARGETS[name]
    counts: Counter[str] = Counter()
    written_s = 0.0

    def run(data: bytes) -> None:
        nonlocal written_s
        counts.update(target.run(data))
        counts["executions"] += 1
        if time.monotonic() - written_s > WRITE_S:
            written_s = time.monotonic()
            statistics.write_text(json.dumps(counts))

    def mutate(data: bytes, size_max: int, seed: int) -> bytes:
        return target.mutate(data, size_max, Random(seed), atheris.Mutate)

    arguments = [sys.argv[0], *sys.argv[3:], f"-max_len={SIZE_MAX[name]}"]
    atheris.Setup(arguments, run, custom_mutator=mutate)
    atheris.Fuzz()


if __name__ == "__main__":
    main()

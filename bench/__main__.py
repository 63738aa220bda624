"""All measurements, one after the other, each in a process of its own; then the targets against what was measured."""

import argparse
import subprocess
import sys
import time

from bench.machine import describe
from bench.report import RESULTS, progress, run_main
from bench.targets import verdicts

QUICK = {
    "rate": "--events 20000 --rounds 3",
    "worker": "--windows 2 --messages 1 500 --partitions 4 --brokers embedded",
    "sink": "--rows 300000 --blocks 100000",
    "whole": "--events 200000 --windows 3 --window 2",
    "memory": "--identities 120000 --customers 1000 10000 100000 --age 100000",
    "recovery": "--customers 20000",
    "quota": "--probes 60 --checks 50000 --brokers embedded",
    "statements": "--lines 3000000 --times 10",
    "simulate": "--events 500000 --rounds 2 --plans mixed",
    "sdk": "--calls 5000 --rounds 2",
}
"""The parts, and their options for a short run."""


def run(part: str, options: list[str]) -> bool:
    """Run a part, which prints its own tables; tell whether it went well."""
    began = time.monotonic()
    (RESULTS / f"{part}.json").unlink(missing_ok=True)
    print(f"\n== {part}\n", flush=True)
    with subprocess.Popen([sys.executable, "-m", f"bench.{part}", *options]) as process:
        try:
            code = process.wait()
        except KeyboardInterrupt:
            process.terminate()  # Ctrl-C in a terminal has reached it too, a signal to us alone has not
            raise
    progress(f"{part} ended with {code} after {time.monotonic() - began:.0f} s")
    return code == 0


def main() -> None:
    """Run the parts and print the targets; exit with 1 when a part failed."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a short run: fewer cases, events and windows")
    parser.add_argument("--parts", nargs="+", choices=QUICK, default=list(QUICK))
    arguments = parser.parse_args()
    print(describe(), flush=True)
    failed = [part for part in arguments.parts if not run(part, QUICK[part].split() if arguments.quick else [])]
    print("\n== targets: medians (least..most), as this machine was just now\n")
    print(verdicts())
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    run_main(main)

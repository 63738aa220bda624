"""A worker process with the stub ledger: `python -m tests.stream.worker_process '{"kafka": ...}' READY_FILE`."""

import json
import logging
import sys
from pathlib import Path

from pipeline.domain.catalog import Catalog
from pipeline.settings import load_settings
from pipeline.stream.worker import run_worker
from tests.stream.stub import StubLedger


def main() -> int:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    settings = load_settings(**json.loads(sys.argv[1]))
    catalog = Catalog.__new__(Catalog)  # the stub does not look at it
    return run_worker(settings, catalog, on_ready=lambda: Path(sys.argv[2]).write_text("ready"), new_ledger=StubLedger)


if __name__ == "__main__":
    sys.exit(main())

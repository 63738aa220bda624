"""A worker process: `python -m tests.stream.worker_process '{"kafka": ...}' READY_FILE [CATALOG | published]`.

With a catalog, or under published versions, it rates as `usage worker` does, without one it runs the stub ledger.
"""

import json
import logging
import sys
from pathlib import Path

from pipeline.catalog.load import load_catalog
from pipeline.settings import load_settings
from pipeline.stream.worker import run_worker
from tests.stream.stub import StubLedger


def main() -> int:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    settings = load_settings(**json.loads(sys.argv[1]))
    ready = Path(sys.argv[2])
    if len(sys.argv) > 3:
        catalog = None if sys.argv[3] == "published" else load_catalog(Path(sys.argv[3]))
        return run_worker(settings, catalog, on_ready=lambda: ready.write_text("ready"))
    return run_worker(settings, None, on_ready=lambda: ready.write_text("ready"), new_ledger=StubLedger)


if __name__ == "__main__":
    sys.exit(main())

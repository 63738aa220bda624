"""The stack as it is deployed: Apache Kafka, and each of our processes started by itself."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from pipeline.settings import load_settings
from tests.e2e.stack import READY_TIMEOUT_S, RunningStack
from tests.fixtures.apache_kafka import STOPPED
from tests.fixtures.brokers import broker_of_kind
from tests.fixtures.servers import Server, clickhouse_server

STOP_TIMEOUT_S = 60


class DeployedStack(RunningStack):
    """Apache Kafka, ClickHouse, workers and a sink; start, stop and start again. Skips the test where Kafka is not there."""

    def __init__(self, folder: Path, catalog: Path, workers: int = 1) -> None:
        super().__init__(folder, catalog, workers)
        self._servers: list[Server] = []
        self._ours: list[subprocess.Popen[bytes]] = []

    def start(self) -> "DeployedStack":
        if not self._servers:
            self._servers = [broker_of_kind("apache", self.folder / "kafka"), clickhouse_server(self.folder / "tables")]
            kafka, clickhouse = self._servers
            self.settings = load_settings(kafka=kafka.address, clickhouse=clickhouse.address, catalog=self._catalog)
        for server in self._servers:
            server.start()
        for command in ("topics", "migrate"):
            done = self.usage(command)
            assert done.returncode == 0, done.stderr
        self._spawn(*["worker"] * self._workers, "sink")
        return self

    def _spawn(self, *commands: str) -> None:
        """Start our processes, and return when all are ready."""
        self._ours = []
        ready_files = [self.folder / f"{number}-{command}.ready" for number, command in enumerate(commands)]
        for command, ready_file in zip(commands, ready_files, strict=True):
            ready_file.unlink(missing_ok=True)
            arguments = [sys.executable, "-m", "pipeline", command, "--ready-file", str(ready_file)]
            with self._log.open("ab") as log:
                self._ours.append(subprocess.Popen(arguments, stdout=log, stderr=log, env=self._environment()))
        deadline = time.monotonic() + READY_TIMEOUT_S
        while not all(ready_file.exists() for ready_file in ready_files):
            assert all(process.poll() is None for process in self._ours), f"one ended:\n{self.log()}"
            assert time.monotonic() < deadline, f"not ready:\n{self.log()}"
            time.sleep(0.05)  # other processes make the files: nothing to await

    def _environment(self) -> dict[str, str]:
        assert self.settings is not None
        ours = {name: value for name, value in os.environ.items() if not name.startswith("USAGE_")}
        reach = {"USAGE_KAFKA": self.settings.kafka, "USAGE_CLICKHOUSE": self.settings.clickhouse}
        return ours | reach | {"USAGE_CATALOG": str(self._catalog)}

    def stop(self, number: signal.Signals = signal.SIGINT) -> int:
        """Stop our processes, then the servers; return the first exit code that tells of a fault."""
        for process in self._ours:
            process.send_signal(number)
        codes = [process.wait(STOP_TIMEOUT_S) for process in self._ours]
        codes += [0 if code == STOPPED else code for code in [server.stop() for server in self._servers]]
        return next((code for code in codes if code), 0)

    def kill(self) -> None:
        for process in self._ours:
            process.kill()
            process.wait()
        for server in self._servers:
            if server.process is not None:
                server.kill()

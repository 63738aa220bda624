"""The embedded ClickHouse as a process: who may use it, and what a stop or a crash leaves."""

import base64
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.embedded.http_help import connect, json_lines, request
from tests.fixtures.servers import Server, clickhouse_server


def test_a_password_is_asked_for(tmp_path: Path):
    """With a password set, every way of giving it works, and nothing else gets in."""
    server = clickhouse_server(
        tmp_path / "ch", {"USAGE_CLICKHOUSE_USER": "ops", "USAGE_CLICKHOUSE_PASSWORD": "s3cret"}
    ).start()
    good = base64.b64encode(b"ops:s3cret").decode()
    try:
        with connect(server.address, username="ops", password="s3cret") as client:
            assert client.command("SELECT 1") == 1
        for path, headers in (
            ("/?query=SELECT+1&user=ops&password=s3cret", {}),
            ("/?query=SELECT+1", {"X-ClickHouse-User": "ops", "X-ClickHouse-Key": "s3cret"}),
            ("/?query=SELECT+1", {"Authorization": f"Basic {good}"}),
        ):
            assert request(server.address, "GET", path, **headers)[0] == 200
        for path, headers in (
            ("/?query=SELECT+1", {}),
            ("/?query=SELECT+1&user=ops&password=wrong", {}),
            ("/?query=SELECT+1&user=default&password=s3cret", {}),
            ("/?query=SELECT+1", {"Authorization": "Basic !!"}),
        ):
            status, answer, text = request(server.address, "GET", path, **headers)
            assert (status, answer["X-ClickHouse-Exception-Code"]) == (403, "516")
            assert "s3cret" not in text
        assert request(server.address, "GET", "/ping")[0] == 200
    finally:
        server.stop()
    assert "s3cret" not in server.log_path.read_text()


@pytest.mark.parametrize("way", ["stop", "kill"])
def test_acknowledged_rows_survive(tmp_path: Path, way: str):
    """Rows of an acknowledged insert are there after SIGTERM, and after SIGKILL, without a word of repair."""
    server = clickhouse_server(tmp_path / "ch").start()
    with connect(server.address) as client:
        client.command("CREATE TABLE t (id UInt64, name String) ENGINE = ReplacingMergeTree ORDER BY id")
        for number in range(20):
            client.raw_insert("t", insert_block=json_lines(100, number * 100), fmt="JSONEachRow")

    if way == "stop":
        assert server.stop() == 0
    else:
        server.kill()
    server.start()

    with connect(server.address) as client:
        assert client.query("SELECT count(), uniqExact(id) FROM t").result_rows == [(2000, 2000)]
    server.stop()


def test_sigterm_lets_a_running_insert_finish(tmp_path: Path):
    """An insert that is under way when SIGTERM comes is finished and acknowledged."""
    server: Server = clickhouse_server(tmp_path / "ch").start()
    with connect(server.address) as client:
        client.command("CREATE TABLE t (id UInt64, name String) ENGINE = MergeTree ORDER BY id")
    begun, go_on = threading.Event(), threading.Event()

    def body() -> Iterator[bytes]:
        yield json_lines(10)
        begun.set()
        go_on.wait(10)
        yield json_lines(10, 10)

    with ThreadPoolExecutor(2) as pool:
        path = "/?query=" + quote("INSERT INTO t FORMAT JSONEachRow")
        insert = pool.submit(request, server.address, "POST", path, body(), Transfer_Encoding="chunked")
        begun.wait(10)
        while not any((tmp_path / "ch" / "incoming").iterdir()):
            assert not insert.done()
        stopped = pool.submit(server.stop)
        go_on.set()
        assert insert.result()[0] == 200
        assert stopped.result() == 0
    server.start()
    with connect(server.address) as client:
        assert client.command("SELECT count() FROM t") == 20
    server.stop()
    assert "clickhouse stopped" in server.log_path.read_text()

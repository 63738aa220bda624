"""The embedded ClickHouse behind its HTTP interface, as clickhouse-connect and curl see it."""

import asyncio
import gzip
import socket
import threading
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from decimal import Decimal
from urllib.parse import quote, urlsplit

import clickhouse_connect
import lz4.frame
import pytest
import zstandard
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import DatabaseError

from tests.embedded.http_help import connect, json_lines, request

ROWS = 100_000
COMPRESSORS = {"lz4": lz4.frame.compress, "zstd": zstandard.compress, "gzip": gzip.compress}


@pytest.fixture
def client(clickhouse: str) -> Iterator[Client]:
    """Yield a client in a database of its own."""
    database = f"front_{uuid.uuid4().hex[:12]}"
    with connect(clickhouse) as root:
        root.command(f"CREATE DATABASE {database}")
    with connect(clickhouse, database=database) as own:
        yield own
        own.command(f"DROP DATABASE {database}")


def test_answers_health_checks_and_plain_requests(clickhouse):
    """Health checks, a query in the address, one in the body, and one cut in two all work as curl sends them."""
    assert request(clickhouse, "GET", "/ping")[::2] == (200, "Ok.\n")
    assert request(clickhouse, "GET", "/")[::2] == (200, "Ok.\n")
    assert request(clickhouse, "GET", "/?query=SELECT+1")[::2] == (200, "1\n")
    assert request(clickhouse, "POST", "/", "SELECT 1 AS x FORMAT JSONEachRow")[2] == '{"x":1}\n'
    assert request(clickhouse, "POST", "/?query=SELECT&default_format=JSONEachRow", "2 AS y")[2] == '{"y":2}\n'
    assert request(clickhouse, "GET", "/?query=SELECT+1", X_ClickHouse_Format="CSV")[2] == "1\n"


def test_a_get_may_only_read(clickhouse):
    """GET never changes data, as on a ClickHouse server, so a link cannot."""
    status, headers, text = request(clickhouse, "GET", "/?query=" + quote("CREATE DATABASE evil"))

    assert status == 500
    assert headers["X-ClickHouse-Exception-Code"] == "164"
    assert "READONLY" in text


def test_other_hosts_pages_are_refused(clickhouse):
    """A page of another site, or one whose name was pointed at this machine, cannot send statements."""
    assert request(clickhouse, "POST", "/", "SELECT 1", Origin="https://evil.example")[0] == 403
    assert request(clickhouse, "POST", "/", "SELECT 1", Host="evil.example")[0] == 403
    assert request(clickhouse, "POST", "/", "SELECT 1", Host="[bad")[0] == 403
    assert request(clickhouse, "POST", "/", "SELECT 1", Origin="null")[0] == 403
    assert request(clickhouse, "GET", "/?query=SELECT+1", "", **{"Sec-Fetch-Site": "cross-site"})[0] == 403
    assert request(clickhouse, "POST", "/", "SELECT 1", Origin="http://localhost:3000")[0] == 200


def test_query_parameters_arrive_unchanged(client):
    """Server-side parameters of all types that we use keep every byte."""
    text = "a'b\\c\td\ne\"f`g;--ä"
    when = datetime(2026, 11, 3, 10, 22, 33, 123456, UTC)
    values = {"s": text, "i": 10**30, "d": Decimal("1.000000000001"), "a": ["x'y", "z"], "t": when, "n": None}

    row = client.query(
        "SELECT {s:String}, {i:Int128}, {d:Decimal(38, 12)}, {a:Array(String)}, {t:DateTime64(6, 'UTC')}, {n:Nullable(String)}",
        parameters=values,
    ).result_rows[0]

    assert row[:4] == (text, 10**30, Decimal("1.000000000001"), ["x'y", "z"])
    assert row[4].replace(tzinfo=UTC) == when
    assert row[5] is None


def test_settings_hold_for_one_request(client):
    """A setting is in force for its own request only."""
    ask = "SELECT getSetting('max_block_size')"

    assert client.command(ask, settings={"max_block_size": 777}) == 777
    assert client.command(ask) != 777


def test_times_are_utc(client):
    """The engine's clock is UTC, whatever the machine's is."""
    assert client.command("SELECT timezone()") == "UTC"


@pytest.mark.parametrize("compress", [False, "lz4", "zstd", "gzip"])
def test_native_inserts_keep_every_row(client, compress):
    """Rows inserted by clickhouse-connect in many blocks are all there; lz4 comes as one frame a block."""
    client.command("CREATE TABLE t (id UInt64, name String) ENGINE = MergeTree ORDER BY id")
    parts = urlsplit(client.url)
    with clickhouse_connect.get_client(
        host=parts.hostname, port=parts.port, database=client.database, compress=compress
    ) as own:
        summary = own.insert("t", [[number, "x" * 40] for number in range(ROWS)], column_names=["id", "name"])

    assert summary.written_rows == ROWS
    assert client.query("SELECT count(), sum(id) FROM t").result_rows == [(ROWS, ROWS * (ROWS - 1) // 2)]


@pytest.mark.parametrize("compression", [None, "lz4", "zstd", "gzip"])
def test_raw_inserts_keep_every_row(client, compression):
    """JSON lines arrive whole, plain or compressed, even as several frames one after the other."""
    client.command("CREATE TABLE t (id UInt64, name String) ENGINE = MergeTree ORDER BY id")
    parts = [json_lines(600), json_lines(400, first=600)]
    block = b"".join(COMPRESSORS[compression](part) for part in parts) if compression else b"".join(parts)

    summary = client.raw_insert("t", insert_block=block, fmt="JSONEachRow", compression=compression)

    assert summary.written_rows == 1000
    assert client.query("SELECT count(), max(id) FROM t").result_rows == [(1000, 999)]


def test_a_streamed_insert_of_100_000_rows(client):
    """40 MB of JSON lines stream through in chunks whose borders fall anywhere."""
    client.command("CREATE TABLE t (id UInt64, name String) ENGINE = MergeTree ORDER BY id")
    body = b"".join(b'{"id":%d,"name":"%s"}\n' % (number, b"n" * 380) for number in range(ROWS))

    summary = client.raw_insert(
        "t", insert_block=(body[at : at + 77_777] for at in range(0, len(body), 77_777)), fmt="JSONEachRow"
    )

    assert summary.written_rows == ROWS
    assert client.command("SELECT uniqExact(id) FROM t") == ROWS


def test_inserts_as_curl_sends_them(client):
    """The statement may stand in the address or before its data, with VALUES, SELECT, settings or odd names."""
    client.command("CREATE TABLE t (id UInt64, `format` String) ENGINE = MergeTree ORDER BY id")
    base = f"/?database={client.database}"

    for path, body in (
        (f"{base}&query=" + quote("INSERT INTO t FORMAT JSONEachRow"), '{"id":1,"format":"a"}'),
        (base, 'INSERT INTO t FORMAT CSV\n2,"b"\n'),
        (base, "INSERT INTO t (id, format) VALUES (3, 'FORMAT CSV')"),
        (base, 'insert into t (id, `format`) settings async_insert=0 format JSONCompactEachRow [4,"d"]'),
        (base, "/* FORMAT x */ INSERT INTO t -- FORMAT y\n FORMAT TSV\n5\te\n"),
        (base, "INSERT INTO t SELECT 6, 'f'"),
        (f"{base}&query=" + quote("INSERT INTO t FORMAT Values"), "(7, 'g')"),
    ):
        assert request(client.url, "POST", path, body)[::2] == (200, "")

    assert client.query("SELECT groupArray(id) FROM (SELECT id FROM t ORDER BY id)").result_rows == [([*range(1, 8)],)]
    assert client.command("SELECT format FROM t WHERE id = 3") == "FORMAT CSV"


@pytest.mark.parametrize(
    ("statement", "code", "status", "name"),
    [
        ("SELECT * FROM nowhere", 60, 404, "UNKNOWN_TABLE"),
        ("SELECT nothing", 47, 404, "UNKNOWN_IDENTIFIER"),
        ("SELEC 1", 62, 400, "SYNTAX_ERROR"),
        ("SELECT * FROM nowhere.t", 81, 404, "UNKNOWN_DATABASE"),
        ("SELECT throwIf(1)", 395, 500, "FUNCTION_THROW_IF_VALUE_IS_NON_ZERO"),
        ("INSERT INTO nowhere FORMAT JSONEachRow {}", 60, 404, "UNKNOWN_TABLE"),
    ],
)
def test_errors_carry_clickhouses_code(clickhouse, statement, code, status, name):
    """A failed statement answers with ClickHouse's code, text and HTTP status, and clickhouse-connect raises them."""
    answer, headers, text = request(clickhouse, "POST", "/", statement)
    with connect(clickhouse) as client, pytest.raises(DatabaseError, match=f"code {code}|{name}"):
        client.command(statement)

    assert (answer, headers["X-ClickHouse-Exception-Code"]) == (status, str(code))
    assert text.startswith(f"Code: {code}. DB::Exception: ")
    assert name in text


def test_bad_input_writes_nothing_and_leaves_the_server_well(client):
    """Unreadable rows, a cut compressed frame, an unknown encoding or setting: an error with a code, no rows."""
    client.command("CREATE TABLE t (id UInt64, name String) ENGINE = MergeTree ORDER BY id")
    path = f"/?database={client.database}&query=" + quote("INSERT INTO t FORMAT JSONEachRow")
    cut = lz4.frame.compress(json_lines(10_000))[:-100]

    for headers, body, code in (
        ({}, b'{"id":1,"name":"a"}\n{"id":"x"}\n', "27"),
        ({"Content-Encoding": "lz4"}, cut, "432"),
        ({"Content-Encoding": "lz4"}, b"not lz4 at all", "432"),
        ({"Content-Encoding": "br"}, b"x", "48"),
    ):
        answer = request(client.url, "POST", path, body, **headers)
        assert answer[1]["X-ClickHouse-Exception-Code"] == code
    assert request(client.url, "GET", "/?query=SELECT+1&no_such_setting=1")[1]["X-ClickHouse-Exception-Code"] == "115"
    assert request(client.url, "POST", "/", b"SELECT '\xff\xfe'")[0] in {200, 400}

    assert client.command("SELECT count() FROM t") == 0


@pytest.mark.parametrize(
    "data", ["CSV\n1,a\n200,b\n", "Values (1,'a'), (200,'b')", 'JSONEachRow\n{"id":1}\n{"id":200}\n']
)
def test_an_insert_that_fails_after_parsing_says_so(client, data):
    """Rows that break a constraint answer with its code and are not there; chDB's streaming insert would say nothing."""
    client.command(
        "CREATE TABLE t (id UInt64, name String, CONSTRAINT small CHECK id < 100) ENGINE = MergeTree ORDER BY id"
    )

    status, headers, _ = request(client.url, "POST", f"/?database={client.database}", f"INSERT INTO t FORMAT {data}")

    assert (status, headers["X-ClickHouse-Exception-Code"]) == (500, "469")
    assert client.command("SELECT count() FROM t") == 0


def test_an_insert_into_too_many_partitions_says_so(client):
    """An insert that would cut more parts than allowed fails as a whole, and is seen to fail."""
    client.command("CREATE TABLE t (id UInt64, name String) ENGINE = MergeTree PARTITION BY id ORDER BY id")

    with pytest.raises(DatabaseError, match=r"TOO_MANY_PARTS|TOO_MANY_PARTITIONS|code 252"):
        client.raw_insert("t", insert_block=json_lines(300), fmt="JSONEachRow")

    assert client.command("SELECT count() FROM t") == 0


def test_an_insert_that_breaks_off_writes_nothing(client):
    """When the client goes away in the middle of an insert, none of its rows appear."""
    client.command("CREATE TABLE t (id UInt64, name String) ENGINE = MergeTree ORDER BY id")
    parts = urlsplit(client.url)
    path = f"/?database={client.database}&query=" + quote("INSERT INTO t FORMAT JSONEachRow")
    half = json_lines(1000)

    with socket.create_connection((parts.hostname, parts.port)) as raw:
        raw.sendall(
            f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {2 * len(half)}\r\n\r\n".encode() + half
        )
        raw.shutdown(socket.SHUT_WR)
        raw.recv(1)

    assert client.command("SELECT count() FROM t") == 0


def test_money_columns_keep_every_digit(client):
    """Int128 and Decimal(38, 12) round-trip beyond 64 bits and to the picodollar, by JSON and by Native."""
    client.command(
        "CREATE TABLE m (pico Int128, amount Decimal(38, 12) ALIAS toDecimal128(pico, 0) / 1000000000000) ENGINE = MergeTree ORDER BY pico"
    )
    huge = 12_345_678_901_234_567_890_123

    client.raw_insert("m", insert_block=b'{"pico":"%d"}\n{"pico":%d}\n' % (huge, -huge), fmt="JSONEachRow")
    client.insert("m", [[1]], column_names=["pico"])

    assert client.query("SELECT pico FROM m ORDER BY pico").result_rows == [(-huge,), (1,), (huge,)]
    client.command("CREATE TABLE d (amount Decimal(38, 12)) ENGINE = MergeTree ORDER BY amount")
    client.insert("d", [[Decimal("12345678901.234567890123")]], column_names=["amount"])
    assert client.query("SELECT amount FROM d").result_rows == [(Decimal("12345678901.234567890123"),)]


def test_a_replacing_table_shows_the_last_version(client):
    """Rows sent again with a later version replace the earlier ones for readers that say FINAL."""
    client.command(
        "CREATE TABLE r (k String, seq UInt64, version UInt64, v Int64) ENGINE = ReplacingMergeTree(version) ORDER BY (k, seq)"
    )
    for version in (1, 3, 2):
        client.insert(
            "r", [["a", seq, version, version * 10] for seq in range(100)], column_names=["k", "seq", "version", "v"]
        )

    assert client.query("SELECT count(), min(v), max(v) FROM r FINAL").result_rows == [(100, 30, 30)]


def test_readers_do_not_hold_up_inserts(client):
    """While more slow reads run than may run at once, inserts go through and each read sees whole inserts."""
    client.command("CREATE TABLE t (id UInt64, name String) ENGINE = MergeTree ORDER BY id")
    stop = threading.Event()

    def read_slowly() -> int:
        with connect(client.url) as own:
            own.command(
                "SELECT count() FROM numbers(3000000000) WHERE sipHash64(number) % 7 = 0",
                settings={"max_execution_time": 6, "timeout_overflow_mode": "break"},
            )
            return 1

    def read_counts() -> list[int]:
        with connect(client.url, database=client.database) as own:
            counts = []
            while not stop.is_set():
                counts.append(own.command("SELECT count() FROM t"))
            return counts

    with ThreadPoolExecutor(8) as pool:
        slow = [pool.submit(read_slowly) for _ in range(3)]
        counts = pool.submit(read_counts)
        for round_number in range(20):
            client.raw_insert("t", insert_block=json_lines(500, round_number * 500), fmt="JSONEachRow")
        assert not any(one.done() for one in slow)
        stop.set()
        assert set(counts.result()) <= {500 * round_number for round_number in range(21)}
        assert sum(one.result() for one in slow) == 3
    assert client.command("SELECT uniqExact(id) FROM t") == 10_000


def test_the_async_client_works(client):
    """clickhouse-connect's async client queries, inserts and gets errors alike."""

    async def use() -> tuple[object, int, str]:
        parts = urlsplit(client.url)
        own = await clickhouse_connect.get_async_client(host=parts.hostname, port=parts.port, database=client.database)
        await own.command("CREATE TABLE t (id UInt64, name String) ENGINE = MergeTree ORDER BY id")
        await own.raw_insert("t", insert_block=json_lines(10), fmt="JSONEachRow")
        rows = (await own.query("SELECT max(id) FROM t WHERE id < {top:UInt64}", parameters={"top": 5})).result_rows
        try:
            await own.query("SELECT * FROM nowhere")
        except DatabaseError as failure:
            text = str(failure)
        await own.close()
        return rows, 1, text

    rows, _, text = asyncio.run(use())

    assert rows == [(4,)]
    assert "UNKNOWN_TABLE" in text


def test_the_engine_has_limits(client):
    """Memory, threads and time of a query are limited, so that a laptop survives it; the server lives on."""
    assert client.command("SELECT getSetting('max_threads')") == 2
    with pytest.raises(DatabaseError, match="MEMORY_LIMIT_EXCEEDED"):
        client.command(
            "SELECT length(groupArray(number)) FROM numbers(100000000)", settings={"max_memory_usage": 100_000_000}
        )
    assert client.command("SELECT 1") == 1

"""What the tests of the embedded ClickHouse share."""

import http.client
from urllib.parse import urlsplit

import clickhouse_connect
from clickhouse_connect.driver.client import Client


def connect(url: str, **settings: object) -> Client:
    parts = urlsplit(url)
    return clickhouse_connect.get_client(host=parts.hostname, port=parts.port, **settings)


def request(url: str, method: str, path: str, body: object = None, **headers: str) -> tuple[int, dict[str, str], str]:
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=30)
    connection.request(
        method,
        path,
        body,
        encode_chunked=True,
        headers={key.replace("_", "-"): value for key, value in headers.items()},
    )
    response = connection.getresponse()
    answer = response.status, dict(response.getheaders()), response.read().decode(errors="replace")
    connection.close()
    return answer


def json_lines(count: int, first: int = 0) -> bytes:
    return b"".join(b'{"id":%d,"name":"n%d"}\n' % (number, number) for number in range(first, first + count))

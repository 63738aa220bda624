"""The dashboard of the money asks ClickHouse what is there, and what it shows is what the lines sum to."""

import re
from decimal import Decimal
from typing import Any

import pytest
from clickhouse_connect.driver.client import Client

from pipeline.sink.rollups import refresh
from tests.deploy.support import dashboards, targets
from tests.sink.support import a_line, insert, priced

QUERIES = [target for target in targets(dashboards()["usage-money"]) if "rawSql" in target]
FROM, TO = "toDateTime('2026-09-10 00:00:00', 'UTC')", "toDateTime('2026-11-24 12:00:00', 'UTC')"


def as_grafana_sends(raw: str, apps: tuple[str, ...] = ("helpdesk", "docflow")) -> str:
    """Return a query with Grafana's macros and variables filled in, as its ClickHouse plugin does."""
    raw = raw.replace("${app:singlequote}", ",".join(f"'{app}'" for app in apps))
    raw = re.sub(r"\$__dateFilter\((\w+)\)", r"\1 >= toDate('2026-09-10') AND \1 <= toDate('2026-11-24')", raw)
    raw = raw.replace("$__fromTime", FROM).replace("$__toTime", TO)
    assert "$" not in raw, raw
    return raw


@pytest.fixture
def ledger(store: Client) -> Client:
    """Give two customers' lines of two months, one of which costs more than it brings."""
    octo = {"time": "2026-10-05T10:00:00Z", "posted_at": "2026-10-05T10:00:00Z", "period": "2026-10-01"}
    carried = priced(0, 0) | {"cost_pico": 7 * 10**12}
    lines = [
        a_line("acme", 1, **octo, **priced(10**12, 10**12)),
        a_line("acme", 2, app="docflow", **priced(2 * 10**12, 10**12 + 1)),
        a_line("acme", 3, **priced(10**12, 0)),
        a_line(
            "globex", 1, overage=0, included=1, pools=[{"id": "documents", "scope_value": "", "units": 1}], **carried
        ),
    ]
    insert(store, [line | {"provider": "openai"} for line in lines])
    refresh(store)
    return store


def shown(client: Client, panel: str, **apps: Any) -> list[tuple[Any, ...]]:
    """Return the rows of a panel."""
    (query,) = [target for target in QUERIES if target["panel"] == panel]
    return [tuple(row) for row in client.query(as_grafana_sends(query["rawSql"], **apps)).result_rows]


@pytest.mark.parametrize("query", QUERIES, ids=lambda query: query["panel"])
def test_every_panel_is_answered(ledger: Client, query: dict[str, Any]) -> None:
    """The SQL of a panel runs on the present schema; a series begins with its time, in order."""
    rows = ledger.query(as_grafana_sends(query["rawSql"]))

    if query["queryType"] == "timeseries":
        times = [row[0] for row in rows.result_rows]
        assert rows.column_names[0] == "time"
        assert times == sorted(times)
        assert times


def test_only_stable_views_are_read() -> None:
    """A dashboard reads views whose columns stay, never a table."""
    variables = [each["query"] for each in dashboards()["usage-money"]["templating"]["list"]]
    read = {
        name
        for sql in [*(query["rawSql"] for query in QUERIES), *variables]
        for name in re.findall(r"usage\.(\w+)", sql)
    }

    assert read
    assert all(name.endswith("_v1") for name in read)


@pytest.mark.rule("R8.2")
def test_amounts_are_those_of_the_lines(ledger: Client) -> None:
    """Revenue is what is charged; earnings and rewards divide it; margin is revenue less cost; included cost is carried."""
    one = Decimal("0.000000000001")

    assert shown(ledger, "Revenue") == [(4 + one,)]
    assert shown(ledger, "Builder earnings", apps=("docflow",)) == [(1 + one,)]
    assert shown(ledger, "Cost") == [(Decimal(10),)]
    assert shown(ledger, "Cost carried") == [(Decimal(7),)]
    assert shown(ledger, "Lines behind") == [(0,)]
    assert [row[1:] for row in shown(ledger, "Margin by app", apps=("helpdesk",))] == [
        ("helpdesk", Decimal(1)),
        ("helpdesk", Decimal(-7)),
    ]
    assert shown(ledger, "Customers that cost more than they bring")[0][:3] == ("globex", "helpdesk", Decimal(7))

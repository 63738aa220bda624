"""One broker, one ClickHouse and one running API for all tests that only talk to it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.catalog import load_catalog
from pipeline.domain.catalog import Catalog
from pipeline.settings import Settings
from tests.api.reports_data import fill_clickhouse
from tests.api.support import OWNERS, RunningApi, catalog_file, make_topics, revoke, settings_for, store_key, wait_until
from tests.fixtures.servers import broker_server, clickhouse_server


@pytest.fixture(scope="session")
def api_settings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """Yield settings of a broker that has the topics, of a ClickHouse that has lines, and of a catalog."""
    folder: Path = tmp_path_factory.mktemp("api")
    server = broker_server(folder / "broker").start()
    clickhouse = clickhouse_server(folder / "clickhouse").start()
    settings = settings_for(server.address, catalog_file(folder), clickhouse=clickhouse.address)
    make_topics(settings)
    fill_clickhouse(clickhouse.address)
    yield settings
    clickhouse.stop()
    server.stop()


@pytest.fixture(scope="session")
def catalog(api_settings: Settings) -> Catalog:
    """Return the catalog that the API has."""
    assert api_settings.catalog is not None
    return load_catalog(api_settings.catalog)


@pytest.fixture(scope="session")
def api(api_settings: Settings) -> Iterator[RunningApi]:
    """Yield a running API."""
    with RunningApi(api_settings) as running:
        yield running.ready()


@pytest.fixture(scope="session")
def tokens(api_settings: Settings, api: RunningApi) -> dict[str, str]:
    """Return a token for each of OWNERS, and those of an expired and a revoked operator's key."""
    tokens = {}
    for name, (scope, owner) in OWNERS.items():
        tokens[name], _ = store_key(api_settings, scope, owner)
    tokens["expired"], _ = store_key(api_settings, "operator", None, expires_us=1)
    tokens["revoked"], key = store_key(api_settings, "operator", None)
    revoke(api_settings, key)
    for token in tokens.values():
        wait_until(lambda token=token: api.knows(token), "the key to be read")
    wait_until(lambda: api.refuses(tokens["revoked"]), "the revocation to be read")
    return tokens

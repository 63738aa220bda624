"""A rated journal in ClickHouse, as worker and sink leave it, for the tests of explanations and margins."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from clickhouse_connect.driver.client import Client

from pipeline.codec.lines import encode_lines
from pipeline.domain.catalog import Catalog
from pipeline.domain.lines import Line
from pipeline.rating.offline import OfflineRating
from tests.rating.support import case, write_catalog

SEED = 3


@dataclass(frozen=True)
class Rated:
    """A catalog, and the lines of a journal under it."""

    catalog: Catalog
    lines: tuple[Line, ...]

    def bills(self) -> list[tuple[str, str, str]]:
        """Return (customer, app, period) of every statement."""
        return sorted({(line.customer, line.app, line.period) for line in self.lines})


@lru_cache(maxsize=2)
def rated(seed: int = SEED) -> Rated:
    """Return a random journal, rated."""
    made = case(seed, 400)
    rating = OfflineRating(made.catalog)
    return Rated(made.catalog, tuple(line for record in made.records for line in rating.rate(record).lines))


def put(client: Client, lines: Sequence[Line]) -> None:
    """Insert lines as the sink does."""
    client.raw_insert("usage.usage_lines_in", insert_block=encode_lines(lines), fmt="JSONEachRow")


def catalog_file(folder: Path, seed: int = SEED) -> Path:
    """Write the journal's catalog."""
    return write_catalog(folder, case(seed, 400).plain_catalog)

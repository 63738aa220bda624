"""Which catalog version rated what, as the lines themselves say (R10.4): a re-rating takes what was in force."""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable

from clickhouse_connect.driver.client import Client

from pipeline.domain.catalog import Catalog
from pipeline.rating.rater import Rater

_CHANGES = """
SELECT customer, seq, catalog
FROM (
    SELECT customer, seq, catalog, lagInFrame(catalog, 1, '-') OVER (PARTITION BY customer ORDER BY seq) AS before
    FROM usage.usage_lines FINAL
)
WHERE catalog != before
ORDER BY customer, seq
"""


class InForce:
    """The catalog versions in force, by customer and line."""

    def __init__(self, catalog_of: Callable[[str], Catalog], first: Catalog) -> None:
        self.first = first
        """What stands before any line."""
        self._catalog_of = catalog_of
        self._starts: dict[str, list[int]] = defaultdict(list)
        self._digests: dict[str, list[str]] = defaultdict(list)

    def read(self, client: Client) -> None:
        """Read from ClickHouse at which lines of each customer another version came into force."""
        for customer, seq, digest in client.query(_CHANGES).result_rows:
            self._starts[customer].append(seq)
            self._digests[customer].append(digest)

    def switch(self, rater: Rater, customer: str) -> None:
        """Let a rater go on under the version that rated the customer's next line; nothing changes when there is none."""
        starts = self._starts.get(customer)
        if not starts:
            return
        place = bisect_right(starts, rater.state_of(customer).seq + 1) - 1
        digest = self._digests[customer][max(place, 0)]
        if digest not in ("", rater.catalog.digest):
            rater.switch(self._catalog_of(digest))

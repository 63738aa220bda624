"""Rating a journal without Kafka: what the worker is held against."""

from collections import Counter, defaultdict

from pipeline.domain.catalog import Catalog
from pipeline.domain.lines import Line
from pipeline.domain.records import Record
from pipeline.domain.statements import Statement, StatementBuilder
from pipeline.rating.rater import CatalogOf, Outcome, Rater


class OfflineRating:
    """Rates records one by one and sums their lines up; keeps no line."""

    def __init__(self, catalog: Catalog, catalog_of: CatalogOf | None = None) -> None:
        self._rater = Rater(catalog, durable=False, catalog_of=catalog_of)
        self._statements = StatementBuilder()
        self.earnings_pico: dict[str, int] = defaultdict(int)
        """Builder to the sum of earnings (R6.9)."""
        self.lines = 0
        self.alerts = 0
        self.rejects: Counter[str] = Counter()
        """Rejected records and events by code (R2.3)."""
        self.duplicates = 0

    def rate(self, record: Record) -> Outcome:
        """Rate the next record of the journal."""
        outcome = self._rater.rate(record)
        self.lines += len(outcome.lines)
        self.alerts += len(outcome.alerts)
        self.rejects.update(dead_letter.code for dead_letter in outcome.dead_letters)
        self.duplicates += outcome.duplicates
        for line in outcome.lines:
            self._add(line)
        return outcome

    def statements(self) -> list[Statement]:
        """Return the statements of all lines so far (R8.1)."""
        return self._statements.statements()

    def _add(self, line: Line) -> None:
        self.earnings_pico[line.builder] += line.builder_earnings_pico
        self._statements.add(
            customer=line.customer,
            app=line.app,
            period=line.period,
            feature=line.feature,
            unit=line.unit,
            kind=line.kind,
            quantity=line.quantity,
            included=line.included,
            granted=line.granted,
            overage=line.overage,
            blocked=line.blocked,
            charge_pico=line.charge_pico,
        )

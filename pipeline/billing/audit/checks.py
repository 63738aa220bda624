"""The checks in the order in which they are made and reported."""

from collections.abc import Callable

from pipeline.billing.audit.compare import compare
from pipeline.billing.audit.conservation import check_conservation
from pipeline.billing.audit.copies import check_copies, check_identities
from pipeline.billing.audit.findings import Check
from pipeline.billing.audit.numbers import check_numbers
from pipeline.billing.audit.rollup import check_frozen, check_rollup
from pipeline.billing.audit.scratch import Scratch
from pipeline.billing.audit.totals import check_totals


def check_log(scratch: Scratch) -> Check:
    """Check that ClickHouse has the lines of usage.lines and no others, equal in every column."""
    check = Check("log", ("R7.1", "R7.2"), "ClickHouse has exactly the lines of usage.lines, in every column")
    compare(scratch, check, "logged", "usage.lines")
    return check


def check_rated(scratch: Scratch) -> Check:
    """Check that ClickHouse has the lines that rating the events again gives, equal in every column."""
    check = Check("re-rating", ("R3.3", "R6", "R7.1"), "rating all events again gives exactly these lines")
    compare(scratch, check, "rated", "usage.events")
    return check


CHECKS: tuple[Callable[[Scratch], Check], ...] = (
    check_numbers,
    check_copies,
    check_identities,
    check_conservation,
    check_totals,
    check_rollup,
    check_frozen,
)
"""Those over what the two above have noted; `check_log` always is made before them."""

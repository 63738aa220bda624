"""Grants and top-ups on their way to `billing.grants`: checked as the worker will check them (R2.5)."""

from pipeline.api.delivery import Outgoing
from pipeline.codec.records import decode_grant
from pipeline.domain.admission import check_customer
from pipeline.domain.catalog import Catalog
from pipeline.domain.grants import Grant, TopUp
from pipeline.domain.records import GRANTS_TOPIC, Record


def check_grant(value: bytes, catalog: Catalog | None, now_ms: int) -> tuple[TopUp | Grant, Outgoing]:
    """Return a grant and its record; without a catalog the customer is not looked up. Raises Rejected."""
    grant = decode_grant(Record(GRANTS_TOPIC, 0, 0, now_ms, None, value))
    if catalog is not None:
        check_customer(catalog, grant.customer, "customer")
    return grant, Outgoing(GRANTS_TOPIC, grant.customer.encode(), value, (), now_ms)

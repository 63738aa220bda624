"""Reading a statement and writing it in a form."""

import re

from clickhouse_connect.driver.client import Client

from pipeline.billing.exports.charges import read_charges
from pipeline.billing.exports.document import Document, parties_of
from pipeline.billing.exports.forms import FORMS
from pipeline.billing.statement import read_statement
from pipeline.domain.catalog import Catalog

_UNTAME = re.compile(r"[^A-Za-z0-9._-]+")
_NAME_MAX = 120


def export_statement(
    client: Client,
    catalog: Catalog,
    customer: str,
    app: str,
    period: str,
    form: str,
    *,
    dimension: str | None = None,
    issuer: str,
) -> bytes:
    """Return a statement written in one of FORMS; `dimension` is for those that take detail.

    Raises NoStatementError, CurrencyError, TooManyChargesError.
    """
    chosen = FORMS[form]
    statement = read_statement(
        client, customer, app, period, dimension if chosen.takes_detail else None, catalog=catalog
    )
    charges = read_charges(client, statement) if chosen.needs_charges else ()
    return chosen.write(Document(statement, parties_of(catalog, customer, app, issuer), charges))


def file_name(customer: str, app: str, period: str, form: str) -> str:
    """Return a tame name for an exported statement, whatever the ids hold."""
    return _UNTAME.sub("-", f"statement-{customer}-{app}-{period}")[:_NAME_MAX] + FORMS[form].suffix

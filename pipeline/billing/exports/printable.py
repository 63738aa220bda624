"""A statement as a page to print: one file, without scripts and without anything from elsewhere."""

from jinja2 import Environment, PackageLoader, StrictUndefined

from pipeline.billing.exports.document import Document, decimal_of, last_day_of
from pipeline.domain.money import format_cents
from pipeline.domain.statements import StatementState
from pipeline.domain.words import count_of

_STATES: dict[StatementState | None, str] = {
    None: "Unknown: the catalog does not say when the period may close.",
    "open": "Open: the period is running, figures still change.",
    "closed": "Closed: period and grace are over; not yet frozen.",
    "frozen": "Final: this statement does not change any more.",
}
_page = Environment(
    loader=PackageLoader("pipeline.billing.exports"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
).get_template("statement.html.jinja")


def to_html(document: Document) -> bytes:
    """Return the page: who bills whom for which days, the rows in customer language, the total."""
    return _page.render(
        statement=document.statement,
        parties=document.parties,
        last_day=last_day_of(document.period),
        state=_STATES[document.statement.state],
        amount=_amount,
        exact=decimal_of,
        count_of=count_of,
    ).encode()


def _amount(cents: int) -> str:
    """Return cents with thousands separated, such as "1,980.15"."""
    whole, fraction = format_cents(abs(cents)).split(".")
    return f"{'-' if cents < 0 else ''}{int(whole):,}.{fraction}"

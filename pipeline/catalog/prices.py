"""Model prices from genai-prices as rows of a catalog: a package of list prices that ships its data, so nothing is fetched."""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from decimal import Decimal
from importlib.metadata import version
from typing import Any

from genai_prices.data_snapshot import get_snapshot
from genai_prices.types import ModelInfo, ModelPrice, Provider, TieredPrices, TimeOfDateConstraint

from pipeline.catalog.prices_edit import SOURCE, ListPrice

DECIMALS_MAX = 6
_PRICED = ("input_mtok", "cache_read_mtok", "output_mtok")
_SUGGESTED_MAX = 3
_NEAR = 0.6
"""How like a name another one is that is suggested, of 1."""


class PriceError(ValueError):
    """A model's price cannot be taken; the message says why."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """A model of the catalog, and under which name its price is listed: provider (None: any) and model."""

    id: str
    provider: str | None
    listed: str


def parse_wanted(text: str) -> Wanted:
    """Return what one of `--models` asks for: ID, ID=MODEL or ID=PROVIDER/MODEL."""
    identity, _, listed = text.strip().partition("=")
    provider, slash, model = listed.partition("/")
    if not slash:
        provider, model = "", listed
    return Wanted(identity, provider or None, model or identity)


def list_price(wanted: Wanted, provider: str | None, day: date) -> ListPrice:
    """Return a model's list price on a day. `provider` is whose the catalog says it is. Raises PriceError."""
    found, model = _find(wanted, provider)
    prices = _prices_on(model, wanted, day)
    notes = [f"{SOURCE} {version('genai-prices')}, {day.isoformat()}"]
    if model.id != wanted.id or provider not in (None, found.id):
        notes.append(f"listed as {found.id}/{model.id}")
    base = {key: _base(getattr(prices, key), notes) for key in _PRICED}
    if base["input_mtok"] is None:
        raise PriceError(f"{wanted.id}: {found.id} lists no price for its input tokens")
    if base["cache_read_mtok"] is None:
        notes.append("no price listed for cached input: as input")
    if base["output_mtok"] is None:
        notes.append("no price listed for output: 0")
    others = sorted(key for key, value in prices.__dict__.items() if value is not None and key not in _PRICED)
    if others:
        notes.append(f"not covered: {', '.join(others)}")
    cached = base["input_mtok"] if base["cache_read_mtok"] is None else base["cache_read_mtok"]
    return ListPrice(
        id=wanted.id,
        provider=provider or found.id,
        input=_text(wanted, base["input_mtok"]),
        cached_input=_text(wanted, cached),
        output=_text(wanted, base["output_mtok"] or Decimal(0)),
        comment="; ".join(dict.fromkeys(notes)),
    )


def _find(wanted: Wanted, provider: str | None) -> tuple[Provider, ModelInfo]:
    snapshot = get_snapshot()
    known = {each.id for each in snapshot.providers}
    if wanted.provider is not None and wanted.provider not in known:
        raise PriceError(
            f"{wanted.id}: {SOURCE} knows no provider {wanted.provider!r}; known are {', '.join(sorted(known))}"
        )
    chosen = wanted.provider or (provider if provider in known else None)
    try:
        return snapshot.find_provider_model(wanted.listed, None, chosen, None)
    except LookupError:
        raise PriceError(_unknown(wanted, chosen, snapshot.providers)) from None


def _unknown(wanted: Wanted, provider: str | None, providers: Sequence[Provider]) -> str:
    makers_last = sorted(providers, key=lambda each: each.model_match is not None)
    names = {
        model.id: f"{each.id}/{model.id}"
        for each in makers_last
        for model in each.models
        if provider in (None, each.id)
    }
    near = difflib.get_close_matches(wanted.listed, names, _SUGGESTED_MAX, _NEAR)
    where = f" of provider {provider}" if provider else ""
    hint = (
        f"; near names: {', '.join(names[name] for name in near)} (take one as {wanted.id}=PROVIDER/MODEL)"
        if near
        else ""
    )
    return f"{wanted.id}: {SOURCE} knows no model {wanted.listed!r}{where}{hint}"


def _prices_on(model: ModelInfo, wanted: Wanted, day: date) -> ModelPrice:
    conditions = [] if isinstance(model.prices, ModelPrice) else [each.constraint for each in model.prices]
    if any(isinstance(each, TimeOfDateConstraint) for each in conditions):
        raise PriceError(
            f"{wanted.id}: its price depends on the time of day, which a catalog cannot say; write its row by hand"
        )
    return model.get_prices(datetime.combine(day, time(12), UTC))


def _base(price: Any, notes: list[str]) -> Decimal | None:
    """Return a price, of one in tiers the base; notes what that leaves out."""
    if isinstance(price, TieredPrices):
        starts = ", ".join(f"{tier.start:,}" for tier in price.tiers)
        notes.append(f"base price: another one holds for calls with more than {starts} input tokens")
        return price.base
    if price is not None and not isinstance(price, Decimal):
        raise PriceError(f"a price of {SOURCE} is no exact number: {price!r}")
    return price


def _text(wanted: Wanted, price: Decimal) -> str:
    """Return a price as exact text with two to six decimals."""
    whole, _, fraction = f"{price:f}".partition(".")
    fraction = fraction.rstrip("0")
    if len(fraction) > DECIMALS_MAX:
        raise PriceError(f"{wanted.id}: {price} per million tokens has more than {DECIMALS_MAX} decimals")
    return f"{whole}.{fraction.ljust(2, '0')}"

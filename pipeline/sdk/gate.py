"""The gate: may this call go, and what will it cost? Answered in memory (docs/quota.md)."""

import logging
import os
import time
from collections.abc import Callable, Mapping
from decimal import Decimal
from math import inf
from typing import TYPE_CHECKING, Any, Literal, Self, TypedDict, Unpack

import msgspec

from pipeline.codec.catalog_view import decode_view
from pipeline.domain.catalog import Catalog
from pipeline.domain.decisions import Decision
from pipeline.domain.events import check_string
from pipeline.domain.rejects import Rejected
from pipeline.quota.answers import Key
from pipeline.quota.board import Board
from pipeline.quota.book import AnswerBook
from pipeline.quota.live import LiveQuota, Source
from pipeline.quota.requests import OPTIONAL, REQUIRED, request_of
from pipeline.sdk.events import UsageFields
from pipeline.sdk.stats import Tally

if TYPE_CHECKING:
    from pipeline.sdk.client import UsageClient
    from pipeline.sdk.gate_reserve import Reserved

Policy = Literal["open", "closed"]
STALE_QUOTA = "stale_quota"
DEFAULT = "default"
MAX_AGE_S = 10.0
TTL_S = 60
WAIT_S = 2.0
_FIELDS = (*REQUIRED, *OPTIONAL)
"""What a key is made of, in this order."""
_SENTENCES = {
    "open": "It is not known at the moment what is left; this call may go.",
    "closed": "It is not known at the moment what is left, so this call must wait. Try again shortly.",
}


class Answer(msgspec.Struct, frozen=True):
    """What a check says; it is true when the call may go."""

    decision: Decision
    """With what is left, the price in picodollars, and the sentence for the customer."""
    age_ms: int | None
    """How old what the gate knows may be; None before it knows anything."""
    stale: bool = False
    """It is too old: the policy of the unit has decided, and the prices are the last that were known, if any were."""

    def __bool__(self) -> bool:
        return self.decision.allowed

    @property
    def allowed(self) -> bool:
        """Return whether the call may go."""
        return self.decision.allowed

    @property
    def reason(self) -> str | None:
        """Return why it may not go; `stale_quota` whenever the policy of the unit has decided."""
        return self.decision.reason

    @property
    def sentence(self) -> str:
        """Return the answer in the customer's words."""
        return self.decision.sentence


class GateOptions(TypedDict, total=False):
    """What every gate may be told. Deployment and environment are those of requests that do not name others."""

    deployment: str | None
    environment: str | None
    max_age_s: float
    """Above it what is known counts as too old."""
    stale: Mapping[str, Policy] | None
    """What goes then, by unit: "open" or "closed"; "default" stands for all other units, and is open unless given."""


class QuotaGate:
    """Follows quota records in a thread of its own and answers from memory. Safe in threads, and over forks.

    Make one with `QuotaGate.http` or `QuotaGate.kafka`. What is not given is taken from USAGE_CUSTOMER, USAGE_DEPLOYMENT
    and USAGE_ENVIRONMENT. Raises ValueError for options that make no sense; nothing else raises.
    """

    def __init__(
        self, make: Callable[[Board, AnswerBook], Source], customer: str | None, **options: Unpack[GateOptions]
    ) -> None:
        self._stale: dict[str, Policy] = {DEFAULT: "open", **(options.get("stale") or {})}
        if wrong := [policy for policy in self._stale.values() if policy not in _SENTENCES]:
            raise ValueError(f'stale: a policy is "open" or "closed", not {wrong[0]!r}')
        self._max_age_s = options.get("max_age_s", MAX_AGE_S)
        if not self._max_age_s > 0:
            raise ValueError("max_age_s: must be more than 0")
        self._customer = customer or os.environ.get("USAGE_CUSTOMER", "")
        self._deployment = options.get("deployment") or os.environ.get("USAGE_DEPLOYMENT")
        self._environment = options.get("environment") or os.environ.get("USAGE_ENVIRONMENT")
        self._tally = Tally()
        self._live = LiveQuota(make)

    @classmethod
    def kafka(
        cls,
        bootstrap: str,
        *,
        catalog_view: bytes | Catalog,
        customer: str | None = None,
        arguments: Mapping[str, Any] | None = None,
        **options: Unpack[GateOptions],
    ) -> Self:
        """Return a gate that reads `usage.quota`, for gateways that may know every customer.

        Further `arguments` are those of aiokafka's clients (TLS, SASL). Raises ValueError for a view that cannot be read.
        """
        from pipeline.quota.follow import QuotaFollower  # noqa: PLC0415 - only those who need it load it

        catalog = decode_view(catalog_view) if isinstance(catalog_view, bytes) else catalog_view
        reach = {"bootstrap_servers": bootstrap, "client_id": "usage-gate"} | dict(arguments or {})

        def make(board: Board, book: AnswerBook) -> Source:
            book.use(catalog)
            return QuotaFollower(reach, board, book.wake)

        return cls(make, customer, **options)

    @classmethod
    def http(
        cls,
        url: str | None = None,
        key: str | None = None,
        customer: str | None = None,
        *,
        ca_file: str | None = None,
        **options: Unpack[GateOptions],
    ) -> Self:
        """Return a gate that follows one customer by the API's stream; url and key else from USAGE_API, USAGE_API_KEY."""
        from pipeline.quota.follow_http import StreamFollower  # noqa: PLC0415

        where, secret = _given(url, "url", "USAGE_API"), _given(key, "key", "USAGE_API_KEY")
        whose = _given(customer, "customer", "USAGE_CUSTOMER")

        def make(board: Board, book: AnswerBook) -> Source:
            return StreamFollower(where, secret, whose, board, book.use, book.wake, ca_file=ca_file)

        return cls(make, whose, **options)

    def check(
        self,
        *,
        workspace: str,
        feature: str,
        model: str,
        unit: str,
        quantity: int | None = 1,
        input_tokens: int | None = 0,
        cached_input_tokens: int | None = 0,
        output_tokens: int | None = 0,
        cost: str | Decimal | None = None,
        route: str | None = None,
        reservation: str | None = None,
        customer: str | None = None,
        deployment: str | None = None,
        environment: str | None = None,
    ) -> Answer:
        """Return whether a call may go, how much is left, and what it would cost; without waiting for anything.

        `reservation` is the id of one that this call will commit: what it holds does not count against it.
        """
        key: Key = (
            deployment or self._deployment,
            environment or self._environment,
            workspace,
            feature,
            model,
            unit,
            quantity,
            input_tokens,
            cached_input_tokens,
            output_tokens,
            cost,
            route,
            reservation,
        )
        book = self._live.book
        age_s = time.monotonic() - book.as_of_s
        if age_s <= self._max_age_s:
            now_us = time.time_ns() // 1000
            try:
                kept = book.known[customer or self._customer].kept[key]
            except (KeyError, TypeError):
                return self._decide(customer or self._customer, key)
            if now_us < kept.until_us:
                kept.again = True
                kept.asked_us = now_us
                return Answer(kept.decision, int(age_s * 1000))
        return self._decide(customer or self._customer, key)

    def reserve(
        self, client: "UsageClient", *, ttl_s: int = TTL_S, wait_s: float = WAIT_S, **fields: Unpack[UsageFields]
    ) -> "Reserved":
        """Hold what a call will use, so that no other gate gives it away (R9); wait until that is known, at most `wait_s`.

        What `check` denies is not asked for.
        """
        from pipeline.sdk.gate_reserve import reserve  # noqa: PLC0415

        return reserve(self, self._live, client, ttl_s, wait_s, fields)

    async def areserve(
        self, client: "UsageClient", *, ttl_s: int = TTL_S, wait_s: float = WAIT_S, **fields: Unpack[UsageFields]
    ) -> "Reserved":
        """Do what `reserve` does, in a coroutine."""
        from pipeline.sdk.gate_reserve import areserve  # noqa: PLC0415

        return await areserve(self, self._live, client, ttl_s, wait_s, fields)

    def wait_ready(self, timeout_s: float = 10.0) -> bool:
        """Wait until the records are read; return False when they are not by then."""
        self._live.start()
        return self._live.book.ready.wait(timeout_s)

    @property
    def fault(self) -> str | None:
        """Return why the records are not followed at the moment; None when they are."""
        return self._live.fault

    def use_catalog_view(self, catalog_view: bytes | Catalog) -> None:
        """Answer by another catalog from now on; a gate by HTTP is told by the API. Raises ValueError."""
        self._live.use(decode_view(catalog_view) if isinstance(catalog_view, bytes) else catalog_view)

    def policy(self, unit: str) -> Policy:
        """Return what goes for a unit when what is known is too old."""
        return self._stale.get(unit, self._stale[DEFAULT])

    def close(self) -> None:
        """Stop following."""
        self._live.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _decide(self, customer: str, key: Key) -> Answer:
        """Answer what is not kept: for the first time, after a change, or when what is known is too old."""
        age_s = time.monotonic() - self._live.book.as_of_s
        age_ms = None if age_s == inf else int(age_s * 1000)
        decision: Decision | None = None
        try:
            decision = self._decision(customer, key)
        except Rejected as rejected:
            return Answer(_unbillable(rejected), age_ms, stale=age_s > self._max_age_s)
        except Exception as error:  # noqa: BLE001 - the host must not suffer
            self._tally.say("gate", f"a check failed, the policy for the stale goes: {error!r}", level=logging.ERROR)
        if decision is not None and age_s <= self._max_age_s:
            return Answer(decision, age_ms)
        self._tally.say("stale", f"quota is {_old(age_ms)}, the policy for the stale goes: {self.fault or 'no news'}")
        policy = self.policy(str(key[5]))
        known = decision or Decision(allowed=False, sentence="")
        decided = msgspec.structs.replace(
            known, allowed=policy == "open", reason=STALE_QUOTA, sentence=_SENTENCES[policy], limit_id=None
        )
        return Answer(decided, age_ms, stale=True)

    def _decision(self, customer: str, key: Key) -> Decision | None:
        """Return a decision on what is known, None when nothing is. Raises Rejected: invalid_field."""
        self._live.start()  # it does not run in a process that was forked
        fields = dict(zip(_FIELDS, key, strict=True))
        if isinstance(cost := fields["cost"], Decimal):
            fields["cost"] = f"{cost:f}"
        request = request_of(fields)
        answers = self._live.book.answers_of(check_string("customer", customer))
        return None if answers is None else answers.decide(key, request, time.time_ns() // 1000)


def _unbillable(rejected: Rejected) -> Decision:
    return Decision(allowed=False, sentence=f"This call cannot be billed: {rejected.message}.", reason=rejected.code)


def _old(age_ms: int | None) -> str:
    return "not known yet" if age_ms is None else f"{age_ms / 1000:.1f} s old"


def _given(value: str | None, name: str, variable: str) -> str:
    found = value if value is not None else os.environ.get(variable)
    if not found:
        raise ValueError(f"{name}: give it, or set {variable}")
    return found

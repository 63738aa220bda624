"""For who runs the pipeline: is it well, what was rejected, and everybody's bills."""

import re
from collections import deque
from datetime import UTC, datetime
from typing import Annotated, Any

from aiokafka.errors import KafkaError
from clickhouse_connect.driver.client import Client
from fastapi import APIRouter, Form
from fastapi.responses import RedirectResponse, Response

from pipeline.access import Action
from pipeline.api.health import ApiHealth
from pipeline.billing.sums import read_sums
from pipeline.intake.dead_letter_log import LetterLogError, open_letters
from pipeline.intake.dead_letter_replay import Choice, ReplayError, open_replayer, replay
from pipeline.intake.dead_letter_text import fields_of
from pipeline.intake.dead_letters import Filter
from pipeline.web.pages import PageError, Posting, Signed

router = APIRouter(include_in_schema=False)

_REJECTS_SHOWN = 50
_POSITION = re.compile(r"([0-9]{1,9}):([0-9]{1,18})", re.ASCII)
_FRESHNESS = "SELECT part, name, at, value FROM usage.freshness_v1 ORDER BY part, name"


@router.get("/ui/operator")
async def get_operator(who: Signed) -> Response:
    """Show the pipeline's health and this month of every customer."""
    who.require(Action.OPERATE)
    first = datetime.now(UTC).date().replace(day=1)
    faults = await ApiHealth(who.request.app).faults()

    def read(client: Client) -> dict[str, Any]:
        sums = read_sums(client, ("customer", "app"), since=first, measures=("lines", "charge_pico"))
        return {"freshness": client.query(_FRESHNESS).result_rows, "customers": sums}

    try:
        found = await who.ask(read)
    except PageError as error:
        faults.append(error.text)
        found = {"freshness": [], "customers": []}
    return who.render("operator.html", title="Operations", faults=faults, month=f"{first:%B %Y}", **found)


@router.get("/ui/operator/rejects")
async def get_rejects(who: Signed, sent: int | None = None) -> Response:
    """Show the latest rejects, and let them be sent again."""
    who.require(Action.OPERATE)
    latest: deque[Any] = deque(maxlen=_REJECTS_SHOWN)
    try:
        async with open_letters(who.request.app.state.settings) as log:
            history = await log.history()
            async for letters in log.read():
                latest.extend(letter for letter in letters if letter.code != "replayed")
    except (KafkaError, LetterLogError, OSError) as error:
        raise PageError(503, "Rejects cannot be read", f"{error}. Nothing is lost.") from None
    shown = sorted(
        (fields_of(letter, history) for letter in latest), key=lambda each: each["rejected_at"], reverse=True
    )
    return who.render("rejects.html", title="Rejects", rejects=shown, sent=sent)


@router.post("/ui/operator/rejects")
async def post_rejects(who: Posting, position: Annotated[list[str] | None, Form()] = None) -> Response:
    """Send rejects again: once each, as `usage dead-letter replay` does."""
    who.require(Action.OPERATE)
    places = [_POSITION.fullmatch(text) for text in (position or [])[:_REJECTS_SHOWN]]
    if not places or None in places:
        raise PageError(422, "Nothing is chosen", "Tick the rejects that are to be sent again.")
    wanted = Filter(frozenset((int(found[1]), int(found[2])) for found in places if found))
    settings = who.request.app.state.settings
    try:
        async with open_letters(settings) as log, open_replayer(settings, now=False) as replayer:
            done = await replay(replayer, log, await log.history(), Choice(wanted))
    except (KafkaError, LetterLogError, ReplayError, OSError, TimeoutError) as error:
        raise PageError(503, "They could not all be sent", f"{error}. What was sent is marked; try again.") from None
    return RedirectResponse(f"/ui/operator/rejects?sent={done.letters}", 303)

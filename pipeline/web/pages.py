"""What all pages share: who is signed in, templates, headers, errors."""

import time
from collections.abc import Callable
from functools import cache
from typing import Annotated, Any, TypeVar

from clickhouse_connect.driver.client import Client
from fastapi import Depends, Form, Request
from fastapi.responses import HTMLResponse
from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

from pipeline.access import Action, KeysNotReadError, Principal, Resource, UnauthenticatedError, refusal
from pipeline.api.clickhouse import ClickHouse
from pipeline.api.problems import Problem
from pipeline.domain.catalog import Catalog
from pipeline.web import words
from pipeline.web.sessions import Session, Sessions

COOKIE = "usage_session"
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; img-src 'self' data:; form-action 'self'; "
    "frame-ancestors 'none'; base-uri 'none'",
    "Cache-Control": "no-store",
}
T = TypeVar("T")


class PageError(Exception):
    """Ends a request with a page that says what is wrong."""

    def __init__(self, status: int, title: str, text: str) -> None:
        super().__init__(f"{status} {title}")
        self.status = status
        self.title = title
        self.text = text


class SignInFirst(Exception):  # noqa: N818 - what to do
    """Nobody is signed in."""


class Visitor:
    """Who is signed in, and what they may see: the rules are the API's."""

    def __init__(self, request: Request, session: Session, principal: Principal) -> None:
        self.request = request
        self.session = session
        self.principal = principal

    @property
    def catalog(self) -> Catalog:
        """Return the catalog in force."""
        catalog: Catalog = self.request.app.state.catalog
        return catalog

    def may(self, action: Action, **asked: str | None) -> bool:
        """Return whether the visitor may do something."""
        return refusal(self.principal, action, Resource(**asked), self.catalog) is None

    def require(self, action: Action, **asked: str | None) -> None:
        """Raise PageError unless the visitor may do this: the same page as for what does not exist."""
        if not self.may(action, **asked):
            raise not_found()

    async def ask(self, question: Callable[[Client], T]) -> T:
        """Return what a question finds out from ClickHouse. Raises PageError when that is away."""
        clickhouse: ClickHouse = self.request.app.state.clickhouse
        try:
            return await clickhouse.ask(question)
        except Problem as problem:
            raise PageError(503, "No figures at the moment", f"{problem.detail} Nothing is lost.") from None

    def render(self, template: str, **values: Any) -> HTMLResponse:
        """Return a page."""
        return render(template, visitor=self, catalog=self.catalog, csrf=self.session.csrf, **values)


def not_found() -> PageError:
    """Return what is said of what does not exist, and of what the visitor may not see."""
    return PageError(404, "Not found", "There is no such page that you may see.")


def sessions_of(request: Request) -> Sessions:
    """Return the sessions of the application."""
    sessions: Sessions = request.app.state.sessions
    return sessions


async def visitor(request: Request) -> Visitor:
    """Return who is signed in. Raises SignInFirst, PageError."""
    session = sessions_of(request).find(request.cookies.get(COOKIE))
    if session is None:
        raise SignInFirst
    try:
        principal = request.app.state.ring.still(session.key_id, time.time_ns() // 1000)
    except UnauthenticatedError:
        sessions_of(request).end(request.cookies.get(COOKIE))
        raise SignInFirst from None
    except KeysNotReadError as error:
        raise PageError(503, "Not ready yet", f"{error}: try again in a moment.") from None
    request.state.key_id = principal.key_id
    return Visitor(request, session, principal)


Signed = Annotated[Visitor, Depends(visitor)]


async def poster(who: Signed, csrf: Annotated[str, Form(max_length=128)] = "") -> Visitor:
    """Return who sends a form that is ours. Raises PageError."""
    if csrf != who.session.csrf:
        raise PageError(403, "This form is too old", "Go back, load the page again, and send it once more.")
    return who


Posting = Annotated[Visitor, Depends(poster)]


def render(template: str, status: int = 200, **values: Any) -> HTMLResponse:
    """Return a page from a template; everything in it is escaped."""
    text = _environment().get_template(template).render(**{"visitor": None, **values})
    return HTMLResponse(text, status, headers=HEADERS)


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("pipeline.web"),
        autoescape=select_autoescape(default=True),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    for name in ("money", "cents", "signed", "exact", "count", "percent", "month_name"):
        environment.filters[name] = getattr(words, name)
    return environment

"""Signing in with an API key, and out."""

import time
from typing import Annotated

from fastapi import APIRouter, Form, Request
from fastapi.responses import RedirectResponse, Response

from pipeline.access import KeysNotReadError, UnauthenticatedError
from pipeline.web.pages import COOKIE, PageError, Posting, Signed, render, sessions_of
from pipeline.web.sessions import SESSION_S_MAX

router = APIRouter(include_in_schema=False)

_TOKEN_MAX = 512


@router.get("/ui/sign-in")
async def get_sign_in() -> Response:
    """Ask for a key."""
    return render("sign_in.html", fault=None)


@router.post("/ui/sign-in")
async def post_sign_in(request: Request, key: Annotated[str, Form(max_length=_TOKEN_MAX)] = "") -> Response:
    """Begin a session when the key is one."""
    sessions = sessions_of(request)
    address = request.client.host if request.client else ""
    if not sessions.may_try(address):
        return render("sign_in.html", 429, fault="Too many wrong keys. Wait a minute.")
    try:
        principal = request.app.state.ring.principal(key.strip(), time.time_ns() // 1000)
    except UnauthenticatedError:
        sessions.note_failure(address)
        return render("sign_in.html", 403, fault="This key is not known, expired or revoked.")
    except KeysNotReadError as error:
        raise PageError(503, "Not ready yet", f"{error}: try again in a moment.") from None
    answer = RedirectResponse("/ui", 303)
    answer.set_cookie(
        COOKIE,
        sessions.begin(principal.key_id),
        max_age=SESSION_S_MAX,
        path="/ui",
        secure=request.url.scheme == "https",
        httponly=True,
        samesite="strict",
    )
    return answer


@router.post("/ui/sign-out")
async def post_sign_out(request: Request, _: Posting) -> Response:
    """End the session."""
    sessions_of(request).end(request.cookies.get(COOKIE))
    answer = RedirectResponse("/ui/sign-in", 303)
    answer.delete_cookie(COOKIE, path="/ui")
    return answer


@router.get("/ui")
async def get_home(who: Signed) -> Response:
    """Go where the visitor belongs."""
    scope, owner = who.principal.scope, who.principal.owner
    places = {"customer": f"/ui/customers/{owner}", "builder": f"/ui/builders/{owner}", "operator": "/ui/operator"}
    if scope not in places:
        raise PageError(403, "Nothing to see here", "A deployment's key sends usage. Sign in with a customer's key.")
    return RedirectResponse(places[scope], 303)


@router.get("/")
async def get_root() -> Response:
    """Go to the page."""
    return RedirectResponse("/ui", 307)

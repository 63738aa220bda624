"""Putting the page into the API's application."""

from pathlib import Path

from fastapi import FastAPI, Request
from fastapi.responses import RedirectResponse, Response
from fastapi.staticfiles import StaticFiles

from pipeline.web import builder, customer, operator, signin, statements
from pipeline.web.pages import PageError, SignInFirst, render
from pipeline.web.sessions import Sessions


def install_page(app: FastAPI) -> None:
    """Serve the page below /ui, with sessions of its own and the API's rules of access."""
    app.state.sessions = Sessions()
    for module in (signin, customer, statements, builder, operator):
        app.include_router(module.router)
    app.mount("/ui/static", StaticFiles(directory=Path(__file__).parent / "static"), name="static")
    app.add_exception_handler(SignInFirst, _on_sign_in_first)
    app.add_exception_handler(PageError, _on_page_error)


async def _on_sign_in_first(_: Request, __: Exception) -> Response:
    return RedirectResponse("/ui/sign-in", 303)


async def _on_page_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, PageError)
    return render("error.html", error.status, title=error.title, text=error.text)

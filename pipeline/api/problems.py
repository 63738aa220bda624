"""Errors as clients see them: RFC 9457, in one form everywhere."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import orjson
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from starlette.exceptions import HTTPException

PROBLEM_TYPE = "application/problem+json"
RETRY_S = 1
_WORDS = {
    404: "There is no such route; GET /docs lists them.",
    405: "This route does not take that method; the header Allow lists those that it takes.",
}


class Problem(Exception):  # noqa: N818 - RFC 9457's word
    """Ends a request with an error; `code` names its kind for programs, `members` are what else the answer says."""

    def __init__(
        self, status: int, code: str, detail: str, *, headers: Mapping[str, str] | None = None, **members: Any
    ) -> None:
        super().__init__(f"{status} {code}: {detail}")
        self.status = status
        self.code = code
        self.detail = detail
        self.headers = dict(headers or {})
        self.members = members


def try_again_later(status: int, code: str, detail: str, *, after_s: int = RETRY_S) -> Problem:
    """Return a problem that goes away by itself, with Retry-After."""
    return Problem(status, code, detail, headers={"Retry-After": str(after_s)})


def install_problems(app: FastAPI) -> None:
    """Make every error that an app tells a client a problem."""
    app.add_exception_handler(Problem, _on_problem)
    app.add_exception_handler(HTTPException, _on_http_exception)
    app.add_exception_handler(RequestValidationError, _on_invalid_request)


def problem_response(request: Request, problem: Problem) -> Response:
    """Return the answer that tells a problem."""
    request.state.code = problem.code
    body = {
        "type": f"urn:usage:problem:{problem.code}",
        "title": HTTPStatus(problem.status).phrase,
        "status": problem.status,
        "detail": problem.detail,
        "request_id": request.state.request_id,
    }
    content = orjson.dumps(body | problem.members)
    return Response(content, problem.status, problem.headers, PROBLEM_TYPE)


async def _on_problem(request: Request, error: Exception) -> Response:
    assert isinstance(error, Problem)
    return problem_response(request, error)


async def _on_http_exception(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    status = HTTPStatus(error.status_code)
    detail = _WORDS.get(status, str(error.detail))
    code = status.phrase.lower().replace(" ", "-")
    return problem_response(request, Problem(status, code, detail, headers=error.headers))


async def _on_invalid_request(request: Request, error: Exception) -> Response:
    """Say which fields are wrong and why, without their values."""
    assert isinstance(error, RequestValidationError)
    errors = [{"field": ".".join(map(str, fault["loc"])), "message": fault["msg"]} for fault in error.errors()]
    detail = "; ".join(f"{each['field']}: {each['message']}" for each in errors)
    return problem_response(request, Problem(422, "invalid-field", detail, errors=errors))

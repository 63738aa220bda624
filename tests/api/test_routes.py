"""Every route with every key: what has no place in ROUTES fails."""

import json
from typing import Any, NamedTuple

import pytest

from tests.api.support import OWNERS, RunningApi, usage

NOT_IN_FORCE = (None, "uk_000000000000_" + "0" * 64, "not-a-key")


class Route(NamedTuple):
    """A request that is sound for everybody whom `allowed` names; others get 403."""

    body: Any
    allowed: frozenset[str]
    public: bool = False
    status: int = 202
    path: str | None = None
    """Where it goes, if the path of the route has gaps."""


def emitting(source: str, subject: str, *allowed: str) -> Route:
    return Route(usage(f"walk-{source}", source, subject), frozenset({"operator", *allowed}))


def asking(deployment: str, customer: str, *allowed: str) -> Route:
    data = usage()["data"] | {"customer": customer, "deployment": deployment}
    return Route(data, frozenset({"operator", *allowed}), status=200)


def reading(path: str) -> list[Route]:
    readers = {
        "acme": frozenset({"operator", "acme", "dep_acme", "dep_acme_vault", "northwind", "brightwater"}),
        "globex": frozenset({"operator", "globex", "dep_globex", "brightwater"}),
    }
    found = [Route(None, allowed, status=200, path=path.format(customer=name)) for name, allowed in readers.items()]
    return [*found, Route(None, frozenset({"operator"}), status=404, path=path.format(customer="nobody"))]


ASKING = [
    asking("dep_acme", "acme", "acme", "dep_acme", "dep_acme_vault", "northwind"),
    asking("dep_acme_insights", "acme", "acme", "dep_acme", "dep_acme_vault", "brightwater"),
    asking("dep_globex", "globex", "globex", "dep_globex", "brightwater"),
    asking("dep_globex", "acme"),
    asking("nobody's", "acme"),
]
STATEMENT = "/v1/statements/{customer}/{app}/{period}"
EARNERS = ("operator", "northwind", "brightwater")
BILLED = (*EARNERS, "acme", "globex")
"""All that have bills to read."""


def of(path: str, *allowed: str, status: int = 200) -> Route:
    return Route(None, frozenset(allowed), status=status, path=path)


def of_statements(suffix: str, absent: int) -> list[Route]:
    """Return requests for statements; `absent` is the answer where there is none."""
    path = "/v1/statements/{}/2026-11-01" + suffix
    return [
        of(path.format("acme/helpdesk"), "operator", "acme", "northwind"),
        of(path.format("acme/insights"), "operator", "acme", "brightwater"),
        of(path.format("globex/insights"), "operator", "globex", "brightwater"),
        of(path.format("globex/helpdesk"), "operator", "globex", status=absent),
        of(path.format("acme/nothing"), "operator", "acme", status=absent),
        of(path.format("nobody/helpdesk"), "operator", status=404),
    ]


def of_customers(path: str) -> list[Route]:
    """Return requests for what is shown of one customer or app, or of all that the key may see."""
    return [
        of(path, *BILLED),
        of(f"{path}&customer=acme", *EARNERS, "acme"),
        of(f"{path}&customer=globex", "operator", "globex", "brightwater"),
        of(f"{path}&customer=globex&app=insights", "operator", "globex", "brightwater"),
        of(f"{path}&app=helpdesk", "operator", "northwind", "acme", "globex"),
        of(f"{path}&app=nothing", "operator", "acme", "globex"),
        of(f"{path}&customer=nobody", "operator", status=404),
    ]


def of_builders(path: str) -> list[Route]:
    return [
        of(path, *EARNERS),
        of(f"{path}?builder=northwind", "operator", "northwind"),
        of(f"{path}?builder=brightwater", "operator", "brightwater"),
        of(f"{path}?builder=nobody", "operator", status=404),
    ]


ROUTES: dict[tuple[str, str], list[Route]] = {
    ("get", "/healthz"): [Route(None, frozenset(OWNERS), public=True, status=200)],
    ("get", "/readyz"): [Route(None, frozenset(OWNERS), public=True, status=200)],
    ("post", "/v1/events"): [
        emitting("dep_acme", "acme", "dep_acme"),
        emitting("dep_globex", "globex", "dep_globex"),
        emitting("dep_acme_insights", "acme"),
    ],
    ("post", "/v1/grants"): [
        Route({"type": "topup", "id": "walk", "customer": customer, "amount": "1"}, frozenset({"operator"}))
        for customer in ("acme", "globex")
    ],
    ("get", "/v1/quota/{customer}"): reading("/v1/quota/{customer}"),
    ("get", "/v1/quota/{customer}/stream"): reading("/v1/quota/{customer}/stream"),
    ("post", "/v1/quota/check"): ASKING,
    ("post", "/v1/quote"): ASKING,
    ("get", "/v1/statements"): of_customers("/v1/statements?period=2026-11-01"),
    ("get", STATEMENT): of_statements("", 404),
    ("get", f"{STATEMENT}/lines"): of_statements("/lines", 200),
    ("get", f"{STATEMENT}/export"): of_statements("/export?format=focus", 404),
    ("get", "/v1/usage/daily"): [
        *of_customers("/v1/usage/daily?since=2026-11-01&until=2026-12-01&by=day,app"),
        of("/v1/usage/daily?since=2026-11-01&until=2026-12-01&by=provider", "operator"),
    ],
    ("get", "/v1/explain/line"): [
        of("/v1/explain/line?customer=globex&seq=1", "operator", "globex", "brightwater"),
        of("/v1/explain/line?customer=nobody&seq=1", "operator", status=404),
    ],
    ("get", "/v1/explain/change"): [
        of(f"/v1/explain/change?customer={customer}&app={app}&period=2026-11-01", *allowed, status=status)
        for customer, app, allowed, status in (
            ("acme", "helpdesk", ("operator", "acme", "northwind"), 200),
            ("acme", "insights", ("operator", "acme", "brightwater"), 200),
            ("globex", "insights", ("operator", "globex", "brightwater"), 200),
            ("globex", "helpdesk", ("operator", "globex"), 404),
            ("nobody", "helpdesk", ("operator",), 404),
        )
    ],
    ("get", "/v1/margin/{month}"): of_builders("/v1/margin/2026-11"),
    ("get", "/v1/payouts/{month}"): of_builders("/v1/payouts/2026-11"),
    ("get", "/v1/rewards/{month}"): [of("/v1/rewards/2026-11", "operator")],
}
"""For each route requests of every tenant, and who may make them."""
CASES = [(method, route.path or path, route) for (method, path), routes in ROUTES.items() for route in routes]


def test_every_route_is_walked(api: RunningApi) -> None:
    """A new route needs its place in ROUTES: who may use it."""
    openapi = api.app.openapi()

    described = {(method, path) for path, methods in openapi["paths"].items() for method in methods}

    assert described == set(ROUTES)


def test_every_route_under_v1_needs_a_key(api: RunningApi) -> None:
    """Each route says so in the OpenAPI document; only health is open."""
    for path, methods in api.app.openapi()["paths"].items():
        for operation in methods.values():
            assert bool(operation.get("security")) == path.startswith("/v1/"), path


@pytest.mark.parametrize(("method", "path", "route"), CASES)
@pytest.mark.parametrize("name", OWNERS)
def test_each_scope_may_do_just_its_own(
    api: RunningApi, tokens: dict[str, str], name: str, method: str, path: str, route: Route
) -> None:
    """A key opens what is its own, and nothing of another tenant."""
    answer = api.request(method, path, tokens[name], route.body)

    assert answer.status_code == (route.status if name in route.allowed else 403), answer.text
    if name not in route.allowed:
        assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(("method", "path", "route"), CASES)
@pytest.mark.parametrize("token", [*NOT_IN_FORCE, "expired", "revoked"])
def test_no_route_opens_without_a_key_in_force(
    api: RunningApi, tokens: dict[str, str], token: str | None, method: str, path: str, route: Route
) -> None:
    """Without a key, with one that is wrong, expired or revoked, the answer is 401 and says how to give one."""
    answer = api.request(method, path, tokens.get(token or "", token), route.body)

    assert answer.status_code == (route.status if route.public else 401), answer.text
    if not route.public:
        assert answer.headers["www-authenticate"].startswith("Bearer")
        assert answer.json()["type"] == "urn:usage:problem:unauthorized"


def test_a_key_is_taken_from_its_header_only(api: RunningApi, tokens: dict[str, str]) -> None:
    """A token in the address would end up in logs, and other schemes are not understood."""
    token = tokens["operator"]

    in_query = api.request("post", f"/v1/grants?api_key={token}&access_token={token}", None, {})
    basic = api.request("post", "/v1/grants", None, {}, authorization=f"Basic {token}")

    assert (in_query.status_code, basic.status_code) == (401, 401)


def test_nothing_is_let_in_before_the_keys_are_read(api: RunningApi, tokens: dict[str, str]) -> None:
    """While the keys are unknown nobody is refused for good: 503 with Retry-After."""
    ring = api.app.state.ring
    keys, ring._keys = ring._keys, None
    api.app.state.keys.fault = "the API keys cannot be read"
    try:
        answer = api.request("post", "/v1/grants", tokens["operator"], {})
        ready = api.request("get", "/readyz", None, None)
    finally:
        ring._keys = keys
        api.app.state.keys.fault = None

    assert answer.status_code == ready.status_code == 503
    assert int(answer.headers["retry-after"]) >= 1


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("get", "/nope", 404), ("get", "/v1/events/", 404), ("get", "/v1/events", 405), ("delete", "/healthz", 405)],
)
def test_what_is_not_there_is_a_problem_too(api: RunningApi, method: str, path: str, status: int) -> None:
    """Wrong paths and methods are answered as RFC 9457 says, like every error."""
    answer = api.request(method, path, None, None)

    problem = answer.json()
    assert (answer.status_code, problem["status"]) == (status, status)
    assert answer.headers["content-type"] == "application/problem+json"
    assert set(problem) >= {"type", "title", "detail", "request_id"}
    assert (status == 405) == ("allow" in answer.headers)


def test_a_fault_of_ours_is_a_problem_without_details(api: RunningApi, tokens: dict[str, str]) -> None:
    """An exception nobody thought of is answered with an id that stands in the log, and nothing about the inside."""
    delivery, api.app.state.delivery = api.app.state.delivery, None
    try:
        answer = api.events(tokens["operator"], usage())
    finally:
        api.app.state.delivery = delivery

    assert answer.status_code == 500
    assert answer.json()["request_id"] == answer.headers["x-request-id"]
    assert "NoneType" not in answer.text


def test_answers_carry_security_headers(api: RunningApi) -> None:
    """No answer is cached, sniffed or framed, and no other site may read it."""
    for path in ("/healthz", "/nope", "/docs"):
        headers = api.request("get", path, None, None, origin="https://evil.example").headers

        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cache-control"] == "no-store"
        assert "frame-ancestors 'none'" in headers["content-security-policy"]
        assert "access-control-allow-origin" not in headers
        assert "server" not in headers


@pytest.mark.parametrize(("given", "kept"), [("job-88.a_B", True), ("a b", False), ("x" * 65, False)])
def test_a_request_has_an_id(api: RunningApi, given: str, kept: bool) -> None:
    """The client's id is kept if it is tame enough for a log, else one is made."""
    answer = api.request("get", "/nope", None, None, x_request_id=given)

    assert (answer.headers["x-request-id"] == given) == kept
    assert answer.json()["request_id"] == answer.headers["x-request-id"]


def test_the_description_is_for_programs_and_people(api: RunningApi) -> None:
    """OpenAPI 3.1 at /openapi.json, and the same at /docs, without anything from elsewhere."""
    openapi = api.request("get", "/openapi.json", None, None).json()
    page = api.request("get", "/docs", None, None)

    assert openapi["openapi"].startswith("3.1")
    assert page.headers["content-type"].startswith("text/html")
    assert "<script" not in page.text
    assert "//" not in page.text.replace("http://127", "")
    for path in openapi["paths"]:
        assert path in page.text
    referred = {part.split('"')[0] for part in json.dumps(openapi).split("#/components/schemas/")[1:]}
    assert referred <= set(openapi["components"]["schemas"])

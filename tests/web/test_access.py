"""Who may see what on the page: the API's rules, also for sessions and forms."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import pytest

from pipeline.web.sessions import ATTEMPTS_MAX, Sessions

STATEMENT = "/ui/customers/acme/helpdesk/2026-11-01"
PAGES_OF_ACME = [
    "/ui/customers/acme",
    STATEMENT,
    f"{STATEMENT}/lines",
    f"{STATEMENT}/lines?feature=search",
    f"{STATEMENT}/export?format=csv",
    "/ui/lines/acme/1",
]
OPERATORS = ["/ui/operator", "/ui/operator/rejects"]
BUILDERS = ["/ui/builders/northwind"]


@contextmanager
def signed_in(site: str, token: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=site) as client:
        assert client.post("/ui/sign-in", data={"key": token}).status_code == 303
        yield client


def csrf_of(client: httpx.Client, path: str = "/ui/operator/rejects") -> str:
    found = re.search(r'name="csrf" value="([^"]+)"', client.get(path).text)
    assert found is not None
    return found[1]


@pytest.mark.parametrize("path", ["/ui", *PAGES_OF_ACME, *OPERATORS, *BUILDERS])
def test_who_is_not_signed_in_is_asked_to(site: str, path: str) -> None:
    """Every page leads to the sign-in, and shows nothing."""
    answer = httpx.get(site + path)

    assert (answer.status_code, answer.headers["location"]) == (303, "/ui/sign-in")


@pytest.mark.parametrize(
    ("who", "seen", "unseen"),
    [
        ("acme", PAGES_OF_ACME, [*OPERATORS, *BUILDERS]),
        ("northwind", [*PAGES_OF_ACME, *BUILDERS], ["/ui/builders/brightwater", *OPERATORS]),
        ("brightwater", ["/ui/customers/acme"], [*PAGES_OF_ACME[1:], *BUILDERS, *OPERATORS]),
        ("globex", ["/ui/customers/globex"], [*PAGES_OF_ACME, *BUILDERS, *OPERATORS]),
        ("operator", [*PAGES_OF_ACME, *BUILDERS, *OPERATORS], []),
        ("dep_acme", [], [*PAGES_OF_ACME, *BUILDERS, *OPERATORS]),
    ],
)
def test_each_sees_its_own_and_nothing_else(
    site: str, tokens: dict[str, str], who: str, seen: list[str], unseen: list[str]
) -> None:
    """What is another's looks exactly like what does not exist."""
    with signed_in(site, tokens[who]) as client:
        missing = client.get("/ui/customers/nobody-at-all").text

        assert {path: client.get(path).status_code for path in seen} == dict.fromkeys(seen, 200)
        for path in unseen:
            answer = client.get(path)
            assert (path, answer.status_code) == (path, 404)
            assert csrf_less(answer.text) == csrf_less(missing) or who == "operator"


def csrf_less(text: str) -> str:
    return re.sub(r'value="[^"]+"', "", text)


def test_a_builder_sees_only_its_own_app_of_a_customer(site: str, tokens: dict[str, str]) -> None:
    """Acme's other app, of another builder, is on no page of northwind."""
    with signed_in(site, tokens["northwind"]) as client:
        assert "insights" not in client.get("/ui/customers/acme").text
        assert client.get("/ui/customers/acme/insights/2026-11-01").status_code == 404
        assert client.get("/ui/lines/acme/3").status_code == 404


def test_a_customer_is_not_told_how_its_charge_is_shared(site: str, tokens: dict[str, str]) -> None:
    """The page of a line names neither cost, margin nor what the builder earns."""
    with signed_in(site, tokens["acme"]) as client:
        shown = client.get("/ui/lines/acme/1").text.lower()

    assert "why this price" in shown
    assert not any(word in shown for word in ("margin", "earn", "reward", "provider"))


def test_a_wrong_key_signs_nobody_in(site: str, tokens: dict[str, str]) -> None:
    """Neither an unknown key, an expired nor a revoked one gets a session."""
    for key in ("uk_nothing", "", tokens["expired"], tokens["revoked"]):
        answer = httpx.post(f"{site}/ui/sign-in", data={"key": key})
        assert answer.status_code == 403
        assert "set-cookie" not in answer.headers


def test_the_session_cookie_is_for_this_site_and_no_script(site: str, tokens: dict[str, str]) -> None:
    """It is HttpOnly and SameSite=Strict, for /ui only, and holds nothing of the key."""
    answer = httpx.post(f"{site}/ui/sign-in", data={"key": tokens["acme"]})

    cookie = answer.headers["set-cookie"].lower()
    assert all(word in cookie for word in ("httponly", "samesite=strict", "path=/ui"))
    assert not any(part.lower() in cookie for part in tokens["acme"].split("_")[1:])


def test_pages_run_no_script_and_are_not_kept(site: str, tokens: dict[str, str]) -> None:
    """The policy allows nothing but our style sheet; nobody may frame or keep a page."""
    with signed_in(site, tokens["acme"]) as client:
        headers = client.get("/ui/customers/acme").headers

    assert headers["content-security-policy"].startswith("default-src 'none'; style-src 'self'")
    assert headers["cache-control"] == "no-store"
    assert headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("csrf", ["", "guess"])
def test_a_form_of_another_site_is_refused(site: str, tokens: dict[str, str], csrf: str) -> None:
    """Without the session's own token nothing is sent again, and nobody signed out."""
    with signed_in(site, tokens["operator"]) as client:
        for path in ("/ui/operator/rejects", "/ui/sign-out"):
            assert client.post(path, data={"csrf": csrf, "position": "0:0"}).status_code == 403
        assert client.get("/ui/operator").status_code == 200


def test_signing_out_ends_the_session(site: str, tokens: dict[str, str]) -> None:
    """The cookie is worth nothing afterwards."""
    with signed_in(site, tokens["acme"]) as client:
        cookies = dict(client.cookies)
        client.post("/ui/sign-out", data={"csrf": csrf_of(client, "/ui/customers/acme")})

        assert httpx.get(f"{site}/ui/customers/acme", cookies=cookies).status_code == 303


def test_only_operators_send_rejects_again(site: str, tokens: dict[str, str]) -> None:
    """Others get the page of what does not exist; who ticks nothing is told so."""
    with signed_in(site, tokens["acme"]) as client:
        token = csrf_of(client, "/ui/customers/acme")
        assert client.post("/ui/operator/rejects", data={"csrf": token, "position": "0:0"}).status_code == 404
    with signed_in(site, tokens["operator"]) as client:
        assert client.post("/ui/operator/rejects", data={"csrf": csrf_of(client, "/ui/operator")}).status_code == 422


def test_guessing_keys_is_slowed_down() -> None:
    """After so many wrong keys an address has to wait; others need not."""
    sessions = Sessions()
    for _ in range(ATTEMPTS_MAX):
        sessions.note_failure("192.0.2.1")

    assert not sessions.may_try("192.0.2.1")
    assert sessions.may_try("192.0.2.2")

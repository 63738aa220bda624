"""The page in Debian's Chromium: figures, keyboard, phone, dark mode, accessibility."""

from collections.abc import Callable

import pytest
from axe_playwright_python.sync_playwright import Axe
from clickhouse_connect.driver.client import Client
from playwright.sync_api import Browser

from pipeline.billing import read_statement
from pipeline.settings import Settings
from pipeline.web.words import cents
from tests.sink.support import client_of
from tests.web.conftest import Visit

STATEMENT = "/ui/customers/acme/helpdesk/2026-11-01"
PAGES = {
    "acme": ["/ui/customers/acme", STATEMENT, f"{STATEMENT}/lines", "/ui/lines/acme/1"],
    "northwind": ["/ui/builders/northwind"],
    "operator": ["/ui/operator", "/ui/operator/rejects"],
}
Open = Callable[..., Visit]


@pytest.fixture
def visit(browser: Browser, site: str, tokens: dict[str, str]) -> Open:
    """Return what opens a window and signs somebody in."""

    def opened(who: str, **options: object) -> Visit:
        return Visit(site, browser.new_context(**options)).sign_in(tokens[who])

    return opened


@pytest.fixture
def client(api_settings: Settings) -> Client:
    return client_of(api_settings.clickhouse)


@pytest.mark.rule("R8.1", "R5.4")
def test_the_page_shows_the_statements_cents(visit: Open, client: Client) -> None:
    """Row by row and in total the page has what `usage statement` has."""
    statement = read_statement(client, "acme", "helpdesk", "2026-11-01", "workspace")

    page = visit("acme").go(STATEMENT)

    rows = page.locator("tr.row td:nth-of-type(7)").all_inner_texts()
    assert rows == [cents(row.amount_cents) for row in statement.rows]
    assert page.locator("p.total .num").inner_text() == cents(statement.total_cents)


def test_a_figure_is_followed_down_to_the_reason(visit: Open) -> None:
    """From the month to the statement, to its lines, to why a line costs what it does, by links alone."""
    page = visit("acme").page

    page.get_by_role("region", name="All statements").locator(f'a[href="{STATEMENT}"]').click()
    page.locator("tr.row").get_by_role("link").first.click()
    page.get_by_role("region", name="Lines").get_by_role("link").first.click()

    assert "why this price" in page.get_by_role("heading", level=1).inner_text()


def test_everything_is_reached_by_keyboard(visit: Open) -> None:
    """The first key leads to the content, further ones to every link, each with a visible focus."""
    page = visit("acme").page

    page.keyboard.press("Tab")
    first = page.evaluate("document.activeElement.textContent")
    page.keyboard.press("Enter")
    inside = page.evaluate("document.activeElement.id")
    page.keyboard.press("Tab")
    outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")

    assert (first, inside, outline) == ("Skip to content", "main", "solid")


@pytest.mark.parametrize("who", PAGES)
def test_a_phone_shows_all_without_sideways_scrolling(visit: Open, who: str) -> None:
    """Wide tables scroll in themselves, the page does not."""
    window = visit(who, viewport={"width": 360, "height": 740}, is_mobile=True)

    for path in PAGES[who]:
        page = window.go(path)
        assert (path, page.evaluate("document.documentElement.scrollWidth")) == (path, 360)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("who", PAGES)
def test_nothing_keeps_anybody_out(visit: Open, who: str, scheme: str) -> None:
    """axe-core finds no violation, and the browser has nothing to say, in light and dark."""
    window = visit(who, color_scheme=scheme)

    for path in PAGES[who]:
        found = Axe().run(window.go(path))
        assert (path, [each["id"] for each in found.response["violations"]]) == (path, [])
    assert window.said == []


def test_signing_in_tells_what_is_wrong(browser: Browser, site: str) -> None:
    """A wrong key is answered on the form itself, which is accessible too."""
    window = Visit(site, browser.new_context()).sign_in("uk_wrong")

    assert "not known" in window.page.get_by_role("alert").inner_text()
    assert Axe().run(window.page).violations_count == 0

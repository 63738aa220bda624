"""One API with the page, on the broker, ClickHouse and keys of the API's tests; and a browser."""

import shutil
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from pipeline.settings import Settings
from pipeline.web.install import install_page
from tests.api.conftest import api, api_settings, catalog, tokens
from tests.api.support import RunningApi, wait_until

WAIT_MS_MAX = 5_000

__all__ = ["api", "api_settings", "catalog", "tokens"]


@pytest.fixture(scope="session")
def site(api_settings: Settings, tokens: dict[str, str]) -> Iterator[str]:
    """Yield the address of a page that knows the keys."""
    served = RunningApi(api_settings)
    install_page(served.app)
    with served as running:
        running.ready()
        for name, token in tokens.items():
            if name not in ("expired", "revoked"):
                wait_until(lambda token=token: running.knows(token), "the key to be read")
        yield running.url


@pytest.fixture(scope="module")
def browser(site: str) -> Iterator[Browser]:  # noqa: ARG001 - before it: while it runs, this thread has an event loop
    """Yield Debian's Chromium."""
    path = shutil.which("chromium")
    if path is None:
        pytest.skip("no chromium here: python3 tests/fixtures/install_chromium.py")
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield running
        running.close()


class Visit:
    """A signed-in browser window; everything that its console says is kept."""

    def __init__(self, site: str, context: BrowserContext) -> None:
        self.site = site
        context.set_default_timeout(WAIT_MS_MAX)
        self.page: Page = context.new_page()
        self.said: list[str] = []
        self.page.on("console", lambda message: self.said.append(message.text))
        self.page.on("pageerror", lambda error: self.said.append(str(error)))

    def sign_in(self, token: str) -> "Visit":
        self.page.goto(f"{self.site}/ui")
        self.page.get_by_label("API key").fill(token)
        self.page.get_by_role("button", name="Sign in").click()
        return self

    def go(self, path: str) -> Page:
        self.page.goto(self.site + path)
        return self.page

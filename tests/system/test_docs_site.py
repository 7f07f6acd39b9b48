"""The built site of the documentation, as a reader meets it: searched, on a phone, its pictures clicked."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from scripts.local_airflow import AIRFLOW_3

pytestmark = pytest.mark.skipif(not AIRFLOW_3, reason="the site is the same for every line, and is looked at on 3.3")

ROOT = Path(__file__).resolve().parents[2]
SITE = ROOT / "build" / "docs"
PAGES = sorted(path.relative_to(ROOT / "docs").with_suffix(".html") for path in (ROOT / "docs").rglob("*.md"))
PHONE = {"width": 390, "height": 844}


class Silent(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None: ...


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """Serve what ``make docs`` has built, and give its address."""
    assert (SITE / "index.html").exists(), "run make docs first"
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Silent, directory=str(SITE))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture
def page(chromium: Browser) -> Iterator[Page]:
    page = chromium.new_page()
    yield page
    page.close()


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("401", "when-it-fails.html"),
        ("dry run", "retention.html"),
        ("plan_only", "operators.html"),
        ("retention", "retention.html"),
    ],
)
def test_the_right_page_is_found_first(url: str, page: Page, words: str, found: str) -> None:
    page.goto(f"{url}/search.html?q={words.replace(' ', '+')}")

    first = page.locator("#search-results ul.search li a").first
    expect(first).to_be_visible()
    assert str(first.get_attribute("href")).partition("#")[0].partition("?")[0] == found


def test_every_table_can_be_read_on_a_phone(url: str, page: Page) -> None:
    page.set_viewport_size(PHONE)  # type: ignore[arg-type]
    for path in PAGES:
        page.goto(f"{url}/{path}")
        assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"], path
        # A column that is squeezed to a few letters cannot be read, nor can one that ends beyond the edge.
        for table in page.locator("table.docutils").all():
            narrow = table.evaluate(
                """table => [...table.querySelectorAll('td')]
                    .filter(cell => cell.textContent.length > 40 && cell.clientWidth < 140)
                    .map(cell => cell.textContent)"""
            )
            assert narrow == [], path
            beyond = table.evaluate(
                """table => table.scrollWidth > table.parentElement.clientWidth
                    && getComputedStyle(table.parentElement).overflowX !== 'auto'"""
            )
            assert not beyond, path


def test_a_click_on_a_picture_shows_it(url: str, page: Page) -> None:
    pictures = 0
    for path in PAGES:
        page.goto(f"{url}/{path}")
        for picture in page.locator("article img").all():
            pictures += 1
            link = picture.locator("xpath=ancestor::a")
            assert str(link.get_attribute("href")).startswith(("_images/", "../_images/")), path
    assert pictures >= 10


def test_every_page_links_to_the_repository(url: str, page: Page) -> None:
    page.goto(f"{url}/index.html")

    assert page.locator("a[href='https://github.com/anyformat-ai/airflow-provider-anyformat']").count() >= 1

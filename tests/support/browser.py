"""A person in front of Airflow's web interface: what they see, click and take a picture of."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import urlsplit

from playwright.sync_api import Browser, Locator, Page, Route, StorageState, expect

from scripts.local_airflow import AIRFLOW_3, USER, LocalAirflow

ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    # What the browser itself would ask has no address either.
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
)
SIZE = (1280, 800)
# A page of Airflow may take seconds on a machine that runs all of Airflow beside it.
PATIENCE = 30_000
LARGEST_PICTURE = 200_000


class Visitor:
    """
    A logged-in user in a browser window of their own.

    :param browser: the browser.
    :param airflow: whose pages are visited.
    :param pictures: the folder for screenshots.
    :param session: what an earlier visitor's browser kept, :attr:`session`; with it there is no need to log in.
    """

    def __init__(
        self, browser: Browser, airflow: LocalAirflow, pictures: Path, session: StorageState | None = None
    ) -> None:
        self.airflow = airflow
        self.asked_elsewhere: list[str] = []
        self._pictures = pictures
        self._context = browser.new_context(
            viewport={"width": SIZE[0], "height": SIZE[1]},
            color_scheme="light",
            reduced_motion="reduce",
            locale="en-US",
            timezone_id="UTC",
            storage_state=session,
        )
        self._context.set_default_timeout(PATIENCE)
        self._context.route("**/*", self._only_airflow)
        expect.set_options(timeout=PATIENCE)
        self.page: Page = self._context.new_page()

    def log_in(self, user: str = USER) -> None:
        """Give user name and password as a person does."""
        page = self.page
        page.goto(self.airflow.url)
        page.get_by_label("Username").fill(user)
        page.locator("input[type=password]").fill(self.airflow.password)
        page.get_by_role("button", name=re.compile("^(sign|log) ?in$", re.IGNORECASE)).click()
        expect(page.get_by_role("link", name="Dags" if AIRFLOW_3 else "DAGs", exact=True).first).to_be_visible()

    @property
    def session(self) -> StorageState:
        """What the browser keeps of this user's visit."""
        return self._context.storage_state()

    def leave(self) -> None:
        """Close the window."""
        self._context.close()

    def go(self, path: str) -> Page:
        """Open a page of Airflow."""
        self.page.goto(f"{self.airflow.url}/{path}")
        return self.page

    def take_picture(
        self, name: str, of: Locator | None = None, *, width: int = SIZE[0], height: int = SIZE[1]
    ) -> None:
        """
        Keep what is seen as ``<name>.png``.

        :param of: a part of the page; default all that the window shows.
        :param width: the window's, while the picture is taken.
        :param height: likewise.
        """
        self.page.set_viewport_size({"width": width, "height": height})
        # What slides or fades in has arrived by then.
        self.page.wait_for_timeout(700)
        self._pictures.mkdir(parents=True, exist_ok=True)
        path = self._pictures / f"{name}.png"
        (of or self.page).screenshot(path=path, animations="disabled", caret="hide")
        self.page.set_viewport_size({"width": SIZE[0], "height": SIZE[1]})
        assert path.stat().st_size < LARGEST_PICTURE, path

    def _only_airflow(self, route: Route) -> None:
        asked, ours = urlsplit(route.request.url), urlsplit(self.airflow.url)
        if (asked.scheme, asked.netloc) == (ours.scheme, ours.netloc):
            route.continue_()
        else:
            self.asked_elsewhere.append(route.request.url)
            route.abort()

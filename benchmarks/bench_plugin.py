"""
What the page "Retention" costs: loading its plugin, which every worker and parse pays, and opening it.

Chromium opens it with 50 purges of 30 runs each. Their answers are made up, so that what is measured is the page alone:
from the last of these answers to all rows being there.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

from airflow_provider_anyformat._airflow import AIRFLOW_V_3_1_PLUS

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

ROUNDS = 5
MOST_LOAD_MS = 5.0
MOST_PAINT_S = 1.0
MOST_REQUESTS = 12
PURGES, RUNS = 50, 30

# Airflow itself has loaded all of the first line by the time it comes to plugins.
LOAD = """
import sys, time
import airflow.plugins_manager
from airflow_provider_anyformat._airflow import AirflowPlugin, conf
before, start = set(sys.modules), time.perf_counter()
from airflow_provider_anyformat.plugin import AnyformatPlugin
AnyformatPlugin()
print("LOADED", 1000 * (time.perf_counter() - start), "fastapi" in set(sys.modules) - before)
"""


def load() -> tuple[float, bool]:
    """Give the milliseconds that loading takes, at best, and whether it brought FastAPI along."""
    answers = []
    for _ in range(ROUNDS):
        done = subprocess.run([sys.executable, "-c", LOAD], capture_output=True, text=True, check=True)
        answers.append(done.stdout.rpartition("LOADED")[2].split())
    return min(float(ms) for ms, _ in answers), any(brought == "True" for _, brought in answers)


def open_page() -> tuple[float, int]:
    """Give the seconds until all purges are shown, and the number of requests."""
    from playwright.sync_api import sync_playwright

    from scripts.debian import ensure
    from tests.support.browser import ARGUMENTS
    from tests.support.page import FakeAirflow, Reader, run

    program = ensure({"chromium": "chromium fonts-liberation"})["chromium"]
    many = [run(f"dag-{n:02}", night=night) for night in range(RUNS, 0, -1) for n in range(PURGES)]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, headless=True, args=ARGUMENTS)
        airflow = FakeAirflow(*many)
        reader = Reader(browser, airflow)
        reader.open()
        reader.page.locator("#rows > tr").nth(PURGES - 1).wait_for()
        seconds = time.monotonic() - airflow.answered_at
        reader.leave()
        browser.close()
    return seconds, len(airflow.asked)


def main() -> int:
    """Print the numbers; the exit code is 1 where one is larger than it may be."""
    loaded, brought = load()
    print(f"loading the plugin: {loaded:.2f} ms (at most {MOST_LOAD_MS:g}), FastAPI: {'yes' if brought else 'no'}")
    good = loaded <= MOST_LOAD_MS and not brought
    if AIRFLOW_V_3_1_PLUS:
        seconds, requests = min(open_page() for _ in range(ROUNDS))
        print(
            f"{PURGES} purges of {RUNS} runs: all rows {seconds:.2f} s after the last answer"
            f" (at most {MOST_PAINT_S:g}), {requests} requests (at most {MOST_REQUESTS})"
        )
        good = good and seconds <= MOST_PAINT_S and requests <= MOST_REQUESTS
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())

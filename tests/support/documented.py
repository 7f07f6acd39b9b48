"""The code that README and docs show, spelled for the Airflow line that runs the test."""

from __future__ import annotations

import re
from pathlib import Path

from tests.support.dag_results import AIRFLOW_3

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
# README says once what the import is on 2.11; every page shows that of 3.
_SPELLED = {"DAG": "from airflow import DAG", "task": "from airflow.decorators import task"}


def blocks(page: str) -> list[str]:
    """Return the Python blocks of a page, in order."""
    found = re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(), re.DOTALL)
    return (
        found
        if AIRFLOW_3
        else [re.sub(r"^from airflow\.sdk import (.*)$", _in_2, text, flags=re.MULTILINE) for text in found]
    )


def _in_2(line: re.Match[str]) -> str:
    spelled = [_SPELLED[name] for name in line[1].split(", ")]
    assert all(f"`{one}`" in README for one in spelled)
    return "\n".join(spelled)

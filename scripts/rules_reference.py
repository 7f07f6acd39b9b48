"""
Write the tables of keys in ``docs/rules.md``, which are made from the models: ``python -m scripts.rules_reference``.

A test compares the page with what this writes.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from airflow_provider_anyformat.rules import models

PAGE = Path(__file__).resolve().parent.parent / "docs" / "rules.md"


def tables() -> dict[str, str]:
    """Return the table of each file, by its name."""
    return {
        "retention.yaml": _table(models.KEYS, models.REQUIRED),
        "holds.yaml": _table(models.HOLD_KEYS, ("case",)),
    }


def _table(keys: Mapping[str, Any], required: Collection[str]) -> str:
    rows = ["| key | | meaning |", "|---|---|---|"]
    for key in sorted(keys, key=lambda key: (key not in required, list(keys).index(key))):
        about = keys[key].__metadata__[-1].description.replace("|", "\\|")
        rows.append(f"| `{key}` | {'required' if key in required else ''} | {about} |")
    return "\n".join(rows)


def with_tables(page: str) -> str:
    """Return the page with the table below each file's heading made anew."""
    found = tables()
    return re.sub(
        r"(^## The keys of `(\S+)`\n.*?\n)\| key \|[^\n]*\n(?:\|[^\n]*\n)*",
        lambda match: f"{match[1]}{found[match[2]]}\n",
        page,
        flags=re.DOTALL | re.MULTILINE,
    )


if __name__ == "__main__":
    PAGE.write_text(with_tables(PAGE.read_text()))

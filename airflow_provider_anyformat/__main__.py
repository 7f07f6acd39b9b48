"""``python -m airflow_provider_anyformat`` is the command ``anyformat-retention``."""

from __future__ import annotations

from airflow_provider_anyformat.cli.main import main

if __name__ == "__main__":
    raise SystemExit(main())

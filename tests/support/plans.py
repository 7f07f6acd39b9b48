"""A plan on disk, and applying it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from airflow_provider_anyformat.operators.files import ApplyPurgePlanOperator, PurgeFileCollectionsOperator
from airflow_provider_anyformat.retention.plan import canonical, digest_of
from airflow_provider_anyformat.sandbox import Sandbox
from tests.support.ledgers import ledger_rows
from tests.support.tasks import Ran, rendered, run

plan_task = rendered(PurgeFileCollectionsOperator, task_id="plan", older_than="P90D", plan_only=True)
apply_task = rendered(ApplyPurgePlanOperator, task_id="apply")


class Planned:
    """
    A plan that a ``plan_only`` run made; what the sandbox was asked for until then is forgotten.

    :param folder: of the ledger.
    """

    def __init__(self, sandbox: Sandbox, folder: Path, **given: Any) -> None:
        self.sandbox = sandbox
        ran = run(plan_task(ledger_path=str(folder / "plans"), **given))
        assert ran.is_green, ran.words
        self.markdown, self.summary = ran.markdown, ran.summary
        self.path, self.digest = Path(ran.summary["plan_path"]), ran.summary["plan_digest"]
        self.ids = [row["collection_id"] for row in ledger_rows(str(self.path), "plan.jsonl")]
        assert sandbox.requests_to("DELETE") == []
        sandbox.clear_requests()

    def rewrite(self, change: Callable[[dict[str, Any]], object]) -> None:
        """Change ``plan.json`` and give it the digest that fits."""
        content = json.loads((self.path / "plan.json").read_bytes())
        change(content)
        self.digest = digest_of(content, sorted((self.path / "plan.jsonl").read_bytes().splitlines(keepends=True)))
        (self.path / "plan.json").write_bytes(canonical(content | {"digest": self.digest}))

    def apply(self, try_number: int = 1, max_tries: int | None = None, **given: Any) -> Ran:
        task = apply_task(**{"plan_path": str(self.path), "plan_digest": self.digest, **given})
        return run(task, try_number, max_tries)

    def applied(self, **given: Any) -> dict[str, Any]:
        ran = self.apply(**given)
        assert ran.is_green, ran.words
        return ran.summary

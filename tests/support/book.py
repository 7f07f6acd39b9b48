"""Ledgers for tests, written by the code that writes them in a purge; each run is one call."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from airflow_provider_anyformat.retention.chain import follow
from airflow_provider_anyformat.retention.folder import LocalFolder
from airflow_provider_anyformat.retention.ledger import Ledger, Outcome
from airflow_provider_anyformat.retention.plan import Guards, Origin, PurgePlan
from airflow_provider_anyformat.retention.signing import Signer

BEGIN = datetime(2026, 6, 1, 2, tzinfo=UTC)
WORKFLOW = "00000000-0000-4000-8000-00000000000a"


class Book:
    """
    A ledger that grows run by run.

    :param path: its folder.
    :param signer: signs the summaries.
    :param chained: whether runs name those before them, as all do but those of the first release.
    """

    def __init__(self, path: Path, signer: Signer | None = None, *, chained: bool = True) -> None:
        self.path = path
        self.root = LocalFolder(path)
        self.signer = signer
        self.chained = chained
        self.heads: list[str] = []
        self._number = 0
        self._digests: dict[str, str] = {}

    def begin(self, ids: Iterable[str], **origin: Any) -> Ledger:
        """Open a run and write its plan; it names the runs that are closed by now."""
        self._number += 1
        made = Origin("https://api.example", "nightly", "purge", -1, f"run-{self._number}", 1, "1.0")
        made = Origin(**({name: getattr(made, name) for name in made.__slots__} | origin))
        plan = PurgePlan.of_ids(ids, guards=Guards("unlimited"), origin=made, now=BEGIN + timedelta(days=self._number))
        ledger = Ledger(self.root, made, signer=self.signer)
        ledger.write_plan(plan)
        self._digests[ledger.name] = plan.digest
        if self.chained:
            assert not follow(self.root, ledger, made)[1]
        return ledger

    def end(self, ledger: Ledger, outcomes: Mapping[str, str], **summary: Any) -> str:
        """Write outcomes and the summary; return the summary's hash."""
        for collection_id, outcome in outcomes.items():
            ledger.record(an_outcome(collection_id, outcome))
        counts = Counter(outcomes.values())
        ledger.close(
            {
                "cutoff": None,
                "listed": len(outcomes),
                "due": len(outcomes),
                "deleted": counts["deleted"],
                "already_gone": counts["already_gone"],
                "failed": counts["failed"] + counts["unknown"],
                "not_attempted": counts["not_attempted"],
                "kept": {},
                "plan_path": ledger.url,
                "plan_digest": self._digests[ledger.name],
                "ledger": ledger.url,
            }
            | summary
        )
        head = ledger.summary_sha256
        assert head is not None
        self.heads.append(head)
        return head

    def run(self, *ids: str, outcome: str = "deleted", **origin: Any) -> str:
        """Write a whole run; return its folder."""
        ledger = self.begin(ids, **origin)
        self.end(ledger, dict.fromkeys(ids, outcome))
        return ledger.name

    def killed(self, *ids: str, known: Iterable[str] = (), **origin: Any) -> str:
        """Write a run that was killed when it knew these outcomes; return its folder."""
        ledger = self.begin(ids, **origin)
        for collection_id in known:
            ledger.record(an_outcome(collection_id, "deleted"))
        ledger.flush()
        return ledger.name


def an_outcome(collection_id: str, outcome: str = "deleted") -> Outcome:
    return Outcome(
        collection_id,
        WORKFLOW,
        outcome,
        204,
        None,
        "req-1",
        1,
        "2026-06-02T02:00:01Z" if outcome == "deleted" else None,
        "Tue, 02 Jun 2026 02:00:01 GMT",
    )

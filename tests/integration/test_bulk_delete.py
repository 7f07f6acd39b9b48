"""DeleteFileCollectionsOperator: what is asked for, what is missing, and what is seen of it."""

from __future__ import annotations

import re
import uuid
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_anyformat.bulk import pool, recorder
from airflow_provider_anyformat.operators.files import DeleteFileCollectionsOperator
from airflow_provider_anyformat.parameters import NOT_GIVEN
from airflow_provider_anyformat.sandbox import Sandbox
from tests.support.ledgers import ledger_rows
from tests.support.logs import Lines
from tests.support.sandboxes import FOREVER, on_both_versions, statuses
from tests.support.tasks import rendered, run

delete = rendered(DeleteFileCollectionsOperator, task_id="delete")


def fill(sandbox: Sandbox, n: int) -> list[str]:
    return sandbox.fill(sandbox.add_workflow(), n)


def missing(n: int) -> list[str]:
    return [str(uuid.uuid4()) for _ in range(n)]


class TestWhatIsAskedFor:
    @pytest.mark.parametrize(
        "templated", [("collection_ids", "note"), (*DeleteFileCollectionsOperator.template_fields, "note")]
    )
    def test_a_subclass_may_template_other_fields(self, sandbox: Sandbox, templated: tuple[str, ...]) -> None:
        class Noted(DeleteFileCollectionsOperator):
            template_fields = templated
            note = "not a parameter"

        ids = fill(sandbox, 3)
        ran = run(Noted(task_id="bulk", collection_ids=ids, exclude_collection_ids=ids[:1]))
        assert ran.counts() == (2, 2, 0, 0, 0)
        # One that was given to the signature, and says that it was not, has the signature's default.
        not_given: Any = NOT_GIVEN
        assert run(Noted(task_id="bulk", collection_ids=ids[:1], max_workers=not_given)).is_green
        ran = run(Noted(task_id="bulk", collection_ids=not_given))
        assert ran.is_final
        assert "collection_ids: it was not given" in ran.words

    def test_repeats_once(self, sandbox: Sandbox) -> None:
        ids = fill(sandbox, 5)
        ran = run(delete(collection_ids=[*ids, *ids, ids[0]]))
        assert ran.counts("listed", "due", "requested", "deleted") == (5, 5, 5, 5)
        assert len(sandbox.requests_to("DELETE")) == 5

    @pytest.mark.parametrize("empty", [[], (), "[]", " [] "], ids=repr)
    def test_an_empty_list_is_nothing(self, sandbox: Sandbox, empty: Any) -> None:
        fill(sandbox, 5)
        ran = run(delete(collection_ids=empty))
        assert ran.is_green
        assert ran.counts("listed", "due", "requested", "deleted") == (0, 0, 0, 0)
        assert sandbox.requests == []

    @pytest.mark.parametrize(
        "bad",
        [None, "", " ", "none", "NULL", "nan", "a/b", "../b", "ä", "a\n", "x" * 129, 7, 1e5, True, b"id", ["id"]],
        ids=repr,
    )
    def test_one_bad_id_and_nothing_is_sent(self, sandbox: Sandbox, bad: Any) -> None:
        ids = fill(sandbox, 5)
        ran = run(delete(collection_ids=[*ids[:3], bad, *ids[3:]]))
        assert ran.is_final
        assert "collection_ids" in ran.words
        assert sandbox.requests == []

    @pytest.mark.parametrize("given", [None, "", "None", 5, {"a": 1}, "['a',", range(3)], ids=repr)
    def test_no_list(self, sandbox: Sandbox, given: Any) -> None:
        ran = run(delete(collection_ids=given))
        assert ran.is_final
        assert "collection_ids" in ran.words
        assert sandbox.requests == []

    def test_a_bare_id_is_refused_and_names_the_other(self, sandbox: Sandbox) -> None:
        ran = run(delete(collection_ids=fill(sandbox, 1)[0]))
        assert ran.is_final
        assert "DeleteFileCollectionOperator" in ran.words
        assert sandbox.requests == []

    @pytest.mark.parametrize("as_text", [str, lambda ids: str(ids).replace("'", '"')], ids=["literal", "json"])
    def test_a_list_that_a_template_made_text(self, sandbox: Sandbox, as_text: Callable[[list[str]], str]) -> None:
        ids = fill(sandbox, 3)
        assert run(delete(collection_ids=as_text(ids))).is_green
        assert sandbox.deleted == dict.fromkeys(ids, 1)

    @on_both_versions
    def test_holds_and_repeats_in_any_spelling(self, sandbox: Sandbox, lines: Lines) -> None:
        ids = fill(sandbox, 6)
        other = missing(1)[0]
        held = [ids[0].upper(), ids[1], ids[2].replace("-", ""), other]
        given = [ids[0].replace("-", ""), *ids[1:], ids[3].upper(), ids[4].replace("-", "")]
        ran = run(delete(collection_ids=given, exclude_collection_ids=held))
        assert ran.is_green
        assert sandbox.deleted == dict.fromkeys(ids[3:], 1)
        assert ran.counts("listed", "due", "requested") == (6, 3, 3)
        assert ran.summary["kept"] == {"held": 3}
        warned = [r.getMessage() for r in lines.records if r.levelname == "WARNING"]
        assert sum(other in text for text in warned) == 1
        assert not any(ids[1] in text for text in warned)

    @pytest.mark.parametrize(
        ("most", "held", "allowed"),
        [
            pytest.param(10, 0, True, id="at"),
            pytest.param(9, 0, False, id="over"),
            pytest.param(9, 1, True, id="held-do-not-count"),
            pytest.param("unlimited", 0, True, id="unlimited"),
            pytest.param("9", 0, False, id="as-text"),
        ],
    )
    def test_the_guard(self, sandbox: Sandbox, tmp_path: Path, most: Any, held: int, allowed: bool) -> None:
        ids = fill(sandbox, 10)
        task = delete(
            collection_ids=ids * 2, max_deletions=most, exclude_collection_ids=ids[:held], ledger_path=str(tmp_path)
        )
        ran = run(task)
        assert ran.is_green is allowed
        if allowed:
            assert ran.counts("deleted") == (10 - held,)
            return
        assert ran.is_final
        assert "max_deletions" in ran.words
        assert {"9", "10"} <= set(re.findall(r"\d+", ran.words))
        assert sandbox.requests == []
        assert ran.counts() == (0, 0, 0, 0, 0)
        assert len(ledger_rows(ran.summary["ledger"], "plan.jsonl")) == 10

    def test_a_thousand_is_the_default(self, sandbox: Sandbox) -> None:
        assert run(delete(collection_ids=missing(1001))).is_final
        assert sandbox.requests == []


class TestMissing:
    def test_four_of_four_is_an_ordinary_failure(self, sandbox: Sandbox) -> None:
        ids = missing(4)
        ran = run(delete(collection_ids=ids))
        assert ran.is_final
        assert all(each in ran.words for each in ids)
        assert ran.counts() == (4, 0, 0, 4, 0)

    @on_both_versions
    def test_four_of_four_may_be_missing(self, sandbox: Sandbox) -> None:
        ran = run(delete(collection_ids=missing(4), ignore_if_missing=True))
        assert ran.is_green
        assert ran.counts() == (4, 0, 4, 0, 0)

    @pytest.mark.parametrize("ignore", [False, True], ids=["strict", "ignore"])
    @pytest.mark.parametrize(("n", "workers"), [(5, 8), (19, 1), (20, 16), (100, 1), (100, 16)])
    def test_all_of_them_is_an_alarm(self, sandbox: Sandbox, n: int, workers: int, ignore: bool) -> None:
        ran = run(delete(collection_ids=missing(n), ignore_if_missing=ignore, max_workers=workers))
        asked = len(sandbox.requests_to("DELETE"))
        assert ran.is_final
        assert "HTTP 404" in ran.words
        assert "file_id" in ran.words
        assert min(n, 20) <= asked <= min(n, 20 + workers - 1)
        assert ran.summary["not_attempted"] == n - asked
        assert ran.summary["requested"] == asked

    @on_both_versions
    def test_after_the_first_twenty_nothing_more_is_asked(self, sandbox: Sandbox) -> None:
        ids = fill(sandbox, 10)
        ran = run(delete(collection_ids=[*missing(20), *ids], ignore_if_missing=True, max_workers=1))
        assert ran.is_final
        assert len(sandbox.requests_to("DELETE")) == 20
        assert sandbox.deleted == {}

    @pytest.mark.parametrize(
        "order",
        [
            pytest.param(lambda here, gone: [*gone[:19], *here, *gone[19:]], id="twentieth-is-there"),
            pytest.param(lambda here, gone: [*here, *gone], id="first-is-there"),
        ],
    )
    def test_one_that_is_there_is_no_alarm(self, sandbox: Sandbox, order: Callable[..., list[str]]) -> None:
        here = fill(sandbox, 1)
        ran = run(delete(collection_ids=order(here, missing(30)), ignore_if_missing=True, max_workers=1))
        assert ran.is_green
        assert ran.counts() == (31, 1, 30, 0, 0)

    def test_a_wrong_key_s_organisation_deletes_nothing(self, sandbox: Sandbox) -> None:
        # What a file_id in place of the collection's id looks like.
        workflow = sandbox.add_workflow()
        ids = sandbox.fill(workflow, 30)
        file_ids = [row["file_id"] for row in sandbox.collections(workflow)]
        ran = run(delete(collection_ids=file_ids))
        assert ran.is_final
        assert all(each in sandbox for each in ids)

    @pytest.mark.parametrize(
        ("try_number", "max_tries", "green"),
        [
            pytest.param(1, 2, False, id="first-try"),
            pytest.param(2, 2, True, id="automatic-retry"),
            pytest.param(3, 2, True, id="second-retry"),
            pytest.param(2, 3, False, id="cleared-after-one-try"),
            pytest.param(4, 5, False, id="cleared-after-three"),
        ],
    )
    @on_both_versions
    def test_a_retry_takes_missing_for_gone(
        self, sandbox: Sandbox, try_number: int, max_tries: int, green: bool
    ) -> None:
        task = delete(collection_ids=[*missing(25), *fill(sandbox, 3)], retries=2)
        ran = run(task, try_number, max_tries)
        assert ran.is_green is green
        if green:
            assert ran.counts() == (28, 3, 25, 0, 0)
        else:
            assert ran.is_final

    def test_a_clear_with_ignore_if_missing(self, sandbox: Sandbox) -> None:
        task = delete(collection_ids=[*fill(sandbox, 3), *missing(3)], retries=2, ignore_if_missing="True")
        ran = run(task, 2, 3)
        assert ran.is_green
        assert ran.counts() == (6, 3, 3, 0, 0)


class TestSeenWhileItRuns:
    def test_without_a_ledger_the_ids_are_in_the_log(self, sandbox: Sandbox, lines: Lines) -> None:
        ids = fill(sandbox, 130)
        sandbox.fail_next(FOREVER, 422, method="DELETE", path=ids[7])
        ran = run(delete(collection_ids=ids))
        assert ran.summary["ledger"] is None
        assert ran.summary["plan_path"] is None
        named = [
            found for record in lines.records if record.levelname == "INFO" and (found := ids_in(record.getMessage()))
        ]
        assert Counter(each for found in named for each in found) == Counter([each for each in ids if each != ids[7]])
        assert max(len(found) for found in named) == 20
        # Full lines but for the last of each portion.
        assert len(named) <= 130 // 20 + 3

    def test_they_are_there_before_it_ends(
        self, sandbox: Sandbox, lines: Lines, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A kill loses those of some seconds, and not all of a run of minutes."""
        monkeypatch.setattr(recorder, "_LOG_SECONDS", 0.05)
        seen: list[int] = []
        sandbox.on_request.append(lambda _: seen.append(len(lines.matching(r"^deleted: "))))
        sandbox.latency = 0.02
        assert run(delete(collection_ids=fill(sandbox, 30), max_workers=1)).is_green
        assert seen[-1] >= 3

    def test_with_a_ledger_they_are_there(self, sandbox: Sandbox, lines: Lines, tmp_path: Path) -> None:
        ids = fill(sandbox, 50)
        ran = run(delete(collection_ids=ids, ledger_path=str(tmp_path)))
        assert not any(ids_in(record.getMessage()) for record in lines.records)
        assert not lines.matching(r"^deleted \d+ of")
        rows = ledger_rows(ran.summary["ledger"])
        assert Counter(row["collection_id"] for row in rows) == Counter(ids)
        assert {(row["outcome"], row["http_status"], row["attempts"]) for row in rows} == {("deleted", 204, 1)}
        assert all(row["deleted_at"] and row["server_date"] for row in rows)

    def test_progress(self, sandbox: Sandbox, lines: Lines, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(pool, "PROGRESS_INTERVAL", 0.2)
        sandbox.latency = 0.02
        run(delete(collection_ids=fill(sandbox, 80), max_workers=2))
        shown = lines.matching(r"(\d+) of (\d+) \((\d+) %\), ([\d.]+)/s, (\d+ s) left")
        assert len(shown) >= 2
        done = [int(match[1]) for match in shown]
        assert done == sorted(set(done))
        assert all(int(match[2]) == 80 and int(match[3]) == 100 * int(match[1]) // 80 for match in shown)
        assert all(0 < float(match[4]) <= 100 for match in shown)

    @pytest.mark.parametrize("bad", [0, 1])
    def test_the_end_in_one_line(self, sandbox: Sandbox, lines: Lines, bad: int) -> None:
        ids = fill(sandbox, 10)
        if bad:
            sandbox.fail_next(1, 422, method="DELETE")
        run(delete(collection_ids=ids))
        assert lines.last.levelname == ("WARNING" if bad else "INFO")
        assert str(10 - bad) in lines.last.getMessage()


def ids_in(text: str) -> list[str]:
    """Return the ids of a line that tells what was deleted: nothing but ids after its first word."""
    first, _, rest = text.partition(": ")
    words = rest.split(", ")
    return words if first == "deleted" and all(len(word) == 36 for word in words) else []


class TestPacing:
    def test_no_429_with_sixteen_workers(self, sandbox: Sandbox) -> None:
        sandbox.rate_limit, sandbox.window = 60, 2
        ids = fill(sandbox, 150)
        ran = run(delete(collection_ids=ids, max_workers=16, quota_reserve=0))
        assert ran.is_green
        assert statuses(sandbox) == {204: 150}
        assert sandbox.deleted == dict.fromkeys(ids, 1)

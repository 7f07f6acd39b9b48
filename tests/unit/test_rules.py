"""Files of rules and of holds: what is wrong with them is told with its line, of one rule or of the whole file."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import jsonschema
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_anyformat.cli.main import main
from airflow_provider_anyformat.exceptions import AnyformatValueError
from airflow_provider_anyformat.rules.check import check
from airflow_provider_anyformat.rules.models import json_schema
from airflow_provider_anyformat.rules.reading import load_holds, read_rules
from airflow_provider_anyformat.rules.schedule import check_schedule

NOW = datetime(2026, 11, 26, 12, tzinfo=UTC)
GOOD = """\
version: 1
defaults: {schedule: "17 2 * * *", ledger_path: s3://audit/anyformat, retries: 2, conn_id: anyformat_default}
rules:
  - name: invoices
    workflow_id: 11111111-2222-4333-8444-555555555555
    older_than: P90D
    owner: privacy@example.org
    basis: "GDPR Art. 5(1)(e); contract 4711 § 9"
"""
HOLDS = """\
holds:
  - {case: "2026-17", owner: legal@example.org, from: 2026-05-01, until: 2027-05-01, names: ["contract-*"]}
"""


def written(folder: Path, rules: str, holds: str = HOLDS) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "holds.yaml").write_text(holds)
    path = folder / "retention.yaml"
    path.write_text(rules)
    return path


def replaced(old: str, new: str) -> str:
    assert old in GOOD
    return GOOD.replace(old, new)


def added(line: str) -> str:
    """Add a key to the rule, as line 9 of the file."""
    return f"{GOOD}    {line}\n"


# The file, the rule and the line that are named, and what the sentence begins with.
WHOLE_FILE = {
    "empty": ("", None, None, "the file is empty"),
    "only a comment": ("# nothing\n", None, None, "the file is empty"),
    "not YAML": ("version: [1\n", None, 2, "not valid YAML: "),
    "a tag that makes objects": ("version: !!python/object/apply:os.getcwd []\n", None, 1, "not valid YAML: "),
    "two documents": (f"{GOOD}---\nversion: 1\n", None, 9, "not valid YAML: "),
    "nested without end": ("version: " + "[" * 100_000, None, 1, "not valid YAML: it is nested deeper"),
    "not UTF-8": (b"version: \xff\n".decode("latin-1"), None, None, ""),
    "a list": ("- version: 1\n", None, 1, "it holds list"),
    "a key twice": (
        added("older_than: P30D"),
        None,
        9,
        "not valid YAML: the key older_than stands twice, first in",
    ),
    "a key that is a list": (added("? [a]\n    : b"), None, 9, "not valid YAML: a key must be text"),
    "another version": (replaced("version: 1", "version: 2"), None, 1, "version: 2 cannot be used"),
    "no version": (replaced("version: 1\n", ""), None, 1, "version: it is required"),
    "no rules": ("version: 1\nrules: []\n", None, 2, "rules: [] cannot be used"),
    "rules that are no list": ("version: 1\nrules: {a: b}\n", None, 2, "rules: {'a': 'b'} cannot be used"),
    "a rule that is a word": ("version: 1\nrules:\n  - invoices\n", None, 2, "rules, entry 0: 'invoices' cannot be"),
    "defaults without any": (replaced("{schedule", "#{schedule"), None, 2, "defaults: None cannot be used"),
    "older_than in defaults": (replaced("{sche", "{older_than: P1D, sche"), None, 2, "older_than: it cannot stand in"),
    "an unknown key": (
        added("max_deletion: 3"),
        "invoices",
        9,
        "max_deletion: it is not a key that is known here; did you",
    ),
    "an unknown key above": (f"{GOOD}policies: []\n", None, 9, "policies: it is not a key that is known here"),
    "an unknown default": (replaced("{sche", "{colour: red, sche"), None, 2, "colour: it is not a key that is known"),
    "a bad name": (replaced("name: invoices", "name: In voices"), "In voices", 4, "name: 'In voices' cannot be used"),
    "a number for a name": (replaced("name: invoices", "name: 7"), None, 4, "name: 7 cannot be used"),
    "no name": (replaced("- name: invoices\n    work", "- work"), None, 4, "name: it is required"),
    "a name twice": (GOOD + GOOD[GOOD.index("  - name") :], "invoices", 4, "name: 'invoices' is the name of 2 rules"),
}
ONE_RULE = {
    "months": (replaced("P90D", "P3M"), 6, "older_than: 'P3M' cannot be used"),
    "no older_than": (replaced("    older_than: P90D\n", ""), 4, "older_than: it is required"),
    "a null": (replaced("P90D", ""), 6, "older_than: None cannot be used: it is empty"),
    "a number without a unit": (replaced("P90D", "90"), 6, "older_than: 90 cannot be used"),
    "no owner": (replaced("    owner: privacy@example.org\n", ""), 4, "owner: it is required"),
    "an empty basis": (
        replaced('"GDPR Art. 5(1)(e); contract 4711 § 9"', '""'),
        8,
        "basis: '' cannot be used: it is empty",
    ),
    "a number for the owner": (replaced("privacy@example.org", "7"), 7, "owner: 7 cannot be used"),
    "no schedule": (replaced('schedule: "17 2 * * *", ', ""), 4, "schedule: it is required"),
    "a bad schedule by default": (
        replaced("17 2 * *", "61 2 * *"),
        2,
        "schedule: '61 2 * * *' cannot be used",
    ),
    "a day that never comes": (added('schedule: "0 0 31 4 *"'), 9, "schedule: '0 0 31 4 *' cannot be used: no month"),
    "retries": (added("retries: -1"), 9, "retries: -1 cannot be used"),
    "a connection without name": (added("conn_id:"), 9, "conn_id: None cannot be used"),
    "an empty list": (added("statuses: []"), 9, "statuses: [] cannot be used: it is empty"),
    "a status that is not final": (added("statuses: [pending]"), 9, "statuses: entry 0, 'pending', is"),
    "an id that is none": (
        replaced("11111111-2222-4333-8444-555555555555", "a/b"),
        5,
        "workflow_id: 'a/b' is not an id",
    ),
    "a folder that is relative": (added("archive_path: here"), 9, "archive_path: 'here' cannot be used"),
    "a guard": (added("max_deletions_percent: 101"), 9, "max_deletions_percent: 101 cannot be used"),
    "holds without name": (added("holds:"), 9, "holds: None cannot be used"),
    "approval as text": (added('approval: "yes"'), 9, "approval: 'yes' cannot be used"),
    "approval without a ledger": (
        replaced("ledger_path: s3://audit/anyformat, ", "") + "    approval: true\n",
        9,
        "approval: True cannot be used: it requires ledger_path",
    ),
    "approval of what cannot be applied": (
        added("approval: true\n    keep_last: 3\n    include_names: [a*]"),
        9,
        "approval: True cannot be used: it cannot be combined with both keep_last and name globs",
    ),
}


@pytest.mark.parametrize(("text", "rule", "line", "begins"), WHOLE_FILE.values(), ids=WHOLE_FILE)
def test_what_is_wrong_with_the_file_names_rule_and_line(
    tmp_path: Path, text: str, rule: str | None, line: int | None, begins: str
) -> None:
    path = written(tmp_path, "")
    path.write_bytes(text.encode("latin-1" if "\xff" in text else "utf-8"))
    [problem, *_] = read_rules(path).problems
    assert (problem.rule, problem.line) == (rule, line)
    assert problem.problem.startswith(begins)
    assert check(path, NOW)["ok"] is False


@pytest.mark.parametrize(("text", "line", "begins"), ONE_RULE.values(), ids=ONE_RULE)
def test_what_is_wrong_with_a_rule_leaves_the_others_alone(tmp_path: Path, text: str, line: int, begins: str) -> None:
    other = GOOD[GOOD.index("  - name") :].replace("invoices", "other") + "    schedule: '@daily'\n"
    file = read_rules(written(tmp_path, text + other))
    assert file.problems == []
    wrong, fine = file.rules
    [problem] = wrong.problems
    assert (problem.rule, problem.line) == ("invoices", line)
    assert problem.problem.startswith(begins)
    # A bad default is every rule's that takes it.
    assert not fine.problems


def test_a_good_file(tmp_path: Path) -> None:
    text = added("holds: holds.yaml\n    approval: true\n    max_deletions: 5000\n    exclude_names: [a*, b*]")
    text = text.replace("2222-4333-8444-555555555555", "2222-4333-8444-555555555555\n    statuses: [processed, error]")
    found = check(written(tmp_path, text), NOW)
    assert found["problems"] == found["warnings"] == []
    assert found["ok"] is True
    [rule] = found["rules"]
    assert (rule["name"], rule["dag_id"]) == ("invoices", "anyformat_retention_invoices")
    assert rule["words"] == (
        "Deletes file collections of workflow 11111111-2222-4333-8444-555555555555 older than 90 days, with status"
        " processed or error, not named like a* or b*; fails where a run would delete more than 5000; a person approves"
        " each plan; legal holds are in holds.yaml."
    )


def test_a_template_is_left_to_the_task(tmp_path: Path) -> None:
    text = replaced("P90D", "'{{ var.value.age }}'").replace("s3://audit/anyformat", "'{{ var.value.ledger }}'")
    found = check(written(tmp_path, text), NOW)
    assert found["problems"] == []
    assert "older than {{ var.value.age }}" in found["rules"][0]["words"]


def test_the_json_schema_takes_the_good_file_and_knows_the_keys() -> None:
    schema = json_schema()
    validator = jsonschema.Draft202012Validator(schema)
    validator.check_schema(schema)
    assert list(validator.iter_errors(yaml.safe_load(GOOD))) == []
    bad = yaml.safe_load(added("colour: red"))
    assert [error.message for error in validator.iter_errors(bad)] == [
        "Additional properties are not allowed ('colour' was unexpected)"
    ]
    assert "older_than" not in schema["$defs"]["Defaults"]["properties"]
    holds = validator.evolve(schema=schema["$defs"]["HoldsFile"] | {"$defs": schema["$defs"]})
    # PyYAML's own loader makes a date of a day, which JSON has not.
    assert list(holds.iter_errors(yaml.load(HOLDS, yaml.BaseLoader))) == []


BAD_HOLDS = {
    "missing": (None, None, "it cannot be read: No such file or directory"),
    "empty": ("", None, "the file is empty"),
    "no list": ("holds:\n", 1, "holds: None cannot be used"),
    "an unknown key": ("holds:\n  - {case: A, name: [x]}\n", 2, "hold A: name: it is not a key that is known here"),
    "no case": ("holds:\n  - {names: [x]}\n", 2, "case: it is required"),
    "a case that YAML takes for a number": ("holds:\n  - {case: 0123, names: [x]}\n", 2, "case: 83 cannot be used"),
    "no selector": ("holds:\n  - {case: A}\n", 2, "hold A: it has no selector"),
    "an empty selector": ("holds:\n  - {case: A, names: []}\n", 2, "hold A: names: [] cannot be used"),
    "a missing selector": ("holds:\n  - {case: A, names: ~}\n", 2, "hold A: names: None cannot be used"),
    "a text for a list": ("holds:\n  - {case: A, names: x*}\n", 2, "hold A: names: 'x*' cannot be used"),
    "a null in a list": (
        "holds:\n  - {case: A, collection_ids: [a, ]}\n  - {case: B, names: [~]}\n",
        3,
        "hold B: names: None",
    ),
    "an id that is none": ("holds:\n  - case: A\n    collection_ids: [a/b]\n", 3, "hold A: collection_ids: 'a/b'"),
    "a day that is none": ("holds:\n  - {case: A, names: [x], until: 2026-02-30}\n", 2, "hold A: until: '2026-02-30'"),
    "a time for a day": ("holds:\n  - {case: A, names: [x], from: 2026-02-01 10:00}\n", 2, "hold A: from: "),
    "a number for a day": ("holds:\n  - {case: A, names: [x], from: 20260201}\n", 2, "hold A: from: 20260201"),
    "an end before its begin": (
        "holds:\n  - {case: A, names: [x], from: 2026-02-01, until: 2026-02-01}\n",
        2,
        "hold A: until",
    ),
}


@pytest.mark.parametrize(("text", "line", "begins"), BAD_HOLDS.values(), ids=BAD_HOLDS)
def test_bad_holds_are_a_problem_of_the_rule_and_stop_the_task(
    tmp_path: Path, text: str | None, line: int | None, begins: str
) -> None:
    path = written(tmp_path, added("holds: holds.yaml"))
    holds = tmp_path / "holds.yaml"
    holds.unlink() if text is None else holds.write_text(text)
    where = "holds: holds.yaml" if line is None else f"holds: holds.yaml, line {line}"
    found = check(path, NOW)
    assert [(each["rule"], each["line"]) for each in found["problems"]] == [("invoices", 9)]
    assert found["problems"][0]["problem"].startswith(f"{where}: {begins}")
    with pytest.raises(AnyformatValueError, match=r"^holds: holds\.yaml"):
        load_holds(holds)


def test_holds_that_have_ended_or_end_soon_are_warnings(tmp_path: Path) -> None:
    lines = [
        f"  - {{case: {case}, until: {until}, names: [x]}}\n"
        for case, until in (("A", "2026-11-26"), ("B", "2026-11-27"), ("C", "2026-12-26"), ("D", "2026-12-27"))
    ]
    path = written(tmp_path, added("holds: holds.yaml"), "holds:\n" + "".join(lines))
    found = check(path, NOW)
    assert found["ok"] is True
    assert found["warnings"] == [
        "holds.yaml: hold A ended on 2026-11-26 and holds nothing any more",
        "holds.yaml: hold B ends on 2026-11-27, within 30 days",
        "holds.yaml: hold C ends on 2026-12-26, within 30 days",
    ]


_NUMBERS = st.integers(0, 61).map(str)
_WORDS = st.sampled_from(["*", "mon", "sun", "sat", "jan", "feb", "dec", "0-7", "5-7", "sun-sat", "7-7", "x", ""])
_SIMPLE = st.one_of(_NUMBERS, _WORDS, st.tuples(_NUMBERS, _NUMBERS).map("-".join))
_FIELD = st.lists(st.one_of(_SIMPLE, st.tuples(_SIMPLE, _NUMBERS).map("/".join)), min_size=1, max_size=3).map(",".join)


@given(st.lists(_FIELD, min_size=5, max_size=5).map(" ".join))
def test_what_passes_as_a_schedule_airflow_takes_too(expression: str) -> None:
    from croniter import croniter

    try:
        check_schedule(expression)
    except AnyformatValueError:
        return
    croniter(expression, datetime(2026, 1, 1, tzinfo=UTC)).get_next(datetime)


@pytest.mark.parametrize("text", ["17 2 * * *", "0 6 * * MON", "*/15 8-18 1,15 jan-jun 1-5", "0 0 29 2 *", "@monthly"])
def test_these_are_schedules(text: str) -> None:
    check_schedule(text)


@pytest.mark.parametrize(
    "text", ["daily", "@once", "", "1 2 3 4", "0 0 30 2 *", "60 * * * *", "*/0 * * * *", "5-1 * * * *"]
)
def test_these_are_not(text: str) -> None:
    with pytest.raises(AnyformatValueError):
        check_schedule(text)


def test_the_example_has_three_rules_one_of_which_asks() -> None:
    path = Path(__file__).parents[2] / "example_dags" / "retention.yaml"
    found = check(path, NOW)
    assert (found["problems"], found["warnings"], len(found["rules"])) == ([], [], 3)
    assert sum("a person approves" in each["words"] for each in found["rules"]) == 1


def test_the_command_tells_the_same_in_the_same_codes(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    ending = HOLDS.replace("2027-05-01", f"{datetime.now(UTC) + timedelta(days=3):%Y-%m-%d}")
    cases = {
        0: written(tmp_path, GOOD),
        1: written(tmp_path / "bad", replaced("P90D", "P3M")),
        2: tmp_path / "missing.yaml",
    }
    for code, path in cases.items():
        assert main(["check", str(path), "--json"]) == code
        out, err = capfd.readouterr()
        if code == 2:
            assert (out, len(err.splitlines())) == ("", 1)
        else:
            assert err == ""
            assert json.loads(out) == check(path, datetime.now(UTC))
    # A warning alone is no finding; for people it is a line.
    assert main(["check", str(written(tmp_path, added("holds: holds.yaml"), ending))]) == 0
    assert "warning: holds.yaml: hold 2026-17 ends on" in capfd.readouterr().out
    assert main(["check", str(cases[1])]) == 1
    assert "older_than: 'P3M' cannot be used" in capfd.readouterr().out
    assert main(["schema"]) == 0
    assert json.loads(capfd.readouterr().out) == json_schema()

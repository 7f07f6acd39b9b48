"""Reading ``retention.yaml`` and ``holds.yaml``: what they say, and every problem with its line."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from airflow_provider_anyformat.api.values import shown
from airflow_provider_anyformat.exceptions import AnyformatValueError
from airflow_provider_anyformat.retention.holds import Hold
from airflow_provider_anyformat.rules import models
from airflow_provider_anyformat.rules.source import Block, SourceError, load

DAG_PREFIX = "anyformat_retention_"


@dataclass(frozen=True, slots=True)
class Problem:
    """
    Something that is wrong in a file.

    :param rule: the rule's name, or ``None`` where it has none or the file is meant.
    :param line: the line, from 1, or ``None`` where the whole file is meant.
    :param problem: a sentence that names the key and shows the value.
    """

    rule: str | None
    line: int | None
    problem: str

    def in_file(self, file: Path) -> str:
        """Return the sentence with the file, the rule and the line before it."""
        rule = "" if self.rule is None else f", rule {self.rule}"
        line = "" if self.line is None else f", line {self.line}"
        return f"{file.name}{rule}{line}: {self.problem}"


@dataclass(frozen=True, slots=True)
class Rule:
    """
    One rule with its defaults filled in.

    :param name: its name.
    :param values: its keys as the file has them.
    :param lines: the line of each key; that of the rule itself under ``name`` at least.
    :param problems: why it cannot run.
    """

    name: str
    values: dict[str, Any]
    lines: dict[str, int]
    problems: list[Problem] = field(default_factory=list)

    @property
    def dag_id(self) -> str:
        """The id of its DAG."""
        return f"{DAG_PREFIX}{self.name}"

    def wrong(self, key: str) -> bool:
        """Say whether the value of a key is missing or cannot be used."""
        return key not in self.values or any(each.problem.startswith(f"{key}:") for each in self.problems)

    @property
    def purge(self) -> dict[str, Any]:
        """What its purge takes as it is."""
        return {key: value for key, value in self.values.items() if key in models.PURGE_PARAMETERS}


@dataclass(frozen=True, slots=True)
class RuleFile:
    """
    What a file of rules says.

    :param path: where it lies.
    :param rules: its rules, in its order.
    :param problems: why the file as a whole cannot be used.
    """

    path: Path
    rules: list[Rule]
    problems: list[Problem]

    def holds_of(self, rule: Rule) -> Path | None:
        """Return where the holds of a rule lie, beside this file unless it names an absolute path."""
        return self.path.absolute().parent / rule.values["holds"] if "holds" in rule.values else None


def read_rules(path: Path) -> RuleFile:
    """Read a file of rules; nothing is raised, what is wrong is in ``problems`` of the file or of a rule."""
    try:
        content = load(path)
    except SourceError as error:
        return RuleFile(path, [], [Problem(None, error.line, error.problem)])
    defaults, listed = content.get("defaults"), content.get("rules")
    if isinstance(listed, list):
        content["rules"] = listed = [_with_defaults(rule, defaults) for rule in listed]
    rules = [_rule(block) for block in listed] if isinstance(listed, list) else []
    problems: list[Problem] = []
    for place, line, sentence in _errors(models.RetentionFile, content):
        match place:
            case ("rules", int(number), str(key)) if key in models.KEYS and key != "name":
                rules[number].problems.append(Problem(rules[number].name, line, sentence))
            case ("rules", int(number), *_):
                problems.append(Problem(rules[number].name or None, line, sentence))
            case ("defaults", str(key)) if key in models.KEYS and key not in models.NOT_IN_DEFAULTS:
                pass  # each rule that takes it says so
            case _:
                problems.append(Problem(None, line, sentence))
    for rule in rules:
        rule.problems.extend(_contradictions(rule))
    return RuleFile(path, rules, problems + list(_repeated(rules)))


def _with_defaults(rule: object, defaults: object) -> object:
    if not isinstance(rule, Block) or not isinstance(defaults, Block):
        return rule
    # A key that is not allowed there is reported for the defaults, not for each rule.
    known = {key: defaults[key] for key in defaults if key in models.KEYS and key not in models.NOT_IN_DEFAULTS}
    merged = Block(known | rule)
    merged.line, merged.lines = rule.line, defaults.lines | rule.lines
    return merged


def _rule(block: object) -> Rule:
    if not isinstance(block, Block):
        return Rule("", {}, {})
    name = block.get("name")
    return Rule(name if isinstance(name, str) else "", dict(block), {"name": block.line} | block.lines)


def _errors(model: type[BaseModel], content: Block) -> Iterator[tuple[tuple[int | str, ...], int, str]]:
    """Yield the place, the line and a sentence for everything about ``content`` that its model does not take."""
    try:
        model.model_validate(content)
    except ValidationError as error:
        for each in error.errors(include_url=False):
            place = each["loc"]
            yield place, _line(content, place), _sentence(place, each)


def _line(content: Block, place: tuple[int | str, ...]) -> int:
    current: Any = content
    line = content.line
    for step in place:
        if isinstance(current, Block):
            line = current.lines.get(str(step), current.line)
            current = current.get(str(step))
        elif isinstance(current, list) and isinstance(step, int):
            current = current[step]
            line = current.line if isinstance(current, Block) else line
    return line


def _sentence(place: tuple[int | str, ...], error: Any) -> str:
    key = str(place[-1]) if isinstance(place[-1], str) else f"{place[-2]}, entry {place[-1]}"
    match error["type"]:
        case "value_error":
            return str(error["ctx"]["error"])
        case "missing":
            return f"{key}: it is required, and was not given"
        case "extra_forbidden" if place[0] == "defaults" and key in models.NOT_IN_DEFAULTS:
            return f"{key}: it cannot stand in defaults, because each rule has its own; write it in the rules"
        case "extra_forbidden":
            return f"{key}: it is not a key that is known here{_meant(place)}"
        case _:
            return f"{key}: {shown(error['input'])} cannot be used: {error['msg'].lower()}"


def _meant(place: tuple[int | str, ...]) -> str:
    known: Collection[str] = models.HOLD_KEYS if place[0] == "holds" else models.KEYS
    if len(place) == 1:
        known = (*models.RetentionFile.model_fields, *models.HoldsFile.model_fields)
    near = difflib.get_close_matches(str(place[-1]), known, 1)
    return f"; did you mean {near[0]}?" if near else "; remove it, or see anyformat-retention schema"


def _repeated(rules: list[Rule]) -> Iterator[Problem]:
    times = Counter(rule.name for rule in rules if rule.name)
    for rule in rules:
        if times[rule.name] > 1:
            sentence = f"name: {shown(rule.name)} is the name of {times[rule.name]} rules; name them differently"
            yield Problem(rule.name, rule.lines["name"], sentence)


def _contradictions(rule: Rule) -> Iterator[Problem]:
    if rule.values.get("approval") is not True:
        return
    values = rule.values
    why = None
    if "ledger_path" not in values:
        why = "it requires ledger_path, because the plan that is approved is kept there"
    elif "plan_only" in values:
        why = "it cannot be combined with plan_only; remove one of the two"
    elif values.get("keep_last") and (values.get("include_names") or values.get("exclude_names")):
        why = "it cannot be combined with both keep_last and name globs, because globs are not stored in the plan"
    if why is not None:
        yield Problem(rule.name, rule.lines["approval"], f"approval: True cannot be used: {why}")


def load_holds(path: Path) -> tuple[Hold, ...]:
    """
    Read a file of legal holds.

    :raises AnyformatValueError: it cannot be used; the message names the file, the line, the hold and the key.
    """
    holds, problems = read_holds(path)
    if problems:
        raise AnyformatValueError("\n".join(f"holds: {each.in_file(path)}" for each in problems))
    return holds


def read_holds(path: Path) -> tuple[tuple[Hold, ...], list[Problem]]:
    """Read a file of legal holds, and what is wrong with it; if anything is, there are no holds to go by."""
    try:
        content = load(path)
    except SourceError as error:
        return (), [Problem(None, error.line, error.problem)]
    problems = [
        Problem(None, line, f"{_named(content, place)}{sentence}")
        for place, line, sentence in _errors(models.HoldsFile, content)
    ]
    holds = []
    for block in () if problems else content["holds"]:
        try:
            holds.append(_hold(block))
        except AnyformatValueError as error:
            problems.append(Problem(None, block.line, str(error)))
    return tuple(() if problems else holds), problems


def _named(content: Block, place: tuple[int | str, ...]) -> str:
    match place:
        case ("holds", int(number), str(key)) if key != "case":
            return f"hold {content['holds'][number].get('case', number + 1)}: "
    return ""


def _hold(block: Block) -> Hold:
    days = {key: models.read_date(key, block[key]) if key in block else None for key in ("from", "until")}
    return Hold(
        case=block["case"],
        owner=block.get("owner"),
        reason=block.get("reason"),
        begins=days["from"],
        ends=days["until"],
        workflow_ids=tuple(block.get("workflow_ids", ())),
        collection_ids=tuple(block.get("collection_ids", ())),
        names=tuple(block.get("names", ())),
    )

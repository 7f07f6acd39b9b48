"""Legal holds with a case each: which one, if any, holds a collection at a moment."""

from __future__ import annotations

import fnmatch
import re
import unicodedata
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any

from airflow_provider_anyformat.api.values import canonical_id
from airflow_provider_anyformat.exceptions import AnyformatValueError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """
    One legal hold. Its selectors are alternatives: what any of them matches is held.

    :param case: what the hold is for, as certificates name it.
    :param owner: who answers for it; default ``None``.
    :param reason: why it exists; default ``None``.
    :param begins: the first day, in UTC, on which it holds; default ``None``, since ever.
    :param ends: the first day, in UTC, on which it no longer holds; default ``None``, until it is taken away.
    :param workflow_ids: ids of workflows; default none.
    :param collection_ids: ids of collections or of files in them; default none.
    :param names: globs on the whole name, without case; a collection without a name is held by any; default none.
    :raises AnyformatValueError: it has no selector, or ends before it begins.
    """

    case: str
    owner: str | None = None
    reason: str | None = None
    begins: date | None = None
    ends: date | None = None
    workflow_ids: tuple[str, ...] = ()
    collection_ids: tuple[str, ...] = ()
    names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not (self.workflow_ids or self.collection_ids or self.names):
            raise AnyformatValueError(
                f"hold {self.case}: it has no selector; give it workflow_ids, collection_ids or names"
            )
        if self.begins is not None and self.ends is not None and self.ends <= self.begins:
            raise AnyformatValueError(
                f"hold {self.case}: until: {self.ends} is not after from, {self.begins}; until is the first day that"
                " is not held any more"
            )

    def in_force(self, moment: datetime) -> bool:
        """Say whether it holds at ``moment``, which is aware."""
        return (self.begins is None or _midnight(self.begins) <= moment) and not self.ended(moment)

    def ended(self, moment: datetime) -> bool:
        """Say whether it holds no longer at ``moment``, which is aware."""
        return self.ends is not None and moment >= _midnight(self.ends)

    def as_json(self) -> dict[str, Any]:
        """Return it as ``plan.json`` shows it: of globs, which may be personal data, only how many there are."""
        return {
            "case": self.case,
            "owner": self.owner,
            "reason": self.reason,
            "from": None if self.begins is None else self.begins.isoformat(),
            "until": None if self.ends is None else self.ends.isoformat(),
            "workflow_ids": list(self.workflow_ids),
            "collection_ids": list(self.collection_ids),
            "names": len(self.names),
        }


class HoldMatcher:
    """
    The holds in force at one moment, for the rows of one workflow.

    :param holds: all holds; where several hold a row, the first of them counts.
    :param moment: the time of the decision, aware.
    :param workflow_id: the workflow that the rows are of.
    """

    def __init__(self, holds: Iterable[Hold], moment: datetime, workflow_id: str) -> None:
        workflow = canonical_id(workflow_id)
        self._whole: int | None = None
        self._by_id: dict[str, int] = {}
        names: list[tuple[int, tuple[str, ...]]] = []
        for number, hold in enumerate(holds):
            if not hold.in_force(moment):
                continue
            if self._whole is None and workflow in map(canonical_id, hold.workflow_ids):
                self._whole = number
            for each in hold.collection_ids:
                self._by_id.setdefault(canonical_id(each), number)
            if hold.names:
                names.append((number, hold.names))
        self._any_name = globs_without_case([glob for _, globs in names for glob in globs])
        self._names = [(number, globs_without_case(globs)) for number, globs in names]

    def __bool__(self) -> bool:
        """Say whether any row of the workflow can be held."""
        return self._whole is not None or bool(self._by_id) or bool(self._names)

    @property
    def ids(self) -> Collection[str]:
        """The ids that are held, in canonical form."""
        return self._by_id.keys()

    def number_of(self, held_id: str) -> int | None:
        """Return the place, from 0, of the first hold that names an id, or ``None``."""
        return self._by_id.get(canonical_id(held_id))

    def number(self, collection_id: str, file_id: str | None, name: str | None) -> int | None:
        """Return the place, from 0, of the first hold that holds a row, or ``None``."""
        found = [] if self._whole is None else [self._whole]
        if self._by_id:
            ids = [collection_id] if file_id is None else [collection_id, file_id]
            found += [self._by_id[each] for each in map(canonical_id, ids) if each in self._by_id]
        if self._names:
            if name is None or not name.strip():
                found.append(self._names[0][0])
            elif self._any_name(name):
                found.append(next(number for number, matches in self._names if matches(name)))
        return min(found, default=None)


def globs_without_case(globs: Iterable[str]) -> Callable[[str], bool]:
    """
    Return what says whether a whole name matches one of ``globs``, without case.

    An accented letter is one character or two, depending on who typed the name; a glob means both.
    """
    patterns = [fnmatch.translate(unicodedata.normalize("NFC", glob)) for glob in globs]
    # No glob at all becomes an expression that matches nothing.
    match = re.compile("|".join(patterns) or r"(?!)", re.IGNORECASE).fullmatch
    return lambda name: match(unicodedata.normalize("NFC", name)) is not None


def name_rule(include: Collection[str], exclude: Collection[str]) -> Callable[[str | None], bool] | None:
    """Return a function that says whether a document of this name may go; ``None`` without any glob."""
    if not include and not exclude:
        return None
    included = re.compile("|".join(map(fnmatch.translate, include or ("*",)))).fullmatch
    excluded = globs_without_case(exclude)
    return lambda name: name is not None and included(name) is not None and not excluded(name)


def _midnight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC)

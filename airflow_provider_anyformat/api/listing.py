"""Whether one reading of a workflow's pages can be believed."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Collection, Iterable, Sequence

from airflow_provider_anyformat.api.models import FileCollection, Page, Rows
from airflow_provider_anyformat.api.values import canonical_id
from airflow_provider_anyformat.exceptions import AnyformatListingError

# A listing may grow while it is read; past twice its first size and this many pages it is taken for endless.
_SPARE_PAGES = 100


class ListingPass:
    """
    One reading of a workflow's pages from the first to the last, and whether it can be believed.

    The server has no snapshots: rows come, go and move while its pages are read. Complete is a reading that showed at
    least as many different ids as the smallest ``count`` any of its pages named; more is growth. Feed each page to
    :meth:`add` and call :meth:`finish` after the last.

    Ids and rows are kept as hashes, 75 bytes a row and not 1,000. Two ids with one hash (odds of one in 10 million at a
    million rows) would look like a contradiction and be kept.
    """

    def __init__(self, workflow_id: str) -> None:
        self.workflow_id = workflow_id
        self._seen: set[int] = set()
        # Of each id its hash and that of its first row, in the order they came; and of those that came again, another.
        self._shown = array("q")
        self._prints = array("q")
        self._again: dict[int, int] = {}
        self._sorted = False
        self._contradicted: set[int] = set()
        self._contradicted_positions: list[int] = []
        self._smallest: int | None = None
        self._pages = 0
        self._promised = 0

    def __len__(self) -> int:
        """Return how many different ids were seen."""
        return len(self._shown)

    def add(self, page: Page) -> Sequence[FileCollection]:
        """
        Take the next page.

        :return: its rows whose ids were not seen before, each once.
        :raises AnyformatListingError: the page shows that this reading cannot become complete or never ends.
        """
        self._pages += 1
        # Where the server names no totals, the last page alone tells that the reading is complete.
        count = 0 if page.count is None else page.count
        if self._smallest is None or count < self._smallest:
            self._smallest = count
        if self._pages == 1:
            self._promised = -(-count // page.page_size)
        elif self._pages > 2 * self._promised + _SPARE_PAGES:
            raise AnyformatListingError(
                f"the listing of workflow {self.workflow_id} does not end: {self._promised} pages were expected,"
                f" and page {page.page} still was not the last"
            )
        rows = page.collections
        if isinstance(rows, Rows):
            keys, prints = rows.hashes()
        else:
            keys, prints = [hash(canonical_id(row.id)) for row in rows], [hash(row) for row in rows]
        if not self._all_new(keys):
            first = self._first_seen(keys, prints)
            rows, keys, prints = [rows[at] for at in first], [keys[at] for at in first], [prints[at] for at in first]
        if not keys and len(self) < self._smallest:
            raise AnyformatListingError(
                f"the listing of workflow {self.workflow_id} shows nothing new on page {page.page}, although only"
                f" {len(self)} of {self._smallest} collections were seen"
            )
        if keys and page.count is None:
            # Each page that shows something new promises one more.
            self._promised += 1
        self._shown.fromlist(keys)
        self._prints.fromlist(prints)
        return rows

    def _all_new(self, keys: list[int]) -> bool:
        """Say whether all keys are new, and take note of them then."""
        if self._again:
            return False
        before = len(self._seen)
        self._seen.update(keys)
        if len(self._seen) == before + len(keys):
            return True
        # Which of them are new is lost in the set by now. It happens once: from here on each key is looked up.
        self._seen = set(self._shown)
        return False

    def _first_seen(self, keys: list[int], prints: list[int]) -> list[int]:
        """Return where each new key is first, and remember what the others say."""
        first = []
        for position, (key, print_) in enumerate(zip(keys, prints, strict=True)):
            if key not in self._seen:
                self._seen.add(key)
                first.append(position)
            elif self._again.setdefault(key, print_) != print_:
                self._contradicted.add(key)
        return first

    def finish(self) -> None:
        """
        Call once, after the last page; only then ask what was shown and what is contradicted.

        :raises AnyformatListingError: fewer different ids were seen than the smallest ``count`` of any page.
        """
        if self._smallest is None or len(self) < self._smallest:
            raise AnyformatListingError(
                f"the listing of workflow {self.workflow_id} is not complete: {len(self)} different collections were"
                f" seen, and the server counted {self._smallest}"
            )
        if self._again:
            shown = enumerate(zip(self._shown, self._prints, strict=True))
            self._contradicted_positions = [
                position
                for position, (key, print_) in shown
                if self._again.get(key, print_) != print_ or key in self._contradicted
            ]
        self._seen, self._again, self._prints = set(), {}, array("q")

    def contradicted_positions(self) -> list[int]:
        """Return which of the rows that :meth:`add` gave out, counted from 0, are contradicted."""
        return self._contradicted_positions

    def places(self, keys: Collection[int]) -> list[int]:
        """Return where :meth:`add` gave out ids of these hashes; call it before :meth:`shows`."""
        return [position for position, key in enumerate(self._shown) if key in keys] if keys else []

    def repeats(self, seen: set[int]) -> set[int]:
        """Return the hashes in ``seen`` of ids that this reading showed, too, and add all of its own to ``seen``."""
        found = seen.intersection(self._shown)
        seen.update(self._shown)
        return found

    def positions(self, collection_ids: Iterable[str]) -> dict[str, int]:
        """Return where, counted from 0, :meth:`add` gave out each of these ids; call it before :meth:`shows`."""
        wanted = {each: hash(canonical_id(each)) for each in collection_ids}
        keys = set(wanted.values())
        places = {key: position for position, key in enumerate(self._shown) if key in keys}
        return {each: places[key] for each, key in wanted.items() if key in places}

    def shows(self, collection_id: str) -> bool:
        """Say whether this reading showed a collection of this id."""
        if not self._sorted:
            self._shown, self._sorted = array("q", sorted(self._shown)), True
        key = hash(canonical_id(collection_id))
        place = bisect_left(self._shown, key)
        return place < len(self._shown) and self._shown[place] == key

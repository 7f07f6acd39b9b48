"""When the rows of a listing become due, as time goes by and nothing else changes."""

from __future__ import annotations

import math
from array import array
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterable
from itertools import chain

# What a program that has no timestamp writes instead, the zero of its clock, in seconds since then.
ZERO_OF_CLOCKS = 0.0


class Timeline:
    """
    The times of those rows of one workflow that only time decides about.

    Each question costs a few binary searches, so that a year of days costs less than reading the listing.

    :param free: seconds since 1970 of the rows that pass status and names, are dated, and are not held.
    :param held: likewise of those that are held: they are never due, and are among the newest all the same.
    :param keep_last: how many of the newest stay.
    """

    def __init__(self, free: Iterable[float], held: Iterable[float], keep_last: int) -> None:
        self._free = array("d", sorted(free))
        self._ranked = array("d", sorted(chain(self._free, held))) if keep_last else array("d")
        self._keep_last = keep_last

    def newest_from(self, latest: float) -> float:
        """
        Return the time from which on ``keep_last`` keeps; rows of one time stay together.

        :param latest: a later time is in the future, and not known to be right.
        """
        if not self._keep_last:
            return math.inf
        place = bisect_right(self._ranked, latest) - self._keep_last
        return self._ranked[place] if place >= 0 else -math.inf

    def counts(self, cutoff: float, latest: float) -> Counter[str]:
        """
        Return how many of the free rows are due, and how many are kept, by reason.

        :param cutoff: what is earlier is old enough.
        :param latest: what is later is in the future.
        """
        free = self._free
        old, known = bisect_left(free, cutoff), bisect_right(free, latest)
        unreadable = min(bisect_right(free, ZERO_OF_CLOCKS), old)
        due = max(bisect_left(free, min(cutoff, self.newest_from(latest))), unreadable) - unreadable
        counts = Counter(
            due=due,
            keep_last=old - unreadable - due,
            timestamp_unreadable=unreadable,
            too_young=known - old,
            timestamp_future=len(free) - known,
        )
        return +counts

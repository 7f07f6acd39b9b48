"""Ending a run in spite of signals, each of which may raise in the main thread."""

from __future__ import annotations

import logging
from collections.abc import Callable

# A second SIGTERM is common: of the supervisor's group, then of the supervisor.
_MORE_SIGNALS = 5

log = logging.getLogger(__name__)


def finish_despite_signals(step: Callable[[], None]) -> None:
    """
    Do what has to be done when a run ends, even if more signals come meanwhile.

    :param step: goes on where it stood when it is called again.
    """
    for _ in range(_MORE_SIGNALS):
        try:
            step()
        except Exception:
            raise
        except BaseException as signal:  # noqa: BLE001 - the run is ending because of the first one
            log.warning("%s while the task was ending; it still ends in order", type(signal).__name__)
        else:
            return
    step()

"""One call through all its tries, and whether it may be repeated."""

from __future__ import annotations

from airflow_provider_anyformat.exceptions import AnyformatError


class Call:
    """
    One call through all its tries.

    :param name: what it is, for messages.
    :param tries: how many at most; default: the client's ``max_attempts``.
    :param permit: what the rate limiter's ``acquire`` returned, where that was called before.
    :param of_workflow: whether it names a workflow, which an HTTP 404 is then about, and not a collection.
    """

    __slots__ = ("attempts", "fate_unknown", "free_until", "name", "of_workflow", "permit", "spent", "tries")

    def __init__(
        self, name: str, *, tries: int | None = None, permit: float | None = None, of_workflow: bool = False
    ) -> None:
        self.name = name
        self.of_workflow = of_workflow
        self.tries = tries
        self.permit = permit
        self.attempts = 0
        # How many of max_attempts are used up; a paced call does not pay for a 429.
        self.spent = 0
        self.fate_unknown = False
        self.free_until = 0.0

    def may_repeat(self, error: AnyformatError) -> bool:
        """Say whether the same request may be sent again after ``error``."""
        return error.retryable


class Submit(Call):
    """
    A call that makes, and bills, something.

    :param repeatable: whether the server recognises a repeated request, or the user accepts a second one.
    """

    __slots__ = ("repeatable",)

    def __init__(self, name: str, *, repeatable: bool) -> None:
        super().__init__(name, of_workflow=True)
        self.repeatable = repeatable

    def may_repeat(self, error: AnyformatError) -> bool:
        """Say so after a 429, where nothing was sent, and where a second request does no harm."""
        if error.status_code is not None and 400 <= error.status_code < 500:
            error.retryable = error.status_code == 429
        return error.retryable and (self.repeatable or not error.fate_unknown)

"""What a request can come to instead of an answer: a status, and the JSON that tells why. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from cas_run.exits import Exit, as_json

# Statuses by the kind of an error, its own or that of a class above it. What is not here is 500.
STATUSES: Mapping[str, int] = {
    "NotFound": 404,
    "ResultEvicted": 410,
    "BlobMissing": 410,
    "BlobDamaged": 410,
    "UsageError": 422,
    "Undigestible": 422,
    "Unstorable": 422,
    "LatticeFailed": 422,
    "CapsuleError": 409,
    "EnvironmentMismatch": 409,
    "DispatchFailed": 409,
    "StoreError": 503,
}


class Field:
    """One thing in a request that is wrong: where, and why."""

    __slots__ = ("message", "name")

    def __init__(self, name: str, message: str) -> None:
        self.name, self.message = name, message

    def to_json(self) -> dict[str, str]:
        return {"name": self.name, "message": self.message}


class Problem(Exception):
    """An answer that is an error. `message` may end in advice, after an arrow, as all of ours do."""

    def __init__(
        self,
        status: int,
        kind: str,
        message: str,
        fields: Sequence[Field] = (),
        headers: Mapping[str, str] | None = None,
        exit_status: int | None = None,
        **more: object,
    ) -> None:
        super().__init__(message)
        self.status, self.kind, self.message, self.fields = status, kind, message, tuple(fields)
        self.headers = dict(headers or {})
        self.exit_status = exit_status
        self.more = more

    def to_json(self) -> dict[str, Any]:
        ending = _exit(self.status) if self.exit_status is None else Exit(self.exit_status)
        told: dict[str, Any] = as_json(self.kind, self.message, ending)
        told["error"] |= self.more
        if self.fields:
            told["error"]["fields"] = [field.to_json() for field in self.fields]
        return told


def _exit(status: int) -> Exit:
    if status == 404:
        return Exit.NOT_FOUND
    if status in (409, 410):
        return Exit.FAILED
    if status >= 500:
        return Exit.BUG if status == 500 else Exit.STORE
    return Exit.USAGE


def unprocessable(fields: Sequence[Field], kind: str = "InputError") -> Problem:
    """422, told of the first field and naming all."""
    first = fields[0]
    return Problem(422, kind, f"`{first.name}`: {first.message}", fields)


def problem_of(error: Exception) -> Problem:
    """One of our errors, as the answer to a request. Others are not ours to tell of."""
    from cas_run.exits import exit_of

    kinds = [kind.__name__ for kind in type(error).__mro__]
    status = next((STATUSES[kind] for kind in kinds if kind in STATUSES), 500)
    return Problem(status, kinds[0], str(error), exit_status=int(exit_of(error)))

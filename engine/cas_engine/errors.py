"""What can go wrong in the engine, below the store's root; leaves carry what they tell as attributes.

A message says what happened, to which thing, why, and what to do next (after ``->``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeVar

from cas_store.errors import BlobEvicted, CasRunError

_E = TypeVar("_E", bound="_Telling")


class _Telling(CasRunError):
    """An error that carries more than its message, and keeps it on the way between processes."""

    def __reduce__(self) -> tuple[object, ...]:
        return _revived, (type(self), self.args, self.__dict__)


def _revived(cls: type[_E], args: tuple[object, ...], attributes: Mapping[str, object]) -> _E:
    # Not through __init__, which takes the parts of the message and not the message.
    error = cls.__new__(cls, *args)
    error.args = args
    error.__dict__.update(attributes)
    return error


# Found before anything runs -------------------------------------------------------------------------------


class UsageError(CasRunError):
    """What was asked for cannot be done as asked; nothing has run."""


class BindError(UsageError):
    """A call does not fit the signature of what it calls."""


class BadOption(UsageError):
    """An option has a value that it does not take."""


class NoHome(UsageError):
    """Something is looked for in the user's home folder, and the system knows of none."""


class TracingError(UsageError):
    """A lattice does something with a result that can only be done once the result is known."""


class UnknownElectron(_Telling, UsageError):
    """No electron of the workflow has this name. ``nearest`` first, ``known`` are all of them."""

    def __init__(self, name: str, nearest: Sequence[str] = (), known: Sequence[str] = ()) -> None:
        self.name, self.nearest, self.known = name, tuple(nearest), tuple(known)
        there = _listed(self.known) if self.known else "there are none"
        advice = f"did you mean {_listed(self.nearest)}?" if self.nearest else f"known: {there}"
        super().__init__(f"no electron here is called `{name}`\n  -> {advice}")


class AmbiguousElectron(_Telling, UsageError):
    """Different electrons share this name; ``places`` says where each was defined or is called."""

    def __init__(self, name: str, places: Sequence[str] = ()) -> None:
        self.name, self.places = name, tuple(places)
        among = f" ({', '.join(self.places)})" if self.places else ""
        super().__init__(
            f"different electrons share the name `{name}`{among}, so it does not say which is meant\n"
            f'  -> give them names of their own with electron(name="...")'
        )


# What is not there ----------------------------------------------------------------------------------------


class NotFound(CasRunError):
    """Something that was named does not exist in the store."""


class UnknownDispatch(_Telling, NotFound):
    """No dispatch has this id, or (``ambiguous``) several begin so. ``nearest`` are ids in full."""

    def __init__(self, text: str, nearest: Sequence[str] = (), *, ambiguous: bool = False) -> None:
        self.text, self.nearest, self.ambiguous = text, tuple(nearest), ambiguous
        if ambiguous:
            what, advice = (
                f"several dispatches begin with `{text}`",
                f"give more of it: {_listed(self.nearest)}",
            )
        elif self.nearest:
            what, advice = f"there is no dispatch `{text}`", f"did you mean {_listed(self.nearest)}?"
        elif text.startswith("@"):
            what = f"there is no dispatch `{text}`"
            advice = "`@last` is the newest, `@last~1` the one before; `cas-run list` shows those of this store"
        else:
            what, advice = f"there is no dispatch `{text}`", "`cas-run list` shows those of this store"
        super().__init__(f"{what}\n  -> {advice}")


class UnknownNode(_Telling, NotFound):
    """The dispatch has no node of this label or name."""

    def __init__(self, dispatch_id: str, name: str, nearest: Sequence[str] = ()) -> None:
        self.dispatch_id, self.name, self.nearest = dispatch_id, name, tuple(nearest)
        short = dispatch_id[:12]
        advice = f"did you mean {_listed(self.nearest)}?" if self.nearest else f"`cas-run show {short}` lists its nodes"
        super().__init__(f"dispatch {short} has no node `{name}`\n  -> {advice}")


# Values ---------------------------------------------------------------------------------------------------


class Undigestible(_Telling):
    """A value has no stable content, so no key can name it.

    ``where`` is the path to it (``model.lock``, ``data["x"][3]``), ``type`` the name of its type, ``advice``
    what to do instead, ``subject`` whose value it is (``electron `train`: its argument `model` ``).
    """

    def __init__(self, where: str, type: str, advice: str = "", subject: str = "") -> None:  # noqa: A002
        self.where, self.type, self.subject = where, type, subject
        self.advice = advice or _leave_out(_inside(subject, where))
        place = _placed(subject, where) or "the value"
        super().__init__(f"{place} is {_with_article(type)}, which has no stable content\n  -> {self.advice}")

    def within(self, subject: str) -> Undigestible:
        """The same, said of what it belongs to. A subject ends in the name of the value, in backticks."""
        advice = "" if self.advice == _leave_out(_inside(self.subject, self.where)) else self.advice
        return Undigestible(self.where, self.type, advice, _joined(subject, self.subject))


class Unstorable(_Telling):
    """A value cannot be turned into bytes and back. ``where`` and ``subject`` as in Undigestible."""

    def __init__(self, type: str, why: str, where: str = "", subject: str = "") -> None:  # noqa: A002
        self.type, self.why, self.where, self.subject = type, why, where, subject
        place = _placed(subject, where) or "the value"
        super().__init__(
            f"{place} is {_with_article(type)}, which cannot be stored: {why}\n"
            f"  -> use what it is made from instead, or give its class __getstate__ and __setstate__"
        )

    def within(self, subject: str) -> Unstorable:
        """The same, said of what it belongs to. A subject ends in the name of the value, or is a phrase."""
        return Unstorable(self.type, self.why, self.where, _joined(subject, self.subject))


# Recorded code --------------------------------------------------------------------------------------------


class CapsuleError(CasRunError):
    """Recorded code cannot be read or made to run here."""


class EnvironmentMismatch(_Telling):
    """What was recorded needs packages that this environment lacks or has otherwise.

    ``differences``: (package, recorded, found here), "missing" where there is none.
    """

    def __init__(self, message: str, differences: Sequence[tuple[str, str, str]] = ()) -> None:
        self.differences = tuple(differences)
        listed = "".join(f"\n     {name}: recorded {was}, here {here}" for name, was, here in self.differences)
        super().__init__(message + listed)


class WorkerUnavailable(CasRunError):
    """No process can be had to run calls in."""


class DispatchFailed(_Telling):
    """A dispatch whose result was needed did not complete. ``failures``: (node, last line of its error)."""

    def __init__(self, dispatch_id: str, failures: Sequence[tuple[str, str]] = (), status: str = "failed") -> None:
        self.dispatch_id, self.failures, self.status = dispatch_id, tuple(failures), status
        short = dispatch_id[:12]
        first = "".join(f"\n     {node}: {error}" for node, error in self.failures[:5])
        super().__init__(f"dispatch {short} {status}{first}\n  -> `cas-run show {short}` says what happened")


# Phrases --------------------------------------------------------------------------------------------------


def _listed(names: Sequence[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _with_article(type_name: str) -> str:
    spelled_out = type_name[:2].isupper()  # RLock, SSLContext
    return f"an {type_name}" if type_name[:1] in ("AEFHILMNORSX" if spelled_out else "aeiouAEIO") else f"a {type_name}"


def _placed(subject: str, where: str) -> str:
    """``its argument `model` `` and ``.lock`` are ``its argument `model.lock` ``."""
    if not subject:
        return f"`{where}`" if where else ""
    if not where:
        return subject
    return f"{subject[:-1]}{where}`" if subject.endswith("`") else f"`{where}` of {subject}"


def _inside(subject: str, where: str) -> str:
    """The path to leave out: that in the last backticks of the subject, and on from there."""
    return (subject.rsplit("`", 2)[1] if subject.endswith("`") and subject.count("`") > 1 else "") + where


def _leave_out(path: str) -> str:
    ignore = f'electron(ignore=["{path}"])' if path and '"' not in path else "electron(ignore=[...])"
    return f"pass what the result depends on instead, or leave it out with {ignore}"


def _joined(outer: str, inner: str) -> str:
    return f"{outer}: {inner}" if inner else outer


class ResultEvicted(BlobEvicted):
    """A result that was given up to keep the store small. The dispatch can compute it again."""

    def __init__(self, digest: bytes, what: str, dispatch_id: str, again: str) -> None:
        super().__init__(digest)
        whose = f"the result {what} of dispatch" if what else "the result of dispatch"
        said = f"{whose} {dispatch_id[:12]} was evicted to keep the store small"
        self.args = (f"{said}\n  -> compute it again: `{again}`",)
        self.dispatch_id = dispatch_id
        self._made_of = (digest, what, dispatch_id, again)

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), self._made_of

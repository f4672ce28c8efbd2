"""Tokens: 256 random bits each, of which a file that only its owner can read keeps the hashes."""

from __future__ import annotations

import fcntl
import hashlib
import hmac
import json
import os
import re
import secrets
import stat
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from cas_engine.bookkeeping.settings import config_path
from cas_engine.errors import UsageError

SCOPES = ("read", "run", "code", "admin")
_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")
_PREFIX = "cas_"  # so that scanners for secrets know it
_LOCAL = "local"


class TokenError(UsageError):
    """A token file that cannot be trusted or read, or a token that cannot be made."""


@dataclass(frozen=True, slots=True)
class Grant:
    """Who asks, and what they may."""

    name: str
    scopes: frozenset[str]

    def may(self, scope: str) -> bool:
        """Whether it has a scope: `admin` has all, and reading comes with each."""
        return "admin" in self.scopes or scope in self.scopes or (scope == "read" and bool(self.scopes))


@dataclass(frozen=True, slots=True)
class Token:
    """What the file keeps of one."""

    name: str
    scopes: tuple[str, ...]
    sha256: str
    created: float

    @property
    def grant(self) -> Grant:
        return Grant(self.name, frozenset(self.scopes))


def default_path() -> Path:
    """Beside the config file."""
    return config_path().parent / "tokens"


def local_path(path: Path) -> Path:
    """Where the token for this machine's own clients lies, readable as it is."""
    return path.with_name(path.name + ".local")


def new_secret() -> str:
    """32 random bytes as a text for a header."""
    return _PREFIX + secrets.token_urlsafe(32)


def hash_of(secret: str) -> str:
    """Of 256 random bits one hash is as good as many: there is nothing to guess from."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


def load(path: Path) -> list[Token]:
    """The tokens in a file, none if it is not there. Raises TokenError."""
    text = _read(path)
    if text is None:
        return []
    try:
        rows = json.loads(text)["tokens"]
        return [Token(row["name"], tuple(row["scopes"]), row["sha256"], float(row["created"])) for row in rows]
    except (ValueError, KeyError, TypeError) as error:
        raise TokenError(f"the token file {path} cannot be read: {error}\n  -> restore it, or remove it") from None


def make(path: Path, name: str, scopes: Sequence[str]) -> str:
    """Add a token to the file; its secret, which is kept nowhere. Raises TokenError."""
    if _NAME.fullmatch(name) is None or name == _LOCAL:
        raise TokenError(
            f"`{name[:80]}` cannot be the name of a token\n  -> 1 to 64 letters, digits, dots, dashes; not `{_LOCAL}`"
        )
    secret = new_secret()
    with _alone(path):
        tokens = load(path)
        if any(token.name == name for token in tokens):
            raise TokenError(f"there is a token `{name}` already\n  -> choose another name, or revoke it first")
        _write(path, [*tokens, Token(name, tuple(scopes), hash_of(secret), time.time())])
    return secret


def revoke(path: Path, name: str) -> None:
    """Take a token out of the file. Raises TokenError."""
    with _alone(path):
        tokens = load(path)
        left = [token for token in tokens if token.name != name]
        if len(left) == len(tokens):
            known = ", ".join(f"`{token.name}`" for token in tokens) or "none"
            raise TokenError(f"there is no token `{name}` in {path}\n  -> there is {known}")
        _write(path, left)


def local_secret(path: Path) -> str:
    """The token for this machine's own clients, made if it is not there. Raises TokenError."""
    place = local_path(path)
    with _alone(place):
        text = _read(place)
        if text is not None and len(text.strip()) > 40:
            return text.strip()
        secret = new_secret()
        _write_text(place, secret + "\n")
    return secret


class Tokens:
    """The tokens that a server knows, as the file is now."""

    def __init__(self, path: Path, local: str | None) -> None:
        self._path = path
        self._local = [] if local is None else [Token(_LOCAL, ("admin",), hash_of(local), 0.0)]
        self._stamp: tuple[int, ...] | None = None
        self._tokens: list[Token] = []
        self.refresh()

    def refresh(self) -> None:
        """Read the file again if it has changed. Raises TokenError."""
        try:
            found = self._path.stat()
            stamp: tuple[int, ...] = (found.st_ino, found.st_mtime_ns, found.st_size)
        except FileNotFoundError:
            stamp = ()
        if stamp != self._stamp:
            self._tokens = load(self._path)
            self._stamp = stamp

    @property
    def count(self) -> int:
        """How many there are, without the local one."""
        return len(self._tokens)

    def grant_of(self, secret: str) -> Grant | None:
        """What a secret grants. All are compared, in a time that does not depend on which, or how nearly, it is."""
        try:
            self.refresh()
        except (TokenError, OSError):
            self._tokens, self._stamp = [], None  # a file that cannot be trusted grants nothing
        wanted, found = hash_of(secret), None
        for token in (*self._local, *self._tokens):
            if hmac.compare_digest(token.sha256.encode(), wanted.encode()):
                found = token.grant
        return found


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """One process at a time changes the files of this folder: of what two write at once one would be lost."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise _unwritable(path, error) from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _unwritable(path: Path, error: OSError) -> TokenError:
    return TokenError(f"the token file {path} cannot be written: {error.strerror}\n  -> give another place")


def _read(path: Path) -> str | None:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | getattr(os, "O_NOFOLLOW", 0))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise TokenError(
            f"the token file {path} cannot be read: {error.strerror}\n  -> give another, or mend it"
        ) from None
    with os.fdopen(descriptor, encoding="utf-8", errors="replace") as file:
        found = os.fstat(file.fileno())
        if not stat.S_ISREG(found.st_mode):
            raise TokenError(f"{path} is no file\n  -> give another")
        if found.st_mode & 0o077 or found.st_uid not in (os.geteuid(), 0):
            raise TokenError(
                f"the token file {path} can be read by others (mode {stat.S_IMODE(found.st_mode):04o})\n"
                f"  -> chmod 600 {path}; if somebody may have read it, make new tokens"
            )
        return file.read(1 << 20)


def _write(path: Path, tokens: Sequence[Token]) -> None:
    _write_text(path, json.dumps({"format": 1, "tokens": [asdict(token) for token in tokens]}, indent=1) + "\n")


def _write_text(path: Path, text: str) -> None:
    from cas_store.layout import write_durably

    try:
        write_durably(path, text.encode(), 0o600)
    except OSError as error:
        raise _unwritable(path, error) from None

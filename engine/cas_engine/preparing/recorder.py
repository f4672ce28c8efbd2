"""Describes live electrons and values for a trace, and gathers what has to be stored for them."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from functools import cached_property
from typing import TYPE_CHECKING, Any

from cas_engine.capsules.frames import Encoded
from cas_engine.errors import Undigestible, Unstorable
from cas_engine.graphs.alike import Small
from cas_engine.graphs.bindings import Const
from cas_engine.graphs.graph import Reached, Row
from cas_engine.graphs.omission import Step, replaced_part
from cas_engine.graphs.signatures import signature_of
from cas_engine.values import LEAVES, FileContent, files_met
from cas_store.digest import Digest, digest_of
from cas_store.errors import BlobMissing
from cas_store.store import Store
from cas_store.tables import Table
from cas_store.writes import Need, Put, PutBlob, Write

if TYPE_CHECKING:
    from cas_engine.capsules.unchanged import LiveCode
    from cas_engine.fingerprint import Fingerprint, Fingerprinter
    from cas_engine.graphs.arguments import Watch
    from cas_engine.graphs.electron import Electron
    from cas_engine.graphs.lattice import Lattice
    from cas_engine.graphs.options import Options

_INLINE_LIMIT = 1024  # bytes; larger constants are blobs of their own


class Recorder:
    """One for each dispatch: every object is looked at as it is now, and once."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.writes: list[Write] = []
        self.live: dict[Digest, LiveCode] = {}  # by capsule
        self.executors: dict[str, Executor] = {}
        self.files: set[FileContent] = set()
        self.packed: dict[Digest, bytes] = {}  # capsules that were not in the store
        self._defaults: dict[tuple[int, str], Digest | None] = {}
        self._blobs: set[Digest] = set()
        self._by_texts: dict[Digest, object] = {}  # by its code: what looks up what texts name
        self._counted_on: dict[Digest, Callable[[], bytes]] = {}  # capsules found there, and how to make them again

    @cached_property
    def session(self) -> Fingerprinter:
        """What code and values are, looked at once; made when asked for, as an unchanged redispatch looks at none."""
        from cas_engine.fingerprint import Fingerprinter

        return Fingerprinter()

    @cached_property
    def _encode(self) -> Callable[..., Encoded]:
        from cas_engine.capsules.codec import encode

        return encode

    @cached_property
    def _scalars(self) -> Mapping[type, tuple[Callable[[Any], Digest], Callable[[Any], bytes]]]:
        from cas_engine.capsules.codec import SMALL

        return {kind: (LEAVES[kind], encode) for kind, encode in SMALL.items()}

    def watch(self, fn: Callable[..., Any]) -> Watch | None:
        """What tells whether a lattice's function has changed what its electrons read."""
        from cas_engine.preparing.changing import watch_on

        return watch_on(fn)

    def look_again(self) -> None:
        """Look at code and values anew."""
        self.__dict__.pop("session", None)
        self._defaults.clear()

    # Surroundings of a trace --------------------------------------------------------------------------------

    def row(self, electron: Electron[..., Any]) -> Row:
        """The row of an electron. Raises CapsuleError, Undigestible."""
        from cas_engine.graphs.lattice import Lattice

        options = electron.options
        fn = electron.fn
        inner = fn.fn if isinstance(fn, Lattice) else fn
        fingerprint = self.session.of(fn, options.depends_on)
        if fingerprint.by_texts:
            self._by_texts[fingerprint.code] = fn
        reaches = tuple(Reached(*reached) for reached in fingerprint.electrons)
        return Row(
            slot=options.name,
            name=options.name,
            is_lattice=isinstance(fn, Lattice),
            code=fingerprint.code,
            packages=fingerprint.packages,
            version=options.version,
            stochastic=options.stochastic or (isinstance(fn, Lattice) and any(r.stochastic for r in reaches)),
            ignore=options.ignore,
            executor=self._executor_name(options.executor),
            retries=options.retries,
            timeout=options.timeout,
            capsule=self._capsule(fn, options.name, fingerprint, options.depends_on),
            signature=signature_of(inner),
            reaches=reaches,
            retry_delay=options.retry_delay,
            retry_on=self._retry_on(options),
        )

    def const(self, value: object) -> Const:
        """A value by digest, its bytes kept. Raises Undigestible, Unstorable."""
        scalar = self._scalars.get(type(value))
        if scalar is not None:  # it names no files, and meets no code
            return self._const(scalar[0](value), self._encode(value), ())
        with files_met() as met:
            digest = self.session.digest_value(value)
        self.files.update(met)
        return self._const(digest, self._encode(value, self.session), tuple(met))

    def const_of(self, row: Row) -> Callable[[object], Const] | None:
        """As `const`, its digest with what the texts in a value lead to, for code that looks up what texts name."""
        fn = self._by_texts.get(row.code) if self._by_texts else None
        if fn is None:
            return None

        def const(value: object) -> Const:
            plain, named = self.const(value), self.session.named_by(fn, value)
            return plain._replace(digest=digest_of(b"naming\0" + plain.digest + named)) if named else plain

        return const

    def small(self, value: object) -> Small | None:
        """A value of one of SMALL_TYPES as `const` has it, in short; None if it is a blob of its own."""
        digest_of_it, encoded_of = self._scalars[type(value)]
        if isinstance(value, (str, bytes)) and len(value) > _INLINE_LIMIT:
            return None
        encoded = encoded_of(value)
        return digest_of_it(value) + encoded if len(encoded) <= _INLINE_LIMIT else None

    def partly(self, value: object, leave_out: Sequence[tuple[Step, ...]]) -> Const:
        """As `const`, its digest without what lies at these paths; of a lock there, a new one is as good."""
        counted, stored = value, value
        for path in leave_out:
            counted = replaced_part(counted, path, lambda _: None)
            stored = replaced_part(stored, path, _storable)
        with files_met() as met:
            digest = self.session.digest_value(counted)
        self.files.update(met)
        return self._const(digest, self._encode(stored, self.session), tuple(met))

    def unkeyed(self, value: object) -> Const:
        """A value that no key counts: by its bytes; of a lock, a new one is as good. Raises Unstorable."""
        encoded = self._encode(_storable(value), self.session)
        return self._const(digest_of(b"unkeyed\0", *encoded.pieces, *encoded.parts), encoded, ())

    def default(self, electron: Electron[..., Any], parameter: str) -> Digest | None:
        """The digest of a parameter's default, None if it has none that is stable."""
        at = (id(electron), parameter)
        if at not in self._defaults:
            self._defaults[at] = _default_digest(self.session, electron, parameter)
        return self._defaults[at]

    def _retry_on(self, options: Options) -> bytes | None:
        if options.retry_on is None:
            return None
        try:
            return b"".join(self._encode(options.retry_on, self.session).copied())
        except Unstorable as problem:
            raise problem.within(f"electron `{options.name}`: its option `retry_on`") from None

    # Lattices -----------------------------------------------------------------------------------------------

    def lattice_row(self, lattice: Lattice[..., Any]) -> Row:
        """The row of a lattice that is dispatched."""
        fingerprint = self.session.of(lattice)
        if fingerprint.by_texts:
            self._by_texts[fingerprint.code] = lattice
        reaches = tuple(Reached(*reached) for reached in fingerprint.electrons)
        return Row(
            slot=lattice.name,
            name=lattice.name,
            is_lattice=True,
            code=fingerprint.code,
            packages=fingerprint.packages,
            version=None,
            stochastic=any(r.stochastic for r in reaches),
            ignore=(),
            executor=self._executor_name(lattice.executor),
            retries=0,
            timeout=None,
            capsule=self._capsule(lattice, lattice.name, fingerprint),
            signature=signature_of(lattice.fn),
            reaches=reaches,
        )

    def flush(self) -> None:
        """Store what was gathered so far."""
        if self.writes:
            self.store.commit(self.writes)
            # Small ones are written again with what names them: until then nothing keeps a sweep from taking them.
            self.writes = [
                Need(write.blob.digest) if isinstance(write, PutBlob) and write.blob.content is None else write
                for write in self.writes
            ]

    def commit(self, writes: Sequence[Write]) -> None:
        """Store what was gathered with what names it: what was there already has to be there still."""
        while True:
            needs = [Need(capsule) for capsule in self._counted_on]
            try:
                self.store.commit([*needs, *self.writes, *writes])
            except BlobMissing as gone:
                pack = self._counted_on.pop(gone.digest, None)
                packed = b"" if pack is None else pack()
                if pack is None or self._keep(Encoded([packed], len(packed))) != gone.digest:
                    raise
            else:
                return

    # Storing ------------------------------------------------------------------------------------------------

    def _executor_name(self, executor: str | Executor | None) -> str | None:
        if not isinstance(executor, Executor):
            return executor
        name = f"live:{id(executor)}"
        self.executors[name] = executor
        return name

    def _capsule(
        self, fn: Callable[..., Any], name: str, fingerprint: Fingerprint, depends_on: Sequence[object] = ()
    ) -> Digest:
        """The capsule's blob, packed once for each distinct code."""
        from cas_engine.capsules import capsule

        module, qualname = getattr(fn, "__module__", None), getattr(fn, "__qualname__", None)
        about = json.dumps([name, module, qualname, list(fingerprint.packages)]).encode()
        key = digest_of(b"capsule\0" + fingerprint.code + about)
        # What texts may lead to is recorded as well, and the code does not tell whether it is what it was.
        known = None if fingerprint.by_texts else self.store.get(Table.CAPSULES, key)
        if known is not None and not self.store.find_missing([known]):
            self._counted_on[known] = lambda: capsule.pack(fn, fingerprint, self.session, depends_on)
            self.live[known] = self._live_code(fn)
            return known
        packed = capsule.pack(fn, fingerprint, self.session, depends_on)
        digest = self._keep(Encoded([packed], len(packed)))
        self.packed[digest] = packed
        if not fingerprint.by_texts:
            self.writes.append(Put(Table.CAPSULES, key, digest))
        self.live[digest] = self._live_code(fn)
        return digest

    def _live_code(self, fn: Callable[..., Any]) -> LiveCode:
        from cas_engine.capsules.changeable import exposure_of
        from cas_engine.capsules.unchanged import LiveCode

        recorded = self.session.of(fn)
        return LiveCode(fn, recorded, exposure_of(fn, recorded, self.session))

    def _const(self, digest: Digest, encoded: Encoded, files: tuple[FileContent, ...]) -> Const:
        if encoded.size <= _INLINE_LIMIT:
            pieces = encoded.pieces
            return Const(digest, bytes(pieces[0]) if len(pieces) == 1 else b"".join(pieces), None, files)
        return Const(digest, None, self._keep(encoded), files)

    def _keep(self, encoded: Encoded) -> Digest:
        # At once, not at the end: the caller may change an array right after the call.
        prepared = self.store.prepare(encoded.pieces, encoded.parts)
        if prepared.digest not in self._blobs:
            self._blobs.add(prepared.digest)
            self.writes.append(PutBlob(prepared))
        return prepared.digest


def _storable(value: object) -> object:
    from cas_engine.capsules.oddities import lock_kind

    lock = lock_kind(value)
    return value if lock is None else _FreshLock(lock)


class _FreshLock:
    """Stored in the place of a lock; loads as a new one."""

    def __init__(self, kind: str) -> None:
        self._kind = kind

    def __reduce__(self) -> tuple[object, ...]:
        from cas_engine.capsules.image import Image

        return Image.fresh, (self._kind,)


def _default_digest(session: Fingerprinter, electron: Electron[..., Any], parameter: str) -> Digest | None:
    try:
        default = inspect.signature(electron.fn).parameters[parameter].default
        return None if default is inspect.Parameter.empty else session.digest_value(default)
    except (Undigestible, ValueError, TypeError, KeyError):
        return None

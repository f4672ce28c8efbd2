"""One LMDB environment: opened with care, grown, reopened, forked; read through views and written by jobs.

Order of locks: the writer's, the gate, then each view's. Whoever needs the map to stand still takes them all
(`_at_rest`), which ends every read transaction; a view begins a new one when it is next asked. So growing never
waits for a reader that holds a view open, and a view made before jumps forward: rows are only ever added, or
replaced by newer ones.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import lmdb

from cas_store import forks
from cas_store.datafile import check_data_file
from cas_store.errors import StoreError, StoreFull, StoreReplaced
from cas_store.faults import translate
from cas_store.views import View

T = TypeVar("T")
Job = Callable[["lmdb.Transaction[bytes]"], T]

MAP_SIZE = 64 << 30  # bytes of address space, not of disk
_SMALLEST_MAP = 16 << 20
_READERS = 2048  # at once, over all processes; fixed by whoever opens first
_REST_BEFORE_FORK_S = 10.0


class Database:
    """A folder with an LMDB environment of a few tables. Thread-safe; reopens by itself after close and fork."""

    def __init__(
        self, folder: Path, tables: Sequence[str], *, root: Path, lasting: bool, map_size: int = MAP_SIZE
    ) -> None:
        self._folder = folder
        self._root = root
        self._file = folder / "data.mdb"
        self._names = tuple(tables)
        self._lasting = lasting
        self._map_size = map_size
        self._writer = threading.RLock()
        self._gate = threading.RLock()
        self._views: set[View] = set()
        self._env: lmdb.Environment | None = None
        self._inode: tuple[int, int] | None = None
        self.handles: dict[str, lmdb._Database] = {}  # noqa: SLF001
        self._resting = False
        forks.watch(self)

    # --- reading

    def view(self) -> View:
        """A consistent view of all tables. Close it soon: LMDB keeps what it sees."""
        view = View(self)
        with self._gate:
            self._views.add(view)
        return view

    def forget(self, view: View) -> None:
        """The view is closed."""
        with self._gate:
            self._views.discard(view)

    def begin_read(self) -> lmdb.Transaction[bytes] | None:
        """For views, which hold their own lock: None when :meth:`make_ready` has to be called first, without it."""
        env = self._env
        if env is None:
            return None
        try:
            return env.begin()
        except lmdb.MapResizedError:
            return None
        except lmdb.Error as error:
            raise translate(error, self._root, "beginning to read") from error

    def make_ready(self) -> None:
        """Open what is closed, and follow a map that another process has grown."""
        with self._writer:
            if self._env is None:
                self._open()
                return
            with self._at_rest():
                self._env.set_mapsize(0)

    # --- writing

    def write(self, job: Job[T], doing: str = "writing") -> T:
        """Run the job in a write transaction; durable when this returns. The job may be run several times.

        Raises StoreFull, StoreReplaced, StoreError; nothing of the job is visible then.
        """
        with self._writer:
            reopened = False
            while True:
                try:
                    return self._write_once(job)
                except lmdb.MapResizedError:
                    self.make_ready()
                except lmdb.MapFullError:
                    self._grow()
                except lmdb.PanicError as error:
                    # A meta page could not be written; LMDB wants to be opened anew before it goes on.
                    self.close()
                    if reopened:
                        raise translate(error, self._root, doing) from error
                    reopened = True
                except (lmdb.Error, OSError) as error:
                    raise translate(error, self._root, doing) from error

    def _write_once(self, job: Job[T]) -> T:
        env = self._env
        if env is None:
            env = self._open()
        self._check_place()
        with env.begin(write=True) as transaction:
            outcome = job(transaction)
        # Once more before anybody is told: what went into a folder that has no name is lost.
        self._check_place()
        return outcome

    def is_in_place(self) -> bool:
        """Whether the folder still has the file that was opened."""
        try:
            found = os.stat(self._file)  # noqa: PTH116  (in each commit)
        except FileNotFoundError:
            return False
        return (found.st_dev, found.st_ino) == self._inode

    def _check_place(self) -> None:
        if not self.is_in_place():
            msg = (
                f"the store at {self._root} was removed or replaced while it was open\n"
                f"  -> put it back, or start again with the store that is there now"
            )
            raise StoreReplaced(msg, self._root)

    def _grow(self) -> None:
        with self._at_rest():
            env = self._opened()
            size = 2 * env.info()["map_size"]
            try:
                env.set_mapsize(size)
            except (lmdb.MemoryError, MemoryError) as error:
                msg = (
                    f"the store at {self._root} needs {size >> 20} MiB of address space\n"
                    f"  -> raise the limit (ulimit -v), then try again"
                )
                raise StoreFull(msg, self._root) from error

    # --- opening and closing

    def open(self) -> None:
        """Open now rather than at first use, so that what is wrong is said now."""
        with self._writer:
            if self._env is None:
                self._open()

    def close(self) -> None:
        """Give everything back. Open views begin again when they are next used."""
        with self._writer, self._at_rest():
            if self._env is not None:
                self._env.close()
                self._env = None
                self.handles = {}

    def check_readers(self) -> None:
        """Clear what killed readers left, lest the file grow."""
        self._opened().reader_check()

    def _opened(self) -> lmdb.Environment:
        env = self._env
        if env is None:
            msg = f"the store at {self._root} is closed"
            raise StoreError(msg, self._root)
        return env

    def _open(self) -> lmdb.Environment:
        """Caller holds the writer's lock."""
        try:
            if self._lasting:
                check_data_file(self._file)
            if self._inode is not None:
                self._check_place()
            env = self._environment()
        except StoreError:
            raise
        except (lmdb.Error, OSError) as error:
            raise translate(error, self._root, "opening it") from error
        try:
            env.reader_check()
            self.handles = self._open_tables(env)
            found = self._file.stat()
        except BaseException as error:
            env.close()
            if isinstance(error, (lmdb.Error, OSError)):
                raise translate(error, self._root, "opening its tables") from error
            raise
        self._inode = (found.st_dev, found.st_ino)
        self._env = env
        return env

    def _environment(self) -> lmdb.Environment:
        size = self._map_size
        while True:
            try:
                return lmdb.open(
                    str(self._folder),
                    map_size=size,
                    max_dbs=len(self._names),
                    max_readers=_READERS,
                    mode=0o600,
                    sync=self._lasting,
                    metasync=self._lasting,
                    writemap=False,  # with it a full disk is a SIGBUS
                    lib_version=0,  # the older file format, which every LMDB reads
                )
            except (lmdb.MemoryError, MemoryError):
                if size <= _SMALLEST_MAP:
                    raise
                size //= 2
            except lmdb.MapResizedError:
                size *= 2  # another process grew it while we opened

    def _open_tables(self, env: lmdb.Environment) -> dict[str, lmdb._Database]:
        # In a write transaction, though it writes nothing when they exist: LMDB forgets a table's handle with the
        # read transaction that opened it.
        while True:
            try:
                with env.begin(write=True) as transaction:
                    return {name: env.open_db(name.encode(), txn=transaction) for name in self._names}
            except lmdb.MapFullError:
                env.set_mapsize(2 * env.info()["map_size"])
            except lmdb.MapResizedError:
                env.set_mapsize(0)

    @contextmanager
    def _at_rest(self) -> Iterator[None]:
        """No transaction of this process under way. Caller holds the writer's lock."""
        with self._gate:
            views = list(self._views)
            for view in views:
                view.lock.acquire()
                view.end()
            try:
                yield
            finally:
                for view in views:
                    view.lock.release()

    # --- forks: the parent comes to rest first. The child has to close the inherited environment before it may
    # open its own, and closing ends read transactions in the lock file that both share: the parent's, if it had any.

    def before_fork(self) -> None:
        self._resting = self._writer.acquire(timeout=_REST_BEFORE_FORK_S)
        self._gate.acquire()
        for view in self._views:
            view.lock.acquire()
            view.end()

    def after_fork_in_parent(self) -> None:
        for view in self._views:
            view.lock.release()
        self._gate.release()
        if self._resting:
            self._writer.release()

    def after_fork_in_child(self) -> None:
        for view in self._views:
            view.lock = threading.Lock()
        self._gate = threading.RLock()
        self._writer = threading.RLock()
        env, self._env, self.handles = self._env, None, {}
        if env is not None:
            env.close()

"""One LMDB environment: opened with care, grown, reopened, forked; read through views and written by jobs.

Order of locks: the writer's, the gate, then each view's. Whoever needs the map to stand still takes them all
(`_at_rest`), which ends every read transaction; a view begins a new one when it is next asked. So growing
never waits for a reader that holds a view open, and such a view jumps to the present.
"""

from __future__ import annotations

import atexit
import errno
import os
import threading
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

import lmdb

from cas_store import forks
from cas_store.datafile import check_data_file, check_trees, damaged, discard_damaged, faults_of, leave_stamp
from cas_store.errors import StoreDamaged, StoreError, StoreFull, StoreReplaced
from cas_store.faults import translate
from cas_store.layout import sync_folder
from cas_store.pages import DataFile, Walk
from cas_store.tenancy import Tenancy, alone
from cas_store.turns import Turns, opening
from cas_store.views import View

T = TypeVar("T")
Job = Callable[["lmdb.Transaction[bytes]"], T]

MAP_SIZE = 64 << 30  # bytes of address space, not of disk
_SMALLEST_MAP = 16 << 20
_READERS = 2048  # at once, over all processes; fixed by whoever opens first
_REST_BEFORE_FORK_S = 10.0
_NO_LINK = frozenset({errno.EEXIST, errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK})
_CHECK_READERS_EACH = 100  # commits: a killed reader makes the file grow until then


class Database:
    """An LMDB environment with a few tables. Thread-safe; reopens by itself after close and fork."""

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
        # One whose meta page a writer could not write: LMDB wants it opened anew, also by those who only read.
        self._panicked: lmdb.Environment | None = None
        self._inode: tuple[int, int] | None = None
        self.handles: dict[str, lmdb._Database] = {}
        self._resting = False
        self._resting_views: list[View] = []
        self._commits = 0
        self._still = False
        self._tenancy = Tenancy(folder)
        self._turns = Turns(self._file)
        self._stamped = 0  # commits, when `clean` was written
        self._suspect = False
        forks.watch(self)
        if lasting:
            _lasting.add(self)

    # --- reading

    def view(self, *, buffers: bool = False) -> View:
        """A consistent view of all tables. Close it soon: LMDB keeps what it sees."""
        view = View(self, buffers=buffers)
        with self._gate:
            self._views.add(view)
        return view

    def forget(self, view: View) -> None:
        """The view is closed."""
        with self._gate:
            self._views.discard(view)

    def get(self, table: str, key: bytes) -> bytes | None:
        """One raw row as it is now, or None: what a view of its own would give at twice the cost."""
        while True:
            with self._gate:
                transaction = self.begin_read()
                if transaction is not None:
                    try:
                        return transaction.get(key, None, self.handles[table])
                    except lmdb.BadValsizeError:
                        return None  # no row can have such a key
                    except (lmdb.Error, MemoryError) as error:
                        raise self.damaged(error) from error
                    finally:
                        transaction.abort()
            self.make_ready()

    def begin_read(self, *, buffers: bool = False) -> lmdb.Transaction[bytes] | None:
        """For views, which hold their own lock. None: call :meth:`make_ready` first, without the lock."""
        env = self._env
        if env is None:
            return None
        try:
            # The types say bytes: `View.sizes`, which has buffers, makes bytes of all that leaves it.
            return env.begin(buffers=True) if buffers else env.begin()  # type: ignore[return-value]
        except lmdb.MapResizedError:
            return None
        except lmdb.PanicError:
            self._panicked = env
            return None
        except lmdb.Error as error:
            raise translate(error, self._root, "beginning to read") from error

    def make_ready(self) -> None:
        """Open what is closed, or of no use any more, and follow a map that another process has grown."""
        with self._writer:
            if self._env is not None and self._env is self._panicked:
                self.close()
            self._panicked = None
            if self._env is None:
                self._open()
                return
            self._resize(0)

    def damaged(self, error: Exception) -> StoreError:
        """For views: LMDB could not make sense of its file."""
        self._suspect = True
        return damaged(self._file, f"{error} while reading")

    @contextmanager
    def walk(self) -> Iterator[Walk]:
        """All pages of one moment, read past LMDB, which keeps them from being reused for so long."""
        view = self.view()
        try:
            while True:
                view.has(self._names[0], b"\x00")  # begins it
                with view.lock, self._reading() as descriptor:
                    meta = next((m for m in DataFile(descriptor).metas() if m.transaction == view.number()), None)
                    if meta is not None:
                        yield Walk(DataFile(descriptor), meta, leaves=True)
                        return
                    view.end()  # it had to move, or two commits came in between
        finally:
            view.close()

    @contextmanager
    def _reading(self) -> Iterator[int]:
        descriptor = os.open(self._file, os.O_RDONLY | os.O_CLOEXEC)
        try:
            yield descriptor
        finally:
            os.close(descriptor)

    # --- writing

    def write(self, job: Job[T], doing: str = "writing") -> T:
        """Run the job in a write transaction; durable when this returns. The job may be run several times.

        Raises StoreFull, StoreReplaced, StoreError; nothing of the job is visible then.
        """
        with self._writer:
            reopened = healed = False
            while True:
                try:
                    return self._write_once(job)
                except lmdb.MapResizedError:
                    self.make_ready()
                except lmdb.MapFullError:
                    self._resize(2 * self._opened().info()["map_size"])
                except StoreReplaced:
                    if self._lasting or healed or not self._root.is_dir():
                        raise
                    self._start_afresh()
                    healed = True
                except lmdb.PanicError as error:
                    # A meta page could not be written; LMDB wants to be opened anew before it goes on.
                    self.close()
                    if reopened:
                        raise translate(error, self._root, doing) from error
                    reopened = True
                except (lmdb.Error, OSError) as error:
                    fault = translate(error, self._root, doing)
                    self._suspect |= isinstance(fault, StoreDamaged)
                    raise fault from error

    def _write_once(self, job: Job[T]) -> T:
        env = self._env
        if env is None:
            env = self._open()
        self.check_place()
        self._commits += 1
        if self._commits % _CHECK_READERS_EACH == 0:
            env.reader_check()
        outcome = self._turns.write(env, job)
        # Once more before anybody is told: what went into a folder that has no name is lost.
        self.check_place()
        return outcome

    # --- as a whole

    def copy(self, descriptor: int) -> None:
        """Write all of it, as of one moment, into an open file. Others write meanwhile; this process waits."""
        with self._writer:
            try:
                env = self._env or self._open()
                self.check_place()
                while True:
                    try:
                        env.copyfd(descriptor)
                    except lmdb.MapResizedError:
                        self._resize(0)
                        os.lseek(descriptor, 0, os.SEEK_SET)
                        os.ftruncate(descriptor, 0)
                    else:
                        return
            except lmdb.Error as error:
                code = getattr(error, "code", 0)
                if code > 0:  # of where it is written to, most likely
                    raise OSError(code, os.strerror(code)) from error
                raise translate(error, self._root, "copying it") from error

    def compact(self, temporary: Path) -> tuple[int, int]:
        """Write all of it anew without what is free, and put that in its place; the bytes before and after.

        Raises StoreRefused while another process has it open. Killed anywhere, it is the old one or the new.
        """
        with self._writer, self._at_rest():
            if self._env is not None:
                self.check_place()
            self.close()
            try:
                with alone(self._folder, "compacting it"):
                    check_data_file(self._file)
                    before = self._file.stat().st_size
                    self._write_compacted(temporary)
                    after = temporary.stat().st_size
                    temporary.replace(self._file)
                    self._inode = None
                    sync_folder(self._folder)
            except (lmdb.Error, OSError) as error:
                raise translate(error, self._root, "compacting it") from error
            finally:
                temporary.unlink(missing_ok=True)
            return before, after

    def _write_compacted(self, temporary: Path) -> None:
        descriptor = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            counts = self._counted(self._folder, lambda env: env.copyfd(descriptor, compact=True))
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        check_data_file(temporary)
        faults = faults_of(temporary, thorough=False)
        if faults:
            raise damaged(self._file, f"compacting it gives a file in which {faults[0]}")
        if self._counted(temporary, lambda _: None) != counts:
            msg = f"compacting {self._root} lost rows\n  -> `cas-run doctor` tells what is damaged; nothing was changed"
            raise StoreDamaged(msg, self._root)

    def _counted(self, place: Path, work: Callable[[lmdb.Environment], None]) -> dict[str, int]:
        # As the folder that it is: a compacted copy notes whether it was opened as a file.
        env = lmdb.open(
            os.fsencode(place),
            subdir=place.is_dir(),
            readonly=True,
            lock=False,
            max_dbs=len(self._names),
            lib_version=0,
        )
        try:
            work(env)
            with env.begin() as transaction:
                tables = {name: env.open_db(name.encode(), txn=transaction) for name in self._names}
                return {name: transaction.stat(table)["entries"] for name, table in tables.items()}
        finally:
            env.close()

    # --- where it lies

    def is_in_place(self) -> bool:
        """Whether the folder still has the file that was opened."""
        try:
            found = os.stat(self._file)  # noqa: PTH116  (in each commit)
        except FileNotFoundError:
            return False
        return (found.st_dev, found.st_ino) == self._inode

    def check_place(self) -> None:
        """Raise StoreReplaced unless the folder still has the file that was opened."""
        if not self.is_in_place():
            msg = (
                f"the store at {self._root} was removed or replaced while it was open\n"
                f"  -> put it back, or start again with the store that is there now"
            )
            raise StoreReplaced(msg, self._root)

    def _resize(self, size: int) -> None:
        """Grow the map, or with 0 follow another process that has. Caller holds the writer's lock."""
        with self._at_rest():
            try:
                self._opened().set_mapsize(size)
            except (lmdb.Error, MemoryError) as error:
                # LMDB has let go of the old map by now: close, and open with what can be had.
                self.close()
                if size:
                    msg = (
                        f"the store at {self._root} needs {size >> 20} MiB of address space\n"
                        f"  -> raise the limit (ulimit -v), then try again"
                    )
                    raise StoreFull(msg, self._root) from error
                self._open()

    def _start_afresh(self) -> None:
        """Somebody removed what need not last."""
        self.close()
        self._inode = None
        try:
            self._folder.mkdir(mode=0o700, parents=self._root.is_dir(), exist_ok=True)
        except OSError as error:
            raise translate(error, self._root, "making it anew") from error

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
                self._turns.close()
                self.handles = {}
                self.leave_word()
                self._tenancy.leave()

    def leave_word(self) -> None:
        """For the next to open it: whether the file is as it should be."""
        if self._lasting and self._inode is not None and (self._suspect or self._stamped != self._commits):
            self._stamped = self._commits
            if self.is_in_place():
                leave_stamp(self._file, suspect=self._suspect)

    @property
    def is_open(self) -> bool:
        """Whether this process has it open now."""
        return self._env is not None

    def _opened(self) -> lmdb.Environment:
        env = self._env
        if env is None:
            msg = f"the store at {self._root} is closed"
            raise StoreError(msg, self._root)
        return env

    def _open(self) -> lmdb.Environment:
        """Caller holds the writer's lock."""
        try:
            self._enter()
            if self._inode is not None:
                self.check_place()
            if not self._lasting:
                self._make_whole()
            with opening(self._file):
                env = self._environment(self._folder)
        except StoreError:
            self._tenancy.leave()
            raise
        except (lmdb.Error, OSError) as error:
            self._tenancy.leave()
            raise translate(error, self._root, "opening it") from error
        try:
            env.reader_check()
            self._turns.open()
            self.handles = self._open_tables(env)
            found = self._file.stat()
        except BaseException as error:
            env.close()
            self._turns.close()
            self._tenancy.leave()
            if isinstance(error, (lmdb.Error, OSError)):
                raise translate(error, self._root, "opening its tables") from error
            raise
        self._inode = (found.st_dev, found.st_ino)
        self._env = env
        return env

    def _enter(self) -> None:
        """Look at the file before LMDB does: its headers always, its trees unless others have it open already."""
        is_alone = self._tenancy.enter()
        if self._lasting:
            if check_data_file(self._file) and is_alone:
                check_trees(self._file)
        elif is_alone:
            discard_damaged(self._file)
        self._tenancy.share()

    def _make_whole(self) -> None:
        """Put the file there in one step: who is killed while LMDB writes headers would leave others half of them.

        Only of what need not last: a store is founded by one process alone.
        """
        if self._file.exists():
            return
        folder = self._folder / os.urandom(8).hex()
        made = folder / self._file.name
        try:
            folder.mkdir(mode=0o700)
            self._environment(folder).close()
            os.link(made, self._file)
        except OSError as error:
            # Another process was first, or here are no links: then LMDB makes it where it is to be.
            if error.errno not in _NO_LINK:
                raise
        finally:
            for left in (made, folder / "lock.mdb"):
                left.unlink(missing_ok=True)
            with suppress(OSError):
                folder.rmdir()

    def _environment(self, folder: Path) -> lmdb.Environment:
        size = self._map_size
        while True:
            try:
                return lmdb.open(
                    os.fsencode(folder),  # a path of any bytes, whatever the locale
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
                # Another process made the file grow while we opened it.
                size = max(size, 2 * self._file.stat().st_size)

    def _open_tables(self, env: lmdb.Environment) -> dict[str, lmdb._Database]:
        # In a write transaction, though it writes nothing when they exist: the handle of a table is forgotten
        # with the read transaction that opened it.
        def job(transaction: lmdb.Transaction[bytes]) -> dict[str, lmdb._Database]:
            return {name: env.open_db(name.encode(), txn=transaction) for name in self._names}

        while True:
            try:
                return self._turns.write(env, job)
            except lmdb.MapFullError:
                env.set_mapsize(2 * env.info()["map_size"])
            except lmdb.MapResizedError:
                env.set_mapsize(0)

    @contextmanager
    def _at_rest(self) -> Iterator[None]:
        """No transaction of this process under way. Caller holds the writer's lock."""
        with self._gate:
            if self._still:  # within another such block
                yield
                return
            views = list(self._views)
            for view in views:
                view.lock.acquire()
                view.end()
            self._still = True
            try:
                yield
            finally:
                self._still = False
                for view in views:
                    view.lock.release()

    # --- forks: the parent comes to rest first. The child has to close the inherited environment before it
    # may open its own, and closing ends read transactions in the lock file both share: the parent's as well.

    def before_fork(self) -> None:
        self._resting = self._writer.acquire(timeout=_REST_BEFORE_FORK_S)
        self._gate.acquire()
        self._resting_views = list(self._views)
        for view in self._resting_views:
            view.lock.acquire()
            view.end()

    def after_fork_in_parent(self) -> None:
        for view in self._resting_views:
            view.lock.release()
        self._resting_views = []
        self._gate.release()
        if self._resting:
            self._writer.release()

    def after_fork_in_child(self) -> None:
        for view in self._resting_views:
            view.lock = threading.RLock()
        self._resting_views = []
        self._gate = threading.RLock()
        self._writer = threading.RLock()
        env, self._env, self.handles = self._env, None, {}
        if env is not None:
            env.close()
        self._turns.close()
        self._tenancy.leave()
        self._stamped = self._commits  # the parent's to say


_lasting: weakref.WeakSet[Database] = weakref.WeakSet()


def _leave_word() -> None:
    for database in list(_lasting):
        database.leave_word()


# Before the committer's own, so that it comes after: last commits, then the word about them.
atexit.register(_leave_word)

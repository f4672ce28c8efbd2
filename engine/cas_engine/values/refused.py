"""Types whose objects have no stable content, with what to do instead. Pure."""

from __future__ import annotations

from typing import Any, NoReturn

from cas_engine.values.pieces import Refusal, Rule

_LOCK = ""  # the general advice says it all
_FILE = "pass the path as ct.File(path), which counts by content"
_ONCE = "it can be read only once; pass what it gives as a list"
_OPENED = "pass what it is opened with, and open it in the electron"
_LATER = "pass what it results in"

# Qualified name -> (what to call it, advice). By name, so that nothing is imported for it.
_REFUSED: dict[str, tuple[str, str]] = {
    **{f"_thread.{name}": (name.capitalize(), _LOCK) for name in ("lock", "LockType")},
    **{f"{module}.RLock": ("RLock", _LOCK) for module in ("_thread", "threading")},
    "_thread._RLock": ("RLock", _LOCK),
    "threading._RLock": ("RLock", _LOCK),
    "_thread._local": ("thread's local storage", _LOCK),
    **{
        f"threading.{name}": (name, _LOCK)
        for name in ("Condition", "Event", "Semaphore", "BoundedSemaphore", "Barrier", "Thread", "Timer")
    },
    **{
        f"asyncio.locks.{name}": (name, _LOCK)
        for name in ("Lock", "Condition", "Event", "Semaphore", "BoundedSemaphore", "Barrier")
    },
    "asyncio.queues.Queue": ("Queue", _ONCE),
    "_thread._ThreadHandle": ("Thread", _LOCK),
    **{f"queue.{name}": (name, _ONCE) for name in ("Queue", "LifoQueue", "PriorityQueue")},
    "_queue.SimpleQueue": ("SimpleQueue", _ONCE),
    **{
        f"_io.{name}": ("file", _FILE)
        for name in (
            "TextIOWrapper",
            "FileIO",
            "BufferedReader",
            "BufferedWriter",
            "BufferedRandom",
            "BufferedRWPair",
        )
    },
    "tempfile._TemporaryFileWrapper": ("file", _FILE),
    "tempfile.TemporaryDirectory": ("temporary folder", _FILE),
    "mmap.mmap": ("mapped file", _FILE),
    "zipfile.ZipFile": ("ZipFile", _FILE),
    "tarfile.TarFile": ("TarFile", _FILE),
    "gzip.GzipFile": ("file", _FILE),
    "bz2.BZ2File": ("file", _FILE),
    "lzma.LZMAFile": ("file", _FILE),
    "os.DirEntry": ("DirEntry", "pass its path"),
    "posix.DirEntry": ("DirEntry", "pass its path"),
    "posix.ScandirIterator": ("ScandirIterator", _ONCE),
    "socket.socket": ("socket", _OPENED),
    "_socket.socket": ("socket", _OPENED),
    "ssl.SSLSocket": ("socket", _OPENED),
    "ssl.SSLContext": ("SSLContext", _OPENED),
    "sqlite3.Connection": ("database connection", _OPENED),
    "sqlite3.Cursor": ("database cursor", _OPENED),
    "subprocess.Popen": ("process", _OPENED),
    "multiprocessing.process.BaseProcess": ("process", _LATER),
    "_multiprocessing.SemLock": ("Lock", _LOCK),
    "multiprocessing.synchronize.SemLock": ("Lock", _LOCK),
    "multiprocessing.connection._ConnectionBase": ("connection", _OPENED),
    "multiprocessing.pool.Pool": ("process pool", _OPENED),
    "concurrent.futures._base.Future": ("Future", _LATER),
    "concurrent.futures._base.Executor": ("executor", _OPENED),
    "_asyncio.Future": ("Future", _LATER),
    "_asyncio.Task": ("Task", _LATER),
    "asyncio.futures.Future": ("Future", _LATER),
    "asyncio.events.AbstractEventLoop": ("event loop", _LOCK),
    "builtins.generator": ("generator", _ONCE),
    "builtins.async_generator": ("async generator", _ONCE),
    "builtins.coroutine": ("coroutine", "pass what it results in: await it first"),
    "builtins.frame": ("frame", _LOCK),
    "builtins.traceback": ("traceback", "pass the text of it: traceback.format_exc()"),
    "weakref.ReferenceType": ("weak reference", "pass the object itself"),
    "builtins.weakref": ("weak reference", "pass the object itself"),
    "builtins.weakproxy": ("weak reference", "pass the object itself"),
    "builtins.weakcallableproxy": ("weak reference", "pass the object itself"),
    "weakref.WeakSet": ("WeakSet", "pass a set"),
    "_weakrefset.WeakSet": ("WeakSet", "pass a set"),
    "weakref.WeakKeyDictionary": ("WeakKeyDictionary", "pass a dict"),
    "weakref.WeakValueDictionary": ("WeakValueDictionary", "pass a dict"),
    **{f"_contextvars.{name}": (name, "pass its value") for name in ("ContextVar", "Context", "Token")},
    **{f"builtins.{name}": (name, "pass its value") for name in ("ContextVar", "Context", "Token")},
    **{
        f"builtins.dict_{name}": (f"view of a dict's {name}", "pass it as a list")
        for name in ("keys", "values", "items")
    },
    "builtins.PyCapsule": ("capsule of a C library", _LOCK),
    "re.Match": ("match", "pass its groups"),
    "re.Scanner": ("scanner", "pass its pattern"),
    "random.SystemRandom": ("SystemRandom", "draw in a stochastic electron"),
    "secrets.SystemRandom": ("SystemRandom", "draw in a stochastic electron"),
    "logging.Handler": ("logging handler", _OPENED),
    "_hashlib.HASH": ("running hash", "pass its digest"),
    "cas_engine.graphs.handles.Handle": (
        "result that is not known yet",
        "pass it to the electron as an argument, or inside a list, tuple, dict or dataclass",
    ),
}


def refusal_of(name: str) -> Rule | None:
    """The rule that refuses objects of the class of this qualified name; None if nothing is wrong with it."""
    if name not in _REFUSED:
        return None
    called, advice = _REFUSED[name]
    return lambda _value: _refuse(advice, called)


def refuse_iterator(value: Any) -> NoReturn:
    """Iterators written in C: reading them is using them up."""
    _refuse(_ONCE, f"{type(value).__name__.strip('_')}")


def _refuse(advice: str, called: str) -> NoReturn:
    raise Refusal(advice, called)

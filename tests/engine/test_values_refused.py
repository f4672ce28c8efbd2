"""What has no stable content is refused: with the path to it, what it is, and what to do instead."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextvars
import io
import logging
import mmap
import multiprocessing
import pickle
import queue
import random
import re
import socket
import sqlite3
import sys
import tempfile
import threading
import types
import weakref
from collections.abc import Callable
from typing import Any

import pytest

from cas_engine.errors import Undigestible, Unstorable
from cas_engine.values import Digester
from cas_store.digest import digest_of
from cas_store.errors import CasRunError

digest = Digester(lambda thing, where: digest_of(repr(type(thing)).encode())).digest


class Holder:
    def __init__(self, **held):
        self.__dict__.update(held)


class Slotted:
    __slots__ = ("lock",)

    def __init__(self):
        self.lock = threading.Lock()


class Refuses:
    def __getstate__(self):
        raise ValueError("not today")


class RefusesPickle:
    def __reduce__(self):
        raise TypeError("cannot pickle this")


def generator():
    yield 1


async def coroutine():
    pass


def frame():
    return sys._getframe()


def a_coroutine():
    made = coroutine()
    made.close()
    return made


def a_traceback():
    try:
        raise ValueError  # noqa: TRY301
    except ValueError as error:
        return error.__traceback__


def a_future():
    return concurrent.futures.Future()


UNSTABLE: dict[str, Callable[[], Any]] = {
    "Lock": threading.Lock,
    "RLock": threading.RLock,
    "Event": threading.Event,
    "Condition": threading.Condition,
    "Semaphore": threading.Semaphore,
    "Thread": threading.Thread,
    "thread's local storage": threading.local,
    "Queue": queue.Queue,
    "SimpleQueue": queue.SimpleQueue,
    "generator": generator,
    "coroutine": a_coroutine,
    "frame": frame,
    "traceback": a_traceback,
    "weak reference": lambda: weakref.ref(Holder),
    "WeakValueDictionary": weakref.WeakValueDictionary,
    "WeakKeyDictionary": weakref.WeakKeyDictionary,
    "WeakSet": weakref.WeakSet,
    "ContextVar": lambda: contextvars.ContextVar("x"),
    "Context": contextvars.copy_context,
    "Future": a_future,
    "match": lambda: re.match("a", "a"),
    "list_iterator": lambda: iter([1]),
    "dict_keyiterator": lambda: iter({}),
    "map": lambda: map(len, []),
    "view of a dict's keys": {}.keys,
    "view of a dict's items": {}.items,
    "SystemRandom": random.SystemRandom,
    "logging handler": logging.NullHandler,
    "Lock ": multiprocessing.Lock,
    "process": multiprocessing.Process,
    "Refuses": Refuses,
    "RefusesPickle": RefusesPickle,
    "executor": lambda: concurrent.futures.ThreadPoolExecutor(1),
}


@pytest.mark.parametrize("name", UNSTABLE)
def test_it_is_refused_by_name_with_the_path_to_it(name):
    value = UNSTABLE[name]()
    with pytest.raises(Undigestible) as caught:
        digest(value, "x")
    assert (caught.value.where, caught.value.type) == ("x", name.strip())
    assert str(caught.value).count("\n  -> ") == 1
    with pytest.raises(Undigestible) as caught:
        digest({"a": [1, Holder(held=value)]}, "x")
    assert (caught.value.where, caught.value.type) == ('x["a"][1].held', name.strip())


def test_open_files_sockets_and_databases_are_refused(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"content")
    with (
        path.open() as text,
        path.open("rb") as binary,
        path.open("rb", buffering=0) as raw,
        tempfile.NamedTemporaryFile() as temporary,
        socket.socket() as one,
        mmap.mmap(-1, 10) as mapped,
    ):
        for file in (text, binary, raw, temporary, mapped, sys.stdout, sys.__stdout__):
            if isinstance(file, io.StringIO):
                continue  # pytest's stand-in
            with pytest.raises(Undigestible, match=r"ct\.File"):
                digest(file, "x")
        with pytest.raises(Undigestible, match="socket"):
            digest(one, "x")
    database = sqlite3.connect(":memory:")
    with pytest.raises(Undigestible, match="database connection"):
        digest(database, "x")
    database.close()
    closed = io.BytesIO()
    closed.close()
    with pytest.raises(Undigestible, match="closed"):
        digest(closed, "x")


def test_an_event_loop_is_refused():
    loop = asyncio.new_event_loop()
    try:
        with pytest.raises(Undigestible, match="event loop"):
            digest(loop, "x")
    finally:
        loop.close()


@pytest.mark.parametrize(
    ("value", "where"),
    [
        ([threading.Lock()], "model[0]"),
        ((1, threading.Lock()), "model[1]"),
        ({"x": threading.Lock()}, 'model["x"]'),
        ({3: [{"y": threading.Lock()}]}, 'model[3][0]["y"]'),
        (Holder(lock=threading.Lock()), "model.lock"),
        (Holder(inner=Holder(lock=threading.Lock())), "model.inner.lock"),
        (Slotted(), "model.lock"),
        (types.SimpleNamespace(a=threading.Lock()), "model.a"),
        ({threading.Lock(): 1}, "model.keys()[0]"),
        ([[[]]] + [threading.Lock()] * 2, "model[1]"),
        (types.MappingProxyType({"a": threading.Lock()}), 'model["a"]'),
    ],
    ids=[str(i) for i in range(11)],  # the values have addresses in their reprs, and every worker its own
)
def test_the_path_leads_to_it(value, where):
    with pytest.raises(Undigestible) as caught:
        digest(value, "model")
    assert caught.value.where == where


def test_a_deep_or_cyclic_value_is_refused_with_its_path_too():
    deep: Any = threading.Lock()
    for _ in range(100):
        deep = [deep]
    with pytest.raises(Undigestible) as caught:
        digest(deep, "x")
    assert caught.value.where == "x" + "[0]" * 100
    cyclic: Any = Holder(lock=threading.Lock())
    cyclic.me = cyclic
    with pytest.raises(Undigestible) as caught:
        digest(cyclic, "x")
    assert caught.value.where == "x.lock"


def test_what_an_object_raises_is_told():
    with pytest.raises(Undigestible, match="not today") as caught:
        digest([Refuses()], "x")
    assert isinstance(caught.value.__cause__, ValueError)


def test_our_own_errors_pass_as_they_are():
    class Ours(CasRunError):
        pass

    class Holds:
        def __cas_digest__(self):
            raise Ours("as it is")

    with pytest.raises(Ours, match="as it is"):
        digest(Holds())


def test_the_message_says_whose_value_it_is_and_what_to_do():
    with pytest.raises(Undigestible) as caught:
        digest(Holder(lock=threading.Lock()), "")
    error = caught.value.within("electron `train`: its argument `model`")
    assert str(error) == (
        "electron `train`: its argument `model.lock` is a Lock, which has no stable content\n"
        '  -> pass what the result depends on instead, or leave it out with electron(ignore=["model.lock"])'
    )
    with pytest.raises(Undigestible) as caught:
        digest(generator(), "")
    error = caught.value.within("electron `train`: its argument `rows`")
    assert str(error) == (
        "electron `train`: its argument `rows` is a generator, which has no stable content\n"
        "  -> it can be read only once; pass what it gives as a list"
    )


def test_the_errors_survive_the_way_between_processes():
    for error in (
        Undigestible("model.lock", "Lock", subject="electron `f`"),
        Undigestible("", "Lock", "advice").within("its argument `x`"),
        Unstorable("Lock", "no way").within("what electron `f` returned"),
    ):
        again = pickle.loads(pickle.dumps(error))
        assert (type(again), str(again), vars(again)) == (type(error), str(error), vars(error))

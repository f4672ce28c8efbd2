"""Every error of the engine says what happened and what to do next, carries what it tells, and can be sent on."""

from __future__ import annotations

import pickle

import pytest

from cas_engine import errors
from cas_store.errors import CasRunError

EXAMPLES = [
    errors.BindError("electron `f` takes no argument `x`\n  -> it takes `y`"),
    errors.BadOption("retries=-1 is not a count\n  -> give a number from 0 up"),
    errors.NoHome("this user has no home folder\n  -> set HOME"),
    errors.TracingError("a result is used as a condition\n  -> decide in an electron"),
    errors.UnknownElectron("trian", ["train"], ["load", "train"]),
    errors.UnknownElectron("trian", (), ["load"]),
    errors.UnknownElectron("trian"),
    errors.AmbiguousElectron("train", ["a.train", "b.train"]),
    errors.UnknownDispatch("abc", []),
    errors.UnknownDispatch("abc", ["abd" + "0" * 29]),
    errors.UnknownDispatch("ab", ["abc" + "0" * 29, "abd" + "0" * 29], ambiguous=True),
    errors.UnknownNode("a" * 32, "trian", ["train"]),
    errors.UnknownNode("a" * 32, "trian"),
    errors.Undigestible("model.lock", "Lock"),
    errors.Undigestible("", "RLock", "do this", "electron `f`: its argument `x`"),
    errors.Unstorable("Lock", "it is made anew in every process"),
    errors.CapsuleError("the recorded code cannot be read\n  -> dispatch again"),
    errors.EnvironmentMismatch("recorded code does not load\n  -> install", [("numpy", "1.0", "2.0")]),
    errors.WorkerUnavailable("no process can be started: out of memory\n  -> fewer workers"),
    errors.ResultEvicted(b"d" * 16, "of `train`", "a" * 32, "cas-run redispatch aaaaaaaaaaaa"),
    errors.DispatchFailed("a" * 32, [("train#0", "ValueError: no")]),
]


@pytest.mark.parametrize("error", EXAMPLES, ids=lambda error: type(error).__name__)
def test_it_says_what_to_do_and_survives_the_way_to_another_process(error):
    assert isinstance(error, CasRunError)
    assert "\n  -> " in str(error)
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), str(again), vars(again)) == (type(error), str(error), vars(error))


def test_every_error_has_an_example():
    leaves = {
        one
        for one in vars(errors).values()
        if isinstance(one, type) and issubclass(one, CasRunError) and not one.__subclasses__()
    }
    assert leaves == {type(example) for example in EXAMPLES}


def test_the_nearest_names_come_first():
    assert str(errors.UnknownElectron("trian", ["train"], ["load", "train"])).endswith("did you mean `train`?")
    assert "give more of it" in str(errors.UnknownDispatch("ab", ["abc", "abd"], ambiguous=True))


def test_whose_value_it_is_is_said_once_for_each_that_passes_it_on():
    error = errors.Undigestible(".lock", "Lock").within("its field `model`").within("electron `f`")
    assert str(error).startswith("electron `f`: its field `model.lock` is a Lock,")
    assert 'ignore=["model.lock"]' in str(error)
    assert (error.where, error.type) == (".lock", "Lock")
    storing = errors.Unstorable("Lock", "why not").within("what electron `f` returned")
    assert str(storing).startswith("what electron `f` returned is a Lock, which cannot be stored: why not")


def test_advice_of_its_own_stays_with_the_value():
    error = errors.Undigestible("", "generator", "pass a list").within("electron `f`: its argument `rows`")
    assert str(error) == (
        "electron `f`: its argument `rows` is a generator, which has no stable content\n  -> pass a list"
    )

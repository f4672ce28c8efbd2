"""Estimators, sparse matrices and labelled arrays count by what they hold, not by how or when it was made."""

from __future__ import annotations

import collections
import copy
import os
import pickle
import subprocess
import sys
from typing import Any

import pytest

from cas_engine.values import Digester
from cas_store.digest import digest_of

np: Any = pytest.importorskip("numpy")


def code(thing, where):
    return digest_of(f"{getattr(thing, '__module__', '')}:{getattr(thing, '__qualname__', repr(thing))}".encode())


digest = Digester(code).digest


def estimators():
    pytest.importorskip("sklearn")
    from sklearn.cluster import KMeans
    from sklearn.decomposition import PCA
    from sklearn.ensemble import GradientBoostingClassifier, HistGradientBoostingClassifier, RandomForestClassifier
    from sklearn.gaussian_process import GaussianProcessClassifier
    from sklearn.linear_model import LogisticRegression, Ridge, SGDClassifier
    from sklearn.naive_bayes import GaussianNB
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler
    from sklearn.svm import SVC
    from sklearn.tree import DecisionTreeClassifier

    return {
        "svc": lambda: SVC(C=2),
        "forest": lambda: RandomForestClassifier(4, random_state=1),
        "pipeline": lambda: make_pipeline(StandardScaler(), FunctionTransformer(np.abs), LogisticRegression()),
        "neighbors": lambda: KNeighborsClassifier(algorithm="kd_tree"),
        "boosting": lambda: GradientBoostingClassifier(n_estimators=3, random_state=1),
        "histograms": lambda: HistGradientBoostingClassifier(max_iter=3, random_state=1),
        "means": lambda: KMeans(2, random_state=0, n_init=1),
        "process": lambda: GaussianProcessClassifier(random_state=0),
        "components": lambda: PCA(2),
        "bayes": GaussianNB,
        "descent": lambda: SGDClassifier(random_state=np.random.RandomState(3)),
        "tree": lambda: DecisionTreeClassifier(random_state=0),
        "ridge": Ridge,
        "encoder": OneHotEncoder,
    }


def training():
    source = np.random.default_rng(0)
    X = source.normal(size=(40, 3)).round(2)
    return X, (X[:, 0] > 0).astype(int)


def test_equal_estimators_have_one_digest_before_and_after_fitting():
    X, y = training()
    digests = collections.defaultdict(list)
    for name, make in estimators().items():
        plain, fitted = make(), make().fit(X, y)
        assert digest(make()) == digest(plain), name
        assert digest(make().fit(X, y)) == digest(fitted), name
        for one in (plain, fitted):
            assert digest(copy.deepcopy(one)) == digest(one), name
            assert digest(pickle.loads(pickle.dumps(one))) == digest(one), name
        digests[digest(plain)].append(name)
        digests[digest(fitted)].append(name)
    assert [names for names in digests.values() if len(names) > 1] == []


def test_parameters_and_what_was_learnt_count():
    pytest.importorskip("sklearn")
    from sklearn.svm import SVC

    X, y = training()
    others = [SVC(), SVC(C=2), SVC(gamma=0.1), SVC().fit(X, y), SVC().fit(X, 1 - y), SVC().fit(X[1:], y[1:])]
    assert len({digest(one) for one in others}) == len(others)
    assert digest(SVC(C=1.0)) == digest(SVC())


def test_looking_at_an_estimator_does_not_change_its_digest():
    pytest.importorskip("sklearn")
    from sklearn.svm import SVC

    X, y = training()
    fitted = SVC().fit(X, y)
    before = digest(fitted)
    assert fitted.predict(X).shape == (40,)
    assert fitted.score(X, y) > 0.5
    assert fitted.get_params()
    assert len(repr(fitted)) > 0
    assert digest(fitted) == before


def test_the_version_that_an_estimator_was_pickled_with_does_not_count():
    pytest.importorskip("sklearn")
    from sklearn.linear_model import Ridge

    X, y = training()
    fitted = Ridge().fit(X, y)
    state = pickle.dumps(fitted)
    assert b"_sklearn_version" in state
    assert digest(pickle.loads(state)) == digest(fitted)


def test_an_estimator_of_the_users_own_is_one_like_others():
    pytest.importorskip("sklearn")
    from sklearn.base import BaseEstimator

    class Mine(BaseEstimator):
        def __init__(self, a=1):
            self.a = a

    assert digest(Mine(1)) == digest(Mine()) != digest(Mine(2))


def test_sparse_matrices_count_by_what_they_store():
    sparse: Any = pytest.importorskip("scipy.sparse")
    dense = np.array([[1.0, 0, 2], [0, 0, 3], [0, 4, 0], [0, 0, 0]])
    digests = []
    for layout in ("csr", "csc", "coo", "dia", "lil", "dok", "bsr"):
        for kind in ("matrix", "array"):
            make = getattr(sparse, f"{layout}_{kind}")
            one = make(dense)
            assert digest(make(dense.copy())) == digest(one)
            assert digest(pickle.loads(pickle.dumps(one))) == digest(one)
            assert digest(make(dense * 2)) != digest(one)
            assert digest(make(dense[:3])) != digest(one)
            assert digest(make(dense.astype("f4"))) != digest(one)
            digests.append(digest(one))
    assert len(set(digests)) == 14


def test_what_scipy_remembers_about_a_sparse_matrix_does_not_count():
    sparse: Any = pytest.importorskip("scipy.sparse")
    one = sparse.csr_matrix(np.eye(3))
    before = digest(one)
    assert one.has_sorted_indices
    assert one.has_canonical_format
    one.maxprint = 7
    assert digest(one) == before
    roomy = sparse.csr_matrix((np.append(one.data, 9.0), np.append(one.indices, 0), one.indptr), shape=(3, 3))
    assert (roomy != one).nnz == 0
    assert digest(roomy) == before


def test_distributions_and_splines_count_by_what_they_hold():
    stats: Any = pytest.importorskip("scipy.stats")
    interpolate: Any = pytest.importorskip("scipy.interpolate")
    spatial: Any = pytest.importorskip("scipy.spatial")
    assert digest(stats.norm(0, 1)) == digest(stats.norm(0, 1)) != digest(stats.norm(0, 2))
    x, y = np.arange(5.0), np.arange(5.0) ** 2
    assert digest(interpolate.make_interp_spline(x, y)) == digest(interpolate.make_interp_spline(x.copy(), y))
    assert digest(interpolate.make_interp_spline(x, y)) != digest(interpolate.make_interp_spline(x, y + 1))
    points = np.arange(20.0).reshape(10, 2)
    assert digest(spatial.cKDTree(points)) == digest(spatial.cKDTree(np.asfortranarray(points)))
    assert digest(spatial.cKDTree(points)) != digest(spatial.cKDTree(points + 1))


def test_what_nobody_has_filled_in_the_arrays_of_a_spline_is_no_content():
    interpolate: Any = pytest.importorskip("scipy.interpolate")
    x, y = np.arange(6.0), np.array([0.0, 1, 2, 3, 4, 6])
    one = interpolate.UnivariateSpline(x, y)
    rubbish = interpolate.UnivariateSpline(x, y)
    data = list(rubbish._data)
    count = len(rubbish._eval_args[0])
    data[9] = data[9].copy()
    data[9][count - 4 :] = 1e300
    for at in (11, 12):  # what FITPACK worked with, up to SciPy 1.17
        data[at] = None if data[at] is None else data[at] + 7
    rubbish._data = tuple(data)
    rubbish._eval_args = (rubbish._eval_args[0], data[9][:count], 3)
    assert digest(one) == digest(rubbish) == digest(pickle.loads(pickle.dumps(one)))
    others = [one.derivative(), interpolate.UnivariateSpline(x, y, s=0), interpolate.UnivariateSpline(x, y, ext=1)]
    others.append(interpolate.UnivariateSpline(x, y + 1))
    assert len({digest(each) for each in [one, *others]}) == 5


def test_the_places_of_a_sparse_matrix_count_by_number():
    sparse: Any = pytest.importorskip("scipy.sparse")
    filled = sparse.dok_matrix((2, 2), dtype=int)
    filled[1, 1], filled[0, 0] = 2, 1
    assert digest(filled) == digest(sparse.dok_matrix([[1, 0], [0, 2]])) != digest(sparse.dok_matrix([[1, 0], [0, 3]]))


def test_how_long_fitting_took_is_no_content():
    pytest.importorskip("sklearn")
    from sklearn.linear_model import Ridge
    from sklearn.model_selection import GridSearchCV
    from sklearn.preprocessing import MultiLabelBinarizer

    X, y = training()
    one, other = (GridSearchCV(Ridge(), {"alpha": [1, 2]}, cv=2).fit(X, y) for _ in range(2))
    other.refit_time_ += 1
    other.cv_results_["mean_fit_time"] += 1
    assert digest(one) == digest(other)
    other.cv_results_["mean_test_score"][0] += 1
    assert digest(one) != digest(other)
    labels = MultiLabelBinarizer().fit([("a", "b"), ("c",)])
    before = digest(labels)
    labels.transform([("a",)])
    assert digest(labels) == before


def test_labelled_arrays_count_by_dimensions_coordinates_values_and_attributes():
    xr: Any = pytest.importorskip("xarray")

    def dataset(**changes):
        return xr.Dataset({"a": (("x", "y"), np.eye(2))}, coords={"x": [1, 2]}, attrs={"u": 1}).assign(**changes)

    one = dataset()
    others = [
        one * 2,
        one.assign_attrs(u=2),
        one.assign_coords(x=[1, 3]),
        one.rename(a="b"),
        one.rename(x="z"),
        dataset(c=1),
        one["a"],
        one["a"].variable,
        one["x"],
    ]
    assert len({digest(value) for value in [one, *others]}) == 1 + len(others)
    assert (
        digest(one) == digest(dataset()) == digest(one.copy(deep=True)) == digest(one.transpose().transpose("x", "y"))
    )
    for value in (one, one["a"], one["a"].variable):
        assert digest(pickle.loads(pickle.dumps(value))) == digest(value)


def test_how_often_a_search_tree_was_asked_does_not_count():
    neighbors: Any = pytest.importorskip("sklearn.neighbors")
    points = np.random.default_rng(0).normal(size=(30, 3))
    for algorithm in ("ball_tree", "kd_tree"):
        model = neighbors.KNeighborsClassifier(3, algorithm=algorithm).fit(points, points[:, 0] > 0)
        fresh = digest(model)
        model.predict(points)
        assert digest(model) == fresh
        assert digest(copy.deepcopy(model).fit(points * 2, points[:, 0] > 0)) != fresh


def test_a_bunch_counts_by_what_is_in_it():
    utils: Any = pytest.importorskip("sklearn.utils")
    bunch = utils.Bunch(a=1)
    assert digest(pickle.loads(pickle.dumps(bunch))) == digest(bunch)
    assert digest(bunch) != digest(utils.Bunch(a=2))


FRESH = """
import numpy as np
from cas_engine.values import Digester
from cas_store.digest import digest_of
from sklearn.ensemble import RandomForestClassifier
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
digest = Digester(lambda thing, where: digest_of(getattr(thing, "__qualname__", repr(thing)).encode())).digest
X = np.random.default_rng(0).normal(size=(30, 3))
model = make_pipeline(StandardScaler(), RandomForestClassifier(3, random_state=1)).fit(X, X[:, 0] > 0)
made = digest([model, TfidfVectorizer().fit(["one two", "two three"])]).hex()
"""


def test_a_fresh_process_with_another_hash_seed_agrees():
    pytest.importorskip("sklearn")
    here: dict[str, str] = {}
    exec(FRESH, here)
    ran = subprocess.run(
        [sys.executable, "-c", FRESH + "print(made)"],
        env={**os.environ, "PYTHONHASHSEED": "1"},
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.strip() == here["made"]

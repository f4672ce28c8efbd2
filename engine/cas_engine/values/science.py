"""What the values of SciPy, scikit-learn, PyTorch, xarray and NetworkX are made of."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from functools import cached_property
from itertools import chain
from typing import Any

from cas_engine.values.instances import PAYLOAD, visible_state
from cas_engine.values.numpy_ import elements
from cas_engine.values.pieces import Branch, CodeOf, Order, Refusal, Rule, by_key, fields, listed


def rule_for(kind: type) -> Rule | None:
    """The rule for a type of one of these, or one derived from it; None for what is an object like others."""
    for name, find in _LIBRARIES.items():
        library = sys.modules.get(name)
        rule = None if library is None else find(kind, library)
        if rule is not None:
            return rule
    return None


# scipy.sparse ----------------------------------------------------------------------------------------------


def _sparse(kind: type, sparse: Any) -> Rule | None:
    bases = tuple(getattr(sparse, name) for name in ("spmatrix", "sparray") if hasattr(sparse, name))
    return _sparse_matrix if issubclass(kind, bases) else None


def _sparse_matrix(value: Any) -> Branch:
    """The stored entries as they are stored, without the flags that SciPy keeps about them."""
    layout = value.format
    held: list[object]
    if layout in ("csr", "csc", "bsr"):
        used = int(value.indptr[-1])
        held = [value.data[:used], value.indices[:used], value.indptr]
    elif layout == "coo":
        coords = value.coords if hasattr(value, "coords") else (value.row, value.col)
        held = [value.data, tuple(coords)]
    elif layout == "dia":
        held = [value.data, value.offsets]
    elif layout == "lil":
        held = [value.rows, value.data]
    else:  # by plain numbers: what its places are told in hangs on how they came about
        held = [{tuple(map(int, at)) if isinstance(at, tuple) else int(at): one for at, one in value.items()}]
    return listed("sparse", CodeOf(type(value)), value.shape, value.dtype, *held)


# scipy.interpolate ----------------------------------------------------------------------------------------------------


def _interpolate(kind: type, interpolate: Any) -> Rule | None:
    return _spline if issubclass(kind, interpolate.UnivariateSpline) else None


def _spline(value: Any) -> Branch:
    """Knots, coefficients and what it was fitted to, without the rest of FITPACK's arrays, which nobody has filled."""
    knots, coefficients, degree = value._eval_args  # noqa: SLF001 - it has no public name
    held = [knots, coefficients[: len(knots) - degree - 1], degree, value.ext]
    data = getattr(value, "_data", None)  # x, y, w, xb, xe, k, s, n, t, c, fp, ...: a derivative was fitted to nothing
    return fields(type(value), ["spline", held, "data", data and (*data[:7], data[10])])


# scikit-learn ----------------------------------------------------------------------------------------------


def _sklearn(kind: type, base: Any) -> Rule | None:
    if issubclass(kind, base.BaseEstimator):
        return _estimator
    if any(cls.__name__.startswith("BinaryTree") and cls.__module__.startswith("sklearn.") for cls in kind.__mro__):
        return _search_tree
    if kind.__module__ == "sklearn.utils._bunch":
        # As a copy: it has attributes besides, for warnings, which no copy keeps.
        return lambda value: fields(kind, [PAYLOAD, dict(value)])
    return None


def _search_tree(value: Any) -> Branch:
    """A tree to look neighbours up in, without the counts of how often that was done."""
    state = value.__getstate__()
    return fields(type(value), [PAYLOAD, (*state[:7], *state[11:])])


# The version that an estimator was pickled with; where in memory its stop words lay when they were last checked; how
# long fitting took; and a table that it makes when it is used.
_NOT_LEARNT = frozenset(["_sklearn_version", "_stop_words_id", "refit_time_", "_cached_dict"])
_TIMES = ("mean_fit_time", "std_fit_time", "mean_score_time", "std_score_time")


def _estimator(value: Any) -> Branch:
    state = value.__getstate__()
    if not isinstance(state, dict):
        return fields(type(value), [PAYLOAD, state])
    named = {name: held for name, held in state.items() if name not in _NOT_LEARNT}
    results = named.get("cv_results_")
    if isinstance(results, dict):
        named["cv_results_"] = {name: held for name, held in results.items() if name not in _TIMES}
    return fields(type(value), chain.from_iterable(named.items()))


# PyTorch ---------------------------------------------------------------------------------------------------


def _torch(kind: type, torch: Any) -> Rule | None:
    if issubclass(kind, torch.Tensor):
        state = visible_state(kind, torch.Tensor)
        return lambda value: _with_attributes(_tensor(value), kind, state(value), plain=kind is torch.Tensor)
    if issubclass(kind, torch.Generator):
        return lambda value: listed("torch.Generator", value.get_state())
    return None


def _with_attributes(tensor: Branch, kind: type, state: Iterable[object], *, plain: bool) -> Branch:
    named = list(state)
    return tensor if plain and not named else fields(kind, [PAYLOAD, tensor, *named])


def _tensor(value: Any) -> Branch:
    """A tensor by dtype, shape, elements and whether it asks for gradients; its device does not count."""
    torch = sys.modules["torch"]
    if value.is_nested:
        return listed("nested torch.Tensor", value.requires_grad, *value.detach().unbind())
    if value.is_meta or value.is_quantized:
        raise Refusal("it holds no plain numbers; pass a dense tensor", "tensor without numbers")
    head = (str(value.dtype), tuple(value.shape), value.requires_grad)
    plain = value.detach().resolve_conj().resolve_neg().cpu()
    if plain.layout is torch.strided:
        # A single number may say any stride.
        raw = plain.contiguous().as_strided((plain.numel(),), (1,)).view(torch.uint8).numpy()
        return listed("torch.Tensor", *head, elements(raw))
    if plain.layout is torch.sparse_coo:
        plain = plain.coalesce()
        return listed("torch.Tensor", *head, plain.indices(), plain.values())
    name = str(plain.layout)
    if plain.layout in (torch.sparse_csr, torch.sparse_bsr):
        return listed("torch.Tensor", *head, name, plain.crow_indices(), plain.col_indices(), plain.values())
    if plain.layout in (torch.sparse_csc, torch.sparse_bsc):
        return listed("torch.Tensor", *head, name, plain.ccol_indices(), plain.row_indices(), plain.values())
    raise Refusal("pass it dense or sparse", f"tensor of layout {plain.layout}")


# xarray ----------------------------------------------------------------------------------------------------


def _xarray(kind: type, xarray: Any) -> Rule | None:
    if issubclass(kind, xarray.Dataset):
        return _dataset
    if issubclass(kind, xarray.DataArray):
        return _data_array
    return _variable if issubclass(kind, xarray.Variable) else None


def _dataset(value: Any) -> Branch:
    variables = {name: _variable(one) for name, one in value.variables.items()}
    return listed("xarray.Dataset", variables, set(value.coords), _indexes(value), dict(value.attrs))


def _data_array(value: Any) -> Branch:
    coords = {name: _variable(one.variable) for name, one in value.coords.items()}
    return listed("xarray.DataArray", value.name, _variable(value.variable), coords, _indexes(value))


def _indexes(value: Any) -> dict[object, str]:
    """By which coordinates things can be looked up, and how: a coordinate of one dimension may come without."""
    return {name: type(index).__qualname__ for name, index in value.xindexes.items()}


def _variable(value: Any) -> Branch:
    if value.chunks is not None:
        raise Refusal("its numbers are not computed yet; load() it first", type(value).__name__)
    return listed("xarray.Variable", value.dims, value.values, dict(value.attrs))


# NetworkX --------------------------------------------------------------------------------------------------


def _networkx(kind: type, networkx: Any) -> Rule | None:
    if not issubclass(kind, networkx.Graph):
        return None
    state, views = visible_state(kind), _views_of(kind)

    def graph(value: Any) -> Branch:
        named = iter(state(value))
        kept = (_part(name, held) for name, held in zip(named, named, strict=True) if name not in views)
        return fields(kind, chain.from_iterable(kept))

    return graph


def _views_of(kind: type) -> frozenset[str]:
    """Where a graph keeps its views of itself once they were asked for, and what others made of it."""
    own = [cls for cls in kind.__mro__ if cls.__module__.partition(".")[0] == "networkx"]
    kept = {name for cls in own for name, held in vars(cls).items() if isinstance(held, cached_property)}
    return frozenset(kept | {"_succ", "__networkx_cache__"})


def _part(name: object, held: Any) -> tuple[object, object]:
    """Nodes and neighbours in their order, which is that of the rows of a matrix, and of who walks over them."""
    if name == "_node":
        return name, _in_order(held)
    if name in ("_adj", "_pred"):
        return name, _in_order({node: _in_order(beside) for node, beside in held.items()})
    return name, held


def _in_order(pairs: Any) -> Branch:
    return Branch(b"in order\0", Order.PAIRED_LISTED, list(chain.from_iterable(pairs.items())), by_key)


_LIBRARIES: dict[str, Callable[[type, Any], Rule | None]] = {
    "torch": _torch,
    "xarray": _xarray,
    "scipy.sparse": _sparse,
    "scipy.interpolate": _interpolate,
    "sklearn.base": _sklearn,
    "networkx": _networkx,
}

"""How the arrays of NumPy and PyTorch are written: their elements in one buffer, whatever memory they are a view of.

Their own pickles hold more or less than that: a tensor's all of the memory that it shows a part of, an array's that
lies in strides its numbers in the machine's byte order, a masked array's not whether its mask is hard.
By qualified name: nothing is imported here that the caller has not imported.
"""

from __future__ import annotations

import copyreg
import gc
import pickle
import sys
from collections.abc import Callable
from importlib import import_module
from typing import Any

PROTOCOL = 5


def _array(array: Any) -> Any:
    if not array.flags.forc:
        array = sys.modules["numpy"].ascontiguousarray(array)
    return array.__reduce_ex__(PROTOCOL)


def _memory_map(array: Any) -> Any:
    return _viewed, (type(array), array.view(sys.modules["numpy"].ndarray))


def _viewed(kind: type, array: Any) -> Any:
    return array.view(kind)


def _masked_array(array: Any) -> Any:
    masked = sys.modules["numpy.ma"]
    mask = None if array._mask is masked.nomask else array._mask  # noqa: SLF001 - array.mask is a view each time
    return _masked, (array._data, mask, array._fill_value, array.hardmask)  # noqa: SLF001 - None where it is the default


def _masked(data: Any, mask: Any, fill: Any, hard: bool) -> Any:
    ma = import_module("numpy.ma")
    made = ma.MaskedArray(data, mask=ma.nomask if mask is None else mask, hard_mask=hard)
    made._fill_value = fill  # noqa: SLF001 - as it was: fill_value would make it the default of its dtype
    return made


def _random_state(state: Any) -> Any:
    """NumPy's own, which is every process's own, stays that: a copy would be where this process's happens to be."""
    if state is getattr(sys.modules["numpy.random"].mtrand, "_rand", None):
        return getattr, (sys.modules["numpy.random"].mtrand, "_rand")
    return state.__reduce_ex__(PROTOCOL)


def _ufunc(ufunc: Any) -> Any:
    """One that np.frompyfunc made is made again; the others are written by name, as NumPy does it."""
    made_from = [each for each in gc.get_referents(ufunc) if callable(each) and not isinstance(each, type)]
    if len(made_from) != 1:
        return copyreg.dispatch_table[type(ufunc)](ufunc)
    return _from_function, (made_from[0], ufunc.nin, ufunc.nout, ufunc.identity)


def _from_function(fn: Callable[..., Any], nin: int, nout: int, identity: object) -> Any:
    keywords = {} if identity is None else {"identity": identity}
    return import_module("numpy").frompyfunc(fn, nin, nout, **keywords)


def _tensor(tensor: Any) -> Any:
    torch = sys.modules["torch"]
    plain = tensor.layout is torch.strided and tensor.device.type == "cpu" and not tensor.is_quantized
    special = not plain or tensor.is_nested or tensor.is_conj() or tensor.is_neg() or vars(tensor)
    if special or tensor._backward_hooks:  # noqa: SLF001 - it has no public name
        return tensor.__reduce_ex__(PROTOCOL)
    # Without gaps, in some order of the axes, which is kept.
    order = sorted(range(tensor.dim()), key=lambda axis: (-tensor.stride(axis), -tensor.size(axis), axis))
    sorted_ = tensor.detach().permute(order)
    if not sorted_.is_contiguous():
        order, sorted_ = list(range(tensor.dim())), tensor.detach().contiguous()
    raw = sorted_.as_strided((sorted_.numel(),), (1,)).view(torch.uint8).numpy()
    back = [order.index(axis) for axis in range(tensor.dim())]
    return _tensor_again, (pickle.PickleBuffer(raw), tensor.dtype, tuple(sorted_.shape), back, tensor.requires_grad)


def _tensor_again(raw: Any, dtype: Any, shape: tuple[int, ...], axes: list[int], gradient: bool) -> Any:
    torch = sys.modules["torch"]  # its dtype has just been loaded
    if memoryview(raw).nbytes:
        made = torch.frombuffer(raw, dtype=torch.uint8).view(dtype).reshape(shape)
    else:  # no buffer, for PyTorch
        made = torch.empty(shape, dtype=dtype)
    return made.permute(axes).requires_grad_(gradient)


REDUCERS: dict[str, Callable[[Any], Any]] = {
    "numpy.finfo": lambda limits: (type(limits), (limits.dtype,)),
    "numpy.ndarray": _array,
    "numpy.memmap": _memory_map,
    "numpy.ma.MaskedArray": _masked_array,
    "numpy.ma.core.MaskedArray": _masked_array,
    "numpy.random.mtrand.RandomState": _random_state,
    "numpy.ufunc": _ufunc,
    "torch.Tensor": _tensor,
}

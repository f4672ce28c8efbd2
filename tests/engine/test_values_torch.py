"""Tensors and models count by what they hold, and come back from the store as they were."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest

from cas_engine.capsules import codec
from cas_engine.errors import Undigestible
from cas_engine.fingerprint import Fingerprinter

torch: Any = pytest.importorskip("torch")

SESSION = Fingerprinter()
digest = SESSION.digest_value

KINDS = [
    *("float32", "float64", "float16", "bfloat16", "int8", "uint8", "int16", "int32", "int64", "bool", "complex64"),
    *("complex128", "float8_e4m3fn", "float8_e5m2", "uint16", "uint32"),
]


def stored_and_loaded(value):
    blob = codec.encode(value, SESSION).copied()
    return codec.decode(tuple(memoryview(bytearray(piece)) for piece in blob), SESSION)


def layouts(value):
    gaps = torch.zeros((*value.shape[:-1], value.shape[-1] * 2), dtype=value.dtype)[..., ::2]
    return [value.clone(), value.mT.contiguous().mT, gaps.copy_(value), torch.stack([value, value])[1]]


def test_tensors_count_by_dtype_shape_elements_and_gradient():
    one = torch.arange(6.0).reshape(2, 3)
    alike = [one.clone(), one.T.contiguous().T, torch.arange(12.0).reshape(2, 6)[:, ::1][:, :3] * 0 + one]
    assert {digest(value) for value in alike} == {digest(one)}
    others = [one.T, one.double(), one + 1, one.reshape(3, 2), one.clone().requires_grad_(), torch.nn.Parameter(one)]
    assert len({digest(value) for value in [one, *others]}) == 1 + len(others)
    for value in (one, torch.tensor(1), torch.tensor(True), torch.zeros(0), torch.tensor([1j]), torch.float32):  # noqa: FBT003
        assert digest(pickle.loads(pickle.dumps(value))) == digest(value)
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.ReLU())
    assert digest(copy.deepcopy(model)) == digest(model)
    with pytest.raises(Undigestible):
        digest(torch.zeros(2, device="meta"))


@pytest.mark.parametrize("kind", [kind for kind in KINDS if hasattr(torch, kind)])
def test_no_dtype_shows_its_memory_layout_or_is_taken_for_another(kind):
    value = torch.tensor([[1, 0], [1, 1]]).to(getattr(torch, kind))
    assert {digest(alike) for alike in layouts(value)} == {digest(value)}
    flipped = torch.tensor([[1, 0], [0, 1]]).to(value.dtype)
    equal = torch.tensor([[1, 0], [1, 1]], dtype=torch.int64 if kind != "int64" else torch.float32)
    others = [value.mT, flipped, value.reshape(4), equal]
    assert len({digest(other) for other in [value, *others]}) == 1 + len(others)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if hasattr(torch, kind)])
def test_a_tensor_of_any_dtype_and_layout_comes_back(kind):
    value = torch.tensor([[1, 0], [1, 1]]).to(getattr(torch, kind))
    for one in [*layouts(value), value[:0], value[1, 1]]:
        back = stored_and_loaded(one)
        assert (type(back), back.dtype, back.shape) == (type(one), one.dtype, one.shape)
        assert digest(back) == digest(one)


def test_what_a_view_does_not_show_is_not_stored_with_it():
    large = torch.arange(100_000.0)
    assert codec.encode(large[:10], SESSION).size < 10_000
    assert stored_and_loaded(torch.zeros(1, 3, 4, 4).to(memory_format=torch.channels_last)).stride() == (48, 1, 12, 3)


@pytest.mark.filterwarnings("ignore")  # PyTorch warns of its own youth
def test_gradients_attributes_signs_and_sparse_layouts_survive_and_count():
    one = torch.tensor([1.0, 2.0])
    marked = one.clone()
    marked.note = "mine"
    grid = torch.tensor([[0.0, 1.0], [2.0, 0.0]])
    sparse = [grid.to_sparse(), grid.to_sparse_csr(), grid.to_sparse_csc(), grid.to_sparse_bsr((1, 1))]
    kinds = [one, marked, one.clone().requires_grad_(), torch.nn.Parameter(one), grid, *sparse]
    kinds += [torch.nested.nested_tensor([one, one[:1]])]
    assert len({digest(value) for value in kinds}) == len(kinds)
    for value in kinds:
        assert digest(stored_and_loaded(value)) == digest(value)
    assert digest(torch.tensor([1 + 2j]).conj()) == digest(torch.tensor([1 - 2j]))
    assert digest(torch.tensor([1 + 2j]).conj().imag) == digest(torch.tensor([-2.0]))
    shuffled = torch.sparse_coo_tensor([[1, 0], [0, 1]], [2.0, 1.0], (2, 2))
    assert digest(shuffled) == digest(grid.to_sparse())


class Net(torch.nn.Module):
    def __init__(self, width: int = 3) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = torch.nn.Linear(2, width)
        self.register_buffer("scale", torch.ones(2))

    def forward(self, x: Any) -> Any:
        return self.layer(x * self.scale)


def test_models_count_by_class_parameters_buffers_and_mode():
    model = Net()
    model(torch.ones(1, 2))
    assert digest(model) == digest(Net()) == digest(copy.deepcopy(model)) == digest(stored_and_loaded(model))
    nudged, scaled = Net(), Net()
    with torch.no_grad():
        nudged.layer.bias[1] += 1e-6
        scaled.scale[0] = 2
    others = [Net(4), Net().eval(), Net().double(), Net().requires_grad_(requires_grad=False), nudged, scaled]
    assert len({digest(other) for other in [model, *others]}) == 1 + len(others)
    assert digest(nudged.state_dict()) != digest(model.state_dict()) == digest(Net().state_dict())


def test_optimizers_and_generators_count_by_where_they_are():
    def trained(steps):
        model = Net()
        optimizer = torch.optim.Adam(model.parameters())
        for _ in range(steps):
            optimizer.zero_grad()
            model(torch.ones(1, 2)).sum().backward()
            optimizer.step()
        return model, optimizer

    assert digest(trained(2)) == digest(trained(2)) == digest(stored_and_loaded(trained(2))) != digest(trained(1))
    generator = torch.Generator().manual_seed(1)
    fresh = digest(generator)
    torch.rand(1, generator=generator)
    assert digest(generator) != fresh == digest(torch.Generator().manual_seed(1))

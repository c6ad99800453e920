from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from tunecli.errors import InvalidValueError
from tunecli.training.asynchronous.parameters import FlatParameters


class Tied(nn.Module):
    """One matrix used twice, one parameter that is never used, one that is not trained."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(5, 5)
        self.second = nn.Linear(5, 5)
        self.second.weight = self.first.weight
        self.unused = nn.Parameter(torch.ones(3))
        self.frozen = nn.Parameter(torch.ones(5), requires_grad=False)

    def forward(self, inputs: Tensor) -> Tensor:
        outputs: Tensor = self.second(torch.tanh(self.first(inputs))) * self.frozen
        return outputs


def gradients(module: nn.Module, inputs: Tensor) -> list[Tensor]:
    trained = [p for p in module.parameters() if p.requires_grad]
    loss = module(inputs).square().sum()
    found = torch.autograd.grad(loss, trained, allow_unused=True, materialize_grads=True)
    return list(found)


MODELS: dict[str, Callable[[], nn.Module]] = {
    "several": lambda: nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, 2, bias=False)),
    "single": lambda: nn.Linear(5, 1, bias=False),
    "tied": Tied,
    "double": lambda: nn.Linear(5, 3).double(),
}


@pytest.mark.parametrize("name", MODELS)
def test_module_computes_as_before_and_its_gradients_lie_in_one_tensor(name: str) -> None:
    torch.manual_seed(0)
    module = MODELS[name]()
    inputs = torch.randn(4, 5, dtype=next(module.parameters()).dtype)
    outputs, expected = module(inputs), gradients(module, inputs)
    before = {key: value.clone() for key, value in module.state_dict().items()}
    flat = FlatParameters(module)
    assert all(map(torch.equal, module.state_dict().values(), before.values()))
    assert torch.equal(module(inputs), outputs)
    for _ in range(2):  # the second backward adds to what the first one left, unless it is zeroed
        flat.zero_gradient()
        module(inputs).square().sum().backward()
    trained = [p for p in module.parameters() if p.requires_grad]
    assert all(
        torch.equal(p.grad, g) for p, g in zip(trained, expected, strict=True) if p.grad is not None
    )
    assert sum(g.sum() for g in expected) == pytest.approx(flat.gradient.sum().item(), rel=1e-5)
    for p in trained:
        assert p.grad is not None
        assert p.untyped_storage().data_ptr() == flat.values.untyped_storage().data_ptr()
        assert p.grad.untyped_storage().data_ptr() == flat.gradient.untyped_storage().data_ptr()


def test_shared_parameter_lies_there_once() -> None:
    module = Tied()
    flat = FlatParameters(module)
    assert module.first.weight is module.second.weight
    padded = 64  # 256 bytes
    assert flat.values.shape == (4 * padded,)  # weight, two biases, the unused one
    flat.point_at(torch.zeros_like(flat.values))
    assert not module.second.weight.any()
    assert module.frozen.all()


def test_parameter_without_a_gradient_has_the_gradient_0() -> None:
    module = Tied()
    flat = FlatParameters(module)
    flat.zero_gradient()
    module(torch.ones(1, 5)).sum().backward()
    assert module.unused.grad is not None
    assert not module.unused.grad.any()
    assert module.frozen.grad is None


def test_pointing_elsewhere_copies_nothing_and_changes_nothing_there() -> None:
    module = nn.Linear(5, 3)
    flat = FlatParameters(module)
    first, other = flat.values, flat.values * 2
    weight = module.weight.detach().clone()
    flat.point_at(other)
    assert torch.equal(module.weight, 2 * weight)
    other.zero_()
    assert not module.weight.any()
    flat.point_at(first)
    assert torch.equal(module.weight, weight)


def test_gradient_before_is_forgotten() -> None:
    module = nn.Linear(5, 3)
    module(torch.ones(1, 5)).sum().backward()
    flat = FlatParameters(module)
    assert not flat.gradient.any()


@pytest.mark.parametrize("layout", ["transposed", "gaps", "repeated", "channels last"])
def test_strides_are_kept_as_far_as_they_leave_no_gaps(layout: str) -> None:
    matrix = torch.arange(24.0).view(2, 3, 2, 2)
    weight = {
        "transposed": matrix.transpose(0, 1),
        "gaps": matrix[:, ::2],
        "repeated": torch.arange(3.0).view(1, 3, 1, 1).expand(2, 3, 2, 2),
        "channels last": matrix.to(memory_format=torch.channels_last),
    }[layout]
    module = nn.Module()
    module.weight = parameter = nn.Parameter(weight)
    expected, stride = weight.clone(), torch.empty_like(weight).stride()
    flat = FlatParameters(module)
    assert torch.equal(parameter, expected)
    assert parameter.stride() == stride
    flat.zero_gradient()
    torch.sum(parameter * expected).backward()  # type: ignore[no-untyped-call]
    assert parameter.grad is not None
    assert torch.equal(parameter.grad, expected)
    flat.values.sub_(flat.gradient)  # as flat tensors they belong together, element by element
    assert not parameter.any()


def test_every_parameter_begins_as_aligned_as_one_of_its_own() -> None:
    module = nn.Sequential(*(nn.Linear(n, n) for n in (1, 3, 17)))
    flat = FlatParameters(module)
    start = flat.values.data_ptr()
    assert all((p.data_ptr() - start) % 256 == 0 for p in module.parameters())


def test_padding_stays_zero() -> None:
    module = nn.Linear(5, 3)
    flat = FlatParameters(module)
    flat.zero_gradient()
    functional.cross_entropy(module(torch.ones(2, 5)), torch.tensor([0, 1])).backward()  # type: ignore[no-untyped-call]
    assert flat.gradient.count_nonzero() <= 18
    assert flat.values.count_nonzero() <= 18


def test_mixed_dtypes_are_refused() -> None:
    module = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2).double())
    with pytest.raises(
        InvalidValueError, match=r"of one dtype .* but got torch.float32 on cpu, torch.float64 on"
    ):
        FlatParameters(module)


def test_model_without_trainable_parameters_is_refused() -> None:
    for module in (nn.ReLU(), nn.Linear(2, 2).requires_grad_(False)):
        with pytest.raises(InvalidValueError, match="but got none"):
            FlatParameters(module)


def test_complex_parameters_are_refused() -> None:
    with pytest.raises(InvalidValueError, match=r"real floating-point .* got torch.complex64"):
        FlatParameters(nn.Linear(2, 2, dtype=torch.complex64))

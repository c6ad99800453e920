from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional

from tunecli.data.load import Split
from tunecli.errors import InvalidValueError
from tunecli.training.sharpness import sharpness

CPU = torch.device("cpu")
SAMPLES, FEATURES, CLASSES = 37, 6, 3


def data(dtype: torch.dtype = torch.float64) -> Split:
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(SAMPLES, FEATURES, generator=generator, dtype=torch.float64)
    return Split(inputs.to(dtype), torch.randint(CLASSES, (SAMPLES,), generator=generator))


def network(build: Callable[[], nn.Module]) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        return build().double()


def linear() -> nn.Module:
    return network(lambda: nn.Linear(FEATURES, CLASSES))


def relu() -> nn.Module:
    return network(
        lambda: nn.Sequential(
            nn.Linear(FEATURES, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, CLASSES)
        )
    )


def dense_hessian(model: nn.Module, split: Split) -> Tensor:
    """∇² of the mean cross-entropy, entry by entry."""
    names, values = zip(*model.named_parameters(), strict=True)
    sizes = [v.numel() for v in values]

    def loss(flat: Tensor) -> Tensor:
        parts = torch.split(flat, sizes)
        named = {n: p.view_as(v) for n, p, v in zip(names, parts, values, strict=True)}
        return functional.cross_entropy(functional_call(model, named, split.inputs), split.targets)

    flat = torch.cat([v.detach().flatten() for v in values])
    hessian: Tensor = torch.autograd.functional.hessian(loss, flat)  # type: ignore[no-untyped-call]
    return hessian


EIGENVALUES = torch.linalg.eigvalsh(dense_hessian(relu(), data()))  # ascending


class Valley(nn.Module):
    """Logits (Σ −αᵢwᵢ², 0) for every sample; of class 0 at w = 0, the Hessian is diag(α)."""

    def __init__(self, curvatures: Tensor) -> None:
        super().__init__()
        self.curvatures = curvatures
        self.weights = nn.Parameter(torch.zeros_like(curvatures))

    def forward(self, inputs: Tensor) -> Tensor:
        height = (self.curvatures * self.weights**2).sum()
        return torch.stack((-height, torch.zeros_like(height))).expand(len(inputs), 2)


ONE_CLASS = Split(torch.zeros(5, 1, dtype=torch.float64), torch.zeros(5, dtype=torch.int64))


def valley(*curvatures: float) -> Valley:
    return Valley(torch.tensor(curvatures, dtype=torch.float64))


@pytest.mark.parametrize("build", [linear, relu])
def test_sharpness_is_the_largest_eigenvalue_of_the_dense_hessian(
    build: Callable[[], nn.Module],
) -> None:
    model, split = build(), data()
    values, vectors = torch.linalg.eigh(dense_hessian(model, split))
    found = sharpness(model, split, device=CPU, tolerance=1e-9)
    assert found.converged
    assert found.residual <= 1e-9 * found.value
    assert found.value == pytest.approx(values[-1].item(), rel=1e-9)
    assert abs(torch.dot(found.vector, vectors[:, -1]).item()) == pytest.approx(1, abs=1e-6)


def test_sharpness_of_a_softmax_is_that_of_its_formula() -> None:
    """H = (1/N) Σ (diag(p) − ppᵀ) ⊗ xxᵀ for a linear layer without bias."""
    model, split = network(lambda: nn.Linear(FEATURES, CLASSES, bias=False)), data()
    p = model(split.inputs).softmax(1).detach()
    spread = torch.diag_embed(p) - p[:, :, None] * p[:, None, :]
    hessian = torch.einsum("nij,na,nb->iajb", spread, split.inputs, split.inputs) / SAMPLES
    size = FEATURES * CLASSES
    largest = torch.linalg.eigvalsh(hessian.reshape(size, size))[-1].item()
    found = sharpness(model, split, device=CPU, tolerance=1e-9)
    assert found.value == pytest.approx(largest, rel=1e-9)


@pytest.mark.parametrize("batch_size", [1, 10, 36, 1000])
def test_sharpness_does_not_depend_on_the_batches(batch_size: int) -> None:
    whole = sharpness(relu(), data(), device=CPU, tolerance=1e-9, batch_size=SAMPLES)
    parts = sharpness(relu(), data(), device=CPU, tolerance=1e-9, batch_size=batch_size)
    assert parts.value == pytest.approx(whole.value, rel=1e-9)


def test_sharpness_is_not_the_largest_modulus() -> None:
    found = sharpness(valley(1.0, -5.0, 0.25), ONE_CLASS, device=CPU, tolerance=1e-9)
    assert found.value == pytest.approx(1.0, rel=1e-12)
    assert found.vector.abs().tolist() == pytest.approx([1, 0, 0], abs=1e-6)


def test_sharpness_where_everything_curves_downward_is_negative() -> None:
    found = sharpness(valley(-3.0, -0.5), ONE_CLASS, device=CPU)
    assert found.value == pytest.approx(-0.5)
    assert found.converged


@pytest.mark.parametrize("curvatures", [(0.0, 0.0), (2.0,), (2.0, 2.0, 2.0)])
def test_sharpness_of_a_degenerate_hessian_converges(curvatures: tuple[float, ...]) -> None:
    found = sharpness(valley(*curvatures), ONE_CLASS, device=CPU)
    assert found.value == pytest.approx(curvatures[0])
    assert found.converged


def test_restarts_find_an_eigenvalue_that_one_basis_does_not() -> None:
    crowded = valley(*np.linspace(-1.0, 1.0, 2000).tolist(), 1.0005)
    found = sharpness(crowded, ONE_CLASS, device=CPU, tolerance=1e-6, max_iterations=2000)
    assert found.iterations > 100  # several restarts
    assert found.converged
    assert found.value == pytest.approx(1.0005, rel=1e-9)


@settings(max_examples=40)
@given(st.integers(2, 40), st.integers(0, 1000))
def test_residual_bounds_the_distance_to_an_eigenvalue(products: int, seed: int) -> None:
    model, split = relu(), data()
    found = sharpness(model, split, device=CPU, tolerance=1e-12, max_iterations=products, seed=seed)
    assert found.iterations <= products
    assert (EIGENVALUES - found.value).abs().min().item() <= found.residual + 1e-12
    assert found.value <= EIGENVALUES[-1].item() + 1e-12
    assert found.converged == (found.residual <= 1e-12 * abs(found.value))


def test_sharpness_that_was_cut_short_says_so() -> None:
    found = sharpness(relu(), data(), device=CPU, max_iterations=2)
    assert not found.converged
    assert found.iterations == 2
    assert found.residual > 1e-3 * found.value


def test_float32_agrees_to_its_precision() -> None:
    exact = sharpness(relu(), data(), device=CPU, tolerance=1e-9)
    found = sharpness(relu().float(), data(torch.float32), device=CPU, tolerance=1e-5)
    assert found.converged
    assert found.value == pytest.approx(exact.value, rel=1e-5)


def test_sharpness_leaves_the_model_as_it_is_and_ignores_its_dropout() -> None:
    plain = relu()
    model = nn.Sequential(nn.Dropout(0.5), plain, nn.BatchNorm1d(CLASSES, affine=False)).double()
    model[2].eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    first = sharpness(model, data(), device=CPU, tolerance=1e-9)
    assert [model.training, model[0].training, model[2].training] == [True, True, False]
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())
    assert sharpness(model, data(), device=CPU, tolerance=1e-9) == first  # no dropout was drawn
    assert first.value == pytest.approx(EIGENVALUES[-1].item(), rel=1e-4)  # batch-norm adds 1e-5


def test_sharpness_is_over_the_trainable_parameters_alone() -> None:
    model = relu()
    model.register_parameter("unused", nn.Parameter(torch.ones(4, dtype=torch.float64)))
    found = sharpness(model, data(), device=CPU, tolerance=1e-9)
    assert found.value == pytest.approx(EIGENVALUES[-1].item(), rel=1e-9)
    for p in list(model.parameters())[:-2]:
        p.requires_grad_(False)  # the last layer is left
    frozen = sharpness(model, data(), device=CPU, tolerance=1e-9)
    assert frozen.value < found.value
    assert len(frozen.vector) == 8 * CLASSES + CLASSES


def test_progress_is_told_after_every_product() -> None:
    told: list[tuple[int, float, float]] = []
    found = sharpness(relu(), data(), device=CPU, on_progress=lambda *values: told.append(values))
    assert [products for products, _, _ in told] == list(range(1, found.iterations))
    values = [value for _, value, _ in told]
    assert values == sorted(values)  # Ritz values of a growing subspace
    assert values[-1] == pytest.approx(found.value)


def test_a_hessian_that_is_not_finite_is_refused() -> None:
    model = linear()
    next(iter(model.parameters())).data[0, 0] = torch.nan
    with pytest.raises(InvalidValueError, match="the Hessian must be finite but got inf or nan"):
        sharpness(model, data(), device=CPU)


def test_a_model_without_trainable_parameters_is_refused() -> None:
    with pytest.raises(InvalidValueError, match="model must be one with trainable parameters"):
        sharpness(linear().requires_grad_(False), data(), device=CPU)


@pytest.mark.parametrize(
    ("option", "value"), [("tolerance", 0.0), ("max_iterations", 1), ("batch_size", 0)]
)
def test_an_argument_out_of_range_is_refused(option: str, value: float) -> None:
    with pytest.raises(InvalidValueError, match=f"^{option} must be"):
        sharpness(linear(), data(), device=CPU, **{option: value})  # type: ignore[arg-type]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_sharpness_on_the_gpu_is_that_on_the_cpu() -> None:
    on_gpu = sharpness(relu(), data(), device=torch.device("cuda"), tolerance=1e-9)
    assert on_gpu.vector.is_cuda
    assert on_gpu.value == pytest.approx(EIGENVALUES[-1].item(), rel=1e-9)

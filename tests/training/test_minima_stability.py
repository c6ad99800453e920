import itertools
import math
from functools import cache

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from tunecli.data.load import Split, load_splits
from tunecli.errors import InvalidValueError
from tunecli.models.build import build_model
from tunecli.recipe.data import DigitsData
from tunecli.recipe.networks import MlpModel
from tunecli.theory.delay import ConstantDelay
from tunecli.theory.stability import MomentumKind, stability_threshold
from tunecli.training.full_batch import FullBatchLoss
from tunecli.training.minima_stability import (
    StableRate,
    _DelayedDescent,
    largest_stable_rate,
)
from tunecli.training.sharpness import Sharpness, sharpness

CPU = torch.device("cpu")
SAMPLES, FEATURES = 40, 3


class Logit(nn.Module):
    """Logistic regression with one weight per feature: strictly convex, unlike softmax."""

    def __init__(self, weights: Tensor) -> None:
        super().__init__()
        self.weights = nn.Parameter(weights)

    def forward(self, inputs: Tensor) -> Tensor:
        logit = inputs @ self.weights
        return torch.stack((torch.zeros_like(logit), logit), dim=1)


@cache
def noise() -> Split:
    """Labels that do not depend on the inputs: the loss has a minimum, at finite weights."""
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(SAMPLES, FEATURES, generator=generator, dtype=torch.float64)
    return Split(inputs, torch.randint(2, (SAMPLES,), generator=generator))


@cache
def minimum() -> tuple[Logit, Sharpness]:
    """Where Newton's method ends."""
    split = noise()

    def loss(weights: Tensor) -> Tensor:
        return functional.cross_entropy(
            torch.stack((torch.zeros(SAMPLES), split.inputs @ weights), dim=1), split.targets
        )

    weights = torch.zeros(FEATURES, dtype=torch.float64)
    for _ in range(20):
        hessian = torch.autograd.functional.hessian(loss, weights)  # type: ignore[no-untyped-call]
        slope = torch.autograd.functional.jacobian(loss, weights)  # type: ignore[no-untyped-call]
        weights = weights - torch.linalg.solve(hessian, slope)
    assert slope.norm() < 1e-14
    model = Logit(weights)
    return model, sharpness(model, split, device=CPU, tolerance=1e-9)


def measured(delay: int, *, near: float = 1.0, **options: object) -> StableRate:
    """From the minimum, with a nudge so small that the loss is a quadratic, but for 1 in 1000."""
    model, sharpest = minimum()
    settings: dict[str, object] = {
        "around": near * 2 * math.sin(math.pi / (4 * delay + 2)) / sharpest.value,
        "nudge": 1e-5,
        "rise": 1 + 1e-4,
        "updates_per_delay": 500,
        "device": CPU,
    }
    return largest_stable_rate(
        model,
        noise(),
        sharpest,
        delay=delay,
        **settings | options,  # type: ignore[arg-type]
    )


@pytest.mark.parametrize("delay", [0, 1, 3])
@pytest.mark.parametrize(
    ("kind", "momentum", "discount"),
    [
        ("none", 0.0, 1.0),
        ("standard", 0.5, 1.0),
        ("shifted", 0.5, 1.0),
        ("standard", 0.8, 0.5),
        ("shifted", 0.8, 0.5),
    ],
)
def test_measured_threshold_is_that_of_the_theory(
    delay: int, kind: MomentumKind, momentum: float, discount: float
) -> None:
    theory = stability_threshold(
        ConstantDelay(delay), momentum=momentum, momentum_kind=kind, discount=discount
    )
    found = measured(delay, momentum=momentum, momentum_kind=kind, discount=discount)
    sharpest = minimum()[1].value
    # the resolution, plus what 500 (τ + 1) updates cannot see
    assert 0.99 * theory <= found.learning_rate * sharpest <= 1.01 * theory
    assert found.learning_rate < found.left_at <= 1.01 * found.learning_rate


@pytest.mark.parametrize(("kind", "buffers"), [("none", 1), ("standard", 1), ("shifted", 3)])
def test_updates_are_those_that_the_paper_writes(kind: str, buffers: int) -> None:
    """Eqs. 2, 9 and 10, with all positions and velocities kept and none of the ring buffers."""
    split, delay, rate, momentum, discount = noise(), 2, 0.7, 0.6, 0.75
    start = torch.tensor([0.3, -0.2, 0.5], dtype=torch.float64)
    if kind == "none":
        momentum = discount = 0.0
    loss = FullBatchLoss(Logit(start.clone()), split, device=CPU, batch_size=7)
    descent = _DelayedDescent(
        loss,
        loss.flat.values.clone(),
        rate,
        delay=delay,
        momentum=momentum,
        discount=discount,
        buffers=buffers,
    )
    model = Logit(start.clone())
    x: dict[int, Tensor] = dict.fromkeys(range(-delay, 1), start)  # θ_t
    v: dict[int, Tensor] = {t: torch.zeros_like(start) for t in range(-delay, 1)}  # d_t
    for t in range(12):
        model.weights.data = x[t - delay].clone()
        model.zero_grad()
        functional.cross_entropy(model(split.inputs), split.targets).backward()  # type: ignore[no-untyped-call]
        g = model.weights.grad
        assert g is not None
        v[t + 1] = momentum * v[t - delay if kind == "shifted" else t] + (1 - momentum) * g
        x[t + 1] = x[t] - rate * ((1 - discount) * g + discount * v[t + 1])
        model.weights.data = x[t].clone()
        now = functional.cross_entropy(model(split.inputs), split.targets).item()
        assert descent.step() == pytest.approx(now, rel=1e-12)
        assert torch.allclose(loss.flat.values[:FEATURES], x[t + 1], rtol=1e-12)


@cache
def trained() -> tuple[nn.Module, Split, Sharpness]:
    """A small perceptron, trained on some of the digits to a loss of 0.002."""
    splits = load_splits(DigitsData(name="digits"), ("train",))
    split = Split(splits.in_memory("train").inputs[:500], splits.in_memory("train").targets[:500])
    recipe = MlpModel(name="mlp", hidden=(16, 16, 16))
    model = build_model(recipe, input_shape=splits.input_shape, num_classes=10, seed=0)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    for _ in range(1600):
        optimizer.zero_grad()
        functional.cross_entropy(model(split.inputs), split.targets).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return model, split, sharpness(model, split, device=CPU)


@pytest.mark.parametrize("delay", [0, 1])
def test_a_trained_network_leaves_near_the_threshold_of_its_sharpness(delay: int) -> None:
    model, split, sharpest = trained()
    predicted = stability_threshold(ConstantDelay(delay)) / sharpest.value
    found = largest_stable_rate(model, split, sharpest, delay=delay, around=predicted, device=CPU)
    assert found.learning_rate == pytest.approx(predicted, rel=0.06)


def test_a_held_minimum_leaves_at_the_threshold_of_its_sharpness() -> None:
    """Training goes on and flattens the loss; held, what is left is the Hessian."""
    model, split, sharpest = trained()
    predicted = stability_threshold(ConstantDelay(1)) / sharpest.value
    found = largest_stable_rate(
        model, split, sharpest, delay=1, around=predicted, nudge=1e-4, hold=True, device=CPU
    )
    assert found.learning_rate == pytest.approx(predicted, rel=0.03)


@pytest.mark.parametrize("near", [0.01, 0.7, 1.5, 300.0])
def test_bracket_does_not_depend_on_where_it_begins(near: float) -> None:
    usual, far = measured(0), measured(0, near=near)
    assert far.learning_rate == pytest.approx(usual.learning_rate, rel=0.011)
    assert far.left_at <= 1.01 * far.learning_rate


def test_runs_tell_how_the_bracket_came_about() -> None:
    found = measured(1)
    assert found.learning_rate == max(run.learning_rate for run in found.runs if not run.left)
    assert found.left_at == min(run.learning_rate for run in found.runs if run.left)
    assert all(run.updates == 1000 for run in found.runs if not run.left)
    assert all(run.updates < 1000 for run in found.runs if run.left)
    assert found.updates == sum(run.updates for run in found.runs)


def test_larger_rates_leave_sooner() -> None:
    """As in Fig. 2, left."""
    left = sorted(
        (run.learning_rate, run.updates) for run in measured(1, near=3.0).runs if run.left
    )
    updates = [count for _, count in left]
    assert len(updates) > 3
    assert updates == sorted(updates, reverse=True)


def test_model_is_left_as_it_is() -> None:
    model, _ = minimum()
    before = model.weights.detach().clone()
    measured(0)
    assert torch.equal(model.weights, before)
    assert model.training
    assert model.weights.grad is None


def test_batches_change_nothing() -> None:
    assert measured(1, batch_size=9) == measured(1)


def test_progress_is_told_and_may_stop_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tunecli.training.minima_stability._TELL_EVERY_S", 0.0)
    told: list[tuple[int, float, int, int]] = []

    def stop_in_the_second_run(*values: float) -> None:
        told.append(values)  # type: ignore[arg-type]
        if values[0] == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        measured(1, on_progress=stop_in_the_second_run)
    assert len({rate for _, rate, _, _ in told}) == 2
    assert [done for runs, _, done, _ in told if runs == 0] == list(range(len(told) - 1))
    assert {of for _, _, _, of in told} == {1000}


def test_a_stop_is_asked_for_across_runs_that_are_short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every look at the clock takes 0.05 s, so that a run of three updates ends before 0.2 s."""
    clock = itertools.count()
    monkeypatch.setattr(
        "tunecli.training.minima_stability.time.monotonic", lambda: 0.05 * next(clock)
    )
    told: list[tuple[int, int]] = []
    found = measured(
        2,
        updates_per_delay=1,
        nudge=9e-5,
        on_progress=lambda runs, rate, updates, of: told.append((updates, of)),
    )
    assert all(run.updates <= 3 for run in found.runs)
    assert len(told) >= found.updates // 6
    assert [updates for updates, _ in told] == sorted({updates for updates, _ in told})
    assert {of for _, of in told} == {3}


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("delay", -1),
        ("around", 0.0),
        ("around", math.inf),
        ("momentum", 1.0),
        ("momentum_kind", "heavy"),
        ("resolution", 0.0),
        ("updates_per_delay", 0),
        ("rise", 1.0),
        ("nudge", 0.0),
        ("nudge", 1e-3),
    ],
)
def test_an_argument_out_of_range_is_refused(option: str, value: object) -> None:
    settings = {"delay": 0, option: value}
    with pytest.raises(InvalidValueError, match=f"^{option} must be"):
        measured(**settings)  # type: ignore[arg-type]


def test_a_point_without_positive_curvature_is_refused() -> None:
    model, sharpest = minimum()
    flat = Sharpness(0.0, 0.0, 1, True, sharpest.vector)
    with pytest.raises(InvalidValueError, match=r"the sharpness must be > 0 but got 0\.0"):
        largest_stable_rate(model, noise(), flat, delay=0, around=1.0, device=CPU)


def test_a_minimum_that_every_rate_leaves_is_an_error() -> None:
    """The sharpness is wrong, and the nudge by it so long that it has left already."""
    model, sharpest = minimum()
    wrong = Sharpness(1e-6 * sharpest.value, 0.0, 1, True, sharpest.vector)
    with pytest.raises(InvalidValueError, match=r"around must be near .* every one .* left"):
        largest_stable_rate(model, noise(), wrong, delay=0, around=1.0, device=CPU)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_bracket_on_the_gpu_is_that_on_the_cpu() -> None:
    on_gpu = measured(1, device=torch.device("cuda"))
    assert on_gpu.learning_rate == pytest.approx(measured(1).learning_rate, rel=0.011)

import copy
import io
import itertools
from functools import partial
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional

from tunecli.data.load import Split, load_splits
from tunecli.models.build import build_model
from tunecli.optim import QHM
from tunecli.recipe.data import DigitsData
from tunecli.recipe.networks import LogisticModel
from tunecli.schedule import Schedule, Stage, multistage_schedule
from tunecli.training import CentralizedTraining
from tunecli.training.batches import BatchStream

CPU = torch.device("cpu")
SAMPLES, FEATURES, CLASSES = 37, 6, 3

THREE_STAGES = Schedule(
    (
        Stage(0.4, momentum=0.8, discount=0.5, batch_size=8, steps=5),
        Stage(0.2, momentum=0.9, discount=0.25, batch_size=5, steps=1),
        Stage(0.1, momentum=0.95, discount=1.0, batch_size=3, steps=9),
    )
)


def data(dtype: torch.dtype = torch.float32) -> Split:
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(SAMPLES, FEATURES, generator=generator, dtype=torch.float64)
    targets = (inputs[:, 0] > 0).long() + (inputs[:, 1] > 1).long()
    return Split(inputs.to(dtype), targets)


def network(seed: int = 0, dtype: torch.dtype = torch.float32) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(FEATURES, 4), nn.Tanh(), nn.Linear(4, CLASSES)).to(dtype)


def training(
    schedule: Schedule = THREE_STAGES,
    *,
    seed: int = 1,
    dtype: torch.dtype = torch.float32,
    **options: Any,
) -> CentralizedTraining:
    decay = {
        key: options.pop(key) for key in ("weight_decay", "weight_decay_mode") if key in options
    }
    return CentralizedTraining(
        network(dtype=dtype),
        data(dtype),
        schedule,
        seed=seed,
        device=CPU,
        make_optimizer=partial(QHM, **decay),
        **options,
    )


def run(trained: CentralizedTraining) -> list[float]:
    return [trained.step().item() for _ in range(trained.total_steps - trained.steps)]


def seen_inputs(trained: CentralizedTraining) -> list[Tensor]:
    """What the model is shown from now on, by a forward hook: independent of any record."""
    seen: list[Tensor] = []
    trained.model.register_forward_hook(lambda _, inputs, __: seen.append(inputs[0].detach()))
    return seen


def vector(trained: CentralizedTraining) -> Tensor:
    return torch.cat([p.detach().flatten() for p in trained.model.parameters()])


def naive(
    schedule: Schedule,
    *,
    seed: int = 1,
    weight_decay: float = 0.0,
    decoupled: bool = False,
    reset: bool = False,
) -> list[list[Tensor]]:
    """Algorithm 1 as the paper prints it, parameter by parameter in float64.

    Returns the parameters after every update.
    """
    model, split = network(dtype=torch.float64), data(torch.float64)
    order: list[int] = []
    while len(order) < schedule.samples:
        order += BatchStream(SAMPLES, seed=seed, device=CPU, position=len(order)).next(1).tolist()
    params = [p.detach().clone() for p in model.parameters()]
    buffers = [torch.zeros_like(p) for p in params]
    position, trajectory = 0, []
    for stage in schedule.stages:
        if reset:
            buffers = [torch.zeros_like(p) for p in params]
        for _ in range(stage.steps):
            batch = order[position : position + stage.batch_size]
            position += stage.batch_size
            leaves = [p.clone().requires_grad_() for p in params]
            w1, b1, w2, b2 = leaves
            logits = torch.tanh(split.inputs[batch] @ w1.T + b1) @ w2.T + b2
            loss = -(logits.log_softmax(1)[torch.arange(len(batch)), split.targets[batch]].mean())
            grads = torch.autograd.grad(loss, leaves)
            alpha, beta, nu = stage.learning_rate, stage.momentum, stage.discount
            for k, (theta, g) in enumerate(zip(params, grads, strict=True)):
                gradient = g if decoupled else g + weight_decay * theta
                shrunk = theta * (1 - alpha * weight_decay) if decoupled else theta
                buffers[k] = (1 - beta) * gradient + beta * buffers[k]
                params[k] = shrunk - alpha * ((1 - nu) * gradient + nu * buffers[k])
            trajectory.append([p.clone() for p in params])
    return trajectory


stages = st.builds(
    Stage,
    learning_rate=st.floats(0.01, 0.5),
    momentum=st.floats(0, 0.99),
    discount=st.floats(0, 1),
    batch_size=st.integers(1, 50),
    steps=st.integers(1, 4),
)


@settings(max_examples=20)
@given(st.lists(stages, min_size=1, max_size=4))
def test_rate_momentum_discount_and_batch_switch_at_the_same_update(found: list[Stage]) -> None:
    schedule = Schedule(tuple(found))
    trained = training(schedule)
    seen = seen_inputs(trained)
    used: list[tuple[Any, ...]] = []
    original = trained.optimizer.step

    def spy() -> None:
        used.append(
            tuple(
                (group["lr"], group["momentum"], group["discount"])
                for group in trained.optimizer.param_groups
            )
        )
        original()

    trained.optimizer.step = spy  # type: ignore[assignment,method-assign]
    run(trained)
    expected = [schedule.stage_at(step) for step in range(schedule.total_steps)]
    assert [len(batch) for batch in seen] == [stage.batch_size for stage in expected]
    assert used == [((s.learning_rate, s.momentum, s.discount),) for s in expected]


@settings(max_examples=20)
@given(st.lists(stages, min_size=1, max_size=4))
def test_batch_record_is_what_the_model_saw(found: list[Stage]) -> None:
    schedule = Schedule(tuple(found))
    trained = training(schedule)
    seen = seen_inputs(trained)
    run(trained)
    runs = [
        (size, len(list(same))) for size, same in itertools.groupby(len(batch) for batch in seen)
    ]
    assert trained.batch_sizes == tuple(runs)
    assert trained.samples == sum(len(batch) for batch in seen) == schedule.samples
    assert trained.steps == len(seen) == schedule.total_steps


def test_derived_schedule_halves_the_batch_that_the_model_sees() -> None:
    schedule = multistage_schedule(
        learning_rate=0.3, momentum=0.9, batch_size=16, stages=3, decay=0.5, steps=3
    )
    trained = training(schedule)
    seen = seen_inputs(trained)
    run(trained)
    assert [len(batch) for batch in seen] == [16] * 3 + [8] * 6 + [4] * 12
    assert trained.batch_sizes == ((16, 3), (8, 6), (4, 12))


@pytest.mark.parametrize("reset", [False, True])
@pytest.mark.parametrize(
    ("weight_decay", "mode"), [(0.0, "coupled"), (0.05, "coupled"), (0.05, "decoupled")]
)
def test_trajectory_is_algorithm_1_in_float64(reset: bool, weight_decay: float, mode: str) -> None:
    trained = training(
        dtype=torch.float64,
        reset_momentum=reset,
        weight_decay=weight_decay,
        weight_decay_mode=mode,
    )
    expected = naive(
        THREE_STAGES, weight_decay=weight_decay, decoupled=mode == "decoupled", reset=reset
    )
    for params in expected:
        trained.step()
        for p, reference in zip(trained.model.parameters(), params, strict=True):
            torch.testing.assert_close(p.detach(), reference, rtol=1e-12, atol=1e-13)


def test_naive_references_differ_from_each_other() -> None:
    """Otherwise the test above could not tell them apart."""
    ends = [
        torch.cat([p.flatten() for p in naive(THREE_STAGES, **options)[-1]])
        for options in (
            {},
            {"reset": True},
            {"weight_decay": 0.05},
            {"weight_decay": 0.05, "decoupled": True},
            {"seed": 2},
        )
    ]
    for one, other in itertools.combinations(ends, 2):
        assert (one - other).abs().max() > 1e-5


def test_float32_stays_close_to_the_float64_reference() -> None:
    trained = training()
    run(trained)
    for p, reference in zip(trained.model.parameters(), naive(THREE_STAGES)[-1], strict=True):
        torch.testing.assert_close(p.detach(), reference.float(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("reset", [False, True])
def test_momentum_buffer_is_carried_over_unless_reset_is_asked_for(reset: bool) -> None:
    trained = training(reset_momentum=reset)
    at_start: list[float] = []
    original = trained.optimizer.step

    def spy() -> None:
        at_start.append(
            sum(s["momentum_buffer"].abs().sum().item() for s in trained.optimizer.state.values())
        )
        original()

    trained.optimizer.step = spy  # type: ignore[assignment,method-assign]
    run(trained)
    zero_at = [step for step, size in enumerate(at_start) if size == 0]
    assert zero_at == ([0, 5, 6] if reset else [0])


def test_step_returns_the_mean_loss_of_the_batch_before_the_update() -> None:
    trained = training()
    seen, split = seen_inputs(trained), data()
    for _ in range(trained.total_steps):
        before = copy.deepcopy(trained.model)
        loss = trained.step()
        rows = [int((split.inputs == row).all(dim=1).nonzero()) for row in seen[-1]]
        expected = functional.cross_entropy(before(seen[-1]), split.targets[rows])
        torch.testing.assert_close(loss, expected.detach())
        assert not loss.requires_grad


def test_gradients_of_one_batch_do_not_reach_the_next() -> None:
    """With ν = 0 the step is −α times the gradient of its own batch, nothing else."""
    trained = training(Schedule((Stage(0.1, 0.0, 0.0, 4, 3),)))
    run(trained)
    torch.testing.assert_close(
        vector(trained).double(),
        torch.cat([p.flatten() for p in naive(trained.schedule)[-1]]),
        rtol=1e-4,
        atol=1e-5,
    )


def test_learning_rates_share_initial_weights_and_samples() -> None:
    """Common random numbers, from the model's build to its last batch."""
    splits = load_splits(DigitsData(name="digits"), ("train",))

    def start(rate: float) -> CentralizedTraining:
        torch.randn(int(rate * 10))  # whatever was drawn before
        schedule = multistage_schedule(
            learning_rate=rate, momentum=0.9, batch_size=32, stages=3, decay=0.5, steps=3
        )
        model = build_model(
            LogisticModel(name="logistic"),
            input_shape=splits.input_shape,
            num_classes=splits.num_classes,
            seed=3,
        )
        return CentralizedTraining(model, splits["train"], schedule, seed=3, device=CPU)

    small, large = start(0.1), start(1.6)
    assert torch.equal(vector(small), vector(large))
    seen_by_small, seen_by_large = seen_inputs(small), seen_inputs(large)
    run(small)
    run(large)
    assert len(seen_by_small) == 3 + 6 + 12
    assert all(map(torch.equal, seen_by_small, seen_by_large))
    assert not torch.equal(vector(small), vector(large))


def test_another_seed_sees_other_samples() -> None:
    one, other = training(seed=1), training(seed=2)
    seen = seen_inputs(one), seen_inputs(other)
    run(one)
    run(other)
    assert not any(torch.equal(a, b) for a, b in zip(*seen, strict=True))


def test_evaluation_is_the_mean_over_the_split_and_trains_nothing() -> None:
    trained, split = training(), data()
    trained.step()
    weights, generator = vector(trained), torch.get_rng_state()
    found = trained.evaluate(split)
    logits = trained.model(split.inputs).detach().double()
    assert found.loss == pytest.approx(functional.cross_entropy(logits, split.targets).item())
    assert found.accuracy == (logits.argmax(1) == split.targets).double().mean().item()
    assert torch.equal(weights, vector(trained))
    assert torch.equal(generator, torch.get_rng_state())
    assert trained.model.training


def test_evaluation_in_pieces_weighs_every_sample_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    trained, split = training(), data()
    whole = trained.evaluate(split)
    monkeypatch.setattr("tunecli.training.evaluate._MOST_SAMPLES", 10)  # 37 = 3·10 + 7
    pieces = trained.evaluate(split)
    assert pieces.accuracy == whole.accuracy
    assert pieces.loss == pytest.approx(whole.loss, rel=1e-6)


def test_model_evaluates_in_evaluation_mode_and_trains_in_training_mode() -> None:
    trained = training()
    modes: list[bool] = []
    trained.model.register_forward_hook(lambda module, *_: modes.append(module.training))
    trained.step()
    trained.evaluate(data())
    trained.step()
    assert modes == [True, False, True]


@pytest.mark.parametrize("reset", [False, True])
@pytest.mark.parametrize("stop", range(THREE_STAGES.total_steps + 1))
def test_state_goes_on_bitwise_identically_from_every_update(stop: int, reset: bool) -> None:
    options: dict[str, Any] = {"reset_momentum": reset, "weight_decay": 0.01}
    whole = training(**options)
    losses = run(whole)
    first = training(**options)
    for _ in range(stop):
        first.step()
    file = io.BytesIO()
    torch.save(first.state_dict(), file)
    file.seek(0)
    torch.manual_seed(12345)
    fresh = CentralizedTraining(  # other weights: what is not restored will show
        network(seed=9),
        data(),
        THREE_STAGES,
        seed=1,
        device=CPU,
        make_optimizer=partial(QHM, weight_decay=0.01),
        reset_momentum=reset,
    )
    fresh.load_state_dict(torch.load(file, weights_only=True))
    assert fresh.steps == stop
    assert run(fresh) == losses[stop:]
    assert torch.equal(vector(fresh), vector(whole))
    assert fresh.batch_sizes == whole.batch_sizes
    assert fresh.samples == whole.samples


def test_state_holds_the_random_state_that_a_model_draws_from() -> None:
    def with_dropout() -> CentralizedTraining:
        model = nn.Sequential(nn.Dropout(0.5), network())
        return CentralizedTraining(model, data(), THREE_STAGES, seed=1, device=CPU)

    whole = with_dropout()
    losses = run(whole)
    first = with_dropout()
    for _ in range(7):
        first.step()
    state = copy.deepcopy(first.state_dict())
    torch.randn(50)  # another trial draws in between
    fresh = with_dropout()
    fresh.load_state_dict(state)
    assert run(fresh) == losses[7:]


def test_state_of_another_device_kind_is_taken_without_its_generator(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.cuda, "set_rng_state", lambda *_: pytest.fail("there is no card"))
    state = copy.deepcopy(training().state_dict())
    state["cuda_rng"] = torch.zeros(16, dtype=torch.uint8)
    fresh = training()
    fresh.load_state_dict(state)
    assert fresh.steps == 0

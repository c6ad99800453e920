import copy
import io
import math
import subprocess
import sys
from importlib.util import find_spec
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import SGD, Adam, NAdam, Optimizer, RMSprop
from torch.optim.lr_scheduler import CosineAnnealingLR, LambdaLR, LRScheduler, OneCycleLR

from tunecli.data.load import Split, Splits, load_splits
from tunecli.errors import InvalidValueError
from tunecli.recipe import Recipe, derive_schedule, find_recipe, load_recipe
from tunecli.schedule import multistage_schedule
from tunecli.training.alternatives import (
    AlternativeTraining,
    build_alternative,
    same_samples_steps,
)
from tunecli.training.build import build_trial
from tunecli.training.learning_rate import (
    ALTERNATIVES,
    Alternative,
    cosine,
    default_rates,
    one_cycle,
    settings_at,
    unavailable,
    warm_up_steps,
    warm_up_then_cosine,
)
from tunecli.training.protocol import TrialOutcome

CPU = torch.device("cpu")
SAMPLES, FEATURES, CLASSES, SEED = 37, 6, 3, 1
STEPS, BATCH = 47, 8  # the warm-up has 2 updates; batches span passes
RATES: dict[Alternative, float] = {
    "cosine": 0.05,
    "one-cycle": 0.05,
    "adam": 0.01,
    "rmsprop": 0.01,
    "nadamw": 0.01,
    "schedule-free": 0.5,
    "prodigy": 1.0,
}
PACKAGES = {"schedule-free": "schedulefree", "prodigy": "prodigyopt"}


def needs_package(name: str) -> pytest.MarkDecorator:
    package = PACKAGES.get(name)
    missing = package is not None and find_spec(package) is None
    return pytest.mark.skipif(missing, reason=f"{package} is not installed")


EACH = [pytest.param(name, marks=needs_package(name)) for name in ALTERNATIVES]
every_alternative = pytest.mark.parametrize("name", EACH)


def data() -> Split:
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(SAMPLES, FEATURES, generator=generator, dtype=torch.float64)
    return Split(inputs, (inputs[:, 0] > 0).long() + (inputs[:, 1] > 1).long())


def network(seed: int = 0) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        layers = nn.Sequential(
            nn.Linear(FEATURES, 4), nn.Tanh(), nn.Dropout(0.1), nn.Linear(4, CLASSES)
        )
        return layers.to(torch.float64)


def training(
    name: Alternative,
    *,
    initial: int = 0,
    learning_rate: float | None = None,
    device: torch.device = CPU,
) -> AlternativeTraining:
    return AlternativeTraining(
        network(initial),
        data(),
        name,
        RATES[name] if learning_rate is None else learning_rate,
        momentum=0.9,
        batch_size=BATCH,
        total_steps=STEPS,
        seed=SEED,
        device=device,
    )


def vector(model: nn.Module) -> Tensor:
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def recipe_of(name: str, *overrides: str) -> tuple[Recipe, Splits]:
    recipe = load_recipe(find_recipe(name), list(overrides))
    return recipe, load_splits(recipe.data, ("train", "validation"))


def batches(steps: int) -> list[np.ndarray]:
    passes = math.ceil(steps * BATCH / SAMPLES)
    order = [np.random.default_rng((SEED, e)).permutation(SAMPLES) for e in range(passes)]
    return np.split(np.concatenate(order)[: steps * BATCH], steps)


def off_the_shelf(name: Alternative, model: nn.Module) -> tuple[Optimizer, LRScheduler | None]:
    """The optimizer and scheduler as their documentation says."""
    rate, params = RATES[name], model.parameters()
    if name == "cosine":
        sgd = SGD(params, lr=rate, momentum=0.9)
        return sgd, CosineAnnealingLR(sgd, T_max=STEPS)
    if name == "one-cycle":
        sgd = SGD(params, lr=rate, momentum=0.9)
        return sgd, OneCycleLR(sgd, max_lr=rate, total_steps=STEPS)
    if name == "adam":
        return Adam(params, lr=rate), None
    if name == "rmsprop":
        return RMSprop(params, lr=rate), None
    if name == "nadamw":
        nadam = NAdam(params, lr=rate, decoupled_weight_decay=True)
        return nadam, LambdaLR(
            nadam,
            lambda t: (t + 1) / 2 if t < 2 else (1 + math.cos(math.pi * (t - 2) / (STEPS - 2))) / 2,
        )
    if name == "schedule-free":
        from schedulefree import SGDScheduleFree

        free = SGDScheduleFree(params, lr=rate, warmup_steps=2)
        free.train()
        return free, None
    from prodigyopt import Prodigy

    prodigy = Prodigy(params, lr=rate)
    return prodigy, CosineAnnealingLR(prodigy, T_max=STEPS)


@every_alternative
def test_trajectory_is_that_of_a_plain_loop(name: Alternative) -> None:
    split, model, expected = data(), network(), []
    optimizer, scheduler = off_the_shelf(name, model)
    torch.manual_seed(SEED)
    for batch in batches(STEPS):
        optimizer.zero_grad()
        functional.cross_entropy(model(split.inputs[batch]), split.targets[batch]).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        if scheduler is not None:
            scheduler.step()
        expected.append(vector(model))

    trained = training(name)
    actual = []
    while trained.steps < trained.total_steps:
        trained.step()
        actual.append(vector(trained.model))
    # torch's cosine is a recursion and rounds at each update; the others are equal to the bit
    tolerance = 1e-9 if name in {"cosine", "nadamw", "prodigy"} else 0.0
    torch.testing.assert_close(
        torch.stack(actual), torch.stack(expected), rtol=tolerance, atol=tolerance
    )
    assert (actual[-1] - vector(network())).norm() > 0.01


def test_cosine_is_at_the_peak_at_first_at_its_half_halfway_and_near_zero_at_last() -> None:
    assert cosine(0.2, 0, 100) == 0.2
    assert cosine(0.2, 50, 100) == pytest.approx(0.1)
    assert 0 < cosine(0.2, 99, 100) < 0.2 * 3e-4  # (π / 200)²
    assert settings_at("cosine", 0.2, 25, 100).learning_rate == cosine(0.2, 25, 100)


def test_one_cycle_peaks_where_the_momentum_is_lowest() -> None:
    first, peak, last = (one_cycle(0.5, step, 100) for step in (0, 29, 99))
    assert first == pytest.approx((0.5 / 25, 0.95))
    assert peak == pytest.approx((0.5, 0.85))
    assert last == pytest.approx((0.5 / 25 / 1e4, 0.95))


@pytest.mark.parametrize("steps", [1, 2, 3, 4, 5, 10, 47, 100, 333])
def test_one_cycle_is_torch_s(steps: int) -> None:
    optimizer = SGD(network().parameters(), lr=1.0, momentum=0.9)
    scheduler = OneCycleLR(optimizer, max_lr=0.3, total_steps=steps)
    for step in range(steps):
        group = optimizer.param_groups[0]
        assert one_cycle(0.3, step, steps) == (group["lr"], group["momentum"])
        optimizer.step()
        scheduler.step()


def test_warm_up_rises_evenly_to_the_peak_and_cosine_follows() -> None:
    assert warm_up_steps(100) == 5
    rates = [warm_up_then_cosine(0.2, step, 100) for step in range(100)]
    assert rates[:6] == pytest.approx([0.04, 0.08, 0.12, 0.16, 0.2, 0.2])
    assert rates[5:] == [cosine(0.2, step, 95) for step in range(95)]


@pytest.mark.parametrize("name", ALTERNATIVES)
@pytest.mark.parametrize("steps", [1, 2, 19, 20, 21])
def test_rate_is_positive_and_never_above_the_searched_one(name: Alternative, steps: int) -> None:
    for step in range(steps):
        assert 0 < settings_at(name, 0.7, step, steps).learning_rate <= 0.7


@pytest.mark.parametrize("name", ["adam", "rmsprop", "schedule-free"])
def test_rate_is_constant_where_nothing_is_scheduled(name: Alternative) -> None:
    assert {settings_at(name, 0.3, step, 50) for step in range(50)} == {(0.3, None)}


@every_alternative
def test_resumed_training_is_the_uninterrupted_one_to_the_bit(name: Alternative) -> None:
    def run(trained: AlternativeTraining, until: int) -> list[float]:
        losses = []
        while trained.steps < until:
            losses.append(trained.step().item())
            if trained.steps % 5 == 0:
                loss = trained.evaluate(data()).loss
                assert loss is not None
                losses.append(loss)
        return losses

    whole = training(name)
    run(whole, 21)
    file = io.BytesIO()
    torch.save(whole.state_dict(), file)
    expected = run(whole, STEPS)

    file.seek(0)
    resumed = training(name, initial=5)
    torch.rand(3)
    resumed.load_state_dict(torch.load(file, weights_only=True))
    assert (resumed.steps, resumed.samples) == (21, 21 * BATCH)
    assert run(resumed, STEPS) == expected
    assert torch.equal(vector(resumed.model), vector(whole.model))


@every_alternative
def test_state_taken_is_not_changed_by_going_on(name: Alternative) -> None:
    trained = training(name)
    for _ in range(3):
        trained.step()
    state = copy.deepcopy(trained.state_dict())
    loss = trained.step().item()
    trained.load_state_dict(state)
    assert trained.step().item() == loss


@every_alternative
def test_evaluation_trains_nothing(name: Alternative) -> None:
    alone = training(name)
    losses = [alone.step().item() for _ in range(10)]
    watched = training(name)  # after the other one: both draw dropout from one generator
    for loss in losses:
        before = watched.evaluate(data())
        assert watched.evaluate(data()) == before
        assert watched.step().item() == loss
    assert torch.equal(vector(watched.model), vector(alone.model))


@needs_package("schedule-free")
def test_schedule_free_is_evaluated_at_the_average() -> None:
    rate, split, plain = RATES["schedule-free"], data(), network()
    plain[2] = nn.Identity()  # type: ignore[operator]  # no dropout here
    x = z = vector(plain)
    weights = 0.0

    def put(values: Tensor) -> None:
        nn.utils.vector_to_parameters(values, plain.parameters())

    for step, batch in enumerate(batches(STEPS)):
        put(0.1 * z + 0.9 * x)
        loss = functional.cross_entropy(plain(split.inputs[batch]), split.targets[batch])
        gradient = torch.cat(
            [g.flatten() for g in torch.autograd.grad(loss, list(plain.parameters()))]
        )
        warmed = rate * min(1, (step + 1) / 2)
        weights += warmed**2
        z = z - warmed * gradient
        x = x + (z - x) * warmed**2 / weights
    put(x)
    with torch.no_grad():
        at_average = functional.cross_entropy(plain(split.inputs), split.targets).item()

    trained = training("schedule-free")
    trained.model[2].p = 0.0  # type: ignore[index]
    while trained.steps < STEPS:
        trained.step()
    assert trained.evaluate(split).loss == pytest.approx(at_average, rel=1e-9)
    with torch.no_grad():  # the weights themselves are those of the other point
        elsewhere = functional.cross_entropy(trained.model(split.inputs), split.targets).item()
    assert abs(elsewhere - at_average) > 1e-4


@pytest.mark.parametrize(
    "options",
    [
        {"batch_size": 64, "decay": 0.5, "steps": 84},
        {"batch_size": 50, "decay": 0.3, "steps": 7},
        {"batch_size": 97, "decay": 0.7, "batch_decay": 0.6, "steps": 11},
        {"batch_size": 31, "decay": 0.5, "epochs": 2.7, "training_samples": 1077},
    ],
)
def test_samples_are_the_multistage_schedule_s_within_one_batch(options: dict[str, Any]) -> None:
    schedule = multistage_schedule(learning_rate=0.1, momentum=0.9, stages=3, **options)
    missing = schedule.samples - same_samples_steps(schedule) * options["batch_size"]
    assert 0 <= missing < options["batch_size"]


def test_built_trial_draws_the_samples_of_the_recipe_s_schedule() -> None:
    recipe, splits = recipe_of("digits-logistic", "schedule.epochs=2", "schedule.batch_size=50")
    schedule = derive_schedule(recipe.schedule, 0.1, len(splits["train"]))
    outcome = build_alternative(recipe, "adam", 0.01, seed=0, splits=splits, device=CPU).run()
    assert 0 <= schedule.samples - outcome.samples < 50
    assert outcome.batch_sizes == ((50, outcome.steps),)
    assert outcome.samples == 50 * outcome.steps


@every_alternative
def test_weights_and_first_batch_are_those_of_the_search(name: Alternative) -> None:
    recipe, splits = recipe_of("digits-mlp", "schedule.epochs=1")
    schedule = derive_schedule(recipe.schedule, 0.1, len(splits["train"]))
    for seed in (0, 7):
        ours = build_trial(recipe, schedule, seed=seed, splits=splits, device=CPU).training
        theirs = build_alternative(recipe, name, 0.1, seed=seed, splits=splits, device=CPU).training
        assert theirs.evaluate(splits["validation"]) == ours.evaluate(splits["validation"])
        assert torch.equal(theirs.step(), ours.step())


@every_alternative
def test_divergence_is_detected(name: Alternative) -> None:
    recipe, splits = recipe_of("digits-logistic", "schedule.epochs=3")
    outcome = build_alternative(recipe, name, 1e12, seed=0, splits=splits, device=CPU).run()
    assert outcome.diverged
    assert outcome.final is None
    assert "training loss" in outcome.reason


def test_trial_asks_whether_to_give_up_and_obeys_the_recipe_s_evaluations() -> None:
    recipe, splits = recipe_of("digits-logistic", "schedule.epochs=3", "training.evaluations=5")

    def run(reason: str | None) -> TrialOutcome:
        return build_alternative(
            recipe, "adam", 0.01, seed=0, splits=splits, device=CPU, gives_up=lambda _: reason
        ).run()

    whole, short = run(None), run("too far behind")
    assert (len(whole.curve), whole.given_up) == (6, False)
    assert (len(short.curve), short.given_up, short.reason) == (2, True, "too far behind")


@pytest.mark.parametrize(("name", "rate"), [("cosine", 0.08), ("adam", 0.003)])
def test_digits_are_learned_at_a_decent_rate(name: str, rate: float) -> None:
    recipe, splits = recipe_of("digits-mlp", "training.evaluations=1")
    outcome = build_alternative(recipe, name, rate, seed=0, splits=splits, device=CPU).run()
    assert outcome.final is not None
    assert outcome.final.accuracy is not None
    assert outcome.final.accuracy > 0.9


def optimizer_of(name: str, *overrides: str) -> Optimizer:
    recipe, splits = recipe_of("digits-logistic", *overrides)
    trained = build_alternative(recipe, name, 0.1, seed=0, splits=splits, device=CPU).training
    assert isinstance(trained, AlternativeTraining)
    return trained.optimizer


@every_alternative
def test_weight_decay_of_the_recipe_reaches_the_optimizer_and_nothing_is_printed(
    name: Alternative, capsys: pytest.CaptureFixture[str]
) -> None:
    optimizer = optimizer_of(name, "training.weight_decay=0.25")
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.25]
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("name", "key", "decoupled"),
    [
        ("adam", "decoupled_weight_decay", [False, True]),
        ("nadamw", "decoupled_weight_decay", [True, True]),  # the W in its name
        pytest.param("prodigy", "decouple", [False, True], marks=needs_package("prodigy")),
    ],
)
def test_weight_decay_mode_of_the_recipe_is_obeyed_where_there_are_two(
    name: str, key: str, decoupled: list[bool]
) -> None:
    modes = [
        optimizer_of(name, "training.weight_decay=0.1", f"training.weight_decay_mode={mode}")
        for mode in ("coupled", "decoupled")
    ]
    assert [optimizer.param_groups[0][key] for optimizer in modes] == decoupled


@pytest.mark.parametrize("name", ["cosine", "one-cycle", "rmsprop"])
def test_decoupled_weight_decay_is_refused_where_torch_has_none(name: str) -> None:
    with pytest.raises(InvalidValueError, match=r"set training\.weight_decay_mode to coupled"):
        optimizer_of(name, "training.weight_decay=0.1", "training.weight_decay_mode=decoupled")
    optimizer_of(name, "training.weight_decay_mode=decoupled")  # of no decay at all


def test_momentum_of_the_recipe_is_that_of_cosine() -> None:
    group = optimizer_of("cosine", "schedule.momentum=0.7").param_groups[0]
    assert (group["momentum"], group["dampening"], group["nesterov"]) == (0.7, 0, False)


def test_unknown_name_is_refused_with_those_that_exist() -> None:
    with pytest.raises(InvalidValueError, match=r"one of cosine, one-cycle, adam.* but got sgd"):
        optimizer_of("sgd")


@pytest.mark.parametrize("rate", [0.0, -0.1, math.inf, math.nan])
def test_rate_out_of_range_is_refused(rate: float) -> None:
    with pytest.raises(InvalidValueError, match="learning_rate must be in"):
        training("adam", learning_rate=rate)


def test_missing_package_is_named_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tunecli.training.learning_rate.find_spec", lambda _: None)
    remedy = "is not installed; pip install 'tunecli[compare]'"
    assert unavailable() == {
        "schedule-free": f"schedulefree {remedy}",
        "prodigy": f"prodigyopt {remedy}",
    }
    with pytest.raises(InvalidValueError, match="schedule-free cannot be used: schedulefree is"):
        optimizer_of("schedule-free")


def test_recipe_rules_alternatives_out_only_for_decoupled_decay() -> None:
    plain, _ = recipe_of("digits-mlp")
    decoupled, _ = recipe_of(
        "digits-mlp", "training.weight_decay=0.1", "training.weight_decay_mode=decoupled"
    )
    assert unavailable(plain) == unavailable()
    assert set(unavailable(decoupled)) - set(unavailable()) == {"cosine", "one-cycle", "rmsprop"}


def test_asking_what_can_be_used_imports_no_torch() -> None:
    code = (
        "import sys; from tunecli.training.learning_rate import unavailable; unavailable()\n"
        "print({'torch', 'schedulefree', 'prodigyopt'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


@pytest.mark.parametrize("name", ALTERNATIVES)
def test_default_rates_are_a_wide_geometric_grid(name: Alternative) -> None:
    recipe, _ = recipe_of("digits-mlp")
    rates = default_rates(name, recipe)
    factors = [high / low for low, high in pairwise(rates)]
    assert min(factors) > 1.9
    assert max(factors) < 3.3
    assert rates[-1] / rates[0] > 200


@pytest.mark.parametrize(
    ("name", "factor"), [("cosine", 0.2), ("one-cycle", 0.15), ("schedule-free", 2.0)]
)
def test_default_rates_are_the_recipe_s_grid_in_the_optimizer_s_form(
    name: Alternative, factor: float
) -> None:
    recipe, _ = recipe_of("digits-mlp", "search.grid=[0.1, 0.3, 0.7]", "schedule.momentum=0.8")
    assert default_rates(name, recipe) == pytest.approx((0.1 * factor, 0.3 * factor, 0.7 * factor))


def test_converted_rate_moves_the_weights_as_far_as_the_recipe_s() -> None:
    recipe, _ = recipe_of("digits-mlp", "search.grid=[0.5, 1.0]")
    weight = nn.Parameter(torch.zeros(1, dtype=torch.float64))
    optimizer = SGD([weight], lr=default_rates("cosine", recipe)[0], momentum=0.9)
    for gradient in [1.0] + [0.0] * 400:  # one gradient, and time for all of its effect
        weight.grad = torch.full_like(weight, gradient)
        optimizer.step()
    assert weight.item() == pytest.approx(-0.5)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@every_alternative
def test_gpu_trains_as_the_cpu_does_and_resumes(name: Alternative) -> None:
    def steps(trained: AlternativeTraining, count: int) -> list[float]:
        return [trained.step().item() for _ in range(count)]

    cuda = torch.device("cuda")
    on_cpu, on_gpu = training(name), training(name, device=cuda)
    for trained in (on_cpu, on_gpu):
        trained.model[2].p = 0.0  # type: ignore[index]  # the two draw dropout differently
    assert steps(on_gpu, 10) == pytest.approx(steps(on_cpu, 10), rel=1e-6)
    state = copy.deepcopy(on_gpu.state_dict())
    expected = steps(on_gpu, 10)
    resumed = training(name, device=cuda, initial=3)
    resumed.model[2].p = 0.0  # type: ignore[index]
    resumed.load_state_dict(state)
    assert steps(resumed, 10) == expected

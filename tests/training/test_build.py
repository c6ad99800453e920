from typing import Any

import pytest
import torch

from tunecli.data.load import load_splits
from tunecli.optim import QHM
from tunecli.recipe import derive_schedule, find_recipe, load_recipe
from tunecli.training import CentralizedTraining, Trial
from tunecli.training.asynchronous.build import measure_delay
from tunecli.training.asynchronous.simulated import SimulatedTraining
from tunecli.training.build import build_trial

SMALL = ["schedule.epochs=1", "schedule.stages=2", "training.evaluations=3"]


def built(*overrides: str, rate: float = 0.1, seed: int = 0) -> Trial:
    recipe = load_recipe(find_recipe("digits-logistic"), [*SMALL, *overrides])
    splits = load_splits(recipe.data, ("train", "validation"))
    schedule = derive_schedule(recipe.schedule, rate, len(splits["train"]))
    return build_trial(recipe, schedule, seed=seed, splits=splits, device=torch.device("cpu"))


def training_of(trial: Trial) -> CentralizedTraining:
    assert isinstance(trial.training, CentralizedTraining)
    return trial.training


@pytest.mark.parametrize(
    ("key", "value"), [("weight_decay", 0.25), ("weight_decay_mode", "decoupled")]
)
def test_weight_decay_of_the_recipe_reaches_the_optimizer(key: str, value: Any) -> None:
    optimizer = training_of(built(f"training.{key}={value}")).optimizer
    assert isinstance(optimizer, QHM)
    assert all(group[key] == value for group in optimizer.param_groups)
    default = training_of(built()).optimizer
    assert all(group[key] != value for group in default.param_groups)


def test_schedule_of_the_recipe_is_the_one_that_is_trained() -> None:
    trial = built("schedule.momentum=0.7", "schedule.discount=0.25", "schedule.batch_size=50")
    trial.run()
    seen = trial.training.batch_sizes
    assert seen == tuple(
        (stage.batch_size, stage.steps) for stage in training_of(trial).schedule.stages
    )
    first = training_of(trial).schedule.stages[0]
    assert (first.momentum, first.discount, first.batch_size) == (0.7, 0.25, 50)


def test_reset_of_the_momentum_changes_the_training_from_the_second_stage() -> None:
    carried, reset = built(), built("training.reset_momentum=true")
    end = training_of(carried).schedule.ends[0]
    losses = [[trial.training.step().item() for _ in range(end + 3)] for trial in (carried, reset)]
    assert losses[0][: end + 1] == losses[1][: end + 1]
    assert losses[0] != losses[1]


def test_evaluations_of_the_recipe_are_made() -> None:
    assert len(built("training.evaluations=4").run().curve) == 1 + 4


def test_divergence_factor_of_the_recipe_decides() -> None:
    assert built("training.divergence_factor=1e30", rate=50.0).run().diverged is False
    assert built("training.divergence_factor=1.01", rate=50.0).run().diverged is True


def test_model_and_data_of_the_recipe_are_used() -> None:
    network = training_of(built("model={name: mlp, hidden: [5, 7]}")).model
    layers = [layer for layer in network.modules() if isinstance(layer, torch.nn.Linear)]
    widths = [layer.out_features for layer in layers]
    assert widths == [5, 7, 10]
    first, other = built("data.split_seed=0"), built("data.split_seed=1")
    assert first.training.step() != other.training.step()


def test_what_gives_up_reaches_the_trial() -> None:
    recipe = load_recipe(find_recipe("digits-logistic"), SMALL)
    splits = load_splits(recipe.data, ("train", "validation"))
    schedule = derive_schedule(recipe.schedule, 0.1, len(splits["train"]))
    trial = build_trial(
        recipe,
        schedule,
        seed=0,
        splits=splits,
        device=torch.device("cpu"),
        gives_up=lambda curve: f"after {curve[-1].steps}",
    )
    outcome = trial.run()
    assert outcome.given_up
    assert outcome.reason == f"after {outcome.steps}"
    assert len(outcome.curve) == 2


def asynchronous(section: str, *overrides: str) -> Trial:
    keys = ("training.algorithm=asynchronous", f"training.asynchronous={section}")
    return built(*keys, *overrides)


def simulated(trial: Trial) -> SimulatedTraining:
    assert isinstance(trial.training, SimulatedTraining)
    return trial.training


@pytest.mark.parametrize(
    ("section", "first"),
    [
        ("{num_workers: 3}", [0, 1, 2, 2, 2]),
        ("{delay: {name: constant, delay: 2}}", [0, 1, 2, 2, 2]),
        ("{delay: {name: clock, speeds: [1, 0.4], service: constant}}", [0, 0, 2, 1, 0]),
    ],
)
def test_delays_of_the_recipe_are_those_of_the_training(section: str, first: list[int]) -> None:
    assert simulated(asynchronous(section)).delivery.delays[:5].tolist() == first


def test_random_delays_differ_from_seed_to_seed_and_repeat_with_it() -> None:
    section = "{delay: {name: geometric, mean: 5.0}}"
    keys = ("training.algorithm=asynchronous", f"training.asynchronous={section}")
    delays = [simulated(built(*keys, seed=seed)).delivery.delays.tolist() for seed in (0, 0, 1)]
    assert delays[0] == delays[1] != delays[2]


@pytest.mark.parametrize("kind", ["none", "standard", "shifted"])
def test_momentum_kind_of_the_recipe_reaches_the_server(kind: str) -> None:
    training = simulated(asynchronous(f"{{num_workers: 3, momentum_kind: {kind}}}"))
    assert training.server.momentum_kind == kind


def test_weight_decay_of_the_recipe_reaches_the_server() -> None:
    losses = []
    for decay in (0.0, 0.5):
        training = asynchronous("{num_workers: 3}", f"training.weight_decay={decay}").training
        losses.append([training.step().item() for _ in range(5)])
    assert losses[0][0] == losses[1][0]
    assert losses[0] != losses[1]


def test_staleness_aware_updates_are_scaled_by_their_own_delay() -> None:
    """At delay 0 the factor is 1; the second update has delay 1, and the fifth turn reads it."""
    losses = []
    for aware in ("true", "false"):
        training = asynchronous(f"{{num_workers: 3, staleness_aware: {aware}}}").training
        losses.append([training.step().item() for _ in range(5)])
    assert losses[0][:4] == losses[1][:4]
    assert losses[0][4] != losses[1][4]


def test_late_gradients_are_a_measurement_of_the_outcome() -> None:
    outcome = asynchronous("{num_workers: 3}").run()
    assert sum(outcome.measured["delays"].values()) == outcome.steps
    assert built().run().measured == {}


def test_clock_delay_is_measured_without_training() -> None:
    section = "{delay: {name: clock, speeds: [1, 0.4], service: constant}}"
    keys = ("training.algorithm=asynchronous", f"training.asynchronous={section}")
    recipe = load_recipe(find_recipe("digits-logistic"), [*SMALL, *keys])
    splits = load_splits(recipe.data, ("train",))
    delay = measure_delay(recipe, splits, device=torch.device("cpu")).delay
    assert sum(delay.counts) == 10_000
    assert delay.counts[1] > 0

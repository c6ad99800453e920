import itertools
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import torch

from tunecli.data.load import load_splits
from tunecli.errors import InvalidValueError, TunecliError
from tunecli.optim import QHM
from tunecli.recipe import derive_schedule, find_recipe, load_recipe
from tunecli.training import CentralizedTraining, Trial
from tunecli.training.asynchronous.build import measure_delay
from tunecli.training.asynchronous.simulated import SimulatedTraining
from tunecli.training.build import build_trial, caveats

_numbers = itertools.count()

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


class Write:
    """Writes modules of a person's own, each under a name of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self, text: str) -> str:
        name = f"own_part_{next(_numbers)}.py"
        (self.folder / name).write_text(text)
        return name


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    monkeypatch.setattr(sys, "path", list(sys.path))
    return Write(tmp_path)


def caveats_of(*overrides: str, model: str = "{name: mlp, hidden: [5]}") -> list[str]:
    recipe = load_recipe(find_recipe("digits-logistic"), [*SMALL, f"model={model}", *overrides])
    return caveats(recipe, load_splits(recipe.data, ("train",)))


def test_plain_training_has_no_caveat() -> None:
    assert caveats_of() == []
    assert caveats_of("training.micro_batch_size=5") == []


def test_batch_norm_in_micro_batches_is_a_caveat(own: Write) -> None:
    name = own(
        "from torch import nn\n"
        "def build():\n"
        "    return nn.Sequential(nn.Flatten(), nn.BatchNorm1d(64), nn.Linear(64, 10))"
    )
    model = f"{{import: '{name}:build', folder: '{own.folder}'}}"
    (sentence,) = caveats_of("training.micro_batch_size=5", model=model)
    assert sentence.startswith("batch norm (1) takes its statistics over")
    assert caveats_of(model=model) == []


def test_weighted_loss_in_micro_batches_is_a_caveat(own: Write) -> None:
    name = own(
        "import torch\ndef build():\n    return torch.nn.CrossEntropyLoss(weight=torch.ones(10))"
    )
    loss = f"loss={{import: '{name}:build', folder: '{own.folder}'}}"
    (sentence,) = caveats_of("training.micro_batch_size=5", loss)
    assert sentence.startswith("the loss is a mean weighted by class")
    assert caveats_of(loss) == []


def test_optimizer_without_momentum_and_discount_is_a_caveat(own: Write) -> None:
    (sentence,) = caveats_of("optimizer={import: 'torch.optim:SGD'}")
    assert "the learning rate alone" in sentence
    name = own("from tunecli import QHM\ndef build(parameters, lr): return QHM(parameters, lr)")
    qhm = f"optimizer={{import: '{name}:build', folder: '{own.folder}'}}"
    assert caveats_of(qhm) == []


@pytest.mark.parametrize(
    ("code", "sentence"),
    [
        ("return torch.optim.SGD(parameters, lr=0.1)", "has 0.1 whatever is given; pass lr on"),
        ("return 3", "must build a torch.optim.Optimizer but got int"),
        ("raise OSError('disk')", "optimizer raised OSError: disk at "),
        (
            "made = torch.optim.SGD(parameters, lr); del made.param_groups[0]['lr']; return made",
            "must have an lr in every group",
        ),
    ],
)
def test_optimizer_that_cannot_be_used_is_refused(own: Write, code: str, sentence: str) -> None:
    name = own(f"import torch\ndef build(parameters, lr):\n    {code}")
    with pytest.raises(TunecliError) as caught:
        caveats_of(f"optimizer={{import: '{name}:build', folder: '{own.folder}'}}")
    assert sentence in str(caught.value)


def test_own_rate_of_an_optimizer_is_refused() -> None:
    with pytest.raises(InvalidValueError, match="lr, which is what is searched"):
        caveats_of("optimizer={import: 'torch.optim:SGD', args: {lr: 0.1}}")


@pytest.mark.parametrize(
    ("code", "sentence"),
    [
        ("return lambda inputs: inputs[1:]", "must return as many inputs as it got"),
        ("return lambda inputs: None", "must return as many inputs as it got"),
        ("return lambda inputs: inputs / nothing", "augmentation raised NameError"),
        ("return 3", "must build a function of the inputs but got int"),
    ],
)
def test_augmentation_that_cannot_be_used_is_refused(own: Write, code: str, sentence: str) -> None:
    name = own(f"def build():\n    {code}")
    with pytest.raises(TunecliError) as caught:
        built(f"augmentation={{import: '{name}:build', folder: '{own.folder}'}}").training.step()
    assert sentence in str(caught.value)


@pytest.mark.parametrize("key", ["model", "loss", "augmentation"])
def test_imports_of_the_recipe_are_what_trains(own: Write, key: str) -> None:
    codes = {
        "model": "import torch\ndef build(): return torch.nn.Sequential("
        "torch.nn.Flatten(), torch.nn.Linear(64, 10, bias=False))",
        "loss": "def build(): return lambda outputs, targets: 7 + 0 * outputs.mean()",
        "augmentation": "def build(): return lambda inputs: 0 * inputs",
    }
    name = own(codes[key])
    trial = built(f"{key}={{import: '{name}:build', folder: '{own.folder}'}}")
    loss = trial.training.step().item()
    network = training_of(trial).model
    if key == "model":
        assert [tuple(p.shape) for p in network.parameters()] == [(10, 64)]
    elif key == "loss":
        assert loss == 7
    else:  # of blank images the bias alone is learned
        (layer,) = (each for each in network.modules() if isinstance(each, torch.nn.Linear))
        assert layer.bias.grad is not None
        assert layer.bias.grad.abs().sum() > 0
        assert layer.weight.grad is not None
        assert layer.weight.grad.abs().sum() == 0


def test_own_model_reaches_worker_processes_and_frozen_weights_stay(own: Write) -> None:
    name = own(
        "import torch\n"
        "class Net(torch.nn.Module):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.body, self.head = torch.nn.Linear(64, 5), torch.nn.Linear(5, 10)\n"
        "    def forward(self, x):\n"
        "        return self.head(self.body(x.flatten(1)))"
    )
    model = f"model={{import: '{name}:Net', folder: '{own.folder}', freeze: ['body.*']}}"
    section = "{num_workers: 2, engine: processes}"
    trial = asynchronous(section, model, "training.weight_decay=0.1", "training.evaluations=1")
    before = trial.training.weights()
    with closing(trial.training):
        assert not trial.run().diverged
        after = trial.training.weights()
    assert [name for name in before if torch.equal(before[name], after[name])] == [
        "body.weight",
        "body.bias",
    ]


@pytest.mark.parametrize(("label", "shown"), [(3, "3"), (-1, "-1")])
def test_label_that_a_named_model_has_no_output_for_is_refused(
    own: Write, label: int, shown: str
) -> None:
    name = own(
        "import torch\n"
        "def build():\n"
        "    x, y = torch.zeros(9, 4), torch.arange(9) % 3\n"
        f"    held = x, torch.full((9,), {label})\n"
        "    return {'train': (x, y), 'validation': held, 'test': held}"
    )
    data = f"data={{import: '{name}:build', folder: '{own.folder}'}}"
    keys = (data, "schedule.batch_size=3")
    with pytest.raises(InvalidValueError, match=rf"validation split must be in 0 … 2, .* {shown};"):
        built(*keys)
    linear = "{import: 'torch.nn:Linear', args: {in_features: 4, out_features: 10}}"
    built(*keys, f"model={linear}")  # what it has outputs for is its affair

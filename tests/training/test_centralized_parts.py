"""Centralized training with pieces of a batch, other optimizers, augmentation, frozen weights."""

import io
import random
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.optim import SGD, AdamW
from torch.utils.data import TensorDataset

from tunecli.data.load import AnySplit, DatasetSplit, Split
from tunecli.models.weights import freeze
from tunecli.optim import QHM
from tunecli.schedule import Schedule, Stage
from tunecli.training import CentralizedTraining

CPU = torch.device("cpu")
SAMPLES, FEATURES, CLASSES = 37, 6, 3
THREE_STAGES = Schedule(
    (
        Stage(0.4, momentum=0.8, discount=0.5, batch_size=8, steps=5),
        Stage(0.2, momentum=0.9, discount=0.25, batch_size=13, steps=4),
        Stage(0.1, momentum=0.95, discount=1.0, batch_size=30, steps=5),
    )
)


def data(dtype: torch.dtype = torch.float32) -> Split:
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(SAMPLES, FEATURES, generator=generator, dtype=torch.float64)
    targets = (inputs[:, 0] > 0).long() + (inputs[:, 1] > 1).long()
    return Split(inputs.to(dtype), targets)


def network(dtype: torch.dtype = torch.float32, dropout: float = 0.0) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        layers = (nn.Linear(FEATURES, 4), nn.Tanh(), nn.Dropout(dropout), nn.Linear(4, CLASSES))
        return nn.Sequential(*layers).to(dtype)


def training(
    *,
    model: nn.Module | None = None,
    split: AnySplit | None = None,
    seed: int = 1,
    **options: Any,
) -> CentralizedTraining:
    model, split = model or network(), split or data()
    return CentralizedTraining(model, split, THREE_STAGES, seed=seed, device=CPU, **options)


def vector(trained: CentralizedTraining) -> Tensor:
    return torch.cat([p.detach().flatten() for p in trained.model.parameters()])


def run(trained: CentralizedTraining, steps: int | None = None) -> list[float]:
    left = trained.total_steps - trained.steps if steps is None else steps
    return [trained.step().item() for _ in range(left)]


@pytest.mark.parametrize("size", [1, 3, 7, 13, 29])
def test_micro_batches_are_the_whole_batch_at_every_update(size: int) -> None:
    whole = training(model=network(torch.float64), split=data(torch.float64))
    pieces = training(
        model=network(torch.float64), split=data(torch.float64), micro_batch_size=size
    )
    for _ in range(whole.total_steps):
        expected, found = whole.step(), pieces.step()
        assert found.item() == pytest.approx(expected.item(), rel=1e-12)
        torch.testing.assert_close(vector(pieces), vector(whole), rtol=0, atol=1e-11)
        assert pieces.optimizer.param_groups[0]["lr"] == whole.optimizer.param_groups[0]["lr"]
    assert pieces.batch_sizes == whole.batch_sizes == ((8, 5), (13, 4), (30, 5))
    assert pieces.samples == whole.samples


def test_model_sees_no_more_than_a_micro_batch() -> None:
    trained = training(micro_batch_size=7)
    seen: list[int] = []
    trained.model.register_forward_hook(lambda _, inputs, __: seen.append(len(inputs[0])))
    run(trained)
    assert seen == [7, 1] * 5 + [7, 6] * 4 + [7, 7, 7, 7, 2] * 5


def test_batch_norm_in_micro_batches_warns_nobody_here() -> None:
    """The run says it once (`caveats`); a warning at every trial would fill the screen."""
    model = nn.Sequential(nn.Linear(FEATURES, 4), nn.BatchNorm1d(4), nn.Linear(4, CLASSES))
    run(training(model=model, micro_batch_size=5), 3)  # pytest makes warnings errors


def sgd(parameters: list[nn.Parameter], lr: float) -> SGD:
    return SGD(parameters, lr=lr, momentum=0.5)


def adamw(parameters: list[nn.Parameter], lr: float) -> AdamW:
    matrices = [p for p in parameters if p.ndim > 1]
    rest = [p for p in parameters if p.ndim < 2]
    groups = [{"params": matrices, "lr": lr / 4}, {"params": rest, "weight_decay": 0.0}]
    return AdamW(groups, lr=lr)


def test_sgd_takes_the_rates_of_the_stages_and_keeps_its_momentum() -> None:
    trained = training(make_optimizer=sgd)
    expected, seen = training(make_optimizer=sgd), []
    for stage in THREE_STAGES.stages:
        for _ in range(stage.steps):
            trained.step()
            (group,) = trained.optimizer.param_groups
            seen.append((group["lr"], group["momentum"]))
    assert seen == [(0.4, 0.5)] * 5 + [(0.2, 0.5)] * 4 + [(0.1, 0.5)] * 5
    run(expected)
    assert torch.equal(vector(trained), vector(expected))


def test_sgd_is_qhm_at_discount_zero() -> None:
    """The rates are used, not only set: without momentum both are plain gradient descent."""
    schedule = Schedule(tuple(Stage(rate, 0.9, 0.0, 8, steps=4) for rate in (0.4, 0.2, 0.1)))
    found = []
    for make in (SGD, QHM):
        trained = CentralizedTraining(
            network(torch.float64),
            data(torch.float64),
            schedule,
            seed=1,
            device=CPU,
            make_optimizer=make,
        )
        run(trained)
        found.append(vector(trained))
    torch.testing.assert_close(found[0], found[1], rtol=0, atol=1e-14)


def test_groups_of_an_optimizer_keep_their_proportions() -> None:
    trained, seen = training(make_optimizer=adamw), []
    for stage in THREE_STAGES.stages:
        run(trained, stage.steps)
        seen.append([group["lr"] for group in trained.optimizer.param_groups])
    assert seen == [[0.1, 0.4], [0.05, 0.2], [0.025, 0.1]]


def test_optimizer_with_momentum_and_discount_is_given_both() -> None:
    trained = training(make_optimizer=QHM)
    for stage in THREE_STAGES.stages:
        run(trained, stage.steps)
        (group,) = trained.optimizer.param_groups
        assert (group["momentum"], group["discount"]) == (stage.momentum, stage.discount)


def noisy(inputs: Tensor) -> Tensor:
    drawn = random.random() + float(np.random.rand())  # noqa: NPY002  # as a person's code may
    return inputs + 0.1 * torch.randn_like(inputs) + drawn


def test_augmentation_changes_what_the_model_is_trained_on_and_nothing_else() -> None:
    trained = training(augmentation=lambda inputs: inputs + 100)
    seen: list[Tensor] = []
    trained.model.register_forward_hook(lambda _, inputs, __: seen.append(inputs[0]))
    trained.step()
    trained.evaluate(data())
    assert seen[0].min() > 50
    assert seen[1].max() < 50


def test_augmentation_draws_from_the_seed_alone_whatever_it_draws_with() -> None:
    def inputs(seed: int, rate: float) -> list[Tensor]:
        schedule = Schedule(tuple(Stage(rate, 0.9, 0.5, 8, steps=4) for _ in range(2)))
        trained = CentralizedTraining(
            network(), data(), schedule, seed=seed, device=CPU, augmentation=noisy
        )
        seen: list[Tensor] = []
        trained.model.register_forward_hook(lambda _, inputs, __: seen.append(inputs[0]))
        run(trained)
        return seen

    first, other_rate, other_seed = inputs(1, 0.1), inputs(1, 2.0), inputs(2, 0.1)
    assert all(torch.equal(a, b) for a, b in zip(first, other_rate, strict=True))
    assert not torch.equal(first[0], other_seed[0])


def saved(trained: CentralizedTraining) -> dict[str, Any]:
    """A state as a checkpoint keeps it."""
    file = io.BytesIO()
    torch.save(trained.state_dict(), file)
    file.seek(0)
    state: dict[str, Any] = torch.load(file, weights_only=True)
    return state


def read(workers: int) -> DatasetSplit:
    return DatasetSplit(TensorDataset(*(lambda s: (s.inputs, s.targets))(data())), workers)


@pytest.mark.parametrize(
    "options",
    [
        {"augmentation": noisy},
        {"micro_batch_size": 5},
        {"make_optimizer": sgd},
        {"make_optimizer": adamw},
        {"split": read(0)},
        {"split": read(0), "augmentation": noisy, "micro_batch_size": 7, "make_optimizer": adamw},
        {"split": read(2), "augmentation": noisy},
    ],
    ids=["augmentation", "pieces", "sgd", "adamw", "dataset", "all", "readers"],
)
@pytest.mark.parametrize("stop", [3, 9])
def test_training_that_is_gone_on_with_is_the_uninterrupted_one_bit_for_bit(
    options: dict[str, Any], stop: int
) -> None:
    whole = training(model=network(dropout=0.3), **options)
    losses = run(whole)
    begun = training(model=network(dropout=0.3), **options)
    first = run(begun, stop)
    state = saved(begun)
    begun.close()
    run(training(seed=5), 2)  # something else draws meanwhile
    rest = training(model=network(dropout=0.3), **options)
    rest.load_state_dict(state)
    assert first + run(rest) == losses
    assert torch.equal(vector(rest), vector(whole))
    assert rest.batch_sizes == whole.batch_sizes
    whole.close()
    rest.close()


@pytest.mark.parametrize("workers", [0, 2])
def test_dataset_is_trained_on_as_its_tensors_are(workers: int) -> None:
    tensors, items = training(), training(split=read(workers))
    assert run(items) == run(tensors)
    assert items.batch_sizes == tensors.batch_sizes
    items.close()


@pytest.mark.parametrize("decay", [0.0, 0.1])
@pytest.mark.parametrize("mode", ["coupled", "decoupled"])
def test_frozen_parameters_stay_bit_for_bit(decay: float, mode: Any) -> None:
    model = network()
    freeze(model, ("0.*",))
    before = {name: p.detach().clone() for name, p in model.named_parameters()}

    def qhm(parameters: list[nn.Parameter], lr: float) -> QHM:
        return QHM(parameters, lr, weight_decay=decay, weight_decay_mode=mode)

    trained = training(model=model, make_optimizer=qhm)
    run(trained)
    for name, p in trained.model.named_parameters():
        assert torch.equal(p, before[name]) == name.startswith("0.")
        assert (p.grad is None) == name.startswith("0.")

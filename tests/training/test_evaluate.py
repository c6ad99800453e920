"""A model on one split."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from tunecli.data.load import DatasetSplit, Split
from tunecli.errors import InvalidValueError
from tunecli.training.evaluate import evaluate_model, suggested_batch_size
from tunecli.training.objective import Objective, mean_squared_error

CPU = torch.device("cpu")
GENERATOR = torch.Generator().manual_seed(0)
INPUTS, TARGETS = torch.randn(37, 6, generator=GENERATOR), torch.arange(37) % 3


def network() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(6, 4), nn.Dropout(0.5), nn.Linear(4, 3))


def measuring(**metrics: Any) -> Objective:
    return Objective(metrics=metrics)


def test_pieces_give_what_the_whole_split_gives() -> None:
    model, split = network(), Split(INPUTS, TARGETS)
    whole = evaluate_model(model, split, CPU)
    for size in (1, 5, 36, 37, 100):
        pieces = evaluate_model(model, split, CPU, batch_size=size)
        assert pieces.loss == pytest.approx(whole.loss, rel=1e-6)
        assert pieces.accuracy == whole.accuracy


@pytest.mark.parametrize("workers", [0, 1])
def test_dataset_gives_what_its_tensors_give(workers: int) -> None:
    model = network()
    read = DatasetSplit(TensorDataset(INPUTS, TARGETS), workers)
    found = evaluate_model(model, read, CPU, batch_size=10)
    assert found == evaluate_model(model, Split(INPUTS, TARGETS), CPU, batch_size=10)


def test_metric_sees_the_whole_split_once_and_in_order() -> None:
    seen: list[tuple[Tensor, Tensor]] = []

    def metric(outputs: Tensor, targets: Tensor) -> Tensor:
        seen.append((outputs, targets))
        return torch.tensor(0.25)

    model = network()
    found = evaluate_model(model, Split(INPUTS, TARGETS), CPU, measuring(mine=metric), batch_size=5)
    assert found.metrics == {"mine": 0.25}
    ((outputs, targets),) = seen
    assert torch.equal(targets, TARGETS)
    torch.testing.assert_close(outputs, model.eval()(INPUTS))
    assert not outputs.requires_grad


@pytest.mark.parametrize(
    ("value", "got"),
    [
        (torch.ones(3), r"a Tensor of shape \(3,\)"),
        ("0.5", "a str"),
        (None, "a NoneType"),
        ({"f1": 1.0}, "a dict"),
        (1j, "a complex"),
    ],
)
def test_metric_that_is_no_number_is_refused_with_what_it_is(value: Any, got: str) -> None:
    with pytest.raises(
        InvalidValueError, match=rf"metrics.mine must return a number but got {got}"
    ):
        evaluate_model(network(), Split(INPUTS, TARGETS), CPU, measuring(mine=lambda *_: value))


def test_metric_is_not_asked_about_outputs_that_are_not_numbers() -> None:
    def metric(*_: Tensor) -> float:
        raise AssertionError("asked")

    broken = Split(INPUTS * math.nan, TARGETS)
    found = evaluate_model(network(), broken, CPU, measuring(mine=metric))
    assert found.metrics == {}
    assert found.loss is not None
    assert math.isnan(found.loss)


def test_regression_has_a_loss_and_no_accuracy() -> None:
    split = Split(INPUTS, INPUTS[:, :3])
    objective = Objective(mean_squared_error, mean_squared_error)
    model = network()
    found = evaluate_model(model, split, CPU, objective)
    assert found.accuracy is None
    expected = (model.eval()(INPUTS) - split.targets).square().mean().item()
    assert found.loss == pytest.approx(expected)


def test_layers_keep_the_modes_that_they_were_in() -> None:
    model = network().train()
    model[1].eval()  # type: ignore[index]
    evaluate_model(model, Split(INPUTS, TARGETS), CPU)
    assert [layer.training for layer in model.modules()] == [True, True, False, True]
    model.eval()
    evaluate_model(model, Split(INPUTS, TARGETS), CPU)
    assert not any(layer.training for layer in model.modules())


def test_model_that_returns_no_tensor_is_refused() -> None:
    class Two(nn.Module):
        def forward(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
            return inputs, inputs

    with pytest.raises(InvalidValueError, match="must return a tensor but got tuple"):
        evaluate_model(Two(), Split(INPUTS, TARGETS), CPU)


def test_suggested_size_follows_the_size_of_a_sample() -> None:
    def size(*shape: int) -> int:
        return suggested_batch_size(Split(torch.zeros(2, *shape), torch.zeros(2)))

    assert size(6) == 4096
    assert size(3, 224, 224) == 2**22 // (3 * 224 * 224)
    assert size(3, 2000, 2000) == 1


def test_size_is_suggested_without_starting_processes() -> None:
    read: list[int] = []

    class Noting:
        def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
            read.append(index)
            return INPUTS[index], TARGETS[index]

    assert suggested_batch_size(DatasetSplit(Noting(), workers=2)) == 4096
    assert read == [0]  # in this process

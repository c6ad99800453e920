"""What is minimized and measured: the named losses, and a person's own."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from tunecli.errors import InvalidValueError
from tunecli.recipe import Recipe, load_recipe
from tunecli.training.objective import (
    Objective,
    accuracy_of,
    build_objective,
    cross_entropy,
    cross_entropy_per_sample,
    mean_squared_error,
)
from tunecli.user_code import UserCodeError

CODE = """\
import torch
from torch import nn


def vector():
    return nn.CrossEntropyLoss(reduction="none")


def total():
    return nn.CrossEntropyLoss(reduction="sum")


def quiet_vector():
    return lambda outputs, targets: outputs.square()


def number():
    return lambda outputs, targets: 0.5


def weighted(weights):
    return nn.CrossEntropyLoss(weight=torch.tensor(weights))


def learned():
    class Learned(nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = nn.Parameter(torch.ones(()))
    return Learned()


def broken():
    def loss(outputs, targets):
        raise KeyError("nothing")
    return loss


def full():
    def loss(outputs, targets):
        raise torch.OutOfMemoryError("full")
    return loss


def nothing():
    return None


def share(scale):
    return lambda outputs, targets: scale * (outputs.argmax(1) == targets).float().mean()
"""


@pytest.fixture
def recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(sys, "path", list(sys.path))
    name = f"objectives_{tmp_path.name}".replace("-", "_")
    (tmp_path / f"{name}.py").write_text(CODE)

    def recipe(loss: str | dict[str, Any], **keys: Any) -> Recipe:
        def own(what: Any) -> Any:
            return {"import": f"{name}.py:{what}"} if isinstance(what, str) else what

        file = tmp_path / "own.yaml"
        content = {
            "version": 1,
            "name": "own",
            "model": {"name": "mlp"},
            "data": {"name": "digits"},
            "loss": own(loss),
            "metrics": {key: own(what) for key, what in keys.items()},
            "schedule": {"batch_size": 8, "steps": 3},
            "search": {"grid": [0.1, 0.2]},
        }
        file.write_text(json.dumps(content).replace("CODE", f"{name}.py"))
        return load_recipe(file)

    return recipe


@pytest.fixture
def objective(recipe: Any) -> Any:
    def objective(loss: str | dict[str, Any], **keys: Any) -> Objective:
        return build_objective(recipe(loss, **keys))

    return objective


LOGITS = torch.randn(6, 4, generator=torch.Generator().manual_seed(0))
TARGETS = torch.tensor([0, 1, 2, 3, 0, 1])


def test_named_cross_entropy_smooths_in_training_alone(objective: Any) -> None:
    built = objective({"name": "cross_entropy", "label_smoothing": 0.1})
    smoothed = functional.cross_entropy(LOGITS, TARGETS, label_smoothing=0.1)
    assert torch.equal(built.loss(LOGITS, TARGETS), smoothed)
    plain = functional.cross_entropy(LOGITS, TARGETS)
    assert torch.equal(built.evaluation_loss(LOGITS, TARGETS), plain)
    assert objective({"name": "cross_entropy"}).loss is cross_entropy


def test_imported_loss_gets_its_arguments_in_training_and_evaluation(objective: Any) -> None:
    args = {"label_smoothing": 0.1}
    built = objective({"import": "torch.nn:CrossEntropyLoss", "args": args})
    smoothed = functional.cross_entropy(LOGITS, TARGETS, label_smoothing=0.1)
    assert torch.equal(built.loss(LOGITS, TARGETS), smoothed)
    assert torch.equal(built.evaluation_loss(LOGITS, TARGETS), smoothed)
    assert not built.weighted


def test_loss_that_is_weighted_by_class_is_known_as_one(objective: Any) -> None:
    section = {"import": "CODE:weighted", "args": {"weights": [1.0, 2.0, 3.0, 4.0]}}
    built = objective(section)
    assert built.weighted
    weights = torch.tensor([1.0, 2.0, 3.0, 4.0])
    expected = functional.cross_entropy(LOGITS, TARGETS, weight=weights)
    assert torch.equal(built.loss(LOGITS, TARGETS), expected)


def test_module_that_is_a_loss_is_moved_to_the_device(recipe: Any) -> None:
    section = {"import": "CODE:weighted", "args": {"weights": [1.0, 2.0, 3.0, 4.0]}}
    built = build_objective(recipe(section), torch.device("meta"))
    value = built.loss(LOGITS.to("meta"), TARGETS.to("meta"))
    assert value.device.type == "meta"


@pytest.mark.parametrize("name", ["vector", "total"])
def test_reduction_other_than_the_mean_is_refused(objective: Any, name: str) -> None:
    with pytest.raises(InvalidValueError, match="must be the mean over the batch but got reduc"):
        objective(name)


@pytest.mark.parametrize(
    ("name", "got"), [("quiet_vector", r"one of shape \(6, 4\) Tensor"), ("number", "a float")]
)
def test_loss_that_is_not_one_number_is_refused_with_what_it_is(
    objective: Any, name: str, got: str
) -> None:
    with pytest.raises(InvalidValueError, match=f"must return one number.* but got {got}"):
        objective(name).loss(LOGITS, TARGETS)


def test_loss_with_parameters_is_refused(objective: Any) -> None:
    with pytest.raises(InvalidValueError, match="make them part of the model"):
        objective("learned")


@pytest.mark.parametrize("key", ["loss", "metric"])
def test_error_of_a_loss_or_a_metric_is_told_with_its_place(objective: Any, key: str) -> None:
    built = objective("broken") if key == "loss" else objective({"name": "mse"}, f1="broken")
    with pytest.raises(UserCodeError, match=r"raised KeyError: 'nothing' at .*\.py:35; mend"):
        built.loss(LOGITS, TARGETS) if key == "loss" else built.metrics["f1"](LOGITS, TARGETS)


def test_out_of_memory_in_a_loss_stays_what_it_is(objective: Any) -> None:
    with pytest.raises(torch.OutOfMemoryError):
        objective("full").loss(LOGITS, TARGETS)


@pytest.mark.parametrize("key", ["loss", "metrics.f1"])
def test_what_builds_no_function_is_refused(objective: Any, key: str) -> None:
    with pytest.raises(InvalidValueError, match=f"{key} must build a function .* got NoneType"):
        objective("nothing") if key == "loss" else objective({"name": "mse"}, f1="nothing")


def test_metrics_are_built_with_their_arguments(objective: Any) -> None:
    section = {"import": "CODE:share", "args": {"scale": 100}}
    built = objective({"name": "cross_entropy"}, percent=section)
    found = built.metrics["percent"](functional.one_hot(TARGETS).float(), TARGETS)
    assert float(found) == 100


def test_accuracy_is_a_share_of_samples_or_of_positions() -> None:
    assert accuracy_of(functional.one_hot(TARGETS), TARGETS) == 6
    words = torch.tensor([[0, 1], [2, 3]])
    logits = functional.one_hot(words)
    logits[0, 0] = torch.tensor([0, 0, 0, 1])
    assert accuracy_of(logits, words) == 1.5


@pytest.mark.parametrize(
    ("outputs", "targets"),
    [
        (torch.zeros(6, 1), torch.zeros(6)),  # a regression
        (torch.zeros(6), TARGETS),
        (torch.zeros(6, 3, 5, 4), torch.zeros(6, 5, 4, dtype=torch.long)),  # classes second
        (torch.zeros(6, 4), TARGETS[:, None]),
    ],
)
def test_accuracy_is_not_known_of_what_are_no_logits(outputs: Tensor, targets: Tensor) -> None:
    assert accuracy_of(outputs, targets) is None


def test_cross_entropy_of_sequences_is_the_mean_over_positions() -> None:
    logits = torch.randn(3, 5, 7, generator=torch.Generator().manual_seed(1))
    targets = torch.arange(15, dtype=torch.uint8).view(3, 5) % 7
    by_hand = -logits.log_softmax(-1).gather(-1, targets.long()[..., None]).mean()
    assert cross_entropy(logits, targets).item() == pytest.approx(by_hand.item())
    total = cross_entropy_per_sample(logits, targets)
    assert total.item() == pytest.approx(3 * by_hand.item())


def test_mean_squared_error_takes_targets_with_or_without_a_column() -> None:
    outputs = torch.tensor([[1.0], [2.0]])
    for targets in (torch.tensor([0.0, 4.0]), torch.tensor([[0.0], [4.0]]), torch.tensor([0, 4])):
        assert mean_squared_error(outputs, targets).item() == 2.5
    with pytest.raises(InvalidValueError, match=r"as many as .* \(2, 1\), but got \(2, 3\)"):
        mean_squared_error(outputs, torch.zeros(2, 3))


@pytest.mark.parametrize(
    "targets", [torch.tensor([0.5, 1.0, 2.0]), torch.zeros(3, 2), torch.zeros(6).long()]
)
def test_targets_that_are_no_classes_are_refused(targets: Tensor) -> None:
    with pytest.raises(InvalidValueError, match=r"must be whole numbers of shape \(3,\)"):
        cross_entropy(torch.zeros(3, 2), targets)

import re
from pathlib import Path

import pytest
import torch

from tests.execution.test_stability_run import RECIPE, write_weights
from tunecli.errors import RunError
from tunecli.execution.minimum import Minimum, measure_minimum, not_asked
from tunecli.recipe import Recipe


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    return write_weights(tmp_path)


def measured(recipe: Recipe, weights: Path) -> Minimum:
    return measure_minimum(
        recipe,
        weights,
        device=torch.device("cpu"),
        tolerance=0.05,
        max_iterations=60,
        on_progress=lambda *_: None,
    )


def test_minimum_measures_loss_and_gradient_of_the_training_set(weights: Path) -> None:
    found = measured(RECIPE, weights)
    loss = torch.nn.functional.cross_entropy(found.model(found.split.inputs), found.split.targets)
    gradient = torch.autograd.grad(loss, list(found.model.parameters()))
    norm = torch.cat([each.flatten() for each in gradient]).norm()
    assert found.loss == pytest.approx(loss.item(), rel=1e-5)
    assert found.gradient_norm == pytest.approx(norm.item(), rel=1e-4)
    assert any("hardly a minimum" in warning for warning in found.warnings(RECIPE))


def test_weight_decay_is_said_to_be_left_out(weights: Path) -> None:
    decayed = RECIPE.training.model_copy(update={"weight_decay": 0.1})
    recipe = RECIPE.model_copy(update={"training": decayed})
    found = measured(recipe, weights)
    assert any("weight decay, 0.1, is left out" in warning for warning in found.warnings(recipe))


def test_weights_that_are_not_the_recipes_are_refused(tmp_path: Path, weights: Path) -> None:
    with pytest.raises(RunError, match="cannot be read: No such file"):
        measured(RECIPE, tmp_path / "none.pt")
    other = RECIPE.model_copy(update={"model": RECIPE.model.model_copy(update={"hidden": (5,)})})
    with pytest.raises(RunError, match="does not hold the weights of the model"):
        measured(other, weights)
    weights.write_bytes(b"no weights")
    with pytest.raises(RunError, match="does not hold the weights of the model"):
        measured(RECIPE, weights)


def asynchronous(**section: object) -> Recipe:
    training = {"algorithm": "asynchronous", "asynchronous": section}
    return Recipe.model_validate({**RECIPE.model_dump(exclude={"training"}), "training": training})


@pytest.mark.parametrize(
    ("section", "words"),
    [
        ({"num_workers": 5}, "a delay of 4 and momentum kind none"),
        (
            {"num_workers": 3, "engine": "processes", "momentum_kind": "shifted"},
            r"delays that vary \(measured\) and momentum kind shifted",
        ),
        (
            {"delay": {"name": "geometric", "mean": 7}},
            r"delays that vary \(geometric, of mean 7\)",
        ),
    ],
)
def test_rates_of_another_delay_than_the_recipes_are_said_to_be_that(
    section: dict[str, object], words: str
) -> None:
    (warning,) = not_asked(asynchronous(**section), (0, 1, 2), "standard")
    assert re.search(words, warning)


def test_rates_of_the_recipes_own_delay_need_no_warning() -> None:
    assert not_asked(RECIPE, (0,), "shifted") == []
    assert not_asked(asynchronous(num_workers=5), (0, 4), "none") == []
    assert not_asked(asynchronous(num_workers=5), (0, 4), "shifted") != []
    drawn = asynchronous(delay={"name": "geometric", "mean": 7})
    assert not_asked(drawn, [{"kind": "histogram", "mean": 7.1}], "none") == []

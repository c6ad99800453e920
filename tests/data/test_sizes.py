from typing import Any

import pytest

from tunecli.data.sizes import require_samples, samples_of
from tunecli.errors import InvalidValueError
from tunecli.recipe import Recipe

HUB = {"name": "huggingface", "dataset": "a/b", "inputs": ["x"], "target": "y"}
OWN = {"name": "import", "import": "mine:build"}


def recipe(budget: dict[str, Any], **keys: Any) -> Recipe:
    return Recipe.model_validate(
        {
            "version": 1,
            "name": "sized",
            "schedule": {"stages": 2, "batch_size": 8, **budget},
            "search": {"grid": (0.1, 1.0)},
            **keys,
        }
    )


def on(data: dict[str, Any], **budget: Any) -> Recipe:
    return recipe(budget, model={"name": "logistic"}, data=data)


def test_size_is_read_off_what_is_known() -> None:
    digits = on({"name": "digits"}, epochs=2)
    assert samples_of(digits) == 1077
    assert require_samples(digits, 1077) == 1077
    assert samples_of(on({**OWN, "samples": 12}, epochs=2)) == 12
    script = recipe({"epochs": 2.0}, command=("a",), script={"samples": 7})
    assert samples_of(script) == 7


@pytest.mark.parametrize("data", [HUB, OWN])
def test_budget_in_steps_needs_no_size(data: dict[str, Any]) -> None:
    counted = on(data, steps=5)
    assert samples_of(counted) is None
    assert require_samples(counted, None) == 1
    assert require_samples(on(data, epochs=2), 30) == 30  # once it is loaded


def test_what_can_be_given_is_named() -> None:
    with pytest.raises(InvalidValueError, match=r"^data\.samples must be given with schedule\.ep"):
        require_samples(on(OWN, epochs=2), None)
    with pytest.raises(InvalidValueError, match=r"^script\.samples must be given with schedule\.e"):
        require_samples(recipe({"epochs": 2.0}, command=("a",)), None)
    with pytest.raises(
        InvalidValueError,
        match=r"^schedule\.steps, .*, must be given in place of schedule\.epochs, ",
    ) as refused:
        require_samples(on(HUB, epochs=2), None)
    assert "data.samples" not in str(refused.value)

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from tunecli.data import SPLIT_NAMES, SplitName
from tunecli.data import load as load_module
from tunecli.data.digits import load_digits
from tunecli.data.load import DatasetSplit, Split, Splits, load_splits, training_samples
from tunecli.errors import InvalidValueError
from tunecli.recipe.data import DigitsData

if TYPE_CHECKING:
    from numpy.typing import NDArray


def digits(validation: float = 0.2, test: float = 0.2, split_seed: int = 0) -> DigitsData:
    return DigitsData(name="digits", validation=validation, test=test, split_seed=split_seed)


@pytest.mark.parametrize(
    "names", [("train", "validation"), ("test",), ("validation",), SPLIT_NAMES, ()]
)
def test_splits_hold_what_was_asked_for_and_nothing_else(names: tuple[SplitName, ...]) -> None:
    splits = load_splits(digits(), names)
    assert set(splits.by_name) == set(names)
    for name in set(SPLIT_NAMES) - set(names):
        with pytest.raises(KeyError):
            splits[name]
    assert splits.input_shape == (1, 8, 8)
    assert splits.num_classes == 10


def test_a_split_is_the_same_whatever_else_was_asked_for() -> None:
    alone, together = load_splits(digits(), ("test",)), load_splits(digits(), SPLIT_NAMES)
    assert torch.equal(alone.in_memory("test").inputs, together.in_memory("test").inputs)
    assert torch.equal(alone.in_memory("test").targets, together.in_memory("test").targets)


def test_training_pixels_have_mean_zero_and_deviation_one() -> None:
    inputs = load_splits(digits(), ("train",)).in_memory("train").inputs.double()
    assert inputs.mean().item() == pytest.approx(0, abs=1e-5)
    assert inputs.std(correction=0).item() == pytest.approx(1, abs=1e-5)


def test_standardization_uses_the_training_split_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Spoil validation and test: what is trained on must not move, they move by train's numbers."""
    arrays = load_digits(validation=0.2, test=0.2, seed=0)
    mean, std = arrays["train"][0].mean(), arrays["train"][0].std()
    clean = load_splits(digits(), SPLIT_NAMES)
    spoiled: dict[SplitName, tuple[NDArray[np.float32], NDArray[np.int64]]] = {
        **arrays,
        "validation": (arrays["validation"][0] * np.float32(50), arrays["validation"][1]),
        "test": (arrays["test"][0] + np.float32(9), arrays["test"][1]),
    }
    monkeypatch.setattr(load_module, "load_digits", lambda **_: spoiled)
    splits = load_splits(digits(), SPLIT_NAMES)
    assert torch.equal(splits.in_memory("train").inputs, clean.in_memory("train").inputs)
    for name in SPLIT_NAMES:
        expected = torch.from_numpy((spoiled[name][0] - mean) / std)
        torch.testing.assert_close(splits.in_memory(name).inputs, expected)


def test_split_seed_reaches_the_split() -> None:
    first, again, other = (
        load_splits(digits(split_seed=seed), ("train",)).in_memory("train").targets
        for seed in (1, 1, 2)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.parametrize(("validation", "test"), [(0.2, 0.2), (0.1, 0.3), (0.33, 0.07)])
def test_training_samples_are_what_is_loaded(validation: float, test: float) -> None:
    data = digits(validation, test)
    assert training_samples(data) == len(load_splits(data, ("train",))["train"])


def test_training_samples_refuses_what_cannot_be_loaded() -> None:
    with pytest.raises(InvalidValueError, match=r"change data\.validation or data\.test"):
        training_samples(digits(validation=0.001))


def test_split_that_is_read_by_a_dataset_is_not_in_memory() -> None:
    splits = Splits({"train": DatasetSplit([(0.0, 1)])}, (), 2)
    with pytest.raises(InvalidValueError, match="the train split must be held in memory for this"):
        splits.in_memory("train")


def test_split_counts_and_moves_its_samples() -> None:
    split = Split(torch.zeros(3, 1, 2, 2), torch.tensor([0, 1, 2]))
    moved = split.to(torch.device("meta"))
    assert len(split) == 3
    assert moved.inputs.device.type == moved.targets.device.type == "meta"
    assert len(moved) == 3

"""From a recipe's `data` section to tensors; only the splits that are asked for are handed out."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tunecli.data.digits import DIGITS_CLASSES, DIGITS_SHAPE, digits_sizes, load_digits
from tunecli.data.splits import SplitName

if TYPE_CHECKING:
    from torch import Tensor, device

    from tunecli.recipe.data import AnyData


@dataclass(frozen=True, slots=True)
class Split:
    """Samples of one split.

    Args:
        inputs: float32, shape (n, channels, height, width).
        targets: int64 class labels, shape (n,).
    """

    inputs: "Tensor"
    targets: "Tensor"

    def __len__(self) -> int:
        return len(self.targets)

    def to(self, target: "device") -> "Split":
        """The same split on another device."""
        return Split(self.inputs.to(target), self.targets.to(target))

    def batches(self, chosen: "Iterable[Tensor]") -> "Iterator[tuple[Tensor, Tensor]]":
        """Inputs and targets of each batch of indices, in order, where the split is."""
        return ((self.inputs[indices], self.targets[indices]) for indices in chosen)

    def classes(self) -> "Tensor | None":
        """The class of every sample, or of every position of a sequence; None where none are."""
        return None if self.targets.is_floating_point() else self.targets


AnySplit = Split


@dataclass(frozen=True, slots=True)
class Splits:
    """What was asked for of a data set, and what a model must know of its shape."""

    by_name: dict[SplitName, Split]
    input_shape: tuple[int, ...]
    num_classes: int

    def __getitem__(self, name: SplitName) -> Split:
        return self.by_name[name]


def training_samples(data: "AnyData") -> int:
    """Size of the training split, known without reading a sample."""
    assert data.name == "digits"
    return digits_sizes(validation=data.validation, test=data.test).train


def sample_shape(data: "AnyData") -> tuple[tuple[int, ...], int]:
    """Shape of one input, and the number of classes, known without reading a sample."""
    return DIGITS_SHAPE, DIGITS_CLASSES


def load_splits(data: "AnyData", names: Iterable[SplitName]) -> Splits:
    """Load the named splits and no other: a search asks for training and validation only.

    Inputs are standardized with the mean and standard deviation of the training split's pixels.

    Args:
        data: The recipe's `data` section.
        names: Which splits to return.
    """
    import torch

    assert data.name == "digits"
    arrays = load_digits(validation=data.validation, test=data.test, seed=data.split_seed)
    mean, std = arrays["train"][0].mean(), arrays["train"][0].std()
    by_name = {
        name: Split(
            torch.from_numpy((arrays[name][0] - mean) / std), torch.from_numpy(arrays[name][1])
        )
        for name in names
    }
    input_shape, num_classes = sample_shape(data)
    return Splits(by_name, input_shape, num_classes)

"""Data sets that torchvision knows by name, from its files on this machine.

Nothing here reaches the network but `fetch_torchvision`.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tunecli.data.arrays import Channels, scale_of, to_inputs, to_split, to_targets
from tunecli.data.facts import DataFacts
from tunecli.data.shares import shared_out
from tunecli.data.splits import SplitName, SplitSizes, split_sizes
from tunecli.errors import InvalidValueError, RunError

if TYPE_CHECKING:
    from tunecli.data.dataset import AnySplit
    from tunecli.recipe.data import TorchvisionData


@dataclass(frozen=True, slots=True)
class _Known:
    training: int  # pictures that are not test
    shape: tuple[int, ...]
    classes: int


_KNOWN = {
    "MNIST": _Known(60000, (1, 28, 28), 10),
    "FashionMNIST": _Known(60000, (1, 28, 28), 10),
    "CIFAR10": _Known(50000, (3, 32, 32), 10),
    "CIFAR100": _Known(50000, (3, 32, 32), 100),
}


def torchvision_facts(data: "TorchvisionData") -> DataFacts:
    """Sizes, shape and classes, from the data set's name alone."""
    known = _KNOWN[data.dataset]
    return DataFacts(_sizes(data).train, known.shape, known.classes, "classes")


def load_torchvision(
    data: "TorchvisionData", names: Iterable[SplitName]
) -> "dict[SplitName, AnySplit]":
    """The named splits, in memory; the test set is the data set's own, and read if named.

    Each channel is standardized with its mean and deviation in the training split.

    Raises:
        InvalidValueError: The package or the files are not there.
    """
    known = _KNOWN[data.dataset]
    pixels, labels = _read(data, train=True)
    targets = to_targets(labels, f"{data.dataset}'s labels", known.classes)
    sizes = _sizes(data)
    if len(pixels) != known.training:
        raise InvalidValueError(
            f"{data.dataset} must have {known.training} pictures for training but {data.path} has "
            f"{len(pixels)}; remove that folder and fetch it again with --download"
        )
    parts = shared_out(targets, sizes, seed=data.split_seed)
    layout: Channels | None = "last" if pixels.ndim == 4 else None
    train = to_inputs(pixels[parts["train"]], data.dataset, layout)
    scale = scale_of(train, per_feature=False)
    splits: dict[SplitName, AnySplit] = {}
    for name in names:
        if name == "test":
            array, labels = _read(data, train=False)
            inputs = to_inputs(array, data.dataset, layout)
            classes = to_targets(labels, f"{data.dataset}'s labels", known.classes)
        else:
            chosen = parts[name]
            inputs = train if name == "train" else to_inputs(pixels[chosen], data.dataset, layout)
            classes = targets[chosen]
        splits[name] = to_split(scale.apply(inputs), classes)
    return splits


def fetch_torchvision(data: "TorchvisionData") -> None:
    """Download the data set into the recipe's folder, unless it lies there.

    Raises:
        RunError: It cannot be fetched.
    """
    kind = _kind(data)
    try:
        for train in (True, False):
            kind(data.path, train=train, download=True)
    except (OSError, RuntimeError) as error:  # of the network, of a mirror, of a damaged archive
        raise RunError(
            f"{data.dataset} cannot be fetched: {error}; look at the network and at {data.path}"
        ) from error


def _sizes(data: "TorchvisionData") -> SplitSizes:
    return split_sizes(_KNOWN[data.dataset].training, validation=data.validation, test=None)


def _read(data: "TorchvisionData", *, train: bool) -> tuple[Any, Any]:
    """Pixels, uint8 of shape (n, height, width) or (n, height, width, 3), and labels (n,)."""
    import numpy as np

    kind = _kind(data)
    try:
        found = kind(data.path, train=train, download=False)
    except (OSError, RuntimeError) as error:
        raise InvalidValueError(
            f"data.path must hold {data.dataset} as torchvision keeps it but {data.path} does not: "
            f"{error}; fetch it once with --download"
        ) from error
    return np.asarray(found.data), np.asarray(found.targets)


def _kind(data: "TorchvisionData") -> Any:
    try:
        from torchvision import datasets
    except ImportError as error:
        raise InvalidValueError(
            "data.name torchvision needs the package torchvision, which is not installed; "
            'pip install "tunecli[vision]"'
        ) from error
    return getattr(datasets, data.dataset)

"""Arrays from a `.npz` file: `x_train`, `y_train`, `x_test`, `y_test`, or `x` and `y`."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tunecli.data.arrays import sample_layout, scale_of, to_inputs, to_split, to_targets
from tunecli.data.facts import DataFacts
from tunecli.data.npz_header import ArrayHeader, label_range, read_headers, readable
from tunecli.data.shares import share, shared_out
from tunecli.data.splits import SplitName, SplitSizes, split_sizes
from tunecli.errors import InvalidValueError, require

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tunecli.data.dataset import AnySplit
    from tunecli.recipe.data import NpzData


@dataclass(frozen=True, slots=True)
class NpzFile:
    """What a file holds, read off its headers.

    Args:
        lot: Suffix of the arrays that training takes from: `_train`, or nothing for `x` and `y`.
        own: The splits that have arrays of their own.
        sizes: Of the lot's splits; 0 for those that have their own.
        input_shape: Of one sample.
        classes: Number of classes; None where targets are numbers.
        outputs: Classes, or numbers of one target.
        pixels: Whether inputs are uint8.
    """

    lot: str
    own: tuple[SplitName, ...]
    sizes: SplitSizes
    input_shape: tuple[int, ...]
    classes: int | None
    outputs: int
    pixels: bool


def npz_facts(data: "NpzData") -> DataFacts:
    """Sizes, shapes and classes of the file; of its values, only labels are read.

    Raises:
        InvalidValueError: The file cannot be read, arrays are missing or do not fit together.
    """
    file = _inspect(data)
    return DataFacts(
        training_samples=file.sizes.train,
        input_shape=file.input_shape,
        outputs=file.outputs,
        targets="numbers" if file.classes is None else "classes",
    )


def load_npz(data: "NpzData", names: Iterable[SplitName]) -> "dict[SplitName, AnySplit]":
    """The named splits, in memory; what they do not need is not read.

    Inputs are standardized with the training split's mean and deviation (see `scale_of`) unless
    the recipe says otherwise.

    Raises:
        InvalidValueError: See `npz_facts`; or a value is not finite, or a label is no class.
    """
    import numpy as np

    file = _inspect(data)
    path = Path(data.path)

    def read(side: str, suffix: str) -> "NDArray[Any]":
        with readable(path), np.load(path, allow_pickle=False) as arrays:
            array: NDArray[Any] = arrays[side + suffix]
        if side == "x":
            return to_inputs(array, side + suffix, data.channels)
        return to_targets(array, side + suffix, file.classes)

    lot_x, lot_y = read("x", file.lot), read("y", file.lot)
    labels = lot_y if file.classes is not None else np.zeros(len(lot_y))
    parts = shared_out(labels, file.sizes, seed=data.split_seed)
    train_x = lot_x[parts["train"]]
    scale = scale_of(train_x, per_feature=not file.pixels) if data.standardize else None
    splits: dict[SplitName, AnySplit] = {}
    for name in names:
        if name in file.own:
            inputs, targets = read("x", f"_{name}"), read("y", f"_{name}")
        else:
            inputs = train_x if name == "train" else lot_x[parts[name]]
            targets = lot_y[parts[name]]
        splits[name] = to_split(inputs if scale is None else scale.apply(inputs), targets)
    return splits


def _inspect(data: "NpzData") -> NpzFile:
    path = Path(data.path)
    headers = read_headers(path)
    lot = _lot(headers, path)
    held_out: tuple[SplitName, ...] = ("validation", "test")
    own = tuple(name for name in held_out if f"x_{name}" in headers or f"y_{name}" in headers)
    suffixes = [lot, *(f"_{name}" for name in own)]
    for suffix in suffixes:
        _check_pair(headers, suffix, path)
    input_shape, _ = sample_layout(headers[f"x{lot}"].shape, f"x{lot}", data.channels)
    for suffix in suffixes[1:]:
        shape, _ = sample_layout(headers[f"x{suffix}"].shape, f"x{suffix}", data.channels)
        require(shape == input_shape, f"one sample of x{suffix}", f"of shape {input_shape}", shape)
    shares = {
        name: share(getattr(data, name), name=name, own=f"arrays x_{name}" if name in own else None)
        for name in held_out
    }
    samples = headers[f"x{lot}"].shape[0]
    sizes = split_sizes(samples, validation=shares["validation"], test=shares["test"])
    targets = [headers[f"y{suffix}"] for suffix in suffixes]
    classes = _classes(path, [f"y{suffix}" for suffix in suffixes], targets, samples)
    outputs = _width(targets[0]) if classes is None else classes
    pixels = headers[f"x{lot}"].dtype == "u1"
    return NpzFile(lot, own, sizes, input_shape, classes, outputs, pixels)


def _lot(headers: dict[str, ArrayHeader], path: Path) -> str:
    """Suffix of the arrays that training takes from."""
    found = [suffix for suffix in ("_train", "") if f"x{suffix}" in headers]
    if len(found) != 1:
        has = ", ".join(sorted(headers)) or "none"
        raise InvalidValueError(
            f"the arrays in {path} must be x_train and y_train, or x and y, but are: {has}; "
            "save them with numpy.savez(path, x_train=…, y_train=…)"
        )
    return found[0]


def _check_pair(headers: dict[str, ArrayHeader], suffix: str, path: Path) -> None:
    x, y = f"x{suffix}", f"y{suffix}"
    for name, other in ((x, y), (y, x)):
        if name not in headers:
            raise InvalidValueError(f"{path} must hold {name}, because it holds {other}")
        if not headers[name].is_number:
            raise InvalidValueError(
                f"{name} in {path} must be an array of plain numbers but has the type "
                f"{headers[name].dtype!r}; convert it, as with astype('float32') or astype('int64')"
            )
    inputs, targets = headers[x].shape, headers[y].shape
    require(len(targets) in (1, 2) and 0 not in targets, y, "of shape (n,) or (n, k)", targets)
    require(
        inputs[:1] == targets[:1],
        f"the number of samples in {y}",
        f"that of {x}, {inputs[0] if inputs else 0},",
        targets[0],
    )


def _classes(path: Path, names: list[str], headers: list[ArrayHeader], samples: int) -> int | None:
    """Number of classes; None where targets are numbers.

    It is counted over all labels in the file, those of `y_validation` and `y_test` included, so
    that a class which only they have is told before the search, not after it. Nothing else of the
    test set is read before the end.
    """
    kinds = {header.is_integer for header in headers}
    if len(kinds) > 1:
        raise InvalidValueError(
            f"{' and '.join(names)} in {path} must be all classes (integers) or all numbers"
        )
    if kinds == {False}:
        widths = {_width(header) for header in headers}
        require(len(widths) == 1, " and ".join(names), "of one width", sorted(widths))
        return None
    largest = 0
    for name, header in zip(names, headers, strict=True):
        require(
            _width(header) == 1, name, "one class for each sample", f"integers of {header.shape}"
        )
        low, high = label_range(path, name)
        require(low >= 0, name, "classes counted from 0", low, "subtract the smallest label")
        largest = max(largest, high)
    require(
        largest < samples,
        "labels",
        f"classes counted from 0, fewer than the {samples} samples,",
        largest,
        "number the classes 0, 1, 2, …; for a regression, store the targets as floats",
    )
    return largest + 1


def _width(header: ArrayHeader) -> int:
    return header.shape[1] if len(header.shape) > 1 else 1

"""From arrays as people store them to inputs and targets as models take them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from tunecli.errors import InvalidValueError, require

if TYPE_CHECKING:
    from numpy import float32
    from numpy.typing import NDArray

    from tunecli.data.dataset import Split

Channels = Literal["first", "last"]
_USUAL_CHANNELS = (1, 3, 4)


def sample_layout(
    shape: Sequence[int], name: str, channels: Channels | None
) -> tuple[tuple[int, ...], bool]:
    """How a model sees one sample of an array, and whether channels must move to the front.

    (n,) and (n, features) are features, (n, height, width) are grey images, arrays of four
    dimensions are images with channels: where `channels` does not say, the axis that has 1, 3 or 4.

    Args:
        shape: Of the whole array.
        name: The array's, for messages.
        channels: Which axis the channels are, of an array of four dimensions.

    Raises:
        InvalidValueError: Another number of dimensions, an empty one, or the channels are in doubt.

    >>> sample_layout((60000, 28, 28), "x_train", None)
    ((1, 28, 28), False)
    >>> sample_layout((50000, 32, 32, 3), "x_train", None)
    ((3, 32, 32), True)
    """
    require(1 <= len(shape) <= 4, name, "an array of 1 to 4 dimensions", f"{len(shape)} of them")
    require(min(shape) > 0, name, "an array with samples", f"shape {tuple(shape)}")
    if len(shape) < 4:
        require(
            channels is None,
            "data.channels",
            f"left out, because {name} has {len(shape)} dimensions",
            channels,
        )
        sample = tuple(shape[1:])
        return {0: (1,), 1: sample, 2: (1, *sample)}[len(sample)], False
    _, first, second, third = shape
    if channels is None:
        front, back = first in _USUAL_CHANNELS, third in _USUAL_CHANNELS
        if front == back:
            raise InvalidValueError(
                f"data.channels must be given for {name} of shape {tuple(shape)}, because its "
                "channels could be first or last; write `channels: first` or `channels: last`"
            )
        channels = "first" if front else "last"
    if channels == "first":
        return (first, second, third), False
    return (third, first, second), True


def to_inputs(array: "NDArray[Any]", name: str, channels: Channels | None) -> "NDArray[float32]":
    """Inputs as float32 of shape (n, features) or (n, channels, height, width); uint8 as x/255.

    Raises:
        InvalidValueError: See `sample_layout`; or a value that is no finite number in float32.
    """
    import numpy as np

    shape, moves = sample_layout(array.shape, name, channels)
    if moves:
        array = np.moveaxis(array, -1, 1)
    with np.errstate(over="ignore"):  # what is too large for float32 is found below
        inputs = np.ascontiguousarray(array, dtype=np.float32).reshape(len(array), *shape)
    if array.dtype == np.uint8:
        return inputs / np.float32(255)
    return _finite(inputs, name)


def to_targets(array: "NDArray[Any]", name: str, classes: int | None) -> "NDArray[Any]":
    """Class labels as int64 of shape (n,), or numbers as float32 of shape (n, k).

    Args:
        array: Integers (n,) or (n, 1) with `classes`; else numbers (n,) or (n, k).
        name: The array's, for messages.
        classes: Number of classes; None for numbers.

    Raises:
        InvalidValueError: A label outside [0, classes), or a number that is not finite.
    """
    import numpy as np

    if classes is None:
        with np.errstate(over="ignore"):
            return _finite(np.ascontiguousarray(array, dtype=np.float32), name).reshape(
                len(array), -1
            )
    labels = np.ascontiguousarray(array).reshape(-1).astype(np.int64)
    outside = np.flatnonzero((labels < 0) | (labels >= classes))
    if len(outside):
        raise InvalidValueError(
            f"{name} must hold classes from 0 to {classes - 1}, those of the training data, but "
            f"has {labels[outside[0]]} at [{outside[0]}]"
        )
    return labels


@dataclass(frozen=True, slots=True)
class Scale:
    """Mean and deviation that inputs are standardized with; both broadcast with a batch."""

    mean: "NDArray[float32]"
    std: "NDArray[float32]"

    def apply(self, inputs: "NDArray[float32]") -> "NDArray[float32]":
        """(x − mean)/std."""
        return (inputs - self.mean) / self.std


def scale_of(inputs: "NDArray[float32]", *, per_feature: bool) -> Scale:
    """Mean and deviation of training inputs: of each channel of images, of features alone or all.

    What is constant has the deviation 1: it becomes 0.

    Args:
        inputs: Of the training split, (n, features) or (n, channels, height, width).
        per_feature: Whether each feature is standardized on its own, as columns with units of their
            own need it, or all together, as pixels do: one that is nearly always 0 would become
            huge where it is not.
    """
    import numpy as np

    axes: tuple[int, ...] = tuple(range(inputs.ndim))
    if inputs.ndim == 4:
        axes = (0, 2, 3)
    elif per_feature:
        axes = (0,)
    mean = inputs.mean(axis=axes, keepdims=True, dtype=np.float64)
    std = inputs.std(axis=axes, keepdims=True, dtype=np.float64)
    std[std <= 1e-7 * np.abs(mean)] = 1  # the rounding of float32 is no deviation
    return Scale(mean.astype(np.float32), std.astype(np.float32))


def to_split(inputs: "NDArray[float32]", targets: "NDArray[Any]") -> "Split":
    """Both as tensors."""
    import torch

    from tunecli.data.dataset import Split

    return Split(torch.from_numpy(inputs), torch.from_numpy(targets))


def _finite(array: "NDArray[float32]", name: str) -> "NDArray[float32]":
    import numpy as np

    finite = np.isfinite(array)
    if not finite.all():
        at = np.argwhere(~finite)[0]
        raise InvalidValueError(
            f"{name} must hold finite numbers of 32 bits but has {array[tuple(at)]} at "
            f"{at.tolist()}; drop such samples, or fill them in"
        )
    return array

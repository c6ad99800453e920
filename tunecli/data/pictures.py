"""Pictures as tensors of one size: in memory where they fit, else decoded when they are needed."""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Protocol

from tunecli.data.dataset import AnySplit, DatasetSplit, Split
from tunecli.data.splits import SplitName
from tunecli.errors import require

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

IN_MEMORY_BYTES = 1 << 30  # of all splits together, as float32
_SCALE_SAMPLES = 2048  # more would not change mean and deviation in the digits that matter
_BATCH = 64


class Source(Protocol):
    """Pictures and their classes, decoded one by one."""

    def __len__(self) -> int:
        """How many."""

    def labels(self) -> list[int]:
        """The class of each, without decoding any."""

    def __getitem__(self, index: int) -> "tuple[Image, int]":
        """Picture and class."""


class Pictures:
    """A map-style Dataset of standardized pictures, float32 of shape (channels, size, size).

    Args:
        source: Where the pictures come from.
        size: Height and width. The shorter side is scaled to it, then the middle is cut out.
        channels: 3 for colours, 1 for grey.
        scale: Mean and deviation of each channel, both of shape (channels, 1, 1).
    """

    def __init__(
        self, source: Source, *, size: int, channels: int, scale: "tuple[Tensor, Tensor]"
    ) -> None:
        self._source = source
        self._size = size
        self._channels = channels
        self._scale = scale

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, index: int) -> "tuple[Tensor, int]":
        image, label = self._source[index]
        mean, std = self._scale
        return (to_pixels(image, size=self._size, channels=self._channels) - mean) / std, label


def picture_splits(
    sources: Mapping[SplitName, Source],
    names: Iterable[SplitName],
    *,
    size: int,
    channels: int,
    workers: int,
) -> dict[SplitName, AnySplit]:
    """The named splits: in memory if all splits together fit into a gibibyte, else as a Dataset.

    Each channel is standardized with the mean and deviation of the training pictures, of 2048 of
    them, evenly spaced, where there are more.

    Args:
        sources: Pictures of every split, the training split's at least.
        names: The splits to return.
        size: See `Pictures`.
        channels: See `Pictures`.
        workers: Processes that decode.
    """
    import torch

    total = sum(len(source) for source in sources.values())
    small = total * channels * size * size * 4 <= IN_MEMORY_BYTES
    scale = _scale(sources["train"], size=size, channels=channels, workers=workers)
    splits: dict[SplitName, AnySplit] = {}
    for name in names:
        pictures = Pictures(sources[name], size=size, channels=channels, scale=scale)
        split = DatasetSplit(pictures, workers, torch.tensor(sources[name].labels()))
        splits[name] = _in_memory(split) if small else split
    return splits


def to_pixels(image: "Image", *, size: int, channels: int) -> "Tensor":
    """One picture as float32 in [0, 1], shape (channels, size, size).

    It is turned as its camera noted, the shorter side is scaled to `size`, the middle is cut out.
    Transparent parts keep the colour that the file has below them.

    Raises:
        InvalidValueError: A channel has more than 8 bits.
    """
    import numpy as np
    import torch
    from PIL import Image, ImageOps

    require(image.mode[0] not in "IF", "a picture", "of 8 bits a channel", f"mode {image.mode}")
    upright = ImageOps.exif_transpose(image)
    if "transparency" in upright.info:
        upright = upright.convert("RGBA")
    pixels = upright.convert("L" if channels == 1 else "RGB")
    if pixels.size != (size, size):
        pixels = ImageOps.fit(pixels, (size, size), Image.Resampling.BILINEAR)
    array = np.asarray(pixels, dtype=np.float32).reshape(size, size, channels)
    return torch.from_numpy(np.ascontiguousarray(array.transpose(2, 0, 1)) / np.float32(255))


def _scale(source: Source, *, size: int, channels: int, workers: int) -> "tuple[Tensor, Tensor]":
    import torch

    require(len(source) > 0, "the training split", "of at least one picture", 0)
    none = torch.zeros(channels, 1, 1), torch.ones(channels, 1, 1)
    split = DatasetSplit(Pictures(source, size=size, channels=channels, scale=none), workers)
    count = min(len(split), _SCALE_SAMPLES)
    chosen = torch.arange(count) * len(split) // count
    sums = torch.zeros(2, channels, dtype=torch.float64)
    for inputs, _ in split.batches(torch.split(chosen, _BATCH)):
        pixels = inputs.double()
        sums += torch.stack([pixels.sum(dim=(0, 2, 3)), pixels.square().sum(dim=(0, 2, 3))])
    mean, square = sums / (count * size * size)
    std = (square - mean.square()).clamp(min=0).sqrt()
    std[std < 1e-6] = 1  # one colour everywhere: it becomes 0
    return mean.float().view(-1, 1, 1), std.float().view(-1, 1, 1)


def _in_memory(split: DatasetSplit) -> Split:
    import torch

    inputs, targets = zip(
        *split.batches(torch.split(torch.arange(len(split)), _BATCH)), strict=True
    )
    return Split(torch.cat(inputs), torch.cat(targets))

"""Samples of one split: in memory, or read by a Dataset when they are asked for."""

import traceback
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from tunecli.data.seeded import seeded
from tunecli.data.splits import SplitName
from tunecli.errors import InvalidValueError, RunError, TunecliError

if TYPE_CHECKING:
    import torch
    from torch import Tensor


@dataclass(frozen=True, slots=True)
class Split:
    """Samples in memory, on one device.

    Args:
        inputs: Shape (n, *input_shape): float32, or uint8 for the bytes of a text.
        targets: int64 class labels of shape (n,), float32 numbers of shape (n, k), or uint8 bytes
            of shape (n, context), each the one after the input's.
    """

    inputs: "Tensor"
    targets: "Tensor"

    def __len__(self) -> int:
        return len(self.targets)

    def to(self, target: "torch.device") -> "Split":
        """The same split on another device."""
        return Split(self.inputs.to(target), self.targets.to(target))

    def batches(
        self, chosen: "Iterable[Tensor]", *, seed: int = 0, first: int = 0
    ) -> "Iterator[tuple[Tensor, Tensor]]":
        """One (inputs, targets) for each tensor of indices, in order.

        Args:
            chosen: int64 indices of each batch, on any device.
            seed: Nothing is drawn to read a tensor; see `DatasetSplit.batches`.
            first: Likewise.
        """
        for indices in chosen:
            at = indices.to(self.targets.device)
            yield self.inputs[at], self.targets[at]

    def classes(self) -> "Tensor | None":
        """The class of every sample, or of every position of a sequence; None where none are."""
        return None if self.targets.is_floating_point() else self.targets


@dataclass(frozen=True, slots=True)
class DatasetSplit:
    """Samples that a map-style Dataset reads, one by one, when they are asked for.

    Batches come through a `torch.utils.data.DataLoader`. What the Dataset draws from the global
    generators of Python, numpy and torch (a random crop) depends on a seed and the batch's number
    alone: it is the same with any number of workers and after an interruption, and leaves this
    process's generators as they were.

    Args:
        dataset: Has `__len__` and `__getitem__`; an item is a pair (input, target) of what
            `default_collate` takes. Numbers of 64 bits arrive as float32.
        workers: Processes that read; with 0, this process does.
        labels: The class of every item, int64, where that is known without reading them.
        device: Where batches are wanted; the CPU by default.
    """

    dataset: Any
    workers: int = 0
    labels: "Tensor | None" = None
    device: "torch.device | None" = None

    def __len__(self) -> int:
        return len(self.dataset)

    def to(self, target: "torch.device") -> "DatasetSplit":
        """The same split, its batches on another device."""
        return replace(self, device=target)

    def classes(self) -> "Tensor | None":
        """The class of every item; None where there are none, or only reading them would tell."""
        return self.labels

    def batches(
        self, chosen: "Iterable[Tensor]", *, seed: int = 0, first: int = 0
    ) -> "Iterator[tuple[Tensor, Tensor]]":
        """One (inputs, targets) on `device` for each tensor of indices, in order.

        Args:
            chosen: int64 indices of each batch. With workers it is read up to 2 × workers batches
                ahead of what has been yielded, so whoever counts samples counts what comes out.
            seed: Of what the Dataset draws, ≥ 0; two evaluations with one see the same items.
            first: Number of the first batch; to go on, those that were yielded before.

        Returns:
            Close it where it is left before its end: its workers then end at once. Where the
            garbage collector finds it in a cycle, it waits five seconds for each of them.

        Raises:
            RunError: An item cannot be read, is no pair, or does not fit the others; the message
                has its index. Or a worker died.
        """
        import torch
        from torch.utils.data import DataLoader

        target = self.device or torch.device("cpu")
        loader: DataLoader[Any] = DataLoader(
            _Reader(self.dataset, seed),  # type: ignore[arg-type]  # without the base class
            batch_sampler=_Numbered(chosen, first),  # type: ignore[arg-type]  # not lists alone
            num_workers=self.workers,
            collate_fn=_as_it_is,
            pin_memory=target.type == "cuda",
            generator=torch.Generator(),  # the loader would draw from the global one
        )
        try:
            for batch in loader:
                if isinstance(batch, str):
                    raise RunError(batch)
                inputs, targets = batch
                yield (
                    inputs.to(target, non_blocking=True),
                    targets.to(target, non_blocking=True),
                )
        except RuntimeError as error:
            if "DataLoader worker" not in str(error):
                raise
            raise RunError(
                f"a process that reads data died: {str(error).splitlines()[0]} "
                "Set data.workers to 0 to see why, or to fewer if memory ran out"
            ) from error


AnySplit = Split | DatasetSplit


@dataclass(frozen=True, slots=True)
class Splits:
    """What was asked for of a data set, and what a model must know of its shape.

    Args:
        by_name: The splits that were asked for.
        input_shape: Shape of one sample.
        num_classes: Outputs of a model: classes, numbers of a target, or 256 for bytes.
    """

    by_name: dict[SplitName, AnySplit]
    input_shape: tuple[int, ...]
    num_classes: int

    def __getitem__(self, name: SplitName) -> AnySplit:
        return self.by_name[name]

    def in_memory(self, name: SplitName) -> Split:
        """A split for an algorithm that needs all samples at hand.

        Raises:
            InvalidValueError: It is read by a Dataset.
        """
        split = self.by_name[name]
        if not isinstance(split, Split):
            raise InvalidValueError(
                f"the {name} split must be held in memory for this but is read by a Dataset; "
                "give tensors, or fewer or smaller pictures"
            )
        return split


class _Numbered:
    """Each batch's number and its indices, as they are sent to whoever reads it."""

    def __init__(self, chosen: "Iterable[Tensor]", first: int) -> None:
        self._chosen = chosen
        self._first = first

    def __iter__(self) -> Iterator[tuple[int, list[int]]]:
        for number, indices in enumerate(self._chosen, start=self._first):
            yield number, indices.tolist()


class _Reader:
    """Reads whole batches of a Dataset.

    What goes wrong comes back as a sentence, not as an exception: an exception that crosses from a
    worker arrives with two tracebacks as its text.
    """

    def __init__(self, dataset: Any, seed: int) -> None:
        self._dataset = dataset
        self._seed = seed

    def __len__(self) -> int:
        return len(self._dataset)

    def __getitems__(self, batch: tuple[int, list[int]]) -> "tuple[Tensor, Tensor] | str":
        number, indices = batch
        with seeded(self._seed, number):
            return self._read(indices)

    def _read(self, indices: list[int]) -> "tuple[Tensor, Tensor] | str":
        items = []
        for index in indices:
            try:
                item = self._dataset[index]
            except Exception as error:  # whatever somebody's code raises
                return f"data item {index} cannot be read: {_told(error)}"
            if not isinstance(item, tuple | list) or len(item) != 2:
                return (
                    f"data item {index} must be a pair (input, target) but is a "
                    f"{type(item).__name__}; return both from __getitem__"
                )
            items.append(item)
        return _collated(items, indices)


def _collated(items: list[Any], indices: list[int]) -> "tuple[Tensor, Tensor] | str":
    import torch
    from torch.utils.data import default_collate

    pair = []
    for side, values in zip(("input", "target"), zip(*items, strict=True), strict=True):
        try:
            batch = default_collate(list(values))
        except Exception as error:  # torch raises whatever it stumbles over
            return _misfit(side, values, indices) or (
                f"the {side}s of data items {indices[0]}, … do not make a batch: {error}"
            )
        if not isinstance(batch, torch.Tensor):
            return (
                f"the {side} of data item {indices[0]} must be a tensor, an array or a number but "
                f"is a {type(values[0]).__name__}"
            )
        pair.append(batch.float() if batch.dtype == torch.float64 else batch)
    return pair[0], pair[1]


def _misfit(side: str, values: Iterable[Any], indices: list[int]) -> str | None:
    """The first item that has another shape than the batch's first one."""
    shapes = [tuple(getattr(value, "shape", ())) for value in values]
    for index, shape in zip(indices, shapes, strict=True):
        if shape != shapes[0]:
            return (
                f"the {side} of data item {index} must have the shape {shapes[0]} of item "
                f"{indices[0]} but has {shape}; items of one batch must be of one shape"
            )
    return None


def _told(error: Exception) -> str:
    """An exception in one line, with where it was raised, unless it is a sentence of ours."""
    if isinstance(error, TunecliError):
        return str(error)
    text = f"{type(error).__name__}: {error}"
    frames = traceback.extract_tb(error.__traceback__)
    return f"{text} ({frames[-1].filename}, line {frames[-1].lineno})" if frames else text


def _as_it_is(batch: Any) -> Any:
    return batch

"""Which samples an update sees: an endless, seeded stream that any batch size can be cut from."""

from collections.abc import Iterable

import torch
from torch import Tensor

from tunecli.data.passes import pass_order


class BatchStream:
    """Indices of uniformly shuffled passes over a data set, laid end to end.

    Pass e is a permutation drawn from (seed, e) alone, and a batch is simply the next b indices.
    So a batch is exactly b samples however b changes from stage to stage, two runs with one seed
    see the same samples whatever their learning rates, and a position is all there is to restore.
    A batch that spans two passes can hold a sample twice.

    Args:
        num_samples: Size of the data set, ≥ 1.
        seed: Seed of the order.
        device: Where the indices are wanted.
        position: Samples already drawn.
    """

    def __init__(
        self, num_samples: int, *, seed: int, device: torch.device, position: int = 0
    ) -> None:
        self._num_samples = num_samples
        self._seed = seed
        self._device = device
        self._pass = -1
        self._order = torch.empty(0, dtype=torch.int64, device=device)
        self.position = position

    def next(self, batch_size: int) -> Tensor:
        """The next `batch_size` indices, int64, shape (batch_size,), on the stream's device."""
        start = self.position % self._num_samples
        self._load(self.position // self._num_samples)
        self.position += batch_size
        if start + batch_size <= self._num_samples:
            return self._order[start : start + batch_size]
        parts, missing = [self._order[start:]], start + batch_size - self._num_samples
        while missing:
            self._load(self._pass + 1)
            parts.append(self._order[:missing])
            missing -= len(parts[-1])
        return torch.cat(parts)

    def _load(self, number: int) -> None:
        if number != self._pass:
            order = pass_order(self._num_samples, seed=self._seed, number=number)
            indices = torch.from_numpy(order)
            if self._device.type == "cuda":  # a copy from pageable memory would wait for the device
                indices = indices.pin_memory()
            self._order = indices.to(self._device, non_blocking=True)
            self._pass = number


class BatchSizes:
    """The batches of a model's updates, in order, as runs of one size.

    Args:
        runs: (batch size, updates) of what it has seen already.

    >>> seen = BatchSizes()
    >>> for size in (64, 64, 32):
    ...     seen.add(size)
    >>> seen.runs
    ((64, 2), (32, 1))
    """

    def __init__(self, runs: Iterable[Iterable[int]] = ()) -> None:
        self._runs = [list(run) for run in runs]

    @property
    def runs(self) -> tuple[tuple[int, int], ...]:
        """(batch size, updates in a row)."""
        return tuple((size, count) for size, count in self._runs)

    def add(self, batch_size: int) -> None:
        """Count one more batch."""
        if self._runs and self._runs[-1][0] == batch_size:
            self._runs[-1][1] += 1
        else:
            self._runs.append([batch_size, 1])

    def to_list(self) -> list[list[int]]:
        """Plain data for a checkpoint."""
        return [list(run) for run in self._runs]

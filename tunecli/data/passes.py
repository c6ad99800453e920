"""The order in which training samples are drawn: shuffled passes over a data set, end to end."""

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from numpy import int64
    from numpy.typing import NDArray


def pass_order(num_samples: int, *, seed: int, number: int) -> "NDArray[int64]":
    """The order of pass `number`: a permutation drawn from (seed, number) alone.

    Whoever trains on the same data with the same seed sees the same order, in a recipe's training
    and in a `StageBatchSampler` alike, and a pass can be begun anywhere without those before it.

    Args:
        num_samples: Size of the data set, ≥ 1.
        seed: ≥ 0.
        number: Which pass, from 0.

    >>> pass_order(5, seed=0, number=0).tolist()
    [2, 4, 3, 0, 1]
    """
    import numpy as np

    order = np.random.default_rng((seed, number)).permutation(num_samples)
    return order.astype(np.int64, copy=False)


def cut_passes(
    num_samples: int, batch_sizes: Iterable[int], *, seed: int, position: int = 0
) -> "Iterator[NDArray[int64]]":
    """The passes laid end to end and cut into batches; one that spans two passes is whole.

    Args:
        num_samples: Size of the data set, ≥ 1.
        batch_sizes: Size of each batch, ≥ 1; it may be larger than the data set.
        seed: ≥ 0.
        position: Samples drawn before the first batch.

    >>> [batch.tolist() for batch in cut_passes(5, (3, 4), seed=0)]
    [[2, 4, 3], [0, 1, 1, 4]]
    """
    import numpy as np

    number, start = divmod(position, num_samples)
    order = pass_order(num_samples, seed=seed, number=number)
    for size in batch_sizes:
        parts, missing = [order[start : start + size]], size - (num_samples - start)
        start += size
        while missing > 0:
            number += 1
            order = pass_order(num_samples, seed=seed, number=number)
            parts.append(order[:missing])
            start, missing = missing, missing - num_samples
        yield np.concatenate(parts)

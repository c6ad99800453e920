"""The random numbers that reading a batch may draw: its own, whoever reads it and whenever."""

from collections.abc import Iterator
from contextlib import contextmanager

from tunecli.user_code import repeatable


@contextmanager
def seeded(seed: int, number: int) -> Iterator[None]:
    """Seed Python's, numpy's and torch's global generators for one batch; put them back afterwards.

    Args:
        seed: Of the training, ≥ 0.
        number: Which of its batches, from 0.

    >>> import random
    >>> with seeded(0, number=3):
    ...     first = random.random()
    >>> with seeded(0, number=3):
    ...     first == random.random()
    True
    """
    import numpy as np
    import torch

    word = int(np.random.SeedSequence((seed, number)).generate_state(1, np.uint64)[0])
    generator = torch.default_generator  # torch.manual_seed would seed GPUs as well
    before = generator.get_state()
    with repeatable(word):
        generator.manual_seed(word)
        try:
            yield
        finally:
            generator.set_state(before)

"""How many samples go to training, validation and test: arithmetic alone, no arrays."""

import math
from dataclasses import dataclass
from typing import Literal, get_args

from tunecli.errors import InvalidValueError, require

SplitName = Literal["train", "validation", "test"]
SPLIT_NAMES: tuple[SplitName, ...] = get_args(SplitName)


@dataclass(frozen=True, slots=True)
class SplitSizes:
    """Samples in each split: at least 1, or 0 where the split comes from elsewhere."""

    train: int
    validation: int
    test: int


def split_sizes(total: int, *, validation: float | None, test: float | None) -> SplitSizes:
    """Sizes of a three-way split: the two shares are rounded up, training gets the rest.

    Args:
        total: Samples in the data set.
        validation: Share for choosing α₁, in (0, 1); None where the data have a part for it.
        test: Share that is read once, at the end, in (0, 1); None likewise.

    Raises:
        InvalidValueError: A share is outside (0, 1), or nothing is left to train on.

    >>> split_sizes(1797, validation=0.2, test=0.2)
    SplitSizes(train=1077, validation=360, test=360)
    >>> split_sizes(60000, validation=0.1, test=None)
    SplitSizes(train=54000, validation=6000, test=0)
    """
    held_out = [0, 0]
    for index, (name, share) in enumerate((("validation", validation), ("test", test))):
        if share is not None:
            require(0 < share < 1, name, "in (0, 1)", share)
            held_out[index] = math.ceil(total * share)
    train = total - sum(held_out)
    if train < 1:
        raise InvalidValueError(
            f"validation and test must leave samples to train on but take {sum(held_out)} of "
            f"{total}; make them smaller"
        )
    return SplitSizes(train, *held_out)

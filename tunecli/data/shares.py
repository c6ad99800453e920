"""Which samples of one lot go to training, validation and test."""

from typing import TYPE_CHECKING

from tunecli.data.splits import SplitName, SplitSizes
from tunecli.errors import InvalidValueError

if TYPE_CHECKING:
    from numpy import int64
    from numpy.typing import ArrayLike, NDArray

DEFAULT_SHARE = 0.2


def share(given: float | None, *, name: SplitName, own: str | None) -> float | None:
    """The share of a lot that a split takes, or None where the split has a part of its own.

    Args:
        given: What the recipe says, if anything.
        name: The split.
        own: Where its own samples are (`x_test`); None where it has none.

    Raises:
        InvalidValueError: A share is given for a split that has its own samples.
    """
    if own is None:
        return DEFAULT_SHARE if given is None else given
    if given is not None:
        raise InvalidValueError(
            f"data.{name} must not be given, because the data have {own}, but got {given}; "
            "remove one of the two"
        )
    return None


def shared_out(
    labels: "ArrayLike", sizes: SplitSizes, *, seed: int
) -> "dict[SplitName, NDArray[int64]]":
    """Indices of three disjoint splits, each with the classes in the lot's proportions.

    The samples are shuffled, laid out class by class, and every (n/size)-th is taken: a class of c
    samples gives c·size/n of them, rounded up or down, however rare it is.

    Args:
        labels: A class for each sample, or one and the same where there are none.
        sizes: How many samples go where; together, all.
        seed: Seed of the shuffle, and of where the counting begins.

    Returns:
        Ascending indices by split.
    """
    import numpy as np

    classes = np.asarray(labels)
    generator = np.random.default_rng(seed)
    rest = generator.permutation(len(classes))
    rest = rest[np.argsort(classes[rest], kind="stable")]
    parts: dict[SplitName, NDArray[int64]] = {}
    held_out: tuple[tuple[SplitName, int], ...] = (
        ("test", sizes.test),
        ("validation", sizes.validation),
    )
    for name, size in held_out:
        steps = np.arange(size) + generator.random()
        taken = (steps * (len(rest) / max(size, 1))).astype(np.int64)
        parts[name] = np.sort(rest[taken])
        rest = np.delete(rest, taken)
    return {**parts, "train": np.sort(rest)}

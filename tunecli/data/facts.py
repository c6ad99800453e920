"""What is known of a data set before any of it is read."""

from dataclasses import dataclass
from typing import Literal

Targets = Literal["classes", "numbers", "tokens"]

BYTES = 256  # tokens of a text that is read as bytes


@dataclass(frozen=True, slots=True)
class DataFacts:
    """What a data set's names, sizes and headers tell; None where only loading it would.

    Args:
        training_samples: Size of the training split.
        input_shape: Shape of one input.
        outputs: Classes, numbers of one target, or number of tokens.
        targets: What a target is: a class, numbers, or the tokens after the input's.
    """

    training_samples: int | None = None
    input_shape: tuple[int, ...] | None = None
    outputs: int | None = None
    targets: Targets | None = None

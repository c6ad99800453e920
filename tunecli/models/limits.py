"""What a model asks of its input: arithmetic alone, no torch."""

from collections.abc import Sequence

LENET_SMALLEST = 8  # height and width; a 5 × 5 convolution of less sees more padding than image


def most_convolutions(input_shape: Sequence[int]) -> int:
    """How many of `CNN`'s convolutions, each of which halves height and width, an image takes.

    >>> most_convolutions((1, 8, 8))
    3
    """
    return min(input_shape[1:]).bit_length() - 1


def shape_misfit(name: str, input_shape: Sequence[int]) -> str | None:
    """Why a named model cannot take one input of that shape; None if it can, so far as this tells.

    Args:
        name: The model's name in a recipe.
        input_shape: (channels, height, width), (features,), or (context,) of a text.

    >>> shape_misfit("lenet", (1, 6, 6))
    'images of at least 8 × 8 but got 6 × 6; enlarge them or take model cnn or mlp'
    >>> shape_misfit("cnn", (64,))
    'images but got 64 features; take model mlp or logistic'
    """
    shape = tuple(input_shape)
    if name in {"cnn", "lenet"}:
        if len(shape) != 3:
            seen = f"{shape[0]} features" if len(shape) == 1 else f"shape {shape}"
            return f"images but got {seen}; take model mlp or logistic"
        height, width = shape[1:]
        if name == "lenet" and min(height, width) < LENET_SMALLEST:
            least = f"{LENET_SMALLEST} × {LENET_SMALLEST}"
            return (
                f"images of at least {least} but got {height} × {width}; "
                "enlarge them or take model cnn or mlp"
            )
    if name in {"decoder", "lstm"} and len(shape) != 1:
        return f"text but got shape {shape}; take data of bytes, as data text, or another model"
    return None

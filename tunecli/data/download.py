"""The one place that fetches data: loading never does."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tunecli.recipe.data import AnyData


def fetch(data: "AnyData") -> str | None:
    """Download what a recipe's data need, where they come from the network at all.

    Args:
        data: The recipe's `data` section.

    Returns:
        The data set that is now on this machine; None where there was nothing to fetch.

    Raises:
        RunError: It cannot be fetched.
        InvalidValueError: The package that would fetch it is not installed.
    """
    if data.name == "huggingface" and data.dataset is not None:
        from tunecli.data.huggingface import fetch_huggingface

        fetch_huggingface(data)
        return data.dataset
    if data.name == "torchvision":
        from tunecli.data.torchvision import fetch_torchvision

        fetch_torchvision(data)
        return data.dataset
    return None

"""From a recipe's `data` section to its splits; only those that are asked for are handed out."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from tunecli.data.dataset import AnySplit, DatasetSplit, Split, Splits
from tunecli.data.digits import DIGITS_CLASSES, DIGITS_SHAPE, digits_sizes, load_digits
from tunecli.data.facts import DataFacts
from tunecli.data.splits import SplitName

if TYPE_CHECKING:
    from tunecli.recipe.data import AnyData, DigitsData

__all__ = [
    "AnySplit",
    "DatasetSplit",
    "Split",
    "Splits",
    "data_facts",
    "load_splits",
    "sample_shape",
    "training_samples",
]


def data_facts(data: "AnyData") -> DataFacts:
    """What is known of the data without loading them: from names, file sizes and headers.

    Neither torch nor numpy is imported, no code of a recipe runs, nothing is fetched.

    Raises:
        InvalidValueError: The files are not there, or are not what the recipe says.
    """
    match data.name:
        case "digits":
            sizes = digits_sizes(validation=data.validation, test=data.test)
            return DataFacts(sizes.train, DIGITS_SHAPE, DIGITS_CLASSES, "classes")
        case "npz":
            from tunecli.data.npz import npz_facts

            return npz_facts(data)
        case "images":
            from tunecli.data.images import images_facts

            return images_facts(data)
        case "text":
            from tunecli.data.text import text_facts

            return text_facts(data)
        case "huggingface":
            from tunecli.data.huggingface import huggingface_facts

            return huggingface_facts(data)
        case "torchvision":
            from tunecli.data.torchvision import torchvision_facts

            return torchvision_facts(data)
        case "import":
            return DataFacts(training_samples=data.samples, outputs=data.num_classes)


def training_samples(data: "AnyData") -> int | None:
    """Size of the training split, known without reading a sample; else None."""
    return data_facts(data).training_samples


def sample_shape(data: "AnyData") -> tuple[tuple[int, ...], int] | None:
    """Shape of one input, and the number of outputs, known without reading a sample; else None."""
    facts = data_facts(data)
    if facts.input_shape is None or facts.outputs is None:
        return None
    return facts.input_shape, facts.outputs


def load_splits(data: "AnyData", names: Iterable[SplitName]) -> Splits:
    """Load the named splits and no other: a search asks for training and validation only.

    Inputs are standardized with the training split's mean and standard deviation, in the way that
    each kind of data documents; text stays bytes.

    Args:
        data: The recipe's `data` section.
        names: Which splits to return.

    Raises:
        InvalidValueError: The data are not there, or are not what the recipe says.
        RunError: An item of them cannot be read.
    """
    match data.name:
        case "digits":
            return _load_digits(data, names)
        case "npz":
            from tunecli.data.npz import load_npz

            by_name = load_npz(data, names)
        case "images":
            from tunecli.data.images import load_images

            by_name = load_images(data, names)
        case "text":
            from tunecli.data.text import load_text

            by_name = load_text(data, names)
        case "torchvision":
            from tunecli.data.torchvision import load_torchvision

            by_name = load_torchvision(data, names)
        case "huggingface":
            from tunecli.data.huggingface import load_huggingface

            return load_huggingface(data, names)
        case "import":
            from tunecli.data.imported import load_imported

            return load_imported(data, names)
    facts = data_facts(data)
    assert facts.input_shape is not None
    assert facts.outputs is not None
    return Splits(by_name, facts.input_shape, facts.outputs)


def _load_digits(data: "DigitsData", names: Iterable[SplitName]) -> Splits:
    import torch

    arrays = load_digits(validation=data.validation, test=data.test, seed=data.split_seed)
    mean, std = arrays["train"][0].mean(), arrays["train"][0].std()
    by_name: dict[SplitName, AnySplit] = {
        name: Split(
            torch.from_numpy((arrays[name][0] - mean) / std), torch.from_numpy(arrays[name][1])
        )
        for name in names
    }
    return Splits(by_name, DIGITS_SHAPE, DIGITS_CLASSES)

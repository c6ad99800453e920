"""A person's own data: what a recipe's `data.import` builds, as splits."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from tunecli.data.dataset import AnySplit, DatasetSplit, Split, Splits
from tunecli.data.splits import SplitName
from tunecli.errors import InvalidValueError, require
from tunecli.user_code import build_from, failed, repeatable

if TYPE_CHECKING:
    from torch import Tensor

    from tunecli.recipe.data import ImportedData


def load_imported(data: "ImportedData", names: Iterable[SplitName]) -> Splits:
    """The named splits of what the recipe's own code builds; `test` is called if it is named.

    The code runs with Python's, numpy's and torch's global generators seeded with 0 and put back
    afterwards: a random split is the same in every process and after an interruption. Inputs are
    taken as they are. Numbers of 64 bits become 32 bits, labels of shape (n,) or (n, 1) int64 of
    shape (n,).

    Returns:
        `num_classes` is the recipe's, or one more than the largest training label, or the width of
        numbers to predict; 0 where training is a Dataset, which does not tell.

    Raises:
        InvalidValueError: Something else than splits is built, or not what the recipe says of it,
            or arrays that are not finite.
        UserCodeError: The code raised an error.
    """
    import torch

    with torch.random.fork_rng(devices=[]), repeatable(0):
        torch.default_generator.manual_seed(0)
        built = build_from("data", data)
        splits: dict[SplitName, AnySplit] = {
            name: _split(_part(built, name, data), name, data)
            for name in dict.fromkeys(("train", *names))
        }
    train = splits["train"]
    require(
        data.samples in (None, len(train)),
        "data.samples",
        f"{len(train)}, the size of the training set that {data.import_} builds,",
        data.samples,
        "correct it, or leave it out",
    )
    # one sample is no work for processes
    alone = replace(train, workers=0) if isinstance(train, DatasetSplit) else train
    ((inputs, _),) = alone.batches([torch.tensor([0])])
    classes = data.num_classes or _outputs(train)
    wanted = {name: splits[name] for name in names}
    return Splits(wanted, tuple(inputs.shape[1:]), classes)


def _part(built: Any, name: SplitName, data: "ImportedData") -> Any:
    missing = object()
    part = built.get(name, missing) if isinstance(built, Mapping) else getattr(built, name, missing)
    if part is missing:
        raise InvalidValueError(
            f"data.import must build a mapping, or an object, with train, validation and test but "
            f"{data.import_} built {_shown(built)}, without {name}; return all three"
        )
    if name == "test" and callable(part) and not hasattr(part, "__getitem__"):
        try:
            return part()
        except (Exception, SystemExit) as error:
            raise failed("data, asked for the test set,", error) from error
    return part


def _split(part: Any, name: SplitName, data: "ImportedData") -> AnySplit:
    if isinstance(part, tuple | list) and len(part) == 2 and all(hasattr(p, "shape") for p in part):
        inputs, targets = (_tensor(each, name) for each in part)
        require(
            inputs.ndim > 0 and inputs.shape[:1] == targets.shape[:1] and len(inputs) > 0,
            f"the {name} split of data.import",
            "inputs and targets of as many samples, one at least,",
            f"shapes {tuple(inputs.shape)} and {tuple(targets.shape)}",
        )
        if not targets.is_floating_point() and targets.shape[1:] in ((), (1,)):
            targets = targets.flatten().long()
        for which, values in (("inputs", inputs), ("targets", targets)):
            _require_finite(values, f"the {which} of the {name} split of data.import")
        return Split(inputs, targets)
    if not (hasattr(part, "__len__") and hasattr(part, "__getitem__")) or isinstance(part, Mapping):
        raise InvalidValueError(
            f"the {name} split of data.import must be a pair (inputs, targets) of tensors or "
            f"arrays, or a Dataset with __len__ and __getitem__, but got {_shown(part)}"
        )
    require(len(part) > 0, f"the {name} split of data.import", "of at least one sample", 0)
    return DatasetSplit(part, data.workers)


def _tensor(values: Any, name: SplitName) -> "Tensor":
    import torch

    try:
        tensor = torch.as_tensor(values)
    except (TypeError, ValueError, RuntimeError) as error:
        raise InvalidValueError(
            f"the {name} split of data.import must be tensors or arrays of numbers but got "
            f"{_shown(values)}: {error}"
        ) from error
    return tensor.float() if tensor.dtype == torch.float64 else tensor


def _require_finite(values: "Tensor", what: str) -> None:
    if not (values.is_floating_point() or values.is_complex()):
        return
    broken = (~values.isfinite()).flatten(1).any(1) if values.ndim > 1 else ~values.isfinite()
    count = int(broken.sum())
    require(
        count == 0,
        what,
        "finite",
        f"NaN or infinity in {count} of {len(values)} samples",
        f"the first one is sample {int(broken.long().argmax())}: clean it, or leave it out",
    )


def _outputs(train: AnySplit) -> int:
    if not isinstance(train, Split):
        return 0
    targets = train.targets
    if targets.is_floating_point():
        return targets.shape[1] if targets.ndim > 1 else 1
    return int(targets.max()) + 1


def _shown(value: Any) -> str:
    shape = getattr(value, "shape", None)
    return type(value).__name__ + (f" of shape {tuple(shape)}" if shape is not None else "")

"""Data sets in the Hugging Face format: by name from the local cache, or local files.

Nothing here reaches the network but `fetch_huggingface`.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tunecli.data.arrays import scale_of, to_inputs, to_split
from tunecli.data.columns import Labels, read_numbers, read_text
from tunecli.data.dataset import AnySplit, Splits
from tunecli.data.facts import BYTES, DataFacts
from tunecli.data.shares import share, shared_out
from tunecli.data.splits import SplitName, SplitSizes, split_sizes
from tunecli.errors import InvalidValueError, RunError, require

if TYPE_CHECKING:
    from PIL.Image import Image

    from tunecli.recipe.data import HuggingFaceData

Tables = dict[SplitName, Any]  # a datasets.Dataset each; the package has no types

_FORMATS = {".parquet": "parquet", ".csv": "csv", ".json": "json", ".jsonl": "json"}
_HELD_OUT: tuple[SplitName, ...] = ("validation", "test")
_EMPTY = {"train": 0, "validation": 0, "test": 0}


class PictureRows:
    """Decodes the pictures of a table's column.

    Args:
        table: A `datasets.Dataset`.
        column: The pictures' column.
        labels: The class of each row.
    """

    def __init__(self, table: Any, column: str, labels: list[int]) -> None:
        self._table = table
        self._column = column
        self._labels = labels

    def __len__(self) -> int:
        return len(self._labels)

    def labels(self) -> list[int]:
        """The class of each."""
        return self._labels

    def __getitem__(self, index: int) -> "tuple[Image, int]":
        return self._table[index][self._column], self._labels[index]


def huggingface_facts(data: "HuggingFaceData") -> DataFacts:
    """What the recipe tells; sizes and classes are known once the data are loaded."""
    if data.context is None:
        return DataFacts()
    return DataFacts(None, (data.context,), BYTES, "tokens")


def load_huggingface(data: "HuggingFaceData", names: Iterable[SplitName]) -> Splits:
    """The named splits, without the network.

    A split `validation` or `test` of the data's own is taken where the recipe neither names
    another nor asks for a share of the training split. A column of pictures becomes pictures of one
    size; a column or several of numbers become features or images, standardized as those of a
    `.npz` file; a column of text, with `context`, becomes windows of bytes, its rows laid end to
    end with a line feed between them.

    Raises:
        InvalidValueError: The package or the data are not there, or the columns do not fit.
    """
    tables = _tables(data)
    if data.context is not None:
        return _load_text(tables, data, data.context, names)
    assert data.target is not None  # the grammar sees to it
    labels = Labels.of(tables["train"], data.target)
    lot = tables["train"]
    sizes = _sizes(data, tables, len(lot))
    _require_labels(tables, data, labels)
    strata = [0] * len(lot) if labels.classes is None else labels.read(lot)
    for name, chosen in shared_out(strata, sizes, seed=data.split_seed).items():
        if getattr(sizes, name):
            tables[name] = lot.select(chosen)
    if type(lot.features[data.inputs[0]]).__name__ == "Image":
        return _load_pictures(tables, data, labels, names)
    return _load_numbers(tables, data, labels, names)


def fetch_huggingface(data: "HuggingFaceData") -> None:
    """Download the data set that is named into the local cache.

    Raises:
        RunError: It cannot be fetched.
    """
    with _network(allowed=True) as datasets:
        try:
            datasets.load_dataset(data.dataset, data.config)
        except Exception as error:  # the network's, the hub's, or of the data set's own files
            raise RunError(
                f"the data set {data.dataset!r} cannot be fetched: {error}; look at its name, at "
                "data.config and at the network"
            ) from error


def _tables(data: "HuggingFaceData") -> Tables:
    """Every split that the data have of their own."""
    with _network(allowed=False) as datasets:
        try:
            found = _open(datasets, data)
        except InvalidValueError:
            raise
        except Exception as error:  # missing, damaged: every format has exceptions of its own
            remedy = "look at data.path"
            if data.dataset is not None:
                remedy = "fetch it once with --download"
            raise InvalidValueError(
                f"the data set {(data.dataset or data.path)!r} cannot be loaded: {error}; {remedy}"
            ) from error
    tables: Tables = {}
    for name in ("train", *_HELD_OUT):
        split = _split_of(data, name, found)
        if split is None:
            continue
        if split not in found:
            raise InvalidValueError(
                f"data.{name}_split must be one of {', '.join(found)} but got {split!r}"
            )
        tables[name] = found[split]
        columns = tables[name].column_names
        for column in (*data.inputs, *([] if data.target is None else [data.target])):
            if column not in columns:
                raise InvalidValueError(
                    f"data.inputs and data.target must be columns of the {split} split "
                    f"({', '.join(columns)}) but got {column!r}{_way_out(data, name)}"
                )
    return tables


def _split_of(data: "HuggingFaceData", name: SplitName, found: Iterable[str]) -> str | None:
    """The data's own name for a split; None where it is a share of the training split."""
    named = [data.train_split, data.validation_split, data.test_split]
    given: str | None = getattr(data, f"{name}_split")
    if given is not None or name == "train":
        return given
    # what the recipe has named for something else must not be held out as well
    own = name in found and name not in named
    return name if own and getattr(data, name) is None else None


def _way_out(data: "HuggingFaceData", name: SplitName) -> str:
    """How to do without a split that was taken because it is there, not because it was named."""
    if name == "train" or getattr(data, f"{name}_split") is not None:
        return ""
    return f"; to take a share of the training split in its place, give data.{name}, as 0.2"


def _require_labels(tables: Tables, data: "HuggingFaceData", labels: Labels) -> None:
    """Refuse a split whose labels the publisher keeps back: they are all -1, or not there.

    It would be found out only when the split is first measured on, for `test` after the search.
    """
    for name in _HELD_OUT:
        way_out = _way_out(data, name)
        if name not in tables or not way_out:
            continue
        column = tables[name].select_columns([labels.column])[:][labels.column]
        if all(label is None or label == -1 for label in column):
            raise InvalidValueError(
                f"the column {labels.column!r} of the {name} split must have labels but has none"
                f"{way_out}"
            )


def _open(datasets: Any, data: "HuggingFaceData") -> Any:
    """All splits by the data set's own names for them."""
    if data.path is None:
        return datasets.load_dataset(data.dataset, data.config)
    path = Path(data.path).absolute()
    if not path.exists():
        raise InvalidValueError(
            f"data.path must lead to a file or a folder but there is no {path}; "
            "a path in a recipe is relative to the recipe"
        )
    if path.is_dir():
        return datasets.load_dataset(str(path))
    form = _FORMATS.get(path.suffix.lower())
    require(form is not None, "data.path", f"a file of {', '.join(_FORMATS)}", path)
    return datasets.load_dataset(form, data_files=str(path))


def _load_text(
    tables: Tables, data: "HuggingFaceData", context: int, names: Iterable[SplitName]
) -> Splits:
    import torch

    from tunecli.data.text import check_windows, windows

    (column,) = data.inputs
    lot = read_text(tables["train"], column)
    sizes = _sizes(data, tables, len(lot))
    check_windows(sizes, context)
    starts = {"train": 0, "validation": sizes.train, "test": sizes.train + sizes.validation}
    by_name: dict[SplitName, AnySplit] = {}
    for name in names:
        if size := getattr(sizes, name):
            text = lot[starts[name] : starts[name] + size]
        else:
            text = read_text(tables[name], column)
            check_windows(SplitSizes(**{**_EMPTY, name: len(text)}), context)
        by_name[name] = windows(torch.frombuffer(text, dtype=torch.uint8), context)
    return Splits(by_name, (context,), BYTES)


def _load_pictures(
    tables: Tables, data: "HuggingFaceData", labels: Labels, names: Iterable[SplitName]
) -> Splits:
    from tunecli.data.pictures import picture_splits

    (column,) = data.inputs
    if labels.classes is None:
        raise InvalidValueError(
            f"data.target must be a column of classes, for pictures, but {data.target!r} holds "
            "numbers; store classes as integers or words"
        )
    wanted = tuple(names)
    size = data.image_size
    if size is None:
        width, height = tables["train"][0][column].size
        require(
            width == height,
            "data.image_size",
            "given for pictures that are not square",
            f"none, and pictures of {height} × {width}",
        )
        size = width
    sources = {
        name: PictureRows(table, column, labels.read(table).tolist())
        for name, table in tables.items()
        if name in {"train", *wanted}
    }
    by_name = picture_splits(
        sources, wanted, size=size, channels=data.channels, workers=data.workers
    )
    return Splits(by_name, (data.channels, size, size), labels.classes)


def _load_numbers(
    tables: Tables, data: "HuggingFaceData", labels: Labels, names: Iterable[SplitName]
) -> Splits:
    require(
        data.image_size is None,
        "data.image_size",
        f"left out, because {data.inputs[0]!r} is no column of pictures,",
        data.image_size,
    )
    title = " and ".join(repr(column) for column in data.inputs)

    def inputs_of(name: SplitName) -> tuple[Any, bool]:
        array = read_numbers(tables[name], data.inputs)
        return to_inputs(array, f"the column {title}", None), array.dtype.name == "uint8"

    train, pixels = inputs_of("train")
    scale = scale_of(train, per_feature=not pixels)
    by_name: dict[SplitName, AnySplit] = {}
    width = labels.classes
    for name in names:
        inputs = train if name == "train" else inputs_of(name)[0]
        require(
            inputs.shape[1:] == train.shape[1:],
            f"one sample of the {name} split",
            f"of shape {train.shape[1:]}, as in training,",
            inputs.shape[1:],
        )
        by_name[name] = to_split(scale.apply(inputs), labels.read(tables[name]))
    if width is None:
        width = labels.read(tables["train"].select(range(1))).shape[1]
    return Splits(by_name, train.shape[1:], width)


def _sizes(data: "HuggingFaceData", tables: Tables, total: int) -> SplitSizes:
    """How many rows, or bytes, of the training split's go where."""
    shares = {}
    for name in _HELD_OUT:
        split = getattr(data, f"{name}_split") or name
        own = f"a split {split!r} of their own" if name in tables else None
        shares[name] = share(getattr(data, name), name=name, own=own)
    return split_sizes(total, validation=shares["validation"], test=shares["test"])


@contextmanager
def _network(*, allowed: bool) -> Iterator[Any]:
    """The package `datasets`, which meanwhile reaches the network or does not.

    Its environment variables are read once, when it is imported; what it made of them is changed
    here. Where the environment says offline, it stays offline.
    """
    try:
        import datasets
        from huggingface_hub import constants
    except ImportError as error:
        raise InvalidValueError(
            "data.name huggingface needs the package datasets, which is not installed; "
            'pip install "tunecli[hf]"'
        ) from error
    before = constants.HF_HUB_OFFLINE, datasets.config.HF_HUB_OFFLINE
    bars = datasets.are_progress_bars_disabled()
    if not allowed:
        constants.HF_HUB_OFFLINE = datasets.config.HF_HUB_OFFLINE = True
        datasets.disable_progress_bars()
    try:
        yield datasets
    finally:
        constants.HF_HUB_OFFLINE, datasets.config.HF_HUB_OFFLINE = before
        if not bars:
            datasets.enable_progress_bars()

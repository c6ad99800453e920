import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tunecli.data import SPLIT_NAMES
from tunecli.data.load import DatasetSplit, Splits, data_facts, load_splits
from tunecli.errors import InvalidValueError
from tunecli.recipe.data import ImportedData
from tunecli.user_code import UserCodeError

CODE = """\
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import TensorDataset, random_split

X, Y = torch.arange(24.0).view(12, 2), torch.arange(12) % 3
HERE = Path(__file__).parent


def mapping(kind="int64", size=12):
    part = X[:size], Y[:size].numpy().astype(kind)
    return {"train": part, "validation": (X[:4].double(), Y[:4]), "test": part}


class Built:
    def __init__(self):
        data = TensorDataset(X, Y)
        self.train, self.validation = random_split(data, [8, 4])

    def test(self):
        (HERE / "read").touch()
        return X[:2], Y[:2]


def drawn():
    order = torch.randperm(12)
    x = X[order] + np.random.rand() + __import__("random").random()
    return {"train": (x, Y), "validation": (x, Y), "test": (x, Y)}


def tokens():
    part = torch.zeros(5, 8, dtype=torch.uint8), torch.full((5, 8), 9, dtype=torch.uint8)
    return dict.fromkeys(("train", "validation", "test"), part)


def numbers(width=None):
    y = torch.zeros(12) if width is None else torch.zeros(12, width)
    return dict.fromkeys(("train", "validation", "test"), (X, y))


def pairs():
    return dict.fromkeys(("train", "validation", "test"), [(X[0], 1), (X[1], 0)])


def column():
    return dict.fromkeys(("train", "validation", "test"), (X, Y[:, None].int()))


def odd(what):
    made = {
        "no mapping": 3,
        "no validation": {"train": (X, Y), "test": (X, Y)},
        "lengths": {"train": (X, Y[:3])},
        "nothing": {"train": (X[:0], Y[:0])},
        "empty": {"train": []},
        "number": {"train": 5},
        "objects": {"train": (np.array([None, "a"]), np.array([1, 2]))},
        "nan": {"train": (X.where(X != 8, torch.nan), Y)},
        "infinite": {"train": (X, Y.double() / 0)},
        "ends": {"train": (X, Y), "validation": (X, Y), "test": exit},
        "broken test": {"train": (X, Y), "validation": (X, Y), "test": lambda: 1 / 0},
    }
    return made[what]
"""


@pytest.fixture
def build(tmp_path: Path) -> Any:
    """A section that names something in the code above."""
    file = tmp_path / f"mine_{tmp_path.name}.py".replace("-", "_")
    file.write_text(CODE)

    def make(attribute: str, args: dict[str, Any] | None = None, **keys: Any) -> ImportedData:
        section = {"import": f"{file.name}:{attribute}", "folder": str(tmp_path), **keys}
        return ImportedData.model_validate({"name": "import", "args": args or {}, **section})

    return make


def test_pairs_of_tensors_and_arrays_are_held_in_memory(build: Any) -> None:
    splits = load_splits(build("mapping"), SPLIT_NAMES)
    assert [len(splits[name]) for name in SPLIT_NAMES] == [12, 4, 12]
    assert (splits.input_shape, splits.num_classes) == ((2,), 3)
    validation = splits.in_memory("validation")
    assert validation.inputs.dtype == torch.float32
    assert validation.inputs.tolist() == [[0, 1], [2, 3], [4, 5], [6, 7]]  # as they are


@pytest.mark.parametrize("kind", ["uint8", "int32", "bool"])
def test_labels_are_int64_whatever_they_were(build: Any, kind: str) -> None:
    targets = load_splits(build("mapping", {"kind": kind}), ("train",)).in_memory("train").targets
    assert targets.dtype == torch.int64


def test_datasets_are_read_when_needed_and_the_test_set_when_named(
    build: Any, tmp_path: Path
) -> None:
    data = build("Built", workers=1)
    splits = load_splits(data, ("train", "validation"))
    assert isinstance(splits["train"], DatasetSplit)
    assert splits["train"].workers == 1
    assert (splits.input_shape, splits.num_classes) == ((2,), 0)
    assert not (tmp_path / "read").exists()
    assert len(load_splits(data, ("test",))["test"]) == 2
    assert (tmp_path / "read").exists()
    assert load_splits(build("Built", num_classes=3), ("train",)).num_classes == 3


def test_list_of_pairs_is_a_dataset(build: Any) -> None:
    splits = load_splits(build("pairs"), ("train",))
    assert isinstance(splits["train"], DatasetSplit)
    assert len(splits["train"]) == 2


def test_random_splits_are_the_same_every_time_and_nothing_else_moves(build: Any) -> None:
    def states() -> tuple[Any, ...]:
        numpys = np.random.get_state()[1]  # type: ignore[index]  # noqa: NPY002
        return random.getstate(), numpys.tolist(), torch.get_rng_state().tolist()

    def inputs(splits: Splits) -> list[Any]:
        return splits.in_memory("train").inputs.tolist()

    first = inputs(load_splits(build("drawn"), ("train",)))
    torch.manual_seed(7)
    random.seed(7)
    before = states()
    assert inputs(load_splits(build("drawn"), ("train", "test"))) == first
    assert states() == before


def test_tokens_and_numbers_keep_their_shapes(build: Any) -> None:
    splits = load_splits(build("tokens"), ("train",))
    assert splits.in_memory("train").targets.dtype == torch.uint8
    assert (splits.input_shape, splits.num_classes) == ((8,), 10)
    assert load_splits(build("numbers"), ("train",)).num_classes == 1
    assert load_splits(build("numbers", {"width": 4}), ("train",)).num_classes == 4


def test_facts_are_the_recipes_and_run_nothing(build: Any) -> None:
    facts = data_facts(build("nowhere", samples=12, num_classes=3))
    assert (facts.training_samples, facts.input_shape, facts.outputs) == (12, None, 3)
    assert data_facts(build("nowhere")).training_samples is None


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("no mapping", r"with train, validation and test but .*:odd built int, without train"),
        ("no validation", r"built dict, without validation; return all three"),
        ("lengths", r"train split .* of as many samples, .* got shapes \(12, 2\) and \(3,\)"),
        ("nothing", r"train split .* one at least, but got shapes \(0, 2\) and \(0,\)"),
        ("empty", r"train split of data\.import must be of at least one sample but got 0"),
        ("number", r"train split .* or a Dataset with __len__ and __getitem__, but got int"),
        ("nan", r"inputs of the train split .* NaN or infinity in 1 of 12 samples; .* sample 4:"),
        ("infinite", r"targets of the train split of .* in 12 of 12 samples; .* is sample 0:"),
        ("objects", r"train split of data\.import must be tensors or arrays of numbers but got n"),
    ],
)
def test_what_are_no_splits_is_named(build: Any, what: str, message: str) -> None:
    with pytest.raises(InvalidValueError, match=message):
        load_splits(build("odd", {"what": what}), ("train", "validation"))


def test_labels_in_a_column_are_labels(build: Any) -> None:
    targets = load_splits(build("column"), ("train",)).in_memory("train").targets
    assert targets.tolist() == [number % 3 for number in range(12)]


def test_size_that_the_recipe_says_is_held_against_the_data(build: Any) -> None:
    assert len(load_splits(build("mapping", samples=12), ("train",))["train"]) == 12
    with pytest.raises(InvalidValueError, match=r"data\.samples must be 12, .* but got 13"):
        load_splits(build("mapping", samples=13), ("train",))


def test_test_set_that_ends_the_program_does_not_end_ours(build: Any) -> None:
    with pytest.raises(UserCodeError, match="data, asked for the test set, raised SystemExit"):
        load_splits(build("odd", {"what": "ends"}), ("test",))


def test_error_of_the_persons_code_is_theirs(build: Any) -> None:
    data = build("odd", {"what": "broken test"})
    load_splits(data, ("train", "validation"))
    with pytest.raises(UserCodeError, match=r"data, asked for the test set, raised ZeroDivisionE"):
        load_splits(data, ("test",))

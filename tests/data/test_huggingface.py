"""With the package `datasets` and real files, where it is installed."""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tunecli.data import SPLIT_NAMES
from tunecli.data.columns import Labels
from tunecli.data.download import fetch
from tunecli.data.load import Split, data_facts, load_splits
from tunecli.errors import InvalidValueError, RunError
from tunecli.recipe.data import HuggingFaceData

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # the package's own


def section(**keys: object) -> HuggingFaceData:
    return HuggingFaceData.model_validate({"name": "huggingface", **keys})


@pytest.fixture
def datasets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The package, with a cache of its own."""
    package = pytest.importorskip("datasets")
    cache = tmp_path / "cache"
    monkeypatch.setattr(package.config, "HF_DATASETS_CACHE", cache)
    monkeypatch.setattr(package.config, "HF_CACHE_HOME", cache)
    return package


def write_csv(path: Path, rows: int = 40, *, classes: int = 4) -> Path:
    lines = [f"{i},{i * 1000},{'abcd'[i % classes]},{i / 7}" for i in range(rows)]
    path.write_text("\n".join(["small,large,kind,size", *lines]) + "\n")
    return path


def split(splits: Any, name: str) -> Split:
    found = splits.by_name[name]
    assert isinstance(found, Split)
    return found


def test_facts_need_no_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    facts = data_facts(section(dataset="a/b", inputs=["x"], target="y"))
    assert (facts.training_samples, facts.input_shape, facts.outputs) == (None, None, None)
    facts = data_facts(section(dataset="a/b", inputs=["x"], context=16))
    assert (facts.training_samples, facts.input_shape, facts.outputs) == (None, (16,), 256)


def test_package_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    for act in (lambda data: load_splits(data, ("train",)), fetch):
        with pytest.raises(InvalidValueError, match=r'pip install "tunecli\[hf\]"'):
            act(section(dataset="a/b", inputs=["x"], target="y"))


def test_columns_of_numbers_become_features_and_words_classes(
    datasets: Any, tmp_path: Path
) -> None:
    path = write_csv(tmp_path / "a.csv")
    data = section(path=str(path), inputs=["small", "large"], target="kind")
    splits = load_splits(data, SPLIT_NAMES)
    assert (splits.input_shape, splits.num_classes) == ((2,), 4)
    assert [len(splits[name]) for name in SPLIT_NAMES] == [24, 8, 8]
    train = split(splits, "train")
    torch.testing.assert_close(train.inputs[:, 0], train.inputs[:, 1])  # the same, standardized
    assert train.targets.bincount().tolist() == [6, 6, 6, 6]


def test_floats_are_numbers_to_predict(datasets: Any, tmp_path: Path) -> None:
    path = write_csv(tmp_path / "a.csv")
    splits = load_splits(section(path=str(path), inputs=["small"], target="size"), ("train",))
    assert splits.num_classes == 1
    assert split(splits, "train").targets.shape == (24, 1)


def test_lists_in_parquet_become_images(datasets: Any, tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (30, 5, 4)).tolist()
    table = datasets.Dataset.from_dict({"pixels": pixels, "label": [i % 3 for i in range(30)]})
    table.to_parquet(tmp_path / "a.parquet")
    splits = load_splits(
        section(path=str(tmp_path / "a.parquet"), inputs=["pixels"], target="label"), SPLIT_NAMES
    )
    assert (splits.input_shape, splits.num_classes) == ((1, 5, 4), 3)
    assert split(splits, "train").inputs.mean().item() == pytest.approx(0, abs=1e-5)


def test_pictures_in_parquet_are_decoded(datasets: Any, tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image")
    generator = np.random.default_rng(0)
    pictures = [
        image.fromarray(generator.integers(0, 256, (6, 6, 3), dtype=np.uint8)) for _ in range(20)
    ]
    features = datasets.Features(
        {"image": datasets.Image(), "label": datasets.ClassLabel(names=["cat", "dog", "bird"])}
    )
    table = datasets.Dataset.from_dict(
        {"image": pictures, "label": [i % 2 for i in range(20)]}, features=features
    )
    table.to_parquet(tmp_path / "a.parquet")
    data = {"path": str(tmp_path / "a.parquet"), "inputs": ["image"], "target": "label"}
    splits = load_splits(section(**data), SPLIT_NAMES)
    assert (splits.input_shape, splits.num_classes) == ((3, 6, 6), 3)
    assert [len(splits[name]) for name in SPLIT_NAMES] == [12, 4, 4]
    small = load_splits(section(**data, image_size=4, channels=1), ("train",))
    assert small.input_shape == (1, 4, 4)
    assert split(small, "train").inputs.shape == (12, 1, 4, 4)


def test_text_becomes_bytes(datasets: Any, tmp_path: Path) -> None:
    rows = [f"line {i} öäü" for i in range(60)]
    path = tmp_path / "a.jsonl"
    path.write_text("".join(json.dumps({"text": row}) + "\n" for row in rows))
    whole = "\n".join(rows).encode()
    splits = load_splits(section(path=str(path), inputs=["text"], context=16), SPLIT_NAMES)
    train = split(splits, "train")
    assert bytes(train.inputs.flatten().tolist()) == whole[: train.inputs.numel()]
    assert bytes(train.targets.flatten().tolist()) == whole[1 : train.inputs.numel() + 1]
    assert (splits.input_shape, splits.num_classes) == ((16,), 256)
    begin = bytes(split(splits, "validation").inputs[0].tolist())
    assert whole.index(begin) > train.inputs.numel()


def test_folder_tells_its_splits(datasets: Any, tmp_path: Path) -> None:
    folder = tmp_path / "many"
    folder.mkdir()
    for name, rows in (("train", 20), ("test", 12)):
        write_csv(folder / f"{name}.csv", rows)
    data = {"path": str(folder), "inputs": ["small"], "target": "kind"}
    for keys in ({"test_split": "test"}, {}):
        splits = load_splits(section(**data, **keys), SPLIT_NAMES)
        assert [len(splits[name]) for name in SPLIT_NAMES] == [16, 4, 12]
    with pytest.raises(InvalidValueError, match=r"data\.test_split must be one of train, test but"):
        load_splits(section(**data, test_split="tests"), ("train",))
    with pytest.raises(
        InvalidValueError, match=r"data\.test must not be given, because .* 'test' of"
    ):
        load_splits(section(**data, test_split="test", test=0.2), ("train",))


@pytest.fixture
def many(tmp_path: Path) -> dict[str, Any]:
    """A folder of three splits, 20, 8 and 12 rows."""
    folder = tmp_path / "many"
    folder.mkdir()
    for name, rows in (("train", 20), ("validation", 8), ("test", 12)):
        write_csv(folder / f"{name}.csv", rows)
    return {"path": str(folder), "inputs": ["small"], "target": "kind"}


@pytest.mark.parametrize(
    ("keys", "sizes"),
    [
        ({}, [20, 8, 12]),
        ({"test": 0.2}, [16, 8, 4]),  # a share that is asked for is taken
        ({"validation": 0.4, "test": 0.2}, [8, 8, 4]),
        ({"validation_split": "test"}, [16, 12, 4]),  # which is not held out a second time
        ({"train_split": "test"}, [9, 8, 3]),
        ({"train_split": "validation"}, [6, 2, 12]),
        ({"validation_split": "validation", "test_split": "test"}, [20, 8, 12]),
    ],
)
def test_splits_of_their_own_are_taken_by_default(
    datasets: Any, many: dict[str, Any], keys: dict[str, Any], sizes: list[int]
) -> None:
    splits = load_splits(section(**many, **keys), SPLIT_NAMES)
    assert [len(splits[name]) for name in SPLIT_NAMES] == sizes


def test_text_has_the_splits_of_its_own(datasets: Any, tmp_path: Path) -> None:
    folder = tmp_path / "texts"
    folder.mkdir()
    for name, letter in (("train", "a"), ("test", "b")):
        (folder / f"{name}.jsonl").write_text(json.dumps({"text": letter * 100}) + "\n")
    data = section(path=str(folder), inputs=["text"], context=4, validation=0.4)
    splits = load_splits(data, SPLIT_NAMES)
    assert [len(splits[name]) for name in SPLIT_NAMES] == [14, 9, 24]
    assert set(split(splits, "test").inputs.flatten().tolist()) == {ord("b")}


@pytest.mark.parametrize("hidden", ["-1", ""])
def test_test_split_without_labels_is_found_out_before_the_search(
    datasets: Any, tmp_path: Path, hidden: str
) -> None:
    folder = tmp_path / "hidden"
    folder.mkdir()
    for name, label, rows in (("train", "1", 20), ("test", hidden, 8)):
        lines = [f"{i},{label}" for i in range(rows)]
        (folder / f"{name}.csv").write_text("\n".join(["x,y", *lines]) + "\n")
    data = {"path": str(folder), "inputs": ["x"], "target": "y"}
    with pytest.raises(
        InvalidValueError,
        match=r"'y' of the test split must have labels but has none; .* give data\.test, as 0\.2",
    ):
        load_splits(section(**data), ("train", "validation"))
    splits = load_splits(section(**data, test=0.2), SPLIT_NAMES)
    assert [len(splits[name]) for name in SPLIT_NAMES] == [12, 4, 4]


def test_words_are_read_without_decoding_pictures(
    datasets: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = pytest.importorskip("PIL.Image")
    pictures = [image.new("RGB", (4, 4), (i, 0, 0)) for i in range(20)]
    features = datasets.Features({"image": datasets.Image(), "kind": datasets.Value("string")})
    table = datasets.Dataset.from_dict(
        {"image": pictures, "kind": ["ab"[i % 2] for i in range(20)]}, features=features
    )
    decoded: list[int] = []
    decode = datasets.Image.decode_example

    def count(self: Any, value: Any, **options: Any) -> Any:
        decoded.append(1)
        return decode(self, value, **options)

    monkeypatch.setattr(datasets.Image, "decode_example", count)
    labels = Labels.of(table, "kind")
    assert labels.read(table).tolist() == [0, 1] * 10
    assert decoded == []
    assert table[0]["image"].size == (4, 4)
    assert decoded == [1]


def test_class_that_is_only_in_the_test_set_is_named(datasets: Any, tmp_path: Path) -> None:
    folder = tmp_path / "many"
    folder.mkdir()
    write_csv(folder / "train.csv", classes=3)
    write_csv(folder / "test.csv", classes=4)
    data = section(path=str(folder), inputs=["small"], target="kind")
    load_splits(data, ("train", "validation"))
    with pytest.raises(
        InvalidValueError, match=r"'kind' must be of the training data's classes bu"
    ):
        load_splits(data, ("test",))


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        (
            {"inputs": ["nope"]},
            r"data\.inputs and data\.target must be .* train split \(small, .*\) but got 'nope'",
        ),
        ({"inputs": ["kind"]}, r"the column 'kind' must hold numbers, .* but holds '[ab]'"),
        ({"inputs": ["gap"]}, r"the column 'gap' must be filled in every row but got nothing in 1"),
        ({"inputs": ["small"], "image_size": 8}, r"data\.image_size must be left out, because"),
        ({"inputs": ["small"], "target": "code"}, r"'code' must be counted from 0, fewer than the"),
    ],
)
def test_columns_that_do_not_do_are_named(
    datasets: Any, tmp_path: Path, keys: dict[str, Any], message: str
) -> None:
    path = tmp_path / "a.csv"
    lines = [f"{i},{'ab'[i % 2]},{'' if i == 1 else i},{i - 3}" for i in range(20)]
    path.write_text("\n".join(["small,kind,gap,code", *lines]) + "\n")
    with pytest.raises(InvalidValueError, match=message):
        load_splits(section(**{"path": str(path), "target": "kind"} | keys), ("train",))


def test_files_that_cannot_be_read_are_named(datasets: Any, tmp_path: Path) -> None:
    keys: dict[str, Any] = {"inputs": ["x"], "target": "y"}
    with pytest.raises(InvalidValueError, match=r"there is no .*nowhere\.csv"):
        load_splits(section(path=str(tmp_path / "nowhere.csv"), **keys), ("train",))
    (tmp_path / "a.xml").write_text("<a/>")
    with pytest.raises(InvalidValueError, match=r"data\.path must be a file of \.parquet, \.csv"):
        load_splits(section(path=str(tmp_path / "a.xml"), **keys), ("train",))
    (tmp_path / "a.parquet").write_bytes(b"broken")
    with pytest.raises(
        InvalidValueError, match=r"a\.parquet' cannot be loaded: .*; look at data\."
    ):
        load_splits(section(path=str(tmp_path / "a.parquet"), **keys), ("train",))


def test_name_that_is_not_in_the_cache_never_reaches_the_network(
    datasets: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    import socket

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("the network was asked")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    data = section(dataset="ylecun/mnist", inputs=["image"], target="label")
    with pytest.raises(
        InvalidValueError, match=r"'ylecun/mnist' cannot be loaded: .*; fetch it once with --downl"
    ):
        load_splits(data, ("train",))
    with pytest.raises(RunError, match=r"'ylecun/mnist' cannot be fetched: "):
        fetch(data)  # which does ask


def test_offline_is_left_as_it_was(datasets: Any, tmp_path: Path) -> None:
    from huggingface_hub import constants

    before = constants.HF_HUB_OFFLINE, datasets.config.HF_HUB_OFFLINE
    path = write_csv(tmp_path / "a.csv")
    load_splits(section(path=str(path), inputs=["small"], target="kind"), ("train",))
    assert before == (constants.HF_HUB_OFFLINE, datasets.config.HF_HUB_OFFLINE)


def test_nothing_is_fetched_for_local_files() -> None:
    assert fetch(section(path="a.csv", inputs=["small"], target="kind")) is None

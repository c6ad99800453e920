"""With a stand-in for the package, which reads the real formats from small files."""

import pickle
import struct
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

from tunecli.data import SPLIT_NAMES
from tunecli.data import torchvision as module
from tunecli.data.download import fetch
from tunecli.data.load import Split, data_facts, load_splits
from tunecli.errors import InvalidValueError, RunError
from tunecli.recipe.data import TorchvisionData

TRAINING, TEST = 60, 20


class MNIST:
    """torchvision.datasets.MNIST's signature, attributes and files (IDX)."""

    def __init__(self, root: str, train: bool = True, *, download: bool = False) -> None:
        raw = Path(root) / type(self).__name__ / "raw"
        if download:
            raise RuntimeError("Error downloading train-images-idx3-ubyte.gz")
        prefix = "train" if train else "t10k"
        if not (raw / f"{prefix}-images-idx3-ubyte").exists():
            raise RuntimeError("Dataset not found. You can use download=True to download it")
        self.data = torch.from_numpy(self._read(raw / f"{prefix}-images-idx3-ubyte"))
        self.targets = torch.from_numpy(self._read(raw / f"{prefix}-labels-idx1-ubyte")).long()

    @staticmethod
    def _read(path: Path) -> Any:
        content = path.read_bytes()
        dimensions = content[3]
        shape = struct.unpack(f">{dimensions}I", content[4 : 4 + 4 * dimensions])
        return np.frombuffer(content, np.uint8, offset=4 + 4 * dimensions).reshape(shape).copy()


class CIFAR10:
    """torchvision.datasets.CIFAR10's signature, attributes and files (pickled batches)."""

    def __init__(self, root: str, train: bool = True, *, download: bool = False) -> None:
        folder = Path(root) / "cifar-10-batches-py"
        names = [f"data_batch_{i}" for i in range(1, 6)] if train else ["test_batch"]
        if not folder.exists():
            raise RuntimeError("Dataset not found or corrupted. You can use download=True")
        batches = [pickle.loads((folder / name).read_bytes()) for name in names]
        pixels = np.concatenate([batch["data"] for batch in batches])
        self.data = pixels.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
        self.targets = [label for batch in batches for label in batch["labels"]]


def write_idx(path: Path, array: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    head = bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    path.write_bytes(head + array.astype(np.uint8).tobytes())


@pytest.fixture
def package(monkeypatch: pytest.MonkeyPatch) -> None:
    torchvision, datasets = ModuleType("torchvision"), ModuleType("torchvision.datasets")
    vars(datasets).update(MNIST=MNIST, CIFAR10=CIFAR10)
    vars(torchvision).update(datasets=datasets)
    monkeypatch.setitem(sys.modules, "torchvision", torchvision)
    monkeypatch.setitem(sys.modules, "torchvision.datasets", datasets)
    small = {
        name: module._Known(TRAINING, known.shape, known.classes)
        for name, known in module._KNOWN.items()
    }
    monkeypatch.setattr(module, "_KNOWN", small)


@pytest.fixture
def mnist(tmp_path: Path, package: None) -> TorchvisionData:
    generator = np.random.default_rng(0)
    for prefix, count in (("train", TRAINING), ("t10k", TEST)):
        raw = tmp_path / "MNIST" / "raw"
        pixels = generator.integers(0, 256, (count, 28, 28))
        write_idx(raw / f"{prefix}-images-idx3-ubyte", pixels)
        write_idx(raw / f"{prefix}-labels-idx1-ubyte", np.arange(count) % 10)
    return named("MNIST", tmp_path)


def named(dataset: str, path: Path, **keys: object) -> TorchvisionData:
    section = {"name": "torchvision", "dataset": dataset, "path": str(path), **keys}
    return TorchvisionData.model_validate(section)


@pytest.mark.parametrize(
    ("dataset", "samples", "shape", "classes"),
    [
        ("MNIST", 54000, (1, 28, 28), 10),
        ("FashionMNIST", 54000, (1, 28, 28), 10),
        ("CIFAR10", 45000, (3, 32, 32), 10),
        ("CIFAR100", 45000, (3, 32, 32), 100),
    ],
)
def test_facts_are_known_by_name(
    dataset: str, samples: int, shape: tuple[int, ...], classes: int
) -> None:
    facts = data_facts(named(dataset, Path("nowhere")))
    assert (facts.training_samples, facts.input_shape, facts.outputs) == (samples, shape, classes)
    assert data_facts(named(dataset, Path("nowhere"), validation=0.5)).training_samples == int(
        samples / 0.9 * 0.5
    )


def test_grey_pictures_are_split_and_standardized(mnist: TorchvisionData) -> None:
    splits = load_splits(mnist, SPLIT_NAMES)
    assert [len(splits[name]) for name in SPLIT_NAMES] == [54, 6, TEST]
    assert splits.input_shape == (1, 28, 28)
    train = splits["train"]
    assert isinstance(train, Split)
    assert train.inputs.shape == (54, 1, 28, 28)
    assert train.inputs.mean().item() == pytest.approx(0, abs=1e-5)
    test = splits["test"]
    assert isinstance(test, Split)
    assert test.targets.tolist() == [i % 10 for i in range(TEST)]


def test_test_set_is_read_where_it_is_named_alone(mnist: TorchvisionData) -> None:
    (Path(mnist.path) / "MNIST/raw/t10k-images-idx3-ubyte").unlink()
    assert set(load_splits(mnist, ("train", "validation")).by_name) == {"train", "validation"}
    with pytest.raises(InvalidValueError, match=r"fetch it once with --download"):
        load_splits(mnist, ("test",))


def test_colour_pictures_get_channels_first(tmp_path: Path, package: None) -> None:
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (12, 3 * 32 * 32)).astype(np.uint8)
    for name in [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]:
        batch = {"data": pixels, "labels": [i % 10 for i in range(12)]}
        (folder / name).write_bytes(pickle.dumps(batch))
    test = load_splits(named("CIFAR10", tmp_path), ("test",))["test"]
    assert isinstance(test, Split)
    assert test.inputs.shape == (12, 3, 32, 32)
    first = torch.from_numpy(pixels[0].reshape(3, 32, 32) / np.float32(255))
    seen = test.inputs[0]
    for channel in range(3):  # the same but for mean and deviation
        correlation = torch.corrcoef(torch.stack([first[channel].ravel(), seen[channel].ravel()]))
        assert correlation[0, 1] > 0.9999


def test_files_that_are_missing_are_named(tmp_path: Path, package: None) -> None:
    with pytest.raises(
        InvalidValueError,
        match=r"data\.path must hold MNIST as torchvision keeps it .*; fetch it once with --downl",
    ):
        load_splits(named("MNIST", tmp_path), ("train",))


def test_incomplete_files_are_named(
    mnist: TorchvisionData, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(module._KNOWN, "MNIST", module._Known(61, (1, 28, 28), 10))
    with pytest.raises(InvalidValueError, match=r"MNIST must have 61 pictures for training but"):
        load_splits(mnist, ("train",))


def test_fetch_asks_torchvision_and_tells_what_went_wrong(mnist: TorchvisionData) -> None:
    with pytest.raises(RunError, match=r"MNIST cannot be fetched: Error downloading"):
        fetch(mnist)


def test_package_that_is_missing_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torchvision", None)
    with pytest.raises(InvalidValueError, match=r'pip install "tunecli\[vision\]"'):
        load_splits(named("MNIST", tmp_path), ("train",))
    with pytest.raises(InvalidValueError, match=r'pip install "tunecli\[vision\]"'):
        fetch(named("MNIST", tmp_path))

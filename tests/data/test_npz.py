import io
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tunecli.data import SPLIT_NAMES
from tunecli.data.load import Split, data_facts, load_splits
from tunecli.errors import InvalidValueError
from tunecli.recipe.data import NpzData

RANDOM = np.random.default_rng(0)


def npz(path: Path, **keys: object) -> NpzData:
    return NpzData.model_validate({"name": "npz", "path": str(path), **keys})


def keras(samples: int = 40, test: int = 10, shape: tuple[int, ...] = (6, 5)) -> dict[str, Any]:
    """The layout of keras.datasets: uint8 pictures and labels."""
    return {
        "x_train": RANDOM.integers(0, 256, (samples, *shape), dtype=np.uint8),
        "y_train": (np.arange(samples) % 4).astype(np.uint8),
        "x_test": RANDOM.integers(0, 256, (test, *shape), dtype=np.uint8),
        "y_test": (np.arange(test) % 4).astype(np.uint8),
    }


def save(folder: Path, **arrays: Any) -> Path:
    path = folder / "data.npz"
    np.savez(path, **arrays)
    return path


def split(data: NpzData, name: str) -> Split:
    found = load_splits(data, SPLIT_NAMES).by_name[name]  # type: ignore[index]
    assert isinstance(found, Split)
    return found


def test_kerass_layout_is_split_and_standardized(tmp_path: Path) -> None:
    arrays = keras()
    data = npz(save(tmp_path, **arrays), validation=0.25)
    train, validation, test = (split(data, name) for name in SPLIT_NAMES)
    assert [len(part) for part in (train, validation, test)] == [30, 10, 10]
    assert train.inputs.shape == (30, 1, 6, 5)
    assert train.targets.dtype == torch.int64
    assert train.inputs.mean().item() == pytest.approx(0, abs=1e-6)
    assert train.inputs.std(correction=0).item() == pytest.approx(1, abs=1e-5)
    # the test set moves by the training split's numbers: undo them and find the pictures again
    pictures = {bytes(p.tobytes()): i for i, p in enumerate(arrays["x_train"])}
    raw = npz(Path(data.path), validation=0.25, standardize=False)
    seen = [
        pictures[(split(raw, name).inputs * 255).round().byte().numpy()[i].tobytes()]
        for name in ("train", "validation")
        for i in range(len(split(raw, name)))
    ]
    assert sorted(seen) == list(range(40))
    pixels = split(raw, "train").inputs
    expected = (torch.from_numpy(arrays["x_test"] / np.float32(255))[:, None] - pixels.mean()) / (
        pixels.std(correction=0)
    )
    torch.testing.assert_close(test.inputs, expected, atol=1e-5, rtol=1e-5)
    assert test.targets.tolist() == arrays["y_test"].tolist()


@pytest.mark.parametrize("names", [("train",), ("train", "validation"), ("test",), SPLIT_NAMES])
def test_only_what_is_asked_for_is_handed_out_and_the_test_set_not_read(
    tmp_path: Path, names: tuple[str, ...]
) -> None:
    arrays = keras()
    arrays["x_test"] = arrays["x_test"].astype(np.float32)
    arrays["x_test"][3, 2, 1] = np.nan
    data = npz(save(tmp_path, **arrays))
    if "test" in names:
        with pytest.raises(
            InvalidValueError,
            match=r"x_test must hold finite numbers of 32 bits but has nan at \[3, 0, 2, 1\]",
        ):
            load_splits(data, names)  # type: ignore[arg-type]
    else:
        assert set(load_splits(data, names).by_name) == set(names)  # type: ignore[arg-type]


def test_x_and_y_are_shared_out(tmp_path: Path) -> None:
    data = npz(save(tmp_path, x=RANDOM.normal(size=(50, 3)), y=np.arange(50) % 5))
    assert [len(split(data, name)) for name in SPLIT_NAMES] == [30, 10, 10]
    for name in SPLIT_NAMES:
        counts = split(data, name).targets.bincount()
        assert counts.max() == counts.min()
    assert data_facts(data).training_samples == 30


def test_validation_arrays_are_used_where_there_are_some(tmp_path: Path) -> None:
    x, y = RANDOM.normal(size=(20, 3)), np.arange(20) % 2
    path = save(tmp_path, x_train=x, y_train=y, x_validation=x[:6] + 1, y_validation=y[:6])
    data = npz(path, test=0.25, standardize=False)
    assert [len(split(data, name)) for name in SPLIT_NAMES] == [15, 6, 5]
    torch.testing.assert_close(
        split(data, "validation").inputs, torch.from_numpy(x[:6] + 1).float()
    )
    with pytest.raises(InvalidValueError, match=r"data\.validation must not be given, because"):
        data_facts(npz(path, validation=0.2))


def test_features_have_scales_of_their_own_and_pixels_a_common_one(tmp_path: Path) -> None:
    x = np.stack([np.arange(50) * 1000.0, np.full(50, 7.0), np.arange(50) % 3], axis=1)
    inputs = split(npz(save(tmp_path, x=x, y=np.arange(50) % 2)), "train").inputs
    torch.testing.assert_close(inputs.mean(dim=0), torch.zeros(3), atol=1e-5, rtol=0)
    assert inputs[:, 1].abs().max() == 0  # constant
    torch.testing.assert_close(inputs[:, [0, 2]].std(dim=0, correction=0), torch.ones(2))
    pixels = np.zeros((50, 2), dtype=np.uint8)
    pixels[:, 0], pixels[::7, 1] = np.arange(50), 1
    inputs = split(npz(save(tmp_path, x=pixels, y=np.arange(50) % 2)), "train").inputs
    assert inputs[:, 1].std() < 0.1 * inputs[:, 0].std()


def test_colours_are_standardized_each(tmp_path: Path) -> None:
    x = RANDOM.normal(size=(30, 8, 8, 3)) * [1, 10, 100] + [5, 6, 7]
    inputs = split(npz(save(tmp_path, x=x, y=np.arange(30) % 2)), "train").inputs
    assert inputs.shape[1:] == (3, 8, 8)
    torch.testing.assert_close(inputs.std(dim=(0, 2, 3), correction=0), torch.ones(3))


@pytest.mark.parametrize("wide", [False, True])
def test_floats_are_numbers_to_predict(tmp_path: Path, wide: bool) -> None:
    y = RANDOM.normal(size=(20, 3) if wide else 20)
    data = npz(save(tmp_path, x=RANDOM.normal(size=(20, 2)), y=y))
    facts, width = data_facts(data), 3 if wide else 1
    assert (facts.targets, facts.outputs) == ("numbers", width)
    assert split(data, "train").targets.shape == (12, width)
    assert split(data, "train").targets.dtype == torch.float32


@pytest.mark.parametrize("dtype", ["i1", "u1", "<i4", ">i4", "<u8", ">i8", "?"])
def test_classes_are_counted_whatever_the_integers(tmp_path: Path, dtype: str) -> None:
    labels = (np.arange(20) % 2).astype(dtype)
    data = npz(save(tmp_path, x=RANDOM.normal(size=(20, 2)), y=labels[:, None]))
    assert data_facts(data).outputs == 2
    assert set(split(data, "train").targets.tolist()) == {0, 1}


def test_facts_are_what_is_loaded_and_need_no_numpy(tmp_path: Path) -> None:
    path = save(tmp_path, **keras(shape=(5, 4, 3)))
    facts, splits = data_facts(npz(path)), load_splits(npz(path), ("train",))
    assert facts.training_samples == len(splits["train"])
    assert (facts.input_shape, facts.outputs) == (splits.input_shape, splits.num_classes)
    assert tuple(split(npz(path), "train").inputs.shape[1:]) == (3, 5, 4)
    code = (
        "import sys; from tunecli.recipe.data import NpzData; "
        "from tunecli.data.load import data_facts; "
        "print(data_facts(NpzData(name='npz', path=sys.argv[1]))); "
        "assert not {'numpy', 'torch'} & set(sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == str(facts)


def test_compressed_files_are_read(tmp_path: Path) -> None:
    path = tmp_path / "data.npz"
    np.savez_compressed(path, **keras())
    assert data_facts(npz(path)).outputs == 4
    assert len(split(npz(path), "test")) == 10


X, Y = np.zeros((20, 2), dtype=np.float32), np.arange(20) % 2
NAN = X.copy()
NAN[7, 1] = np.inf


@pytest.mark.parametrize(
    ("arrays", "keys", "message"),
    [
        ({"a": X, "y": Y}, {}, r"must be x_train and y_train, or x and y, but are: a, y"),
        ({"x": X, "x_train": X}, {}, r"must be x_train and y_train, or x and y"),
        ({"x": X}, {}, r"must hold y, because it holds x"),
        ({"x_train": X, "y_train": Y, "x_test": X}, {}, r"must hold y_test, because it holds x_"),
        ({"x": X, "y": Y[:9]}, {}, r"samples in y must be that of x, 20, but got 9"),
        ({"x": X, "y": np.array(["a"] * 20)}, {}, r"y in .* plain numbers but has the type 'U1'"),
        ({"x": X + 1j, "y": Y}, {}, r"x in .* plain numbers but has the type 'c8'"),
        ({"x": X, "y": Y - 1}, {}, r"y must be classes counted from 0 but got -1"),
        ({"x": X, "y": Y * 20}, {}, r"fewer than the 20 samples, but got 20; number the classes"),
        ({"x": X, "y": np.zeros((20, 3), dtype=int)}, {}, r"y must be one class for each sample"),
        ({"x": X[:0], "y": Y[:0]}, {}, r"y must be of shape \(n,\) or \(n, k\)"),
        ({"x": np.zeros((20, 5, 5, 5)), "y": Y}, {}, r"data\.channels must be given for x of sha"),
        ({"x": np.zeros((20, 3, 9, 3)), "y": Y}, {}, r"data\.channels must be given for x of sha"),
        ({"x": X, "y": Y}, {"channels": "last"}, r"data\.channels must be left out, because x has"),
        ({"x": np.zeros((20, 1, 1, 1, 1)), "y": Y}, {}, r"x must be an array of 1 to 4 dimensions"),
        (
            {"x_train": X, "y_train": Y, "x_test": X[:, :1], "y_test": Y},
            {},
            r"one sample of x_test must be of shape \(2,\) but got \(1,\)",
        ),
        (
            {"x_train": X, "y_train": Y, "x_test": X, "y_test": Y * 1.0},
            {},
            r"y_train and y_test in .* must be all classes \(integers\) or all numbers",
        ),
        ({"x": NAN, "y": Y}, {}, r"x must hold finite numbers of 32 bits but has inf at \[7, 1\]"),
        ({"x": X, "y": np.full(20, np.nan)}, {}, r"y must hold finite .* but has nan at \[0\]"),
        ({"x": np.full((20, 2), 1e300), "y": Y}, {}, r"x must hold finite numbers of 32 bits"),
        ({"x": X[:2], "y": Y[:2]}, {}, r"must leave samples to train on"),
    ],
)
def test_arrays_that_do_not_do_are_named(
    tmp_path: Path, arrays: dict[str, Any], keys: dict[str, object], message: str
) -> None:
    data = npz(save(tmp_path, **arrays), **keys)
    with pytest.raises(InvalidValueError, match=message):
        load_splits(data, ("train",))


def test_objects_are_refused_and_never_unpickled(tmp_path: Path) -> None:
    class Harm:
        def __reduce__(self) -> tuple[Any, ...]:
            return Path.touch, (tmp_path / "harm",)

    harmful = np.array([Harm()] * 20, dtype=object)
    data = npz(save(tmp_path, x=harmful, y=Y))
    with pytest.raises(InvalidValueError, match=r"x in .* plain numbers but has the type 'O'"):
        load_splits(data, ("train",))
    assert not (tmp_path / "harm").exists()


def test_what_is_beside_the_arrays_does_not_matter(tmp_path: Path) -> None:
    names = np.array(["cat", "dog"], dtype=object)
    assert data_facts(npz(save(tmp_path, x=X, y=Y, names=names))).outputs == 2


def test_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    good = save(tmp_path, x=X, y=Y).read_bytes()
    with pytest.raises(InvalidValueError, match=r"there is no .*nowhere\.npz; a path in a recipe"):
        data_facts(npz(tmp_path / "nowhere.npz"))
    with pytest.raises(InvalidValueError, match=r"a \.npz file but .* is a folder; name"):
        data_facts(npz(tmp_path))
    bad = tmp_path / "bad.npz"
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        file.writestr("x.npy", b"\x93NUMPY\x01\x00\x08\x00{'descr'")
    for content in (b"", b"PK", good[: len(good) // 2], buffer.getvalue()):
        bad.write_bytes(content)
        with pytest.raises(InvalidValueError, match=r"bad\.npz cannot be read"):
            data_facts(npz(bad))
    spoilt = bytearray(good)
    spoilt[spoilt.index(b"NUMPY") + 200] ^= 1  # a value: the checksum tells
    bad.write_bytes(spoilt)
    with pytest.raises(InvalidValueError, match=r"bad\.npz cannot be read: Bad CRC-32"):
        load_splits(npz(bad), ("train",))

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from tunecli.data import SPLIT_NAMES, pictures
from tunecli.data.images import list_images
from tunecli.data.load import DatasetSplit, Split, data_facts, load_splits
from tunecli.data.pictures import to_pixels
from tunecli.errors import InvalidValueError, RunError
from tunecli.recipe.data import ImagesData

RANDOM = np.random.default_rng(0)


def images(path: Path, **keys: object) -> ImagesData:
    return ImagesData.model_validate({"name": "images", "path": str(path), "image_size": 8} | keys)


def draw(path: Path, colour: int = 0, size: tuple[int, int] = (8, 8)) -> None:
    """A picture of one colour, red and green as said, blue at random."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.full((*size[::-1], 3), colour, dtype=np.uint8)
    pixels[..., 2] = RANDOM.integers(0, 256, size[::-1])
    Image.fromarray(pixels).save(path)


@pytest.fixture
def flat(tmp_path: Path) -> Path:
    """Ten cats, darker, and fifteen dogs, lighter; no folders for splits."""
    for label, count in (("cat", 10), ("dog", 15)):
        for number in range(count):
            draw(tmp_path / label / f"{number:02}.png", number + 100 * (label == "dog"))
    (tmp_path / "cat" / ".DS_Store").write_bytes(b"no picture")
    return tmp_path


@pytest.fixture
def parted(tmp_path: Path) -> Path:
    """Folders for the three splits."""
    for name, count in (("train", 6), ("val", 3), ("test", 2)):
        for label in ("cat", "dog"):
            for number in range(count):
                draw(tmp_path / name / label / f"{number}.jpg", number)
    return tmp_path


def tensors(split: Split | DatasetSplit) -> tuple[torch.Tensor, torch.Tensor]:
    ((inputs, targets),) = split.batches([torch.arange(len(split))])
    return inputs, targets


def test_pictures_are_shared_out_class_by_class(flat: Path) -> None:
    splits = load_splits(images(flat), SPLIT_NAMES)
    assert splits.input_shape == (3, 8, 8)
    assert splits.num_classes == 2
    counts = {name: tensors(splits[name])[1].bincount().tolist() for name in SPLIT_NAMES}
    assert counts == {"train": [6, 9], "validation": [2, 3], "test": [2, 3]}


def test_listing_is_the_same_whatever_the_disks_order(
    flat: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = list_images(images(flat))
    listed = sys.modules["tunecli.data.images"]._entries
    monkeypatch.setattr("tunecli.data.images._entries", lambda folder: listed(folder)[::-1])
    assert list_images(images(flat)) == before
    assert before.classes == ("cat", "dog")
    assert [path.name for path, _ in before.lot[:3]] == ["00.png", "01.png", "02.png"]
    assert [label for _, label in before.lot] == [0] * 10 + [1] * 15


def test_folders_of_splits_are_used(parted: Path) -> None:
    data = images(parted)
    splits = load_splits(data, SPLIT_NAMES)
    assert [len(splits[name]) for name in SPLIT_NAMES] == [12, 6, 4]
    with pytest.raises(InvalidValueError, match=r"data\.validation must not be given.*folder val"):
        data_facts(images(parted, validation=0.1))


def test_trains_can_be_a_class(flat: Path) -> None:
    for number in range(5):
        draw(flat / "train" / f"{number}.png")
    assert list_images(images(flat)).classes == ("cat", "dog", "train")


def test_facts_are_what_is_loaded_and_open_no_picture(flat: Path) -> None:
    facts, splits = data_facts(images(flat)), load_splits(images(flat), ("train",))
    assert facts.training_samples == len(splits["train"])
    assert (facts.input_shape, facts.outputs) == (splits.input_shape, splits.num_classes)
    code = (
        "import sys; from tunecli.recipe.data import ImagesData; "
        "from tunecli.data.load import data_facts; "
        "print(data_facts(ImagesData(name='images', path=sys.argv[1], image_size=8))); "
        "assert not {'numpy', 'torch', 'PIL'} & set(sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(flat)], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == str(facts)


def test_channels_are_standardized_with_the_training_pictures(flat: Path) -> None:
    inputs, _ = tensors(load_splits(images(flat), ("train",))["train"])
    torch.testing.assert_close(inputs.mean(dim=(0, 2, 3)), torch.zeros(3), atol=1e-5, rtol=0)
    torch.testing.assert_close(inputs.std(dim=(0, 2, 3), correction=0), torch.ones(3))


@pytest.mark.parametrize("workers", [0, 2])
def test_what_does_not_fit_into_memory_is_read_when_needed_and_the_same(
    flat: Path, workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = load_splits(images(flat), ("train", "validation"))
    monkeypatch.setattr(pictures, "IN_MEMORY_BYTES", 1000)
    read = load_splits(images(flat, workers=workers), ("train", "validation"))
    for name in ("train", "validation"):
        assert isinstance(held.by_name[name], Split)
        assert isinstance(read.by_name[name], DatasetSplit)
        for one, other in zip(
            tensors(held.by_name[name]), tensors(read.by_name[name]), strict=True
        ):
            assert torch.equal(one, other)
        classes = read.by_name[name].classes()
        assert classes is not None
        assert torch.equal(classes, tensors(held.by_name[name])[1])


def test_pictures_of_the_test_set_are_not_opened(parted: Path) -> None:
    (parted / "test" / "cat" / "0.jpg").write_bytes(b"broken")
    load_splits(images(parted), ("train", "validation"))
    with pytest.raises(RunError, match=r"test/cat/0\.jpg must be a picture that can be decoded"):
        load_splits(images(parted), ("test",))


def test_shorter_side_is_scaled_and_the_middle_cut_out() -> None:
    wide = np.zeros((20, 60, 3), dtype=np.uint8)
    wide[:, 20:40] = 255
    assert to_pixels(Image.fromarray(wide), size=10, channels=3)[:, :, 1:-1].min() == 1
    tall = Image.fromarray(wide.transpose(1, 0, 2))
    assert to_pixels(tall, size=10, channels=1).shape == (1, 10, 10)
    assert to_pixels(tall, size=10, channels=1)[:, 1:-1].min() == 1


def test_picture_of_the_right_size_keeps_its_pixels() -> None:
    pixels = RANDOM.integers(0, 256, (9, 9, 3), dtype=np.uint8)
    seen = to_pixels(Image.fromarray(pixels), size=9, channels=3)
    assert torch.equal((seen * 255).round().byte(), torch.from_numpy(pixels).permute(2, 0, 1))


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA", "CMYK", "LA"])
def test_every_usual_kind_of_picture_is_read(tmp_path: Path, mode: str) -> None:
    picture = Image.new("RGB", (8, 8), (255, 255, 255)).convert(mode)
    for channels in (1, 3):
        seen = to_pixels(picture, size=8, channels=channels)
        assert seen.shape == (channels, 8, 8)
        assert seen.min() > 0.95


def test_palette_with_transparency_is_read_without_a_warning(tmp_path: Path) -> None:
    picture = Image.new("RGBA", (8, 8), (10, 200, 30, 0)).convert("P")
    picture.info["transparency"] = bytes(range(256))
    picture.save(tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as opened:
        assert to_pixels(opened, size=8, channels=3).shape == (3, 8, 8)


def test_camera_that_was_turned_is_heeded(tmp_path: Path) -> None:
    pixels = np.zeros((8, 8, 3), dtype=np.uint8)
    pixels[:4] = 255  # the upper half
    turned = Image.Exif()
    turned[0x0112] = 3  # by 180°
    Image.fromarray(pixels).save(tmp_path / "a.png", exif=turned)
    with Image.open(tmp_path / "a.png") as opened:
        seen = to_pixels(opened, size=8, channels=1)
    assert seen[0, 0].max() == 0
    assert seen[0, 7].min() == 1


def test_picture_of_more_than_8_bits_is_refused() -> None:
    deep = Image.fromarray(np.full((8, 8), 40000, dtype=np.uint16))
    with pytest.raises(InvalidValueError, match=r"a picture must be of 8 bits a channel but got m"):
        to_pixels(deep, size=8, channels=1)


def spoil(root: Path, change: str) -> None:
    match change:
        case "empty class":
            (root / "bird").mkdir()
        case "file beside the classes":
            (root / "readme.txt").write_text("pictures")
        case "no picture":
            (root / "cat" / "notes.txt").write_text("a cat")
        case "folder in a class":
            (root / "cat" / "more").mkdir()
        case "one class":
            for path in (root / "dog").iterdir():
                path.unlink()
            (root / "dog").rmdir()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("empty class", r"each class must have at least one picture but .*bird is empty"),
        ("file beside the classes", r"nothing else but holds readme\.txt; move it away"),
        ("no picture", r"cat must hold pictures alone \(\.bmp, .*\) but holds notes\.txt"),
        ("folder in a class", r"cat must hold pictures alone \(\.bmp, .*\) but holds more"),
        ("one class", r"sub-folder for each of at least two classes but has 1"),
    ],
)
def test_folder_that_does_not_do_is_named(flat: Path, change: str, message: str) -> None:
    spoil(flat, change)
    with pytest.raises(InvalidValueError, match=message):
        data_facts(images(flat))


def test_splits_with_other_classes_or_folders_are_named(parted: Path) -> None:
    draw(parted / "test" / "bird" / "0.png")
    with pytest.raises(InvalidValueError, match=r"'bird' is in test and not in train"):
        data_facts(images(parted))
    draw(parted / "train" / "bird" / "0.png")
    with pytest.raises(InvalidValueError, match=r"'bird' is in train and not in val"):
        data_facts(images(parted))
    (parted / "validation").mkdir()
    with pytest.raises(InvalidValueError, match=r"one folder for validation but has validation a"):
        data_facts(images(parted))
    (parted / "validation").rmdir()
    (parted / "extra").mkdir()
    with pytest.raises(InvalidValueError, match=r"but holds extra; move it away"):
        data_facts(images(parted))


def test_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidValueError, match=r"there is no .*nowhere; a path in a recipe"):
        data_facts(images(tmp_path / "nowhere"))
    (tmp_path / "file").touch()
    with pytest.raises(InvalidValueError, match=r"a folder of pictures but .* is a file; name"):
        data_facts(images(tmp_path / "file"))


@pytest.mark.parametrize("content", [b"", b"broken", "half"])
@pytest.mark.parametrize("workers", [0, 1])
def test_broken_file_is_named(flat: Path, content: Any, workers: int) -> None:
    broken = flat / "dog" / "07.png"
    whole = broken.read_bytes()
    broken.write_bytes(whole[: len(whole) // 2] if content == "half" else content)
    with pytest.raises(RunError, match=r"dog/07\.png must be a picture that can be decoded but"):
        load_splits(images(flat, workers=workers), SPLIT_NAMES)

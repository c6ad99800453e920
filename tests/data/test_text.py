import sysconfig
from pathlib import Path
from typing import Any

import pytest
import torch

from tunecli.data import SPLIT_NAMES
from tunecli.data.load import Split, data_facts, load_splits
from tunecli.data.text import list_text, windows
from tunecli.errors import InvalidValueError
from tunecli.recipe.data import TextData


def text(path: Path | str, **keys: object) -> TextData:
    return TextData.model_validate({"name": "text", "path": str(path), "context": 8, **keys})


def split(data: TextData, name: str) -> Split:
    found = load_splits(data, SPLIT_NAMES).by_name[name]  # type: ignore[index]
    assert isinstance(found, Split)
    return found


def write(folder: Path, **files: bytes) -> Path:
    for name, content in files.items():
        path = folder / name.replace("__", "/").replace("_", ".")
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """90 bytes in three files, each byte its own position in the order of the names."""
    count = bytes(range(90))
    return write(tmp_path, b_txt=count[50:70], a__x_txt=count[:50], c_md=count[70:])


def test_files_are_laid_end_to_end_by_name_and_cut_into_blocks(folder: Path) -> None:
    data = text(folder, validation=0.2, test=0.3)
    assert list_text(data).files == (
        (folder / "a/x.txt", 50),
        (folder / "b.txt", 20),
        (folder / "c.md", 20),
    )
    for name, begin, end in (("train", 0, 45), ("validation", 45, 63), ("test", 63, 90)):
        seen = split(data, name)
        used = (end - begin - 1) // 8 * 8
        assert seen.inputs.flatten().tolist() == list(range(begin, begin + used))
        assert seen.targets.flatten().tolist() == list(range(begin + 1, begin + used + 1))


def test_no_byte_is_in_two_splits(folder: Path) -> None:
    data = text(folder, validation=0.2, test=0.3)
    seen = [
        {*split(data, name).inputs.flatten().tolist(), *split(data, name).targets[-1].tolist()}
        for name in SPLIT_NAMES
    ]
    assert seen[0].isdisjoint(seen[1])
    assert seen[1].isdisjoint(seen[2])
    assert seen[0].isdisjoint(seen[2])


def test_tensors_are_bytes_and_views_of_one() -> None:
    whole = torch.arange(33, dtype=torch.uint8)
    cut = windows(whole, 8)
    assert cut.inputs.dtype == cut.targets.dtype == torch.uint8
    assert cut.inputs.data_ptr() == whole.data_ptr()
    assert cut.targets.data_ptr() == whole.data_ptr() + 1
    assert cut.inputs.shape == cut.targets.shape == (4, 8)


@pytest.mark.parametrize("size", [9, 16, 17, 24, 25])
def test_windows_use_all_bytes_but_less_than_a_window(size: int) -> None:
    cut = windows(torch.zeros(size, dtype=torch.uint8), 8)
    assert len(cut) * 8 + 1 <= size < (len(cut) + 1) * 8 + 1


def test_sizes_are_known_without_opening_a_file(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = text(folder, validation=0.2, test=0.3)
    loaded = len(split(data, "train"))

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a file was opened")

    monkeypatch.setattr(Path, "open", refuse)
    facts = data_facts(data)
    assert facts.training_samples == loaded == 5
    assert (facts.input_shape, facts.outputs, facts.targets) == ((8,), 256, "tokens")


def test_only_the_bytes_of_the_named_splits_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, a=bytes(80), b=bytes(10), c=bytes(10))
    data = text(tmp_path, validation=0.1, test=0.1)
    opened: list[str] = []
    original = Path.open

    def watched(path: Path, mode: str) -> Any:
        opened.append(path.name)
        return original(path, mode)

    monkeypatch.setattr(Path, "open", watched)
    load_splits(data, ("train", "validation"))
    assert opened == ["a", "b"]
    load_splits(data, ("test",))
    assert opened == ["a", "b", "c"]


def test_the_first_bytes_are_read_and_no_more(folder: Path) -> None:
    data = text(folder, max_bytes=60, validation=0.2, test=0.2)
    assert [size for _, size in list_text(data).files] == [50, 10]
    assert split(data, "test").targets.max() == 56  # bytes 48 to 59: one window and its target


def test_pattern_chooses_files(folder: Path) -> None:
    data = text(folder, pattern="**/*.txt", validation=0.2, test=0.2)
    assert [path.name for path, _ in list_text(data).files] == ["x.txt", "b.txt"]


def test_one_file_is_text_as_well(folder: Path) -> None:
    assert list_text(text(folder / "a/x.txt", validation=0.2, test=0.2)).files == (
        (folder / "a/x.txt", 50),
    )


def test_stdlib_stands_for_pythons_library() -> None:
    data = text("{stdlib}/json", pattern="*.py", context=64)
    names = [path.name for path, _ in list_text(data).files]
    assert names == sorted(names)
    assert "decoder.py" in names
    begin = (Path(sysconfig.get_path("stdlib")) / "json" / names[0]).read_bytes()[:64]
    assert bytes(split(data, "train").inputs[0].tolist()) == begin


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"context": 17}, r"the validation split must have at least 18 bytes.* but has 9"),
        ({"pattern": "*.py"}, r"no file in .* that matches '\*\.py' has a byte in it"),
        ({"pattern": "a**b"}, r"data\.pattern must be a glob pattern"),
    ],
)
def test_text_that_does_not_do_is_named(
    folder: Path, keys: dict[str, object], message: str
) -> None:
    with pytest.raises(InvalidValueError, match=message):
        data_facts(text(folder, **keys))


def test_path_that_leads_nowhere_is_named(folder: Path) -> None:
    with pytest.raises(InvalidValueError, match=r"there is no .*nowhere; a path in a recipe is"):
        data_facts(text(folder / "nowhere"))
    with pytest.raises(
        InvalidValueError, match=r"data\.pattern must be left out, because .*b\.txt"
    ):
        data_facts(text(folder / "b.txt", pattern="*"))


def test_file_that_shrinks_meanwhile_is_named(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = text(folder, validation=0.2, test=0.2)
    listed = list_text(data)
    write(folder, a__x_txt=b"short")
    monkeypatch.setattr("tunecli.data.text.list_text", lambda _: listed)
    with pytest.raises(InvalidValueError, match=r"x\.txt must have at least 50 bytes"):
        load_splits(data, ("train",))

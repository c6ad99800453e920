"""A folder of pictures, with a sub-folder for each class."""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tunecli.data.facts import DataFacts
from tunecli.data.shares import share
from tunecli.data.splits import SplitName, SplitSizes, split_sizes
from tunecli.errors import InvalidValueError

if TYPE_CHECKING:
    from PIL.Image import Image

    from tunecli.data.dataset import AnySplit
    from tunecli.recipe.data import ImagesData

SUFFIXES = frozenset(
    (".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
)
# what the folder of a split may be called
_FOLDERS: dict[SplitName, tuple[str, ...]] = {
    "train": ("train",),
    "validation": ("validation", "val"),
    "test": ("test",),
}

Listed = tuple[tuple[Path, int], ...]


@dataclass(frozen=True, slots=True)
class ImageFolder:
    """Files and classes of a folder.

    Args:
        lot: File and class of what training takes from, sorted by class and name.
        own: The same of the splits that have folders of their own.
        sizes: Of the lot's splits; 0 for those that have their own.
        classes: Names of the classes, sorted; a class's number is its place.
    """

    lot: Listed
    own: dict[SplitName, Listed]
    sizes: SplitSizes
    classes: tuple[str, ...]


class PictureFiles:
    """Decodes the pictures of some files.

    Args:
        files: File and class of each.
    """

    def __init__(self, files: Sequence[tuple[Path, int]]) -> None:
        self._files = files

    def __len__(self) -> int:
        return len(self._files)

    def labels(self) -> list[int]:
        """The class of each."""
        return [label for _, label in self._files]

    def __getitem__(self, index: int) -> "tuple[Image, int]":
        from PIL import Image

        path, label = self._files[index]
        try:
            with Image.open(path) as image:
                image.load()
        except Exception as error:  # decoders of broken files raise whatever they stumble over
            raise InvalidValueError(
                f"{path} must be a picture that can be decoded but is not: {error}; remove it"
            ) from error
        return image, label


def images_facts(data: "ImagesData") -> DataFacts:
    """Sizes and classes, by listing the folder alone.

    Raises:
        InvalidValueError: See `list_images`.
    """
    folder = list_images(data)
    shape = (data.channels, data.image_size, data.image_size)
    return DataFacts(folder.sizes.train, shape, len(folder.classes), "classes")


def load_images(data: "ImagesData", names: Iterable[SplitName]) -> "dict[SplitName, AnySplit]":
    """The named splits; pictures of other ones are not opened, but training's, for its colours.

    Raises:
        InvalidValueError: See `list_images`.
        RunError: A file cannot be decoded.
    """
    from tunecli.data.pictures import picture_splits
    from tunecli.data.shares import shared_out

    folder = list_images(data)
    parts = shared_out([label for _, label in folder.lot], folder.sizes, seed=data.split_seed)
    sources = {
        name: PictureFiles(
            folder.own[name] if name in folder.own else [folder.lot[i] for i in parts[name]]
        )
        for name in _FOLDERS
    }
    return picture_splits(
        sources,
        names,
        size=data.image_size,
        channels=data.channels,
        workers=data.workers,
    )


def list_images(data: "ImagesData") -> ImageFolder:
    """Find the files, their classes and their splits.

    The folder has a sub-folder for each class, or folders `train`, `validation` (or `val`) and
    `test` with such sub-folders; validation and test are cut from training where they have none.
    What begins with a dot is passed over.

    Raises:
        InvalidValueError: A folder is missing or empty, there is something other than pictures in
            it, or the splits' classes differ.
    """
    root = Path(data.path)
    folders = _folders(root)
    lot_root = folders.pop("train", root)
    classes, lot = _list_classes(lot_root)
    own: dict[SplitName, Listed] = {}
    for name, folder in folders.items():
        found, own[name] = _list_classes(folder)
        if found != classes:
            odd = sorted(set(found) ^ set(classes))[0]
            where, lacks = (folder, lot_root) if odd in found else (lot_root, folder)
            raise InvalidValueError(
                f"the splits in {root} must have the same classes but {odd!r} is in {where.name} "
                f"and not in {lacks.name}"
            )
    held_out: tuple[SplitName, ...] = ("validation", "test")
    shares = {
        name: share(
            getattr(data, name),
            name=name,
            own=f"a folder {folders[name].name}" if name in folders else None,
        )
        for name in held_out
    }
    sizes = split_sizes(len(lot), validation=shares["validation"], test=shares["test"])
    return ImageFolder(lot, own, sizes, classes)


def _folders(root: Path) -> dict[SplitName, Path]:
    """The splits' folders, where there is one for training; else none."""
    present = {entry.name for entry in _entries(root)}
    found: dict[SplitName, Path] = {}
    for name, choices in _FOLDERS.items():
        for choice in choices:
            if choice in present:
                if name in found:
                    raise InvalidValueError(
                        f"{root} must have one folder for {name} but has {' and '.join(choices)}; "
                        "remove one of the two"
                    )
                found[name] = root / choice
    if "train" not in found or not any(entry.is_dir() for entry in _entries(found["train"])):
        return {}  # trains can be a class of their own
    others = present - {path.name for path in found.values()}
    if others:
        raise InvalidValueError(
            f"{root} must hold train, validation and test alone, because it has a folder train, "
            f"but holds {sorted(others)[0]}; move it away"
        )
    return found


def _list_classes(root: Path) -> tuple[tuple[str, ...], Listed]:
    """Names of the classes, and all files with the numbers of theirs, in order of the names."""
    classes = sorted(entry.name for entry in _entries(root))
    if len(classes) < 2:
        raise InvalidValueError(
            f"{root} must have a sub-folder for each of at least two classes but has {len(classes)}"
        )
    files: list[tuple[Path, int]] = []
    for label, name in enumerate(classes):
        folder = root / name
        if not folder.is_dir():
            raise InvalidValueError(
                f"{root} must hold a folder for each class and nothing else but holds {name}; "
                "move it away"
            )
        inside = sorted(entry.name for entry in _entries(folder))
        if not inside:
            raise InvalidValueError(
                f"each class must have at least one picture but {folder} is empty; remove it"
            )
        for file in inside:
            if Path(file).suffix.lower() not in SUFFIXES:
                raise InvalidValueError(
                    f"{folder} must hold pictures alone ({', '.join(sorted(SUFFIXES))}) but holds "
                    f"{file}; move it away"
                )
            files.append((folder / file, label))
    return tuple(classes), tuple(files)


def _entries(folder: Path) -> "list[os.DirEntry[str]]":
    try:
        with os.scandir(folder) as entries:
            return [entry for entry in entries if not entry.name.startswith(".")]
    except FileNotFoundError:
        raise InvalidValueError(
            f"data.path must be a folder of pictures but there is no {folder}; "
            "a path in a recipe is relative to the recipe"
        ) from None
    except NotADirectoryError:
        raise InvalidValueError(
            f"data.path must be a folder of pictures but {folder} is a file; name the folder that "
            "has a folder for each class"
        ) from None
    except OSError as error:
        raise InvalidValueError(
            f"data.path must be a folder that can be read but {folder} is not: {error.strerror}"
        ) from error

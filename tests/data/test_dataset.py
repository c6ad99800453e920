import os
import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from tunecli.data.load import DatasetSplit, Split
from tunecli.errors import InvalidValueError, RunError


class Squares:
    """Item i is (i, i²), in the process that is asked."""

    def __init__(self, size: int = 20) -> None:
        self.size = size

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, index: int) -> Any:
        return torch.tensor([float(index)]), index * index


class Awkward(Squares):
    """Item 7 is what it is made with; the others are squares."""

    def __init__(self, seventh: Any) -> None:
        super().__init__()
        self.seventh = seventh

    def __getitem__(self, index: int) -> Any:
        if index != 7:
            return super().__getitem__(index)
        return self.seventh() if callable(self.seventh) else self.seventh


class Drawn(Squares):
    """Item i is (i, and a number from each of three global generators)."""

    def __getitem__(self, index: int) -> Any:
        drawn = [torch.rand(()).item(), np.random.rand(), random.random()]  # noqa: NPY002
        return torch.tensor([float(index), *drawn]), index


def raises(error: Exception) -> Any:
    def raise_it() -> None:
        raise error

    return raise_it


BATCHES = [[3, 1, 4], [1], [5, 9, 2, 6, 5]]


def chosen(batches: list[list[int]] = BATCHES) -> Iterator[Tensor]:
    return (torch.tensor(batch) for batch in batches)


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_are_the_chosen_items_in_order(workers: int) -> None:
    split = DatasetSplit(Squares(), workers)
    got = list(split.batches(chosen()))
    assert [inputs.flatten().tolist() for inputs, _ in got] == BATCHES
    assert [targets.tolist() for _, targets in got] == [[i * i for i in b] for b in BATCHES]
    assert got[0][1].dtype == torch.int64
    assert len(split) == 20


def test_split_in_memory_gives_the_same_batches() -> None:
    inputs = torch.arange(20.0).view(-1, 1)
    split = Split(inputs, (inputs.flatten() ** 2).long())
    for held, read in zip(
        split.batches(chosen()), DatasetSplit(Squares()).batches(chosen()), strict=True
    ):
        assert torch.equal(held[0], read[0])
        assert torch.equal(held[1], read[1])


def test_workers_read_in_other_processes() -> None:
    class Processes(Squares):
        def __getitem__(self, index: int) -> Any:
            return torch.tensor(os.getpid()), 0

    def readers(workers: int) -> set[int]:
        batches = DatasetSplit(Processes(), workers).batches(chosen())
        return {int(pid) for inputs, _ in batches for pid in inputs}

    assert readers(0) == {os.getpid()}
    assert len(readers(2)) == 2
    assert os.getpid() not in readers(2)


def generators() -> tuple[Any, ...]:
    numpys = np.random.get_state()[1]  # type: ignore[index]  # noqa: NPY002
    return random.getstate(), numpys.tolist(), torch.get_rng_state().tolist()


@pytest.mark.parametrize("seventh", [(torch.zeros(1), 0), raises(ValueError("broken"))])
@pytest.mark.parametrize("workers", [0, 2])
def test_reading_leaves_the_global_generators_as_they_were(workers: int, seventh: Any) -> None:
    class DrawnOrBroken(Awkward):
        def __getitem__(self, index: int) -> Any:
            Drawn().__getitem__(index)
            return super().__getitem__(index)

    torch.manual_seed(5)
    before = generators()
    batches = DatasetSplit(DrawnOrBroken(seventh), workers).batches(chosen([[1, 2], [7]]))
    next(batches)
    assert generators() == before
    if callable(seventh):
        with pytest.raises(RunError, match="data item 7"):
            next(batches)
    else:
        next(batches)
    assert generators() == before


def drawn(workers: int = 0, *, seed: int = 0, first: int = 0) -> list[Tensor]:
    torch.randn(3)  # whatever was drawn before
    split = DatasetSplit(Drawn(), workers)
    return [inputs for inputs, _ in split.batches(chosen(BATCHES[first:]), seed=seed, first=first)]


def test_what_a_dataset_draws_is_the_same_with_any_number_of_workers() -> None:
    whole = drawn(0, seed=4)
    for workers in (1, 2):
        for batch, expected in zip(drawn(workers, seed=4), whole, strict=True):
            assert torch.equal(batch, expected)


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("first", [1, 2])
def test_what_a_dataset_draws_goes_on_from_any_batch(workers: int, first: int) -> None:
    rest = drawn(workers, seed=4, first=first)
    for batch, expected in zip(rest, drawn(0, seed=4)[first:], strict=True):
        assert torch.equal(batch, expected)


def test_every_draw_is_another_by_seed_batch_and_item() -> None:
    rows = torch.cat([batch[:, 1:] for seed in range(3) for batch in drawn(2, seed=seed)])
    assert rows.shape == (27, 3)
    assert len(set(rows.flatten().tolist())) == rows.numel()


def test_without_workers_nothing_is_read_ahead() -> None:
    drawn: list[int] = []

    def counted() -> Iterator[Tensor]:
        for number, batch in enumerate(BATCHES):
            drawn.append(number)
            yield torch.tensor(batch)

    batches = DatasetSplit(Squares()).batches(counted())
    next(batches)
    assert drawn == [0]


def test_endless_choice_is_read_as_far_as_it_is_asked() -> None:
    def endless() -> Iterator[Tensor]:
        while True:
            yield torch.tensor([1, 2])

    batches = DatasetSplit(Squares(), 2).batches(endless())
    assert [next(batches)[1].tolist() for _ in range(5)] == [[1, 4]] * 5


@pytest.mark.parametrize(
    ("seventh", "message"),
    [
        (
            raises(ValueError("broken pixel")),
            r"data item 7 cannot be read: ValueError: broken pixel \(.*dataset\.py, line \d+\)",
        ),
        (
            raises(InvalidValueError("x.png must be a picture")),
            r"^data item 7 cannot be read: x\.png must be a picture$",
        ),
        (raises(IndexError("StopIteration")), r"data item 7 cannot be read: IndexError"),
        (torch.zeros(1), r"data item 7 must be a pair \(input, target\) but is a Tensor"),
        (
            (torch.zeros(2), 49),
            r"the input of data item 7 must have the shape \(1,\) of item 1 but has \(2,\)",
        ),
        ((None, 3), r"the input of data item 7 must have the shape \(1,\) of item 1 but has \(\)"),
    ],
)
@pytest.mark.parametrize("workers", [0, 1])
def test_item_that_cannot_be_used_is_named(workers: int, seventh: Any, message: str) -> None:
    split = DatasetSplit(Awkward(seventh), workers)
    with pytest.raises(RunError, match=message):
        list(split.batches(chosen([[0, 2], [1, 7]])))


def test_input_that_is_no_tensor_is_named() -> None:
    for value in ({"a": 1.0}, "a", None):
        split = DatasetSplit(Awkward((value, 3)))
        with pytest.raises(RunError, match=r"the inputs? of data items? 7"):
            list(split.batches(chosen([[7]])))


def test_worker_that_dies_is_an_error_in_a_sentence() -> None:
    split = DatasetSplit(Awkward(lambda: os._exit(3)), 1)
    with pytest.raises(RunError, match=r"a process that reads data died: DataLoader worker"):
        list(split.batches(chosen([[7]])))


def test_arrays_and_numbers_become_tensors_of_32_bits() -> None:
    split = DatasetSplit(Awkward((np.ones(3), 0.5)))
    ((inputs, targets),) = split.batches(chosen([[7]]))
    assert inputs.dtype == targets.dtype == torch.float32
    assert targets.tolist() == [0.5]


def test_split_moves_its_batches() -> None:
    split = DatasetSplit(Squares(), 1).to(torch.device("meta"))
    assert split.workers == 1
    ((inputs, targets),) = split.batches(chosen([[1, 2]]))
    assert inputs.device.type == targets.device.type == "meta"


def test_classes_are_told_where_they_are_known() -> None:
    labels = torch.tensor([0, 1])
    assert DatasetSplit(Squares()).classes() is None
    assert DatasetSplit(Squares(), labels=labels).classes() is labels
    assert Split(torch.zeros(2, 1), labels).classes() is labels
    assert Split(torch.zeros(2, 1), torch.zeros(2, 1)).classes() is None


def test_split_in_memory_takes_indices_of_any_device() -> None:
    split = Split(torch.zeros(3, 1), torch.tensor([0, 1, 2]))
    ((_, targets),) = split.batches([torch.tensor([2, 0])])
    assert targets.tolist() == [2, 0]

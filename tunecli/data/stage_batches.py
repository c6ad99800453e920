"""The batches of a stagewise schedule for a `DataLoader`: the batch size really changes."""

from collections.abc import Iterator
from numbers import Integral
from typing import Any

from torch.utils.data import Sampler

from tunecli.data.passes import cut_passes
from tunecli.errors import require, warn_once
from tunecli.schedule import Schedule


class StageBatchSampler(Sampler[list[int]]):
    """Draws b_i samples for every update of stage i: `DataLoader(data, batch_sampler=…)`.

    One iteration over the loader is the whole schedule, Σ T_i batches, so there is no loop over
    epochs around it. The samples are those of uniformly shuffled passes over the data, laid end to
    end: a batch is simply the next b_i of them, never a shorter one, and one that spans two passes
    can hold a sample twice. One that is larger than the data set always does, which is warned of,
    once. The order comes from `seed` alone. So trials at different learning
    rates see the same batches, and iterating again gives them again.

    With several ranks, batch k is the same b_i samples that a single rank would see, cut into equal
    slices; `DistributedDataParallel`'s mean of the gradients is then the whole batch's. Under
    `torch.distributed` pass `rank=torch.distributed.get_rank()` and
    `world_size=torch.distributed.get_world_size()`.

    Args:
        num_samples: Size of the data set, `len(data)`, ≥ 1.
        schedule: The stages; b_i counts the samples of all ranks together.
        seed: Seed of the order, ≥ 0.
        rank: Which slice this process gets, in [0, world_size).
        world_size: Processes that train together, ≥ 1.
        start_step: Updates made before; to resume, pass the scheduler's `last_epoch`.

    Raises:
        InvalidValueError: A value is outside its range, or a b_i cannot be cut into equal slices.

    >>> from tunecli import Stage
    >>> schedule = Schedule((Stage(0.2, 0.9, 0.5, 4, steps=2), Stage(0.1, 0.95, 0.5, 2, steps=3)))
    >>> batches = StageBatchSampler(6, schedule)
    >>> len(batches), [len(batch) for batch in batches]
    (5, [4, 4, 2, 2, 2])
    >>> list(StageBatchSampler(6, schedule, start_step=3)) == list(batches)[3:]
    True
    """

    def __init__(
        self,
        num_samples: int,
        schedule: Schedule,
        *,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
        start_step: int = 0,
    ) -> None:
        require(
            isinstance(schedule, Schedule),
            "schedule",
            "a Schedule",
            type(schedule).__name__,
            "multistage_schedule makes one",
        )
        _require_whole("num_samples", num_samples, 1, "len(dataset) it is")
        _require_whole("seed", seed, 0, "0 is a common choice")
        _require_whole("world_size", world_size, 1, "1 for a single process")
        _require_whole("rank", rank, 0, "0 for a single process")
        require(rank < world_size, "rank", f"< world_size ({world_size})", rank, "count from 0")
        _require_whole("start_step", start_step, 0, "count the updates that were made")
        end = schedule.total_steps
        require(start_step <= end, "start_step", f"≤ {end}", start_step, "the schedule ends there")
        for number, stage in enumerate(schedule.stages, start=1):
            require(
                stage.batch_size % world_size == 0,
                f"batch_size of stage {number}",
                f"a multiple of world_size ({world_size})",
                stage.batch_size,
                "choose batch_size and batch_decay so that every stage has one, or other ranks",
            )
        largest = max(stage.batch_size for stage in schedule.stages)
        if largest > num_samples:
            warn_once(
                "batch larger than the data",
                f"a batch of {largest} samples is larger than the data set ({num_samples}): it "
                "holds samples several times; choose a batch_size of at most num_samples, and "
                "check that num_samples is len(dataset)",
            )
        self._num_samples = num_samples
        self._schedule = schedule
        self._seed = seed
        self._rank = rank
        self._world_size = world_size
        self._start_step = start_step

    def __len__(self) -> int:
        """Updates that are left, `start_step` taken off."""
        return self._schedule.total_steps - self._start_step

    def __iter__(self) -> Iterator[list[int]]:
        """This rank's share of every batch that is left, in order."""
        stages, skipped = self._schedule.stages, self._start_step
        sizes: list[tuple[int, int]] = []  # (batch size, updates left) by stage
        position = 0
        for stage in stages:
            made = min(skipped, stage.steps)
            skipped -= made
            position += made * stage.batch_size
            sizes.append((stage.batch_size, stage.steps - made))
        every = (size for size, steps in sizes for _ in range(steps))
        for batch in cut_passes(self._num_samples, every, seed=self._seed, position=position):
            share = len(batch) // self._world_size
            yield batch[self._rank * share : (self._rank + 1) * share].tolist()


def _require_whole(name: str, value: Any, least: int, remedy: str) -> None:
    whole = isinstance(value, Integral) and not isinstance(value, bool)  # numpy's as well
    enough = whole and value >= least
    require(enough, name, f"a whole number ≥ {least}", repr(value), remedy)

"""From one number, α₁, to the whole stagewise schedule of multistage QHM (Eq. 17)."""

import math
from decimal import ROUND_CEILING, Context, Decimal
from fractions import Fraction

from tunecli.errors import InvalidValueError, require
from tunecli.schedule.stages import Schedule, Stage
from tunecli.theory.multistage import stage_momentum

_MOST = 10**12  # no stage is longer, no batch larger; beyond it the arguments are a mistake
_MOST_STAGES = 1000


def multistage_schedule(
    *,
    learning_rate: float,
    batch_size: int,
    momentum: float = 0.9,
    stages: int = 3,
    decay: float = 0.5,
    batch_decay: float | None = None,
    discount: float = 0.5,
    steps: int | None = None,
    epochs: float | None = None,
    training_samples: int | None = None,
) -> Schedule:
    """The schedule that Eq. 17 derives from its first stage.

    α_i = r^{i−1}α₁, b_i = r_b^{i−1}b₁, T_i = r^{−(i−1)}T₁, ν_i = ν,
    β_i/(1−β_i) = (β₁/(1−β₁)) r^{−(i−1)}, with 0 < r_b ≤ r < 1.

    Batch sizes and lengths are integers: b_i and T_i are rounded to the nearest one, halves up.
    What has a default has the one that it has in a recipe.
    A budget in epochs is a ceiling: T₁ is the largest integer with which the rounded schedule
    draws at most `epochs` × `training_samples` samples, and `Schedule.samples` is what it draws.

    Args:
        learning_rate: α₁ > 0.
        batch_size: b₁ in [1, 10^12].
        momentum: β₁ in [0, 1).
        stages: M in [1, 1000].
        decay: r in (0, 1).
        batch_decay: r_b in (0, r]: the batch shrinks at least as fast as the rate (Cor. 5.1);
            None is r.
        discount: ν in [0, 1]; ½ is Eq. 17's.
        steps: T₁, updates of the first stage; this or `epochs`.
        epochs: budget of the whole schedule in passes over the training set, in (0, 10^12].
        training_samples: size of the training set; needed with `epochs`.

    Returns:
        M stages; α_iT_i and α_iβ_iν_i/(1−β_i) are constant up to the rounding of T_i.

    Raises:
        InvalidValueError: An argument is outside its range, a batch size would round to 0, or
            the budget is too small for one update of the first stage.

    >>> schedule = multistage_schedule(learning_rate=0.3, momentum=0.9, batch_size=256, stages=3,
    ...                                decay=0.5, batch_decay=0.5, steps=1000)
    >>> [(s.learning_rate, s.batch_size, s.steps) for s in schedule.stages]
    [(0.3, 256, 1000), (0.15, 128, 2000), (0.075, 64, 4000)]
    """
    require(1 <= stages <= _MOST_STAGES, "stages", f"in [1, {_MOST_STAGES}]", stages, "3 is common")
    require(0 < decay < 1, "decay", "in (0, 1)", decay, "0.5 halves the rate at each stage")
    batch_decay = decay if batch_decay is None else batch_decay
    require(
        0 < batch_decay <= decay,
        "batch_decay",
        f"in (0, decay = {decay}]",
        batch_decay,
        "Eq. 17 lets the batch shrink at least as fast as the learning rate",
    )
    require(1 <= batch_size <= _MOST, "batch_size", "in [1, 10^12]", batch_size, "64 is common")
    batch_sizes = [_round(batch_size * batch_decay**i) for i in range(stages)]
    for i, size in enumerate(batch_sizes):
        require(
            size >= 1,
            f"batch_size of stage {i + 1}",
            "≥ 1",
            f"{batch_size * batch_decay**i:.3g}",
            "use fewer stages, a larger batch_size or a batch_decay closer to 1",
        )
    if steps is None:
        steps = _first_stage_steps(batch_sizes, decay, epochs, training_samples)
    elif epochs is not None:
        raise InvalidValueError("give either `steps` or `epochs`, not both")
    require(steps >= 1, "steps", "≥ 1", steps, "the first stage needs an update")
    lengths = _stage_lengths(steps, decay, stages)
    return Schedule(
        tuple(
            Stage(
                learning_rate=learning_rate * decay**i,
                momentum=stage_momentum(momentum, decay, i + 1),
                discount=discount,
                batch_size=batch_sizes[i],
                steps=lengths[i],
            )
            for i in range(stages)
        )
    )


def _first_stage_steps(
    batch_sizes: list[int], decay: float, epochs: float | None, training_samples: int | None
) -> int:
    """Largest T₁ with which the rounded schedule stays within the budget."""
    if epochs is None:
        raise InvalidValueError(
            "the length of the schedule is missing; give `steps` (updates of the first stage) or "
            "`epochs` (passes over the training set in all stages together)"
        )
    if training_samples is None:
        raise InvalidValueError(
            "`epochs` needs the size of the training set; give `training_samples` as well"
        )
    require(0 < epochs <= _MOST, "epochs", "in (0, 10^12]", epochs, "30, say")
    require(
        1 <= training_samples <= _MOST,
        "training_samples",
        "in [1, 10^12]",
        training_samples,
        "count them",
    )
    # the decimal that was written: 0.29 epochs of 100 samples are 29, where 0.29 * 100 is 28.99…
    budget = math.floor(Fraction(str(epochs)) * training_samples)

    def samples(first: int) -> int:
        lengths = _stage_lengths(first, decay, len(batch_sizes))
        return sum(t * b for t, b in zip(lengths, batch_sizes, strict=True))

    if samples(1) > budget:
        raise InvalidValueError(
            f"epochs must be ≥ {_quotient_above(samples(1), training_samples)} (one update of the "
            f"first stage and what follows from it) but got {epochs}; give a larger budget, a "
            "smaller batch_size or fewer stages"
        )
    per_step = sum(size * decay**-i for i, size in enumerate(batch_sizes))
    # the real-valued answer is off by at most the rounding of the T_i: walk the last bit
    first = max(1, math.ceil(budget / per_step) + 1)
    while first > 1 and samples(first) > budget:
        first -= 1
    return first


def _stage_lengths(first: int, decay: float, stages: int) -> list[int]:
    """T_i = r^{−(i−1)}T₁, rounded."""
    try:
        lengths = [_round(first * decay**-i) for i in range(stages)]
    except OverflowError:
        lengths = [_MOST + 1]
    require(
        max(lengths) <= _MOST,
        "steps of the last stage",
        "at most 10^12",
        "more",
        "use fewer stages, fewer steps or a decay closer to 1",
    )
    return lengths


def _quotient_above(numerator: int, denominator: int) -> str:
    """The quotient with four digits, rounded up: who asks for it gets enough."""
    context = Context(prec=4, rounding=ROUND_CEILING)
    return f"{context.divide(Decimal(numerator), Decimal(denominator)).normalize():f}"


def _round(value: float) -> int:
    """Nearest integer, halves up (Python's round would take halves to even)."""
    return math.floor(value + 0.5)

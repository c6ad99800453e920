"""Wide grids with response curves of the shapes that real ones have, made up and seeded.

36 learning rates from 1e-5 to 1e2, five a decade; accuracies of a classifier with 10 or 2 classes;
30 epochs per trial. Written from the shapes' descriptions, not fitted to any strategy:

- `flat_start`: chance up to some rate, a steep rise, a slow further rise up to the edge;
- `cliff`: a slow rise up to the edge of divergence, best just below it;
- `lower_edge`: the smallest rate is best, larger ones lose slowly;
- `ragged`: a plateau whose values scatter by half a point from rate to rate;
- `smooth`: a peak with a round top;
- `top`: the best rate is one of the grid's largest.

Beyond the edge a table either diverges (null, and its curve ends after a few epochs) or collapses
to chance, every second one each.
"""

import math
from dataclasses import dataclass
from random import Random

from tunecli.search.tables import Curve, MeasuredTable

RATES = tuple(float(f"{10 ** (-5 + i / 5):.6g}") for i in range(36))
EPOCHS = 30
FAMILIES = ("flat_start", "cliff", "lower_edge", "ragged", "smooth", "top")
_CURVE_NOISE = 0.004  # standard deviation of one epoch's accuracy around the curve
_LEAST_ABOVE_CHANCE = 0.02  # what a trial has to gain for its curve to rise


@dataclass(frozen=True, slots=True)
class _Shape:
    """Accuracy at each rate before what lies beyond the edge, a decimal logarithm."""

    accuracies: list[float]
    edge: float


def wide_tables(
    per_family: int, *, seed: int, with_curves: bool = True, with_baseline: bool = False
) -> list[MeasuredTable]:
    """`per_family` tables of each family; the same for the same seed.

    Args:
        per_family: How many of each, ≥ 1.
        seed: Of everything that is drawn.
        with_curves: Whether to keep the values after each epoch.
        with_baseline: Whether to tell what chance is, as a search knows it and most tables do not.
    """
    random = Random(seed)
    return [
        _table(family, number, random, with_curves=with_curves, with_baseline=with_baseline)
        for family in FAMILIES
        for number in range(per_family)
    ]


def _table(
    family: str, number: int, random: Random, *, with_curves: bool, with_baseline: bool
) -> MeasuredTable:
    chance, top = random.choice([0.1, 0.5]), random.uniform(0.75, 0.99)
    shape = _SHAPES[family](chance, top, random)
    diverges = number % 2 == 0
    values: list[float | None] = []
    for rate, accuracy in zip(RATES, shape.accuracies, strict=True):
        if math.log10(rate) > shape.edge:
            values.append(None if diverges else _near(chance, random))
        elif accuracy <= chance + 0.005:
            values.append(_near(chance, random))
        else:
            values.append(round(min(max(accuracy, 0.0), 1.0), 5))
    curves = tuple(_curve(value, chance, random) for value in values)  # drawn in any case
    return MeasuredTable(
        name=f"{family}-{number}",
        learning_rates=RATES,
        values=tuple(values),
        maximize=True,
        curves=curves if with_curves else None,
        samples=float(EPOCHS * 10_000),
        baseline=chance if with_baseline else None,
    )


def _near(chance: float, random: Random) -> float:
    return round(chance + random.gauss(0, _CURVE_NOISE), 5)


def _curve(value: float | None, chance: float, random: Random) -> Curve:
    """From chance to the value, fast at first; a diverging one ends within a few epochs."""
    if value is None:
        lasts = random.randint(0, 3)
        return (*(_near(chance, random) for _ in range(lasts)), None)
    if value < chance + _LEAST_ABOVE_CHANCE:
        return (*(_near(chance, random) for _ in range(EPOCHS - 1)), value)
    speed, reach = random.uniform(2, 8), value - chance
    full = 1 - math.exp(-speed)
    rising = [
        chance + reach * (1 - math.exp(-speed * epoch / EPOCHS)) / full
        for epoch in range(1, EPOCHS)
    ]
    return (*(round(v + random.gauss(0, _CURVE_NOISE), 5) for v in rising), value)


def _sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-min(max(x, -50.0), 50.0)))


def _logs() -> list[float]:
    return [math.log10(rate) for rate in RATES]


def _flat_start(chance: float, top: float, random: Random) -> _Shape:
    begins, width = random.uniform(-4, 0.3), random.uniform(0.1, 0.3)
    edge, slope = begins + random.uniform(0.8, 2), random.uniform(0.005, 0.05)
    rises = [_sigmoid((x - begins) / width) for x in _logs()]
    return _Shape(
        [
            chance + (top - chance - slope * max(edge - x, 0.0)) * rise
            for x, rise in zip(_logs(), rises, strict=True)
        ],
        edge,
    )


def _cliff(chance: float, top: float, random: Random) -> _Shape:
    edge, slope = random.uniform(-3, 1.5), random.uniform(0.01, 0.05)
    return _Shape([max(chance, top - slope * (edge - x)) for x in _logs()], edge)


def _lower_edge(chance: float, top: float, random: Random) -> _Shape:
    edge, slope = random.uniform(-4, -1), random.uniform(0.01, 0.05)
    return _Shape([max(chance, top - slope * (x + 5)) for x in _logs()], edge)


def _ragged(chance: float, top: float, random: Random) -> _Shape:
    begins, width = random.uniform(-4.3, 0), random.uniform(0.05, 0.2)
    edge = begins + random.uniform(0.6, 2.5)
    accuracies = []
    for x in _logs():
        smooth = chance + (top - chance) * _sigmoid((x - begins) / width)
        on_plateau = smooth > chance + 0.8 * (top - chance)
        accuracies.append(smooth + (random.gauss(0, 0.005) if on_plateau else 0.0))
    return _Shape(accuracies, edge)


def _smooth(chance: float, top: float, random: Random) -> _Shape:
    peak, bend = random.uniform(-4.5, 1.5), random.uniform(0.01, 0.05)
    edge = peak + random.uniform(0.6, 2.5)
    return _Shape([max(chance, top - bend * (x - peak) ** 2) for x in _logs()], edge)


def _top(chance: float, top: float, random: Random) -> _Shape:
    begins, width = random.uniform(-2, 1), random.uniform(0.1, 0.4)
    edge, slope = random.uniform(1.5, 2.2), random.uniform(0.0, 0.05)
    return _Shape(
        [
            chance + (top - chance - slope * max(edge - x, 0.0)) * _sigmoid((x - begins) / width)
            for x in _logs()
        ],
        edge,
    )


_SHAPES = {
    "flat_start": _flat_start,
    "cliff": _cliff,
    "lower_edge": _lower_edge,
    "ragged": _ragged,
    "smooth": _smooth,
    "top": _top,
}

"""Where a value lies on a chart, and which values its axis names."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass


def linear_ticks(low: float, high: float, most: int) -> list[float]:
    """Round values from `low` to `high`: multiples of 1, 2 or 5 times a power of ten.

    Args:
        low: Start of the range.
        high: Its end; a range without length has one tick.
        most: How many ticks fit, ≥ 1.

    >>> linear_ticks(0.0, 1.0, 6)
    [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
    >>> linear_ticks(0.3, 0.3, 6)
    [0.3]
    """
    if not low < high:
        return [low]
    rough = (high - low) / max(most, 1)
    if rough == 0:  # the range is as small as floats can be
        return [low]
    power = math.floor(math.log10(rough))
    for factor in (1, 2, 5, 10, 20, 50, 100):
        step = factor * 10.0**power
        if step == 0:
            continue
        first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
        if last - first + 1 <= most:
            decimals = max(0, -power - (factor >= 10) + 1)
            return [round(index * step, decimals) for index in range(first, last + 1)] or [low]
    return [low]


def log_ticks(low: float, high: float, most: int) -> list[float]:
    """Round values on a logarithmic axis: 1, 2, 5 of each decade, or decades where those crowd.

    Args:
        low: Start of the range, > 0.
        high: Its end.
        most: How many ticks fit, ≥ 1.

    >>> log_ticks(0.02, 2.0, 8)
    [0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0]
    >>> log_ticks(1e-5, 100, 4)
    [1e-05, 0.001, 0.1, 10.0]
    """
    if not low < high:
        return [low]
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    found: list[float] = []
    for factors in ((1, 2, 5), (1, 3), (1,), (1, 2, 3, 4, 5, 6, 7, 8, 9)):
        ticks = [
            tick
            for power in decades
            for factor in factors
            if low * (1 - 1e-9) <= (tick := float(f"{factor}e{power}")) <= high * (1 + 1e-9)
        ]
        if 3 <= len(ticks) <= most:
            return ticks
        if len(factors) == 1:
            found = ticks[:: max(1, math.ceil(len(ticks) / max(most, 1)))]
            if len(found) >= 3:
                return found
    return found if len(found) >= 2 else linear_ticks(low, high, most)


def extent(
    values: Iterable[float], *, log: bool = False, margin: float = 0.05
) -> tuple[float, float]:
    """The range that holds the values with a margin on both sides, never without length.

    Args:
        values: What to hold; without any the range is 0 to 1, on a logarithmic axis 0.1 to 1.
        log: Whether the axis is logarithmic; all values must then be > 0.
        margin: Share of the range that is added at each end.

    >>> extent([0.0, 1.0], margin=0.1), extent([0.5], margin=0.0)
    ((-0.1, 1.1), (0.475, 0.525))
    """
    found = list(values)
    if not found:
        return (0.1, 1.0) if log else (0.0, 1.0)
    low, high = min(found), max(found)
    if log:
        wide = max(math.log(high) - math.log(low), 0.2) * margin
        if math.log(high) - math.log(low) < 0.2:
            wide += 0.35
        return low * math.exp(-wide), high * math.exp(wide)
    if high - low <= 1e-9 * max(abs(low), abs(high)):
        half = 0.05 * max(abs(low), abs(high)) or 0.5
        return low - half, high + half
    pad = margin * (high - low)
    return low - pad, high + pad


@dataclass(frozen=True, slots=True)
class Scale:
    """Maps values to positions.

    Args:
        low: Value at `start`.
        high: Value at `end`, > low; both > 0 on a logarithmic axis.
        start: Position in pixels.
        end: Position in pixels.
        log: Whether equal ratios are equally far apart.

    >>> Scale(0, 10, 100, 200)(5), Scale(1, 100, 0, 200, log=True)(10)
    (150.0, 100.0)
    """

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __call__(self, value: float) -> float:
        """Position of a value; one far outside lies a range's length beyond the edge."""
        if self.log:
            logs = math.log(self.low), math.log(self.high), math.log(value)
            share = (logs[2] - logs[0]) / (logs[1] - logs[0])
        else:
            share = (value - self.low) / (self.high - self.low)
        return self.start + min(max(share, -1.0), 2.0) * (self.end - self.start)

    def ticks(self, most: int) -> list[float]:
        """At most so many values to name."""
        find = log_ticks if self.log else linear_ticks
        return find(self.low, self.high, most)


def tick_label(value: float) -> str:
    """A number as an axis writes it, thousands and millions shortened.

    >>> [tick_label(value) for value in (0.0, 0.05, 1e-5, 12.5, 2000, 1500000, -3, 1e15)]
    ['0', '0.05', '1e-5', '12.5', '2k', '1.5M', '−3', '1e15']
    """
    size = abs(value)
    sign = "−" if value < 0 else ""
    if 1000 <= size < 1e6:
        return f"{sign}{size / 1e3:.4g}k"
    if 1e6 <= size < 1e9:
        return f"{sign}{size / 1e6:.4g}M"
    if size and not 1e-4 <= size < 1e6:
        digits, power = f"{size:.3e}".split("e")
        return f"{sign}{float(digits):g}e{int(power)}"
    return f"{sign}{size:.6g}"


def spread(positions: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Positions moved apart as little as simple passes manage, so that labels do not overlap.

    Args:
        positions: Where the labels would like to be.
        gap: Smallest distance between two.
        low: Smallest position allowed.
        high: Largest; where not all fit, the distance shrinks.

    >>> spread([10.0, 11.0, 50.0], 8, 0, 100)
    [10.0, 18.0, 50.0]
    >>> spread([99.0, 98.0], 8, 0, 100)
    [100, 92]
    """
    order = sorted(range(len(positions)), key=lambda index: positions[index])
    if len(order) > 1:
        gap = min(gap, (high - low) / (len(order) - 1))
    placed = list(positions)
    floor = low
    for index in order:
        placed[index] = max(placed[index], floor)
        floor = placed[index] + gap
    ceiling = high
    for index in reversed(order):
        placed[index] = min(placed[index], ceiling)
        ceiling = placed[index] - gap
    return placed

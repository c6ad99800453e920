"""Delay distributions: by how many updates a gradient is late, as a random number τ ≥ 0.

Every distribution knows its probabilities and its transform φ(θ) = E e^{−iθτ}, which is all that
the stability of a delayed iteration needs. N workers that are served in turn have the constant
delay N − 1; workers whose service times are memoryless have a geometric one.

Sources: Giladi et al., *At Stability's Edge* (ICLR 2020), called STAB, and An, Lu, Ying,
*Stochastic modified equations for the asynchronous stochastic gradient descent*, called SME.
"""

import cmath
import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any, ClassVar, Protocol

from tunecli.errors import require

_TAIL = 1e-12
_FEW_BINS = 8
_MANY_BINS = 512  # where numpy's import (tens of ms) is paid back


class DelayDistribution(Protocol):
    """How a gradient's delay is distributed; delays of different updates are independent.

    Attributes:
        kind: The distribution's name, as in a recipe.
    """

    kind: ClassVar[str]

    @property
    def mean(self) -> float:
        """The mean delay, in updates."""
        ...

    @property
    def largest(self) -> int | None:
        """The largest delay of positive probability; None where there is none."""
        ...

    def transform(self, angle: complex) -> complex:
        """φ(θ) = E e^{−iθτ}; a complex θ reaches z = e^{iθ} off the unit circle."""
        ...

    def probabilities(self) -> tuple[float, ...]:
        """P(τ = 0), P(τ = 1), …, up to the largest delay or to a tail below 10⁻¹²."""
        ...

    def to_dict(self) -> dict[str, Any]:
        """The distribution as plain JSON: its kind, its mean and its own parameters."""
        ...

    def __hash__(self) -> int:
        """Equal distributions have one: what follows from them is remembered."""
        ...


@dataclass(frozen=True)
class _Described:
    """What every distribution can say of itself."""

    def to_dict(self) -> dict[str, Any]:
        """The distribution as plain JSON: its kind, its mean and its own parameters."""
        described: Any = self
        return {"kind": described.kind, "mean": described.mean, **asdict(self)}


@dataclass(frozen=True)
class ConstantDelay(_Described):
    """The same delay at every update: STAB's setting, N = τ + 1 workers served in turn.

    Attributes:
        delay: τ ≥ 0, in updates.

    Raises:
        InvalidValueError: `delay` is negative or no integer.

    >>> ConstantDelay(15).to_dict()
    {'kind': 'constant', 'mean': 15.0, 'delay': 15}
    """

    kind: ClassVar[str] = "constant"
    delay: int

    def __post_init__(self) -> None:
        _require_delay("delay", self.delay, 0)

    @property
    def mean(self) -> float:
        """τ."""
        return float(self.delay)

    @property
    def largest(self) -> int:
        """τ."""
        return self.delay

    def transform(self, angle: complex) -> complex:
        """φ(θ) = e^{−iθτ}."""
        return cmath.exp(-1j * angle * self.delay)

    def probabilities(self) -> tuple[float, ...]:
        """0, …, 0, 1."""
        return (0.0,) * self.delay + (1.0,)


@dataclass(frozen=True)
class UniformDelay(_Described):
    """Each of low, low + 1, …, high with the same probability (STAB, Appendix C.1, case 1).

    Attributes:
        low: The smallest delay, ≥ 0.
        high: The largest delay, ≥ `low`.

    Raises:
        InvalidValueError: A bound is negative or no integer, or `high` is below `low`.

    >>> UniformDelay(1, 3).mean
    2.0
    """

    kind: ClassVar[str] = "uniform"
    low: int
    high: int

    def __post_init__(self) -> None:
        _require_delay("low", self.low, 0)
        _require_delay("high", self.high, self.low)

    @property
    def mean(self) -> float:
        """(low + high)/2."""
        return (self.low + self.high) / 2

    @property
    def largest(self) -> int:
        """The upper bound."""
        return self.high

    def transform(self, angle: complex) -> complex:
        """φ(θ) = e^{−iθ(low+high)/2} sin(nθ/2)/(n sin(θ/2)), n = high − low + 1."""
        count = self.high - self.low + 1
        below = count * cmath.sin(angle / 2)
        kernel = cmath.sin(count * angle / 2) / below if below else 1.0
        return cmath.exp(-1j * angle * self.mean) * kernel

    def probabilities(self) -> tuple[float, ...]:
        """1/n at low, …, high."""
        count = self.high - self.low + 1
        return (0.0,) * self.low + (1 / count,) * count


@dataclass(frozen=True)
class GeometricDelay(_Described):
    """P(τ = k) = (1 − μ) μᵏ: SME's Assumption 1, workers with memoryless service times.

    Attributes:
        persistence: μ in [0, 1).

    Raises:
        InvalidValueError: `persistence` is outside [0, 1).

    >>> GeometricDelay.of_workers(16).persistence, GeometricDelay.of_workers(16).mean
    (0.9375, 15.0)
    """

    kind: ClassVar[str] = "geometric"
    persistence: float

    def __post_init__(self) -> None:
        value, remedy = self.persistence, "M workers have 1 − 1/M"
        require(0 <= value < 1, "persistence", "in [0, 1)", value, remedy)

    @classmethod
    def of_mean(cls, mean: float) -> "GeometricDelay":
        """The geometric delay of mean μ/(1−μ): μ = mean/(1 + mean)."""
        require(0 <= mean < math.inf, "mean", "≥ 0 and finite", mean, "15 is that of 16 workers")
        return cls(mean / (1 + mean))

    @classmethod
    def of_workers(cls, num_workers: int) -> "GeometricDelay":
        """The delay of M memoryless workers, μ = 1 − 1/M (SME section 2.1); its mean is M − 1."""
        require(num_workers >= 1, "num_workers", "≥ 1", num_workers, "1 worker has no delay")
        return cls(1 - 1 / num_workers)

    @property
    def mean(self) -> float:
        """μ/(1 − μ)."""
        return self.persistence / (1 - self.persistence)

    @property
    def largest(self) -> int | None:
        """None, unless μ = 0."""
        return 0 if self.persistence == 0 else None

    def transform(self, angle: complex) -> complex:
        """φ(θ) = (1 − μ)/(1 − μ e^{−iθ})."""
        return (1 - self.persistence) / (1 - self.persistence * cmath.exp(-1j * angle))

    def probabilities(self) -> tuple[float, ...]:
        """(1 − μ) μᵏ while P(τ ≥ k) = μᵏ ≥ 10⁻¹²; what is cut off is not spread over the rest."""
        mu = self.persistence
        count = 1 if mu == 0 else max(1, math.ceil(math.log(_TAIL) / math.log(mu)))
        return tuple((1 - mu) * mu**k for k in range(count))


@dataclass(frozen=True)
class _Tabulated(_Described, ABC):
    """A distribution that is given by its table of probabilities."""

    @property
    @abstractmethod
    def _table(self) -> "_Table":
        """The probabilities."""

    @property
    def largest(self) -> int:
        """The table's last index."""
        return len(self._table.values) - 1

    def transform(self, angle: complex) -> complex:
        """φ(θ) = Σ_k P(τ=k) e^{−iθk}."""
        return self._table.transform(angle)

    def probabilities(self) -> tuple[float, ...]:
        """The table; it adds up to 1."""
        return self._table.values


@dataclass(frozen=True)
class HistogramDelay(_Tabulated):
    """A measured delay: how often each delay 0, 1, 2, … was seen.

    Attributes:
        counts: How often each delay was seen, the index being the delay; any scale.

    Raises:
        InvalidValueError: A count is negative or not finite, or none is positive.

    >>> HistogramDelay.from_counts({0: 1, 3: 3}).mean
    2.25
    """

    kind: ClassVar[str] = "histogram"
    counts: tuple[float, ...]

    def __post_init__(self) -> None:
        total = sum(self.counts)
        good = all(count >= 0 for count in self.counts) and 0 < total < math.inf
        remedy = "count how many updates had each delay"
        require(good, "counts", "non-negative, finite and not all 0", _shown(self.counts), remedy)
        last = max(k for k, count in enumerate(self.counts) if count)
        object.__setattr__(self, "counts", tuple(map(float, self.counts[: last + 1])))

    @classmethod
    def from_counts(cls, counts: Mapping[int, float]) -> "HistogramDelay":
        """The histogram of {delay: count}; delays that are left out were never seen."""
        require(len(counts) > 0, "counts", "not empty", "{}", "count the updates by their delay")
        for delay in counts:
            _require_delay("delay in `counts`", delay, 0)
        dense = [0.0] * (max(counts) + 1)
        for delay, count in counts.items():
            dense[delay] = count
        return cls(tuple(dense))

    @cached_property
    def mean(self) -> float:
        """Σ_k k·count_k / Σ_k count_k."""
        return math.fsum(k * c for k, c in enumerate(self.counts)) / math.fsum(self.counts)

    def to_dict(self) -> dict[str, Any]:
        """The kind, the mean and the counts, as a list."""
        return {**super().to_dict(), "counts": list(self.counts)}

    @cached_property
    def _table(self) -> "_Table":
        total = math.fsum(self.counts)
        return _Table(tuple(count / total for count in self.counts))


@dataclass(frozen=True)
class GaussianDelay(_Tabulated):
    """A normal distribution on 1, …, 2·mean (STAB, Appendix C.1, case 2).

    P(τ = k) ∝ P(k − ½ ≤ z ≤ k + ½), z ~ N(mean, std²), made to add up to 1: the paper leaves what
    lies outside 1, …, 2·mean open.

    Attributes:
        mean: μ ≥ 1, an integer. It is the mean of z, which the paper takes for that of τ; that is
            larger, because 1, …, 2μ is not symmetric about μ: at std 1 by 0.39 at μ = 1 and by
            less than 2·10⁻⁵ from μ = 5 on.
        std: Standard deviation of z, > 0; 1 in the paper.

    Raises:
        InvalidValueError: `mean` is no integer ≥ 1, or `std` is not positive and finite.

    >>> [round(p, 4) for p in GaussianDelay(2).probabilities()]
    [0.0, 0.2608, 0.4131, 0.2608, 0.0654]
    """

    kind: ClassVar[str] = "gaussian"
    mean: int
    std: float = 1.0

    def __post_init__(self) -> None:
        _require_delay("mean", self.mean, 1)
        require(0 < self.std < math.inf, "std", "positive and finite", self.std, "1 is the paper's")

    @cached_property
    def _table(self) -> "_Table":
        # beyond 9 standard deviations lies less than 10⁻¹⁸
        reach = math.ceil(9 * self.std) + 1
        low, high = max(1, self.mean - reach), min(2 * self.mean, self.mean + reach)
        scale = self.std * math.sqrt(2)
        edges = [math.erf((k - 0.5 - self.mean) / scale) for k in range(low, high + 2)]
        masses = [after - before for before, after in pairwise(edges)]
        total = math.fsum(masses)
        return _Table((0.0,) * low + tuple(mass / total for mass in masses))


class _Table:
    """P(τ = 0), P(τ = 1), …, and their transform."""

    def __init__(self, values: tuple[float, ...]) -> None:
        self.values = values
        self.bins = [(k, value) for k, value in enumerate(values) if value]
        self.first = self.bins[0][0]

    def transform(self, angle: complex) -> complex:
        if len(self.bins) <= _FEW_BINS or len(self.bins) * 8 < len(self.values) - self.first:
            return sum((value * cmath.exp(-1j * angle * k) for k, value in self.bins), 0j)
        start = cmath.exp(-1j * angle * self.first)
        if len(self.values) - self.first > _MANY_BINS:
            return start * self._blockwise(angle)
        step, total = cmath.exp(-1j * angle), 0j
        for value in reversed(self.values[self.first :]):  # Horner's scheme
            total = total * step + value
        return start * total

    def _blockwise(self, angle: complex) -> complex:
        """With k = width·row + column, e^{−iθk} is a product: √K exponentials in place of K."""
        import numpy as np

        rows, width = self._blocks.shape
        inner = np.exp(-1j * angle * np.arange(width))
        outer = np.exp(-1j * angle * width * np.arange(rows))
        # a real matrix times the two real parts: numpy would copy the blocks to complex numbers
        return complex(outer @ (self._blocks @ inner.real + 1j * (self._blocks @ inner.imag)))

    @cached_property
    def _blocks(self) -> Any:
        import numpy as np

        tail = self.values[self.first :]
        width = math.isqrt(len(tail) - 1) + 1
        padded = np.zeros(width * -(-len(tail) // width))
        padded[: len(tail)] = tail
        return padded.reshape(-1, width)


def _require_delay(name: str, value: int, least: int) -> None:
    good = isinstance(value, int) and not isinstance(value, bool) and value >= least
    require(good, name, f"an integer ≥ {least}", value, "N workers served in turn have N − 1")


def _shown(counts: tuple[float, ...]) -> str:
    shown = ", ".join(f"{count:g}" for count in counts[:8])
    return f"[{shown}{', …' if len(counts) > 8 else ''}]"

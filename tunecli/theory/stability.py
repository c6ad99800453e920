"""How large aη may be before a minimum of sharpness a loses its stability under delayed gradients.

Around a minimum, along its sharpest direction, asynchronous quasi-hyperbolic momentum (QHM) with
momentum m and discount ν is linear, and its mean obeys, with z = e^{iθ} and φ(θ) = E e^{−iθτ}::

    (z − 1)(1 − m s) + aη φ (k − l s) = 0,    k = 1 − νm,    l = (1 − ν)m,

where s = 1/z for one momentum buffer at the server ("standard") and s = φ/z for one buffer per
worker ("shifted"), which is as old as the weights that the worker read. ν = 1 is heavy ball and
gives STAB Eqs. 26 (standard) and 11 (shifted), m = 0 gives Eq. 19, and a constant delay without
momentum Eq. 4. The discount ν, and momentum together with a random delay, are ours, beyond the
paper; they follow from Algorithm 1 of QHM's authors in the same way.

For small aη every root lies inside the unit circle: the one that starts at z = 1 moves inward, the
others start inside. Roots leave through the circle, so the threshold is the smallest positive value
of

    c(θ) = (1 − z)(1 − m s) / (φ (k − l s)),    0 < θ ≤ π, where c is real.

|1 − ms| ≥ |k − ls| for |s| ≤ 1 (the ratio (k − ls)/(1 − ms) averages 1 and (1−m)/(1−ms) with the
weights 1−ν and ν), and |φ| ≤ 1, so |c(θ)| ≥ 2 sin(θ/2): once a candidate c₁ is known, only angles
up to 2 asin(c₁/2) can hold a smaller one.

Source: Giladi et al., *At Stability's Edge* (ICLR 2020), called STAB.
"""

import cmath
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any, Literal, get_args

from tunecli.errors import require
from tunecli.theory.delay import ConstantDelay, DelayDistribution, HistogramDelay
from tunecli.theory.roots import bracketed_root

MomentumKind = Literal["none", "standard", "shifted"]

_SAMPLES_PER_WAVE = 16  # of e^{−iθτ} at the largest delay; the scanned function is no faster
_GROWTH = 1.1  # of the angle, where momentum or a long tail bends the function near 0
_MANY_BINS = 512  # from here on a histogram is transformed by FFT
_SAMPLES_ONE_BY_ONE = 128  # of it before that
_PIECE = 1 << 16  # samples at a time

_Window = list[tuple[float, float]]


@dataclass(frozen=True)
class MomentumTerm:
    """Momentum as the characteristic equation sees it, reduced: no momentum is m = 0.

    Attributes:
        momentum: m in [0, 1); 0 too where ν = 0, which never uses the buffer.
        fresh: k = 1 − νm.
        echo: l = (1 − ν)m.
        shifted: Whether the buffer is as old as the weights that were read.
    """

    momentum: float
    fresh: float
    echo: float
    shifted: bool

    @classmethod
    def of(cls, momentum: float, kind: MomentumKind, discount: float) -> "MomentumTerm":
        """Check and reduce the arguments that every public function here shares."""
        require(0 <= momentum < 1, "momentum", "in [0, 1)", momentum, "0.9 is a common choice")
        require(0 <= discount <= 1, "discount", "in [0, 1]", discount, "1 is heavy ball")
        names = " or ".join(get_args(MomentumKind))
        require(kind in get_args(MomentumKind), "momentum_kind", names, kind, "none is the safest")
        if kind == "none" or momentum == 0 or discount == 0:
            return cls(0.0, 1.0, 0.0, shifted=False)
        return cls(momentum, 1 - discount * momentum, (1 - discount) * momentum, kind == "shifted")


def stability_threshold(
    delay: DelayDistribution,
    *,
    momentum: float = 0.0,
    momentum_kind: MomentumKind = "none",
    discount: float = 1.0,
) -> float:
    """Largest aη below which the mean of the delayed iteration is stable.

    Exact: 2 sin(π/(4τ+2)) for a constant delay without momentum (STAB Eq. 6); otherwise the first
    crossing of the unit circle by a root of STAB Eq. 11 (shifted), 19 (random delay, no momentum)
    or 26 (standard), or of their generalization in this module's docstring.

    A random delay makes the iteration's variance grow long before its mean does: see
    `tunecli.theory.mean_square.mean_square_threshold`.

    Args:
        delay: The distribution of τ, in updates.
        momentum: m (QHM's β) in [0, 1), of the damped buffer; not used by kind "none".
        momentum_kind: "none", "standard" (one buffer at the server) or "shifted" (one per worker).
        discount: ν in [0, 1]; 1 is heavy ball, 0 no momentum.

    Returns:
        aη > 0: the rate times the sharpness a, the largest eigenvalue of the Hessian.

    Raises:
        InvalidValueError: `momentum`, `momentum_kind` or `discount` is not allowed.

    >>> round(stability_threshold(ConstantDelay(16)), 7)
    0.0951638
    >>> round(stability_threshold(ConstantDelay(4), momentum=0.9, momentum_kind="shifted"), 5)
    0.48729
    """
    return first_crossing(delay, MomentumTerm.of(momentum, momentum_kind, discount))[0]


@lru_cache(maxsize=16)  # the rules that are compared ask for the same one
def first_crossing(delay: DelayDistribution, term: MomentumTerm) -> tuple[float, float]:
    """Where the first root leaves the unit circle: (aη, θ), the root being z = e^{±iθ}."""
    if isinstance(delay, ConstantDelay):
        return _constant_crossing(delay.delay, term)
    return _scanned_crossing(delay, term)


def _constant_crossing(delay: int, term: MomentumTerm) -> tuple[float, float]:
    """The crossing for a constant delay: no scan, and the same cost at every delay.

    The phase of c is the continuous function Φ(θ) = θ(τ+½) − π/2 + arg(1−ms) − arg(k−ls), both
    arguments within ±π/2; c is real and positive where Φ = 2πn. Φ is monotone between the angles of
    `_turning_angles`, so each crossing has a bracket, and none is missed.
    """
    m, k, l = term.momentum, term.fresh, term.echo  # noqa: E741  the equation's letters
    if m == 0:
        return 2 * math.sin(math.pi / (4 * delay + 2)), math.pi / (2 * delay + 1)
    lag = delay + 1 if term.shifted else 1  # s = e^{−iθ·lag}

    def phase(angle: float) -> float:
        sine, versine = math.sin(lag * angle), 2 * math.sin(lag * angle / 2) ** 2
        buffer = math.atan2(m * sine, 1 - m + m * versine)
        echo = math.atan2(l * sine, 1 - m + l * versine)
        return angle * (delay + 0.5) - math.pi / 2 + buffer - echo

    def off_phase(target: float, angle: float) -> float:
        return phase(angle) - target

    def size(angle: float) -> float:
        square = 4 * math.sin(lag * angle / 2) ** 2  # |1 − s|²
        ratio = ((1 - m) ** 2 + m * square) / ((1 - m) ** 2 + k * l * square)
        return 2 * math.sin(angle / 2) * math.sqrt(ratio)

    # at θ = π the phase is πτ
    best = (size(math.pi), math.pi) if delay % 2 == 0 else (math.inf, math.pi)
    low = 0.0
    for high in _turning_angles(delay, term, lag):
        if 2 * math.sin(low / 2) >= best[0]:
            break
        ends = sorted((phase(low) / (2 * math.pi), phase(high) / (2 * math.pi)))
        for turns in range(math.ceil(ends[0]), math.floor(ends[1]) + 1):
            angle = bracketed_root(partial(off_phase, 2 * math.pi * turns), low, high)
            if not term.shifted:
                return size(angle), angle  # |c| grows with θ where |s| = 1 turns as slowly as z
            best = min(best, (size(angle), angle))
        low = high
    return best


def _turning_angles(delay: int, term: MomentumTerm, lag: int) -> Iterator[float]:
    """Ascending angles up to π between which Φ is monotone, and no further than half a wave of s.

    With ρ = l/k, Φ′ = τ + ½ + (lag/2)(P_m − P_ρ), where P_ρ = (1−ρ²)/(1+ρ²−2ρ cos ψ) is Poisson's
    kernel at ψ = lag·θ. Over the common denominator, Φ′ = 0 is a quadratic in w = 1 − cos ψ.
    """
    m, rho = term.momentum, term.echo / term.fresh
    speed = 2 * delay + 1
    square = 4 * speed * m * rho
    linear = 2 * speed * (m * (1 - rho) ** 2 + rho * (1 - m) ** 2)
    linear -= 2 * lag * (m - rho) * (1 + m * rho)
    constant = (1 - m) * (1 - rho) * (speed * (1 - m) * (1 - rho) + 2 * lag * (m - rho))
    turns = [math.pi]
    discriminant = linear**2 - 4 * square * constant
    if square > 0 and linear < 0 and discriminant > 0:
        larger = (math.sqrt(discriminant) - linear) / 2
        roots = (larger / square, constant / larger)
        turns.extend(2 * math.asin(math.sqrt(w / 2)) for w in roots if w < 2)
    turns.sort()
    start = 0
    while True:
        for turn in (*turns, *(2 * math.pi - turn for turn in reversed(turns))):
            angle = (2 * math.pi * start + turn) / lag
            if angle >= math.pi:
                yield math.pi
                return
            yield angle
        start += 1


def _scanned_crossing(delay: DelayDistribution, term: MomentumTerm) -> tuple[float, float]:
    """The crossing for any distribution: scan upward, refine each change of sign, stop early."""

    def direction(angle: float) -> complex:
        return complex(
            _direction(cmath.exp(0.5j * (angle - math.pi)), delay.transform(angle), term)
        )

    def size(angle: float) -> float:
        """|c| where c > 0, else infinity."""
        if direction(angle).real <= 0:
            return math.inf
        phi = delay.transform(angle)
        s = cmath.exp(-1j * angle) * (phi if term.shifted else 1)
        above, below = abs(1 - term.momentum * s), abs(phi * (term.fresh - term.echo * s))
        return 2 * math.sin(angle / 2) * above / below

    def refined(low: float, high: float) -> tuple[float, float]:
        angle = bracketed_root(lambda x: direction(x).imag, low, high)
        return size(angle), angle

    best = (size(math.pi), math.pi)
    for low, high in _brackets(direction, _samples(delay, term)):
        if 2 * math.sin(low / 2) >= best[0]:
            return best
        best = min(best, refined(low, high))
    if _many_waves(delay, term) and 2 * math.sin(_by_one(delay, term) / 2) < best[0]:
        for least, windows in _pieces(delay, term):
            if least >= best[0]:
                break
            for bound, window in windows:
                if bound >= best[0]:
                    break
                for low, high in _brackets(direction, window):
                    best = min(best, refined(low, high))
    return best


def _direction(half: Any, phi: Any, term: MomentumTerm) -> Any:
    """A positive multiple of c, for one angle or for an array of them; half = e^{i(θ−π)/2}.

    1 − z = 2 sin(θ/2)·half and z = −half². Without the factor sin(θ/2), and multiplied by the
    denominator's square, it is smooth, and it does not vanish at θ = 0.
    """
    s = -(half.conjugate() ** 2) * (phi if term.shifted else 1)
    return half * (1 - term.momentum * s) * (phi * (term.fresh - term.echo * s)).conjugate()


def _samples(delay: DelayDistribution, term: MomentumTerm) -> Iterator[tuple[float, float]]:
    """(θ, Im `_direction`) at ascending angles in (0, π), dense enough that no wave is missed.

    The step is a fraction of the fastest wave. Near 0 the angles grow geometrically from a fraction
    of the smallest scale that momentum or a geometric delay's long tail puts there.
    """

    def sample(angle: float) -> tuple[float, float]:
        half = cmath.exp(0.5j * (angle - math.pi))
        return angle, _direction(half, delay.transform(angle), term).imag

    step = _step(delay, term)
    tail = 1.0 if delay.largest is not None else 1 / (1 + delay.mean)
    angle = min(step, (1 - term.momentum) / 8, tail / 8)
    while angle < step / (_GROWTH - 1):
        yield sample(angle)
        angle += min(step, (_GROWTH - 1) * angle)
    # at π itself the imaginary part is 0
    last = _by_one(delay, term) if _many_waves(delay, term) else math.pi - 1e-3 * step
    while angle < last:
        yield sample(angle)
        angle += step
    yield sample(last)


def _waves(delay: DelayDistribution, term: MomentumTerm) -> int:
    """φ appears squared where the buffer is delayed, too; a geometric φ has no waves."""
    return (2 if term.shifted else 1) * (delay.largest or 0) + 3


def _many_waves(delay: DelayDistribution, term: MomentumTerm) -> bool:
    return isinstance(delay, HistogramDelay) and _waves(delay, term) > _MANY_BINS


def _step(delay: DelayDistribution, term: MomentumTerm) -> float:
    return 2 * math.pi / (_SAMPLES_PER_WAVE * _waves(delay, term))


def _by_one(delay: DelayDistribution, term: MomentumTerm) -> float:
    """Up to which angle a large histogram is scanned one by one: the scan usually ends there."""
    return _SAMPLES_ONE_BY_ONE * _step(delay, term)


def _pieces(
    delay: DelayDistribution, term: MomentumTerm
) -> Iterator[tuple[float, Iterator[tuple[float, _Window]]]]:
    """A large histogram's samples from `_by_one` on, by FFT, as far as they can matter.

    Each piece comes with a lower bound of |c| there and beyond; each of its windows, three samples
    about a change of sign or a dip, with one of |c| in it, in ascending order. |dφ/dθ| is at most
    the mean delay, which bounds |φ|, and with it |c|, between the samples.
    """
    import numpy as np

    count = 1 << (_SAMPLES_PER_WAVE * _waves(delay, term) - 1).bit_length()
    spectrum = np.fft.rfft(delay.probabilities(), count)
    step = 2 * math.pi / count
    m, k, l = term.momentum, term.fresh, term.echo  # noqa: E741  the equation's letters
    late = 1 + delay.mean if term.shifted else 1.0  # the most that s changes by, per angle
    read = delay.mean * (k + l) + l * late  # the same of φ(k − ls)
    turn = (1 + m) * ((k + l) / 2 + read) + m * late * (k + l)  # and of `_direction`
    first = int(_by_one(delay, term) / step) - 2
    for begin in range(first, len(spectrum) - 2, _PIECE):
        phi = spectrum[begin : begin + _PIECE + 2]
        angles = step * np.arange(begin, begin + len(phi))
        if begin + len(phi) == len(spectrum):
            angles[-1] -= 1e-3 * step  # at π itself the imaginary part is 0
        half = np.exp(0.5j * (angles - np.pi))
        values = _direction(half, phi, term)
        y = values.imag
        size, sign = np.abs(y), y > 0
        same = sign[1:] == sign[:-1]
        dips = (size[1:-1] <= size[:-2]) & (size[1:-1] <= size[2:])
        chosen = ~same[:-1] | ~same[1:] | dips
        chosen &= values.real[1:-1] > -turn * step  # elsewhere c is negative
        at = np.flatnonzero(chosen) + 1
        s = -(half[at].conj() ** 2) * (phi[at] if term.shifted else 1)
        above = np.abs(1 - m * s) - m * late * step
        below = np.abs(k - l * s) + l * late * step
        bounds = 2 * np.sin((angles[at] - step) / 2) * np.maximum(1, above / below)
        bounds /= np.minimum(1, np.abs(phi[at]) + delay.mean * step)
        order = np.argsort(bounds)
        windows = (
            (float(bounds[n]), [(float(angles[i]), float(y[i])) for i in range(j - 1, j + 2)])
            for n, j in zip(order.tolist(), at[order].tolist(), strict=True)
        )
        yield 2 * math.sin(begin * step / 2), windows


def _brackets(
    direction: Callable[[float], complex], samples: Iterable[tuple[float, float]]
) -> Iterator[tuple[float, float]]:
    """The intervals in which the sampled function changes its sign, in ascending order.

    Between two samples of one sign lies a pair of roots where the parabola through three samples
    crosses zero; whether it does is asked at its vertex.
    """
    past: list[tuple[float, float]] = []
    for point in samples:
        past = [*past[-2:], point]
        if len(past) == 3:
            vertex = _dip(*past)
            if vertex is not None and direction(vertex).imag * past[1][1] < 0:
                low, middle, high = sorted((past[0][0], vertex, past[2][0]))
                yield from ((low, middle), (middle, high))
        if len(past) > 1 and past[-1][1] * past[-2][1] < 0:
            yield past[-2][0], past[-1][0]


def _dip(
    left: tuple[float, float], middle: tuple[float, float], right: tuple[float, float]
) -> float | None:
    """Where the parabola through three points of one sign has its vertex beyond zero, if it has."""
    (x0, y0), (x1, y1), (x2, y2) = left, middle, right
    if not (0 < y1 <= min(y0, y2) or 0 > y1 >= max(y0, y2)):
        return None
    first, second = (y1 - y0) / (x1 - x0), (y2 - y1) / (x2 - x1)
    bend = (second - first) / (x2 - x0)
    if bend == 0:
        return None
    # Newton's form y0 + first (x − x0) + bend (x − x0)(x − x1)
    vertex = (x0 + x1 - first / bend) / 2
    value = y0 + first * (vertex - x0) + bend * (vertex - x0) * (vertex - x1)
    return vertex if value * y1 < 0 and x0 < vertex < x2 else None

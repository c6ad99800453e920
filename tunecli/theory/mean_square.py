"""How large aη may be before delays that are drawn at random make the iterates' variance grow.

Beyond the papers. STAB Eq. 19 asks whether the *mean* over all delays is stable, and averaging
hides what one draw does: for a geometric delay of mean 15 the mean is stable up to aη = 62, while
the iterates themselves blow up from aη = 0.36 on.

An update reads a delayed value y_{t−τ_t} with a fresh draw of τ_t. Given the past this is its mean
Σ_k P(τ=k) y_{t−k} plus noise w_t, white, with the covariance Σ_k P(τ=k) y_{t−k} y_{t−k}ᵀ minus the
mean's square. With T(z) the linear iteration's transfer from w to y, the noise drives itself::

    E w_t w_tᵀ = Σ_s κ_{t−s}(E w_s w_sᵀ),    Σ_n κ_n : W ↦ (1/2π) ∫ (1 − |φ(θ)|²) T W T* dθ,

where every κ_n maps positive matrices to positive ones, so (a renewal equation) the variance dies
out exactly where the mean is stable and the sum has a spectral radius, the *gain*, below 1. Without
momentum that is (aη)² (1/2π) ∫ (1 − |φ|²)/|z − 1 + aηφ|² dθ < 1.

Just above the threshold most single paths may still converge while rare ones carry the growing
variance; with gradient noise, that is a stationary law without a variance.

The buffer at the server is not delayed, so only the gradient is read: y is a number. One buffer per
worker is as old as the weights: y = (gradient, buffer), and W is a symmetric 2×2 matrix.
"""

import cmath
import math
from dataclasses import dataclass
from functools import cached_property, lru_cache
from operator import mul
from typing import Any

from tunecli.errors import InvalidValueError, require
from tunecli.theory.delay import ConstantDelay, DelayDistribution
from tunecli.theory.roots import bracketed_root
from tunecli.theory.stability import MomentumKind, MomentumTerm, first_crossing

_NODES_PER_WAVE = 4
_FEW_NODES = 2048  # as many cost less in plain Python than importing numpy
_MANY_NODES = 1 << 19  # to begin with: a tenth of a second
_MOST_NODES = 1 << 22
_ACCURACY = 3e-5  # between two sums; doubling the nodes squares the error
_MARGIN = 1e-7  # how close to the mean's threshold the gain is asked for
_LONG_TAIL = 32.0  # a geometric delay's mean from which on its integral is summed in log θ


def mean_square_threshold(
    delay: DelayDistribution,
    *,
    momentum: float = 0.0,
    momentum_kind: MomentumKind = "none",
    discount: float = 1.0,
) -> float:
    """Largest aη below which the variance of the delayed iteration dies out.

    The delays are taken as independent from update to update. The answer never exceeds
    `stability_threshold`, and equals it for a constant delay and wherever the two agree to within
    10⁻⁷. Relative accuracy 10⁻⁶ or better.

    Args:
        delay: The distribution of τ, in updates.
        momentum: m (QHM's β) in [0, 1), of the damped buffer; not used by kind "none".
        momentum_kind: "none", "standard" (one buffer at the server) or "shifted" (one per worker).
        discount: ν in [0, 1]; 1 is heavy ball, 0 no momentum.

    Returns:
        aη > 0: the rate times the sharpness a.

    Raises:
        InvalidValueError: `momentum`, `momentum_kind` or `discount` is not allowed, or a momentum
            within about 10⁻⁶ of 1 rings for longer than the integral can resolve.

    Differs from STAB Eq. 19, which is about the mean only.

    >>> from tunecli.theory.delay import GeometricDelay
    >>> round(mean_square_threshold(GeometricDelay.of_mean(15)), 5)
    0.35836
    """
    return _threshold(delay, MomentumTerm.of(momentum, momentum_kind, discount))


@lru_cache(maxsize=16)  # a schedule and the table beside it ask for the same one
def _threshold(delay: DelayDistribution, term: MomentumTerm) -> float:
    mean_threshold, angle = first_crossing(delay, term)
    if isinstance(delay, ConstantDelay) or delay.largest == 0:
        return mean_threshold
    ringing = 1 / (1 - term.momentum)  # updates; undamped
    require(ringing < _MOST_NODES, "momentum", "further below 1", term.momentum, "try 0.9")
    nodes, most = _node_counts(delay, term, ringing)
    previous: float | None = None
    while nodes <= most:
        integral = _Integral(delay, term, nodes, angle)
        found = integral.rate_of_unit_gain(mean_threshold, previous)
        if found and previous and abs(found - previous) <= _ACCURACY * found:
            return found
        nodes, previous = 2 * nodes, found
    if ringing > 100:
        require(False, "momentum", "further below 1 at this delay", term.momentum, "try 0.9")
    raise InvalidValueError(
        f"the mean-square threshold at a mean delay of {delay.mean:g} is not resolved by {most:,} "
        "angles; give a narrower distribution, or the rule mean"
    )


def _node_counts(delay: DelayDistribution, term: MomentumTerm, ringing: float) -> tuple[int, int]:
    """With how many nodes to begin, and how many are too many."""
    if _long_tailed(delay):
        return _FEW_NODES, _MOST_NODES
    # momentum rings for as many delays where the buffer is delayed
    reach = _reach(delay)
    waves = (reach + 3) * max(2.0, ringing) if term.shifted else reach + 3 + ringing
    wanted = max(reach + 3, min(waves, _MANY_NODES / _NODES_PER_WAVE))
    nodes = 1 << math.ceil(math.log2(_NODES_PER_WAVE * wanted))
    return nodes, max(_MOST_NODES, 2 * nodes)


def _reach(delay: DelayDistribution) -> float:
    """The largest delay; a geometric one reaches a few means far."""
    return 4 * delay.mean if delay.largest is None else delay.largest


def _long_tailed(delay: DelayDistribution) -> bool:
    return delay.largest is None and delay.mean > _LONG_TAIL


@dataclass(frozen=True)
class _Integral:
    """The gain as a sum over `nodes` angles.

    Attributes:
        delay: The distribution of τ.
        term: The momentum.
        nodes: The number of angles.
        angle: Where the mean's first root leaves the circle.
    """

    delay: DelayDistribution
    term: MomentumTerm
    nodes: int
    angle: float

    @cached_property
    def _points(self) -> "_GainMap":
        rule = _half_line if _long_tailed(self.delay) else _circle
        return rule(self.delay, self.term, self.nodes)

    def excess(self, rate: float) -> float:
        """(gain − 1)/(gain + 1): bounded, the gain itself is infinite at the mean's threshold."""
        entries = self._points.sums(rate)
        if not _long_tailed(self.delay):
            pole = _pole(self.delay, self.term, rate, self.angle)
            if pole is not None:
                aliased = _aliased(self.delay, self.term, rate, pole, self.nodes)
                entries = [entry - more for entry, more in zip(entries, aliased, strict=True)]
        gain = entries[0] if len(entries) == 1 else _spectral_radius(entries)
        return (gain - 1) / (gain + 1)

    def rate_of_unit_gain(self, highest: float, guess: float | None) -> float | None:
        """The aη of gain 1; `highest` where the gain stays below 1.

        None where so few nodes cannot even tell that a tiny rate is stable.
        """
        closest = highest * (1 - _MARGIN)
        if guess is not None and guess < closest / (1 + _ACCURACY):
            low, high = guess * (1 - _ACCURACY), guess * (1 + _ACCURACY)
            if self.excess(low) < 0 < self.excess(high):
                return bracketed_root(self.excess, low, high, tolerance=1e-9)
        if self.excess(closest) <= 0:
            return highest
        # a long tail's threshold lies any number of orders of magnitude below the mean's
        high = closest
        for _ in range(40):
            low = high / 8
            if self.excess(low) < 0:
                return bracketed_root(self.excess, low, high, tolerance=1e-9)
            high = low
        return None


@dataclass(frozen=True)
class _GainMap:
    """(1 − |φ|²) T W T* as a linear map of W, at one or more points z, weighted.

    Attributes:
        terms: (entry, power, values): the map's entry has the summand (aη)^power · values / |Δ|².
        free: The denominator of T at aη = 0.
        driven: Its slope: Δ = free + aη driven.
    """

    terms: list[tuple[int, int, Any]]
    free: Any
    driven: Any

    def sums(self, rate: float) -> list[float]:
        """The sums over all points, entry by entry."""
        entries = [0.0] * (1 + self.terms[-1][0])
        if isinstance(self.free, list):
            pairs = zip(self.free, self.driven, strict=True)
            inverse: Any = [1 / abs(free + rate * driven) ** 2 for free, driven in pairs]
            for entry, power, values in self.terms:
                entries[entry] += rate**power * sum(map(mul, values, inverse))
        else:
            delta = self.free + rate * self.driven
            inverse = 1 / (delta.real**2 + delta.imag**2)
            for entry, power, values in self.terms:
                entries[entry] += rate**power * float(values @ inverse)
        return entries


def _circle(delay: DelayDistribution, term: MomentumTerm, nodes: int) -> _GainMap:
    """The trapezoidal rule on the unit circle; its lower half mirrors the upper one."""
    if nodes > _FEW_NODES:
        return _circle_of_arrays(delay, term, nodes)
    points = []
    for j in range(nodes // 2 + 1):
        angle = 2 * math.pi * j / nodes
        z, phi = cmath.exp(1j * angle), delay.transform(angle)
        weight = (1 if j in (0, nodes // 2) else 2) / nodes
        points.append(_gain_map(term, (z, phi), (z.conjugate(), phi.conjugate()), weight))
    terms = [
        (entry, power, [point.terms[n][2].real for point in points])
        for n, (entry, power, _) in enumerate(points[0].terms)
    ]
    return _GainMap(terms, [point.free for point in points], [point.driven for point in points])


def _circle_of_arrays(delay: DelayDistribution, term: MomentumTerm, nodes: int) -> _GainMap:
    """The same with numpy."""
    import numpy as np

    z = np.exp(2j * np.pi / nodes * np.arange(nodes // 2 + 1))
    phi = np.fft.rfft(delay.probabilities(), nodes)
    weight = np.full(nodes // 2 + 1, 2 / nodes)
    weight[[0, -1]] = 1 / nodes
    return _map_of_arrays(term, z, phi, weight)


def _half_line(delay: DelayDistribution, term: MomentumTerm, nodes: int) -> _GainMap:
    """The trapezoidal rule in u = log tan(θ/2), for a geometric delay of any mean.

    It has no waves, but bends at angles from 1/mean to 1: as many nodes for each factor of e, where
    equal steps would need millions. dθ = du / cosh u makes the ends vanish.
    """
    import numpy as np

    u, step = np.linspace(math.log(1e-7 / delay.mean), 36.0, nodes, retstep=True)
    z = np.exp(2j * np.arctan(np.exp(u)))
    mu = delay.mean / (1 + delay.mean)
    phi = (1 - mu) / (1 - mu * z.conj())
    return _map_of_arrays(term, z, phi, step / np.pi / np.cosh(u))


def _map_of_arrays(term: MomentumTerm, z: Any, phi: Any, weight: Any) -> _GainMap:
    points = _gain_map(term, (z, phi), (z.conj(), phi.conj()), weight)
    terms = [(entry, power, values.real.copy()) for entry, power, values in points.terms]
    return _GainMap(terms, points.free, points.driven)


def _gain_map(
    term: MomentumTerm, here: tuple[Any, Any], mirror: tuple[Any, Any], weight: Any
) -> _GainMap:
    """The map at (z, φ(z)), given (1/z, φ(1/z)) as well; numbers or arrays, on the circle or off.

    A product of x(z) and y(1/z) is made symmetric in z and 1/z, which on the circle is the real
    part of x y*.
    """
    noise = weight * (1 - here[1] * mirror[1])
    free, driven, *numerators = zip(_transfer(term, *here), _transfer(term, *mirror), strict=True)

    def times(x: tuple[Any, Any], y: tuple[Any, Any]) -> Any:
        return noise * (x[0] * y[1] + x[1] * y[0]) / 2

    if len(numerators) == 1:  # T = aη a / Δ
        (a,) = numerators
        return _GainMap([(0, 2, times(a, a))], free[0], driven[0])
    # T = [[aη a, aη b], [e, f + aη h]] / Δ; rows and columns of the map are W₁₁, W₁₂, W₂₂
    a, b, e, f, h = numerators
    terms = [
        (0, 2, times(a, a)),
        (1, 2, 2 * times(a, b)),
        (2, 2, times(b, b)),
        (3, 1, times(a, e)),
        (4, 1, times(a, f) + times(b, e)),
        (4, 2, times(a, h)),
        (5, 1, times(b, f)),
        (5, 2, times(b, h)),
        (6, 0, times(e, e)),
        (7, 0, 2 * times(e, f)),
        (7, 1, 2 * times(e, h)),
        (8, 0, times(f, f)),
        (8, 1, 2 * times(f, h)),
        (8, 2, times(h, h)),
    ]
    return _GainMap(terms, free[0], driven[0])


def _transfer(term: MomentumTerm, z: Any, phi: Any) -> tuple[Any, ...]:
    """(free, driven) with Δ = free + aη driven, and the numerators that `_gain_map` names.

    Δ = (z − 1)(z − mσ) + aη φ (kz − lσ), σ = zs: this module's characteristic equation times z.
    """
    m, k, l = term.momentum, term.fresh, term.echo  # noqa: E741  the equation's letters
    sigma = phi if term.shifted else 1
    read = k * z - l * sigma
    free, driven = (z - 1) * (z - m * sigma), phi * read
    if not term.shifted:
        return free, driven, -read
    # the read (g̃, d̃) moves x by −η(k g̃ + νm d̃), and the buffer becomes (1−m) g̃ + m d̃
    return free, driven, -read, (k - 1) * z, (1 - m) * (z - 1), m * (z - 1), l * phi


def _pole(
    delay: DelayDistribution, term: MomentumTerm, rate: float, angle: float
) -> complex | None:
    """θ of the root z = e^{iθ} that reaches the circle first, by the secant method from there."""
    reach = _reach(delay) + 1
    past, now = complex(angle), angle + 1e-2j * min(1.0, rate, 1 / reach)
    value = _denominator(delay, term, rate, past)
    for _ in range(50):
        previous, value = value, _denominator(delay, term, rate, now)
        if value == previous:
            return now
        past, now = now, now - value * (now - past) / (value - previous)
        if not abs(now.imag) * reach < 50:  # so far inside it is not felt; φ would overflow
            return None
        if abs(now - past) <= 1e-13 * abs(now):
            return now
    # a small angle's z − 1 is rounded, so the last digits may never come to rest
    return now if abs(now - past) <= 1e-9 * abs(now) else None


def _denominator(
    delay: DelayDistribution, term: MomentumTerm, rate: float, angle: complex
) -> complex:
    free, driven, *_ = _transfer(term, cmath.exp(1j * angle), delay.transform(angle))
    return complex(free + rate * driven)


def _aliased(
    delay: DelayDistribution, term: MomentumTerm, rate: float, pole: complex, nodes: int
) -> list[float]:
    """What the trapezoidal rule counts too much because of one pole pair near the circle.

    F with the residue R of F/z at the pole z₀, |z₀| < 1, and its mirror 1/z₀ has the sum
    ∫F + 2R z₀^N/(1 − z₀^N). Near the threshold the integrand is a spike that only a huge N would
    resolve; with this term known, N must resolve only the rest.
    """
    z = cmath.exp(1j * pole)
    wrapped = cmath.exp(1j * pole * nodes)
    step = 1e-5 / nodes
    slope = _denominator(delay, term, rate, pole + step) - _denominator(
        delay, term, rate, pole - step
    )
    slope *= -0.5j / step  # z dΔ/dz = −i dΔ/dθ
    mirrored = _denominator(delay, term, rate, -pole)
    share = (1 if abs(z.imag) < 1e-10 else 2) * 2 * wrapped / (1 - wrapped)
    here, mirror = (z, delay.transform(pole)), (1 / z, delay.transform(-pole))
    terms = _gain_map(term, here, mirror, share / (slope * mirrored)).terms
    entries = [0.0] * (1 + terms[-1][0])
    for entry, power, value in terms:
        entries[entry] += (rate**power * complex(value)).real
    return entries


def _spectral_radius(entries: list[float]) -> float:
    """Of a 3×3 matrix that maps positive matrices to such: its largest real eigenvalue.

    Newton's method on the characteristic polynomial falls monotonically onto it from above.
    """
    a, b, c, d, e, f, g, h, i = entries
    trace = a + e + i
    minors = a * e - b * d + a * i - c * g + e * i - f * h
    determinant = a * (e * i - f * h) - b * (d * i - f * g) + c * (d * h - e * g)
    x = sum(map(abs, entries))
    for _ in range(200):
        value = ((x - trace) * x + minors) * x - determinant
        slope = (3 * x - 2 * trace) * x + minors
        if slope <= 0 or value <= 1e-14 * x**3:
            break
        x -= value / slope
    return x

"""Which learning rate makes training leave a minimum under delay: STAB's minima stability."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import get_args

import torch
from torch import Tensor, nn

from tunecli.data.load import Split
from tunecli.errors import require
from tunecli.theory.stability import MomentumKind
from tunecli.training.full_batch import FullBatchLoss
from tunecli.training.sharpness import Sharpness

# The first step of the search for a bracket; each further one is the square of the one before.
_FIRST_STEP, _LARGEST_STEP = 1.08, 1e6
_TELL_EVERY_S = 0.2


@dataclass(frozen=True, slots=True)
class StabilityRun:
    """One training at one rate.

    Args:
        learning_rate: η.
        left: Whether the loss rose above `rise` times the minimum's, or was not finite.
        updates: Updates made: those until it left, or all.
    """

    learning_rate: float
    left: bool
    updates: int


@dataclass(frozen=True, slots=True)
class StableRate:
    """The bracket of the rate at which a minimum loses its stability.

    Args:
        learning_rate: The largest rate that stayed.
        left_at: The smallest rate that left, at most 1 + resolution times `learning_rate`.
        runs: Every training, in the order in which they were made.
    """

    learning_rate: float
    left_at: float
    runs: tuple[StabilityRun, ...]

    @property
    def updates(self) -> int:
        """Updates of all runs together."""
        return sum(run.updates for run in self.runs)


def largest_stable_rate(
    model: nn.Module,
    split: Split,
    sharpest: Sharpness,
    *,
    delay: int,
    around: float,
    momentum: float = 0.0,
    momentum_kind: MomentumKind = "none",
    discount: float = 1.0,
    resolution: float = 0.01,
    updates_per_delay: int = 300,
    nudge: float = 0.01,
    rise: float = 2.0,
    hold: bool = False,
    batch_size: int = 4096,
    device: torch.device,
    on_progress: Callable[[int, float, int, int], None] | None = None,
) -> StableRate:
    """The largest learning rate at which delayed gradient descent stays at a minimum (Fig. 2).

    From the minimum θ*, nudged along its sharpest direction, full-batch gradient descent of
    constant delay τ runs for `updates_per_delay` · (τ+1) updates::

        none      θ ← θ − η g(θ_{t−τ})                                          (STAB Eq. 2)
        standard  d ← m d + (1−m) g(θ_{t−τ}),        θ ← θ − η[(1−ν) g + ν d]   (Eq. 9 at ν = 1)
        shifted   dₖ ← m dₖ + (1−m) g(θ_{t−τ}),      θ ← θ − η[(1−ν) g + ν dₖ]  (Eq. 10 at ν = 1)

    where k = t mod (τ+1) is the worker whose turn it is. It has *left* when the training loss
    exceeds `rise` times the minimum's, and *stayed* otherwise. The rate is raised (lowered) in
    growing steps until it leaves (stays), then bisected. That stability is lost once and for all
    as the rate grows is assumed.

    What it can see: at a rate 1+ε times the threshold the nudge grows, without momentum, by about
    e^{0.7ε} in every τ+½ updates, and it must grow by √(rise/nudge) to be seen leaving. An excess
    below ε ≈ ln(rise/nudge) / (1.4 · updates_per_delay), 1.3 % by default, stays unseen. At
    momentum 0.9 it grows several times more slowly, except at τ = 0: there the start from rest
    alone enlarges it, up to 19 times at the threshold, so it leaves too early at the default nudge.

    What it cannot avoid: training goes on, and the loss flattens as it falls, so that a nudge that
    grows too slowly never leaves. A smaller nudge and a larger momentum therefore raise the
    measured rate; a larger nudge feels the higher derivatives, which lowers it. With `hold` and a
    small nudge only the threshold of the Hessian at θ* is left.

    Differs from STAB Section 3.1 in two things: the gradients are of the full batch, in evaluation
    mode, so that nothing but the dynamics' own growth can make it leave, and the nudge spares the
    many epochs in which rounding and noise would have grown to the same size.

    Args:
        model: The network at the minimum θ*; a copy of it is trained.
        split: The training samples; they are kept on `device`.
        sharpest: The Hessian's largest eigenvalue a and its direction, from `sharpness`.
        delay: τ ≥ 0.
        around: The rate to begin with, > 0: the theory's, `stability_threshold(…) / a`, saves most
            runs; the result does not depend on it by more than the resolution.
        momentum: m in [0, 1).
        momentum_kind: `none` (m and ν count for nothing), `standard` (one buffer at the server) or
            `shifted` (one buffer per worker).
        discount: QHM's ν; 1 is the paper's momentum.
        resolution: The bracket's relative width, > 0.
        updates_per_delay: Updates of one run, divided by τ+1; ≥ 1.
        nudge: Loss that the nudge adds to second order, ½ a ‖Δθ‖², as a share of the minimum's;
            in (0, rise − 1).
        rise: Multiple of the minimum's loss above which training has left, > 1.
        hold: Subtract θ*'s own gradient from every gradient: θ* rests, however much there is left
            to learn, and nothing flattens while the nudge grows. No training any more, and over
            thousands of updates it leaves by negative curvature, if θ* has any, at every rate.
        batch_size: Samples at a time; it bounds the memory only.
        device: Where to train.
        on_progress: Called several times a second, or between any two updates if they take
            longer, with (runs done, rate of this run, updates of all runs so far, updates of a run
            that stays); may raise to stop.

    Raises:
        InvalidValueError: An argument is outside its range, the model's loss is not finite and
            positive, or no bracket lies within many orders of magnitude of `around`.
    """
    require(delay >= 0, "delay", "≥ 0", delay)
    require(0 < around < math.inf, "around", "finite and > 0", around, "give the theory's rate")
    require(0 <= momentum < 1, "momentum", "in [0, 1)", momentum)
    require(
        momentum_kind in get_args(MomentumKind),
        "momentum_kind",
        f"one of {get_args(MomentumKind)}",
        momentum_kind,
    )
    require(resolution >= 1e-6, "resolution", "≥ 1e-6", resolution, "0.01 is one percent")
    require(updates_per_delay >= 1, "updates_per_delay", "≥ 1", updates_per_delay)
    require(rise > 1, "rise", "> 1", rise, "2 is twice the minimum's loss")
    require(0 < nudge < rise - 1, "nudge", f"in (0, rise − 1 = {rise - 1:g})", nudge)
    require(sharpest.value > 0, "the sharpness", "> 0", sharpest.value, "train to a minimum first")
    if momentum_kind == "none":
        momentum, discount = 0.0, 0.0
    loss = FullBatchLoss(model, split, device=device, batch_size=batch_size)
    lowest = loss.evaluate()
    require(0 < lowest < math.inf, "the training loss", "finite and > 0", lowest)
    if hold:
        loss.at_rest = loss.flat.gradient.clone()
    loss.move(sharpest.vector, math.sqrt(2 * nudge * lowest / sharpest.value))
    start = loss.flat.values.clone()
    updates = updates_per_delay * (delay + 1)
    runs: list[StabilityRun] = []
    told = time.monotonic()  # of all runs: a short one may end before its time to tell has come

    def leaves(rate: float) -> bool:
        nonlocal told
        descent = _DelayedDescent(
            loss,
            start,
            rate,
            delay=delay,
            momentum=momentum,
            discount=discount,
            buffers=delay + 1 if momentum_kind == "shifted" else 1,
        )
        before = sum(run.updates for run in runs)
        for made in range(updates):
            if on_progress is not None and time.monotonic() - told > _TELL_EVERY_S:
                told = time.monotonic()
                on_progress(len(runs), rate, before + made, updates)
            if not descent.step() <= rise * lowest:  # nan as well
                runs.append(StabilityRun(rate, left=True, updates=made))
                return True
        runs.append(StabilityRun(rate, left=False, updates=updates))
        return False

    stayed, left = _bracket(leaves, around, resolution)
    return StableRate(stayed, left, tuple(runs))


def _bracket(
    leaves: Callable[[float], bool], around: float, resolution: float
) -> tuple[float, float]:
    """The last rate that does not leave and the first one that does."""
    stayed, left = 0.0, math.inf
    rate, step = around, _FIRST_STEP
    while left > stayed * (1 + resolution):
        if leaves(rate):
            left = rate
        else:
            stayed = rate
        if stayed > 0 and left < math.inf:
            rate = math.sqrt(stayed * left)
            continue
        require(
            step < _LARGEST_STEP,
            "around",
            f"near a rate where training just stays, and every one from {rate:g} to it "
            f"{'left' if stayed == 0 else 'stayed'}",
            around,
            "start from a converged model, and check the sharpness",
        )
        rate = rate * step if stayed else rate / step
        step *= step
    return stayed, left


class _DelayedDescent:
    """Gradient descent whose update t uses the gradient at the parameters of t − τ.

    A gradient is taken when its parameters are current and kept for τ updates: that is the same
    as keeping the parameters, and the loss at the current ones comes with it.
    """

    def __init__(
        self,
        loss: FullBatchLoss,
        start: Tensor,
        learning_rate: float,
        *,
        delay: int,
        momentum: float,
        discount: float,
        buffers: int,
    ) -> None:
        loss.flat.values.copy_(start)
        loss.evaluate()
        self._loss = loss
        self._learning_rate = learning_rate
        self._momentum = momentum
        self._discount = discount
        # Until update τ, the gradients are those at the start: it was there for ever before.
        self._gradients = loss.flat.gradient.repeat(delay + 1, 1)
        self._buffers = start.new_zeros((buffers, len(start)))
        self._updates = 0

    def step(self) -> float:
        """One update; returns the training loss before it."""
        now = self._loss.evaluate()
        slots, buffers = len(self._gradients), len(self._buffers)
        self._gradients[self._updates % slots] = self._loss.flat.gradient
        delayed = self._gradients[(self._updates + 1) % slots]
        if self._momentum:
            buffer = self._buffers[self._updates % buffers]
            buffer.lerp_(delayed, 1 - self._momentum)
            delayed = delayed.lerp(buffer, self._discount)
        self._loss.flat.values.sub_(delayed, alpha=self._learning_rate)
        self._updates += 1
        return now

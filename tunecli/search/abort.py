"""When a trial is given up before its end, because what follows cannot change the decision.

What "cannot" rests on. In a multistage schedule the first stage has the largest learning rate, and
all later ones train more finely: a trial that has learned nothing by the end of the first stage is
not going to, and one that then has closed less than half of the gap that the best rate had closed
by the same share of samples has too far to go. Neither is a theorem: `tests/benchmarks` counts how
often a trial that was given up would have won. So nothing is given up before a third of the
samples, and never against a rate that has not learned anything itself.
"""

from collections.abc import Sequence

Curve = Sequence[tuple[float, float]]

AFTER = 1 / 3
MARGIN = 0.5


def gives_up(
    curve: Curve,
    incumbent: Curve | None,
    *,
    maximize: bool,
    perfect: float | None,
    baseline: float | None,
    learned_share: float = 0.1,
) -> str | None:
    """Why to give up a trial now, or None to train on.

    Args:
        curve: The trial's metric so far, as (share of its samples, value), ascending; the untrained
            model may be left out.
        incumbent: The best finished trial's curve; None or empty: there is none yet.
        maximize: Whether a larger value is better.
        perfect: Value of a perfect model; None: not known.
        baseline: What a model that has learned nothing gets; None: not known, and the worst value
            in the first third of the two curves stands for it; without one nothing is given up.
        learned_share: Share of the gap from baseline to perfect that counts as learned.

    >>> gives_up([(0.4, 0.1)], None, maximize=True, perfect=1.0, baseline=0.1)
    'it had learned nothing after 40 % of its samples'
    >>> gives_up([(0.4, 0.5)], [(0.4, 0.7), (1.0, 0.9)], maximize=True, perfect=1.0, baseline=0.1)
    """
    if not curve or curve[-1][0] < AFTER - 1e-9 or curve[-1][0] >= 1:
        return None
    share, value = curve[-1]
    sign = 1.0 if maximize else -1.0
    if baseline is not None and perfect is not None:
        closed, gap = sign * (value - baseline), sign * (perfect - baseline)
        if gap > 0 and closed < learned_share * gap:
            return f"it had learned nothing after {share:.0%} of its samples".replace("%", " %")
    if not incumbent:
        return None
    there = [v for at, v in incumbent if at <= share + 1e-9]
    if not there:
        return None
    floor = baseline
    if floor is None:
        early = [v for at, v in (*curve, *incumbent) if at < AFTER - 1e-9]
        if not early:  # what nothing learned comes to cannot even be guessed
            return None
        floor = min(early) if maximize else max(early)
    ahead = sign * (there[-1] - floor)
    if baseline is not None and perfect is not None:
        learned = ahead >= learned_share * sign * (perfect - baseline)
    else:
        # without a baseline a gap inside one percent of the scale is noise, not learning
        learned = ahead > 0.01 * max(abs(there[-1]), abs(floor))
    if learned and sign * (value - floor) < MARGIN * ahead:
        return (
            f"it was far behind after {share:.0%} of its samples: {value:.4f}, where the best rate "
            f"had {there[-1]:.4f}"
        ).replace("% ", " % ")
    return None


def truncated(
    curve: Curve,
    incumbent: Curve | None,
    *,
    maximize: bool,
    perfect: float | None,
    baseline: float | None,
    learned_share: float = 0.1,
) -> tuple[Curve, str]:
    """A finished curve up to the point where it would have been given up, and why; or all of it.

    A trial that ran ahead of the walk is judged as if it had been trained in its turn.
    """
    for end in range(1, len(curve) + 1):
        reason = gives_up(
            curve[:end],
            incumbent,
            maximize=maximize,
            perfect=perfect,
            baseline=baseline,
            learned_share=learned_share,
        )
        if reason is not None:
            return curve[:end], reason
    return curve, ""

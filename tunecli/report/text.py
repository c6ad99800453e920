"""Numbers and curves as short text."""

from collections.abc import Mapping, Sequence
from typing import Any

_BARS = "▁▂▃▄▅▆▇█"


def sparkline(
    values: Sequence[float], *, low: float | None = None, high: float | None = None
) -> str:
    """A curve in one character per value, from `low` to `high` (default: of the values).

    >>> sparkline([0, 0.5, 1])
    '▁▅█'
    """
    if not values:
        return ""
    bottom = min(values) if low is None else low
    top = max(values) if high is None else high
    span = top - bottom
    if span <= 0:
        return _BARS[0] * len(values)
    share = [min(max((value - bottom) / span, 0.0), 1.0) for value in values]
    return "".join(_BARS[round(part * (len(_BARS) - 1))] for part in share)


def epochs_of(samples: float, training_samples: int | None) -> str:
    """Samples as passes over the training set, or as they are where its size is not known."""
    if training_samples is None:
        return count(int(samples), "sample")
    return count(samples / training_samples, "epoch")


def measured(evaluation: Mapping[str, Any]) -> str:
    """What an evaluation came to, `validation` or a curve's point of result.json.

    >>> measured({"loss": 0.25, "accuracy": 0.9, "metrics": {"f1": 0.8}})
    'accuracy 0.9000, loss 0.2500, f1 0.8000'
    """
    values = {name: evaluation[name] for name in ("accuracy", "loss")} | evaluation["metrics"]
    return ", ".join(f"{name} {x:.4f}" for name, x in values.items() if x is not None)


def duration(seconds: float) -> str:
    """A length of time as a person reads it.

    >>> duration(3.21), duration(75), duration(3700)
    ('3.2 s', '1:15', '1:01:40')
    """
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def count(number: float, unit: str) -> str:
    """A number with its unit, one or many.

    >>> count(1, "trial"), count(1234, "update")
    ('1 trial', '1,234 updates')
    """
    return f"{number:,.0f} {unit}" + ("" if round(number) == 1 else "s")

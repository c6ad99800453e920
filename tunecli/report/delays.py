"""What an asynchronous training measured: a histogram of delays as SVG, and lines of text."""

import math
from collections.abc import Iterator
from typing import Any

from tunecli.report.axes import Scale
from tunecli.report.plain import mapping, number, positive
from tunecli.report.svg import drawing, frame, polyline, put, source
from tunecli.report.text import count

_LEFT, _RIGHT, _TOP, _HEIGHT, _BOTTOM = 50.0, 16.0, 24.0, 150.0, 44.0
_MOST_BARS = 64


def delay_chart(result: dict[str, Any], width: float) -> str:
    """How often each delay was measured, as a share of all updates, with the mean as a line.

    Args:
        result: Content of result.json.
        width: In pixels.

    Returns:
        The drawing's text; empty where no delay was measured.
    """
    delays = _delays(mapping(mapping(result.get("asynchronous")).get("delays")))
    if not delays:
        return ""
    total = sum(delays.values())
    mean = sum(delay * found for delay, found in delays.items()) / total
    span = math.ceil((max(delays) + 1) / _MOST_BARS)  # delays that share a bar
    shares: dict[int, float] = {}
    for delay, found in delays.items():
        shares[delay // span] = shares.get(delay // span, 0.0) + found / total
    root = drawing(
        width,
        _TOP + _HEIGHT + _BOTTOM,
        name=f"delays-{width:.0f}",
        title="Delays that were measured",
        description=f"{total:g} updates; mean delay {mean:.2f}, largest {max(delays)}.",
    )
    area = frame(
        root,
        x=Scale(-0.5, span * (max(shares) + 1) - 0.5, _LEFT, width - _RIGHT),
        y=Scale(0.0, 1.08 * max(shares.values()), _TOP + _HEIGHT, _TOP),
        x_title="delay in updates",
        y_title="share of the updates",
        y_ticks=4,
    )
    for bar, share in sorted(shares.items()):
        left, top = area.at(bar * span - 0.5, share)
        right = area.x((bar + 1) * span - 0.5)
        gap = min(1.0, (right - left) / 6)
        rect = put(
            area.body,
            "rect",
            x=left + gap,
            y=top,
            width=right - left - 2 * gap,
            height=area.y(0.0) - top,
            class_="mark s0",
        )
        first, last = bar * span, (bar + 1) * span - 1
        name = f"delay {first}" if first == last else f"delays {first} to {last}"
        put(rect, "title", f"{name}: {100 * share:.1f} % of the updates")
    ends = [area.at(mean, 0.0), (area.x(mean), _TOP)]
    polyline(area.body, ends, "line warm dashed", f"mean delay {mean:.2f}")
    return source(root)


def delay_lines(facts: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """What a person reads of the block `asynchronous` of result.json: a name and a text each."""
    scaling, delay = mapping(facts.get("scaling")), mapping(facts.get("delay"))
    rate, factor = number(facts.get("learning_rate")), number(scaling.get("factor"))
    if facts.get("staleness_aware"):
        yield "Rate", f"every update's is scaled by its own delay ({scaling.get('rule')})"
    elif rate is not None and factor is not None:
        known = delay_words(str(delay.get("kind")), number(delay.get("mean")))
        text = f"{rate:.6g} under delay: × {factor:.5g} ({scaling.get('rule')}, for {known})"
        yield "Rate", text
    delays = _delays(mapping(facts.get("delays")))
    if delays:
        text = f"{_rounded(facts.get('mean_delay'))} on average, {max(delays)} at most, measured "
        text += f"over {count(sum(delays.values()), 'update')}"
        for state, noun in (("refused", "gradient"), ("lost", "worker")):
            if found := positive(facts.get(state)):
                text += f"; {count(found, noun)} {state}"
        if found := positive(facts.get("replaced")):
            text += f", {found:.0f} replaced"
        yield "Delay", text
    if facts.get("batch_norm"):
        yield "Batch norm", f"evaluated with statistics: {facts['batch_norm']}"


def delay_words(kind: str, mean: float | None) -> str:
    """A distribution of delays in a few words.

    >>> delay_words("constant", 15.0), delay_words("histogram", 3.0017)
    ('delay 15', 'measured delays, 3.002 on average')
    """
    if kind == "constant":
        return f"delay {_rounded(mean)}"
    return f"{'measured' if kind == 'histogram' else kind} delays, {_rounded(mean)} on average"


def measuring_line(num_workers: int) -> str:
    """What is said before the workers of a run are watched."""
    return f"measuring the delay of {count(num_workers, 'worker')} …"


def _rounded(value: object) -> str:
    found = number(value)
    return "?" if found is None else f"{found:.4g}"


def _delays(counts: dict[str, Any]) -> dict[int, float]:
    return {
        int(delay): found
        for delay, value in counts.items()
        if delay.isdecimal() and (found := positive(value)) is not None
    }

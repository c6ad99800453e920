"""The metric against the learning rate, drawn as inline SVG."""

from dataclasses import dataclass
from typing import Any

from tunecli.report.axes import Scale, extent
from tunecli.report.plain import mapping, mean, number, numbers, positive, rows
from tunecli.report.svg import (
    Entry,
    Frame,
    drawing,
    frame,
    label,
    legend,
    legend_height,
    marker,
    polyline,
    put,
    source,
)

_LEFT, _RIGHT, _BOTTOM = 50.0, 16.0, 44.0
_STRIP = 22.0
_PHASES = {
    "walk": ("circle", "walk"),
    "narrow": ("diamond", "narrowed"),
    "verify": ("square", "verified"),
}


@dataclass(frozen=True)
class RatePoint:
    """What a search knows about one rate.

    Args:
        learning_rate: The rate, > 0.
        value: The metric's mean, None where it diverged or is not known.
        values: One per seed.
        diverged: Whether training diverged.
        aborted: Whether it was given up early.
        phase: walk, narrow or verify.
        order: Place in the order of settling, from 1; None for what came after the stop.
    """

    learning_rate: float
    value: float | None
    values: tuple[float, ...]
    diverged: bool
    aborted: bool
    phase: str
    order: int | None


def best_rate(result: dict[str, Any]) -> float | None:
    """The rate found, or the best of a search that found none worth training with."""
    best = mapping(mapping(result.get("certificate")).get("best"))
    return positive(result.get("learning_rate")) or positive(best.get("learning_rate"))


def rate_points(result: dict[str, Any]) -> list[RatePoint]:
    """The rates of a search in the order they were settled, then those that verified the stop."""
    entries = [
        (entry, str(entry.get("phase") or "walk"), order)
        for order, entry in enumerate(rows(mapping(result.get("stop")).get("points")), 1)
    ]
    settled = {positive(entry.get("learning_rate")) for entry, _, _ in entries}
    verify = mapping(mapping(result.get("certificate")).get("verify"))
    entries += [
        (entry, "verify", None)  # type: ignore[misc]
        for entry in rows(verify.get("points"))
        if positive(entry.get("learning_rate")) not in settled
    ]
    found = []
    for entry, phase, order in entries:
        rate, diverged = positive(entry.get("learning_rate")), bool(entry.get("diverged"))
        if rate is None:
            continue
        values = [] if diverged else numbers(entry.get("values"))
        value = number(entry.get("value"))
        found.append(
            RatePoint(
                learning_rate=rate,
                value=None if diverged else mean(values) if value is None else value,
                values=tuple(values),
                diverged=diverged,
                aborted=bool(entry.get("aborted")),
                phase=phase if phase in _PHASES else "walk",
                order=order,
            )
        )
    return found


def rate_chart(result: dict[str, Any], width: float, *, close_up: bool = False) -> str:
    """The metric against the learning rate.

    Dots are seeds, larger markers their means, numbered in the order of the search; what diverged
    is a cross in the strip below.

    Args:
        result: Content of result.json.
        width: In pixels.
        close_up: Whether only the values near the best are shown; nothing comes back where that
            would not show more than the whole does.
    """
    points = rate_points(result)
    values = [
        value for point in points for value in (*point.values, point.value) if value is not None
    ]
    if not points or (close_up and not values):
        return ""
    metric = str(result.get("metric") or "value")
    best = best_rate(result)
    low, high = extent(values)
    if close_up:
        near = _near_the_best(result, points, best)
        if near is None or near[1] - near[0] > 0.4 * (high - low):
            return ""
        low, high = near
    entries = _rate_entries(points, best, close_up=close_up)
    # the close-up stands beside the whole and takes the same room
    top = 22 + legend_height(_rate_entries(points, best, close_up=False), width)
    strip = _STRIP if any(point.diverged for point in points) else 0.0
    tall = 230 if values else 8
    height = top + tall + strip + _BOTTOM
    bottom, strip = (top + tall + strip, 0.0) if close_up else (top + tall, strip)
    shown = [p for p in points if not close_up or _within(p, low, high)]
    rates = extent([point.learning_rate for point in shown], log=True)
    root = drawing(
        width,
        height,
        name=f"rates-{'close' if close_up else 'all'}-{width:.0f}",
        title=f"Validation {metric} against the learning rate"
        + (", near the best" if close_up else ""),
        description=_rate_description(points, best),
    )
    legend(root, entries, x=0, y=0, width=width)
    area = frame(
        root,
        x=Scale(*rates, _LEFT, width - _RIGHT, log=True),
        y=Scale(low, high, bottom, top),
        x_title="initial learning rate α₁ (log)",
        y_title=f"validation {metric}" + (", near the best" if close_up else ""),
        strip=strip,
        y_ticks=6 if values else 0,
    )
    _draw_rates(area, points, best, noise=_noise(result) if close_up else None)
    if strip:
        _draw_strip(area, points, strip)
    return source(root)


def _draw_rates(
    area: Frame, points: list[RatePoint], best: float | None, *, noise: float | None
) -> None:
    known = sorted((p for p in points if p.value is not None), key=lambda p: p.learning_rate)
    winner = next((p for p in known if p.learning_rate == best), None)
    if winner is not None and winner.value is not None:
        x, _ = area.at(winner.learning_rate, winner.value)
        put(area.body, "line", x1=x, x2=x, y1=area.y.start, y2=area.y.end, class_="guide s0")
        if noise:
            upper, lower = area.y(winner.value + noise), area.y(winner.value - noise)
            put(
                area.body,
                "rect",
                x=area.x.start,
                y=upper,
                width=area.x.end - area.x.start,
                height=max(lower - upper, 1.0),
                class_="band s0",
            )
    line = [(p.learning_rate, p.value) for p in known if p.value is not None and not p.aborted]
    polyline(area.body, area.points(line), "line thin soft")
    taken: list[tuple[float, float]] = []
    for point in known:
        for value in point.values:
            note = f"{point.learning_rate:g}: {value:.4f}"
            marker(
                area.body, "circle", area.at(point.learning_rate, value), "dot", size=2.5, note=note
            )
    for point in known:
        assert point.value is not None
        at = area.at(point.learning_rate, point.value)
        shape = "down" if point.aborted else _PHASES[point.phase][0]
        colour = "s0" if point is winner else "soft"
        kind = "hollow" if point.aborted or point.phase == "verify" else "mark"
        size = 6.0 if point is winner else 4.2
        note = f"{point.learning_rate:g}: {point.value:.4f}"
        marker(area.body, shape, at, f"{kind} {colour}", size=size, note=note)
        if point.order is not None:
            _number(area, point, at, taken)


def _number(
    area: Frame, point: RatePoint, at: tuple[float, float], taken: list[tuple[float, float]]
) -> None:
    """Write a point's place in the order above its highest dot, clear of earlier numbers."""
    top = max((*point.values, point.value or 0.0))
    x, y = at[0], area.y(top) - 9
    if not area.y.end - 6 <= at[1] <= area.y.start + 6:
        return
    if y < area.y.end + 4:  # no room above
        y = max(at[1], area.y(min(point.values, default=top))) + 17
    while any(abs(x - a) < 13 and abs(y - b) < 11 for a, b in taken):
        y += 11
    taken.append((x, y))
    label(area.body, x, y, str(point.order), "order", anchor="middle")


def _draw_strip(area: Frame, points: list[RatePoint], strip: float) -> None:
    middle = area.y.start + strip / 2 + 2
    put(
        area.root,
        "line",
        x1=area.x.start,
        x2=area.x.end,
        y1=area.y.start + 5,
        y2=area.y.start + 5,
        class_="grid",
    )
    for point in points:
        if point.diverged:
            x = area.x(point.learning_rate)
            note = f"{point.learning_rate:g}: diverged"
            marker(area.root, "cross", (x, middle), "mark bad", size=6.0, note=note)
            if point.order is not None:
                label(area.root, x + 8, middle + 4, str(point.order), "order")


def _rate_entries(points: list[RatePoint], best: float | None, *, close_up: bool) -> list[Entry]:
    drawn = [point for point in points if point.value is not None]
    entries = []
    if any(point.learning_rate == best for point in drawn):
        entries.append(Entry(f"best, {best:.4g}", "s0", "circle"))
    for phase, (shape, text) in _PHASES.items():
        if any(point.phase == phase and not point.aborted for point in drawn):
            entries.append(Entry(text, "soft", shape, hollow=phase == "verify"))
    if any(point.aborted for point in drawn):
        entries.append(Entry("given up early", "soft", "down", hollow=True))
    if any(len(point.values) > 1 for point in drawn):
        entries.append(Entry("one seed", "dim", "circle"))
    if not close_up and any(point.diverged for point in points):
        entries.append(Entry("diverged", "bad", "cross"))
    return entries


def _rate_description(points: list[RatePoint], best: float | None) -> str:
    told = [
        f"{point.learning_rate:g} "
        + (
            "diverged"
            if point.diverged
            else "no value"
            if point.value is None
            else f"{point.value:.4f}"
        )
        for point in points
    ]
    found = "No rate was found" if best is None else f"The best rate is {best:g}"
    return f"{found}. Rates in the order they were settled: {', '.join(told)}."


def _noise(result: dict[str, Any]) -> float | None:
    return number(mapping(mapping(result.get("certificate")).get("noise")).get("std"))


def _within(point: RatePoint, low: float, high: float) -> bool:
    return any(low <= value <= high for value in (*point.values, point.value) if value is not None)


def _near_the_best(
    result: dict[str, Any], points: list[RatePoint], best: float | None
) -> tuple[float, float] | None:
    """A range around the best: its nearest competitors, or six times the noise."""
    winner = next((p for p in points if p.learning_rate == best and p.value is not None), None)
    if winner is None or winner.value is None:
        return None
    top = winner.value
    gaps = sorted(abs(p.value - top) for p in points if p.value is not None and not p.aborted)
    reach = max(gaps[min(3, len(gaps) // 2)] if gaps else 0.0, 6 * (_noise(result) or 0.0), 1e-9)
    near = [
        v for p in points for v in (*p.values, p.value) if v is not None and abs(v - top) <= reach
    ]
    return extent(near, margin=0.12)

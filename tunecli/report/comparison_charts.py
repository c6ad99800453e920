"""A comparison drawn as SVG: quality against budget, and where every study ended."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tunecli.report.axes import Scale, extent
from tunecli.report.plain import mapping, mean, number, numbers, positive, printable, rows
from tunecli.report.svg import (
    SHAPES,
    Element,
    Entry,
    Frame,
    Point,
    band,
    drawing,
    frame,
    label,
    legend,
    legend_height,
    marker,
    polyline,
    put,
    shorten,
    source,
    stairs,
)

GROUPS = {
    "tunecli": "tunecli",
    "learning_rate": "Searching the learning rate alone",
    "joint": "Searching several hyperparameters together",
    "alternative": "What a person would pick instead",
}
OURS = "tunecli"
_MOST = 4  # other methods in one panel; more bands cannot be told apart
_LEFT, _RIGHT, _BOTTOM = 50.0, 14.0, 44.0


@dataclass(frozen=True)
class Series:
    """A method's mean quality by budget.

    Args:
        name: As people read it.
        mean: Samples and mean test value, ascending samples.
        low: Lower end of the interval, likewise.
        high: Upper end.
        stop: Samples at which its median study ended, None where that is not known.
        settled: Samples at which its last study ended, so that nothing changes afterwards.
    """

    name: str
    mean: tuple[Point, ...]
    low: tuple[Point, ...]
    high: tuple[Point, ...]
    stop: float | None
    settled: float | None


def method_label(method: dict[str, Any]) -> str:
    """A method's name for people."""
    return printable(method.get("label") or method.get("name") or "unnamed")


def method_groups(result: dict[str, Any]) -> list[tuple[str, str, list[dict[str, Any]]]]:
    """Methods by group in reading order: the group, its title, and its methods."""
    found: dict[str, list[dict[str, Any]]] = {key: [] for key in GROUPS}
    for method in rows(result.get("methods")):
        key = OURS if method.get("name") == OURS else printable(method.get("group") or "other")
        found.setdefault(key, []).append(method)
    return [(key, GROUPS.get(key, key), methods) for key, methods in found.items() if methods]


def finals(method: dict[str, Any]) -> list[float]:
    """Where every study of a method ended: the test value at its best validation."""
    return numbers([study.get("test") for study in rows(method.get("studies"))])


def anytime_charts(result: dict[str, Any], width: float) -> list[str]:
    """Best test value against samples spent, in panels: a few methods each beside our search."""
    return [source(panel) for panel in _anytime_panels(result, width, name="anytime")]


def _anytime_panels(result: dict[str, Any], width: float, *, name: str) -> list[Element]:
    panels = _panels(result)
    head = max((legend_height(_entries(result, panel), width) for _, panel in panels), default=0)
    return [
        _anytime_panel(result, panel, width, name=f"{name}-{index}", head=head)
        for index, panel in enumerate(panels)
    ]


def _panels(result: dict[str, Any]) -> list[tuple[str, list[dict[str, Any]]]]:
    """At most `_MOST` other methods each, evenly many; ours stands in every one."""
    found = []
    groups = [group for group in method_groups(result) if group[0] != OURS]
    for _, title, methods in groups:
        drawable = [method for method in methods if _series(method) is not None]
        pieces = -(-len(drawable) // _MOST)
        for piece in range(pieces):
            part = drawable[piece * len(drawable) // pieces : (piece + 1) * len(drawable) // pieces]
            found.append((title if pieces == 1 else f"{title} ({piece + 1} of {pieces})", part))
    if not found and _series(_ours(result)) is not None:
        found.append(("tunecli", []))
    return found


def _ours(result: dict[str, Any]) -> dict[str, Any]:
    return next((m for m in rows(result.get("methods")) if m.get("name") == OURS), {})


def _series(method: dict[str, Any]) -> Series | None:
    anytime = mapping(method.get("anytime"))
    columns = [_column(anytime.get(key)) for key in ("samples", "mean", "low", "high")]
    size = len(columns[0])
    full = [column or [None] * size for column in columns]
    points = []
    for raw in zip(*full, strict=False):
        x, middle = positive(raw[0]), number(raw[1])
        if x is None or middle is None:
            continue
        low, high = number(raw[2]), number(raw[3])
        points.append((x, middle, middle if low is None else low, middle if high is None else high))
    if not points:
        return None
    return Series(
        method_label(method),
        tuple((x, middle) for x, middle, _, _ in points),
        tuple((x, low) for x, _, low, _ in points),
        tuple((x, high) for x, _, _, high in points),
        stop=positive(mapping(method.get("spent")).get("samples")),
        settled=_settled(method, points[0][0]),
    )


def _settled(method: dict[str, Any], first: float) -> float | None:
    ends = numbers([study.get("samples") for study in rows(method.get("studies"))])
    return max(*ends, first) if ends else None


def _column(value: object) -> list[object]:
    return list(value) if isinstance(value, list | tuple) else []


def _budget(result: dict[str, Any]) -> tuple[float, float]:
    """Samples from the first result of any method to the end of the budget."""
    every = [series for m in rows(result.get("methods")) if (series := _series(m)) is not None]
    budget = positive(mapping(result.get("budget")).get("samples"))
    last = max([*(series.mean[-1][0] for series in every), *([budget] if budget else [])])
    first = min(series.mean[0][0] for series in every)
    return (first, last) if first < last else extent([last], log=True)


def _values(every: Sequence[Series], *, maximize: bool) -> tuple[float, float]:
    """The range where methods differ: from the best to a few times the distance of their ends.

    Early values are far from the end; shown whole they would press everything else together.
    """
    sign = 1.0 if maximize else -1.0
    bands = [sign * y for series in every for _, y in (*series.low, *series.high)]
    ends = [sign * y for series in every for _, y in (series.low[-1], series.high[-1])]
    spread = max(max(ends) - min(ends), 0.005 * abs(max(ends)))
    low = max(min(bands), min(ends) - 1.5 * spread)
    return extent([sign * low, sign * max(bands)], margin=0.05)


def _entries(result: dict[str, Any], methods: Sequence[dict[str, Any]]) -> list[Entry]:
    ours = [] if _series(_ours(result)) is None else [method_label(_ours(result))]
    return [Entry(name, "strong s0", line=True) for name in ours] + [
        Entry(method_label(method), f"s{index}", SHAPES[index], line=True)
        for index, method in enumerate(methods, 1)
    ]


def _anytime_panel(
    result: dict[str, Any],
    panel: tuple[str, list[dict[str, Any]]],
    width: float,
    *,
    name: str,
    head: float,
) -> Element:
    title, methods = panel
    metric = printable(result.get("metric") or "value")
    ours = _series(_ours(result))
    others = [series for method in methods if (series := _series(method)) is not None]
    shown = [*([ours] if ours else []), *others]
    top = head + 44
    root = drawing(
        width,
        top + 220 + _BOTTOM,
        name=f"{name}-{width:.0f}",
        title=f"{title}: best test {metric} against samples spent",
        description="; ".join(
            f"{s.name} ends at {s.mean[-1][1]:.4f} after {s.mean[-1][0]:,.0f} samples"
            for s in shown
        ),
    )
    label(root, 0, 14, title, "heading")
    legend(root, _entries(result, methods), x=0, y=24, width=width)
    area = frame(
        root,
        x=Scale(*_budget(result), _LEFT, width - _RIGHT, log=True),
        y=Scale(*_values(shown, maximize=result.get("maximize") is not False), top + 220, top),
        x_title="training samples spent (log)",
        y_title=f"test {metric}",
    )
    for index, series in enumerate(others, 1):
        _draw_series(area, series, index)
    if ours:
        _draw_series(area, ours, 0)
    return root


def _draw_series(area: Frame, series: Series, index: int) -> None:
    settled = area.x.high if series.settled is None else series.settled
    middle = stairs(area.points([point for point in series.mean if point[0] <= settled]))
    colour = f"s{index}"
    band(
        area.body,
        stairs(area.points(series.low)),
        stairs(area.points(series.high)),
        f"band {colour}",
    )
    note = f"{series.name}: {series.mean[-1][1]:.4f} after {series.mean[-1][0]:,.0f} samples"
    polyline(area.body, middle, f"line {'strong ' if index == 0 else ''}{colour}", note)
    if index == 0:
        polyline(area.body, [middle[-1], (area.x.end, middle[-1][1])], "guide s0")
        stop = series.stop if series.stop is not None else series.mean[-1][0]
        before = [y for x, y in series.mean if x <= stop] or [series.mean[0][1]]
        marker(area.body, "circle", area.at(stop, before[-1]), "mark s0", size=5, note=note)
        return
    first, last = middle[0][0], middle[-1][0]
    for share in (0.4, 0.6, 0.8, 1.0):  # shifted, so that methods' markers do not coincide
        x = area.x.start + (share - 0.03 * index) * (area.x.end - area.x.start)
        if first <= x <= last:
            y = [y for place, y in middle if place <= x][-1]
            marker(area.body, SHAPES[index], (x, y), f"mark {colour}", size=3.6, note=note)


def final_chart(result: dict[str, Any], width: float) -> str:
    """Where every study ended, one row a method: a dot a study, the mean with its interval."""
    groups = method_groups(result)
    drawn = [
        (title, [m for m in methods if finals(m) or number(mapping(m.get("final")).get("mean"))])
        for _, title, methods in groups
    ]
    drawn = [(title, methods) for title, methods in drawn if methods]
    if not drawn:
        return ""
    metric = printable(result.get("metric") or "value")
    narrow = width < 480
    left, row, head = (8.0, 40.0, 26.0) if narrow else (232.0, 25.0, 30.0)
    tall = sum(head * (title != GROUPS[OURS]) + row * len(methods) for title, methods in drawn)
    top, low, high = 6.0, *_final_range(result)
    root = drawing(
        width,
        top + tall + _BOTTOM + 4,
        name=f"finals-{width:.0f}",
        title=f"Test {metric} at the end of the budget, by method",
        description="; ".join(
            f"{method_label(m)}: mean {middle:.4f} of {len(finals(m))} studies"
            for _, methods in drawn
            for m in methods
            if (middle := _interval(m)[0]) is not None
        ),
    )
    x = Scale(low, high, left + 6, width - _RIGHT)
    bottom = top + tall
    _ruled(
        root, x, top, bottom, f"test {metric}: dots are studies, bars the 95 % interval of the mean"
    )
    ours = _interval(_ours(result))
    if ours[1] is not None and ours[2] is not None:
        start, end = sorted((x(max(min(ours[1], high), low)), x(max(min(ours[2], high), low))))
        put(root, "rect", x=start, y=top, width=end - start, height=bottom - top, class_="band s0")
    y = top
    for title, methods in drawn:
        if title != GROUPS[OURS]:
            label(root, 0, y + 19, title, "heading")
            y += head
        for method in methods:
            centre = y + (27 if narrow else row / 2)
            name = method_label(method)
            at, room = ((0.0, y + 13), width) if narrow else ((0.0, centre + 4), left - 8)
            label(root, *at, shorten(name, room), "key")
            _final_row(root, method, x, centre, ours=method.get("name") == OURS)
            y += row
    return source(root)


def _ruled(root: Element, x: Scale, top: float, bottom: float, text: str) -> None:
    axes = put(root, "g", class_="axes", aria_hidden="true")
    for tick in x.ticks(max(3, int((x.end - x.start) / 62))):
        put(axes, "line", x1=x(tick), x2=x(tick), y1=top, y2=bottom, class_="grid")
        label(axes, x(tick), bottom + 17, f"{tick:.6g}", anchor="middle")
    put(axes, "line", x1=x.start, x2=x.end, y1=bottom, y2=bottom, class_="axis")
    short = text if len(text) * 6.2 < x.end - x.start + 20 else text.split(":", maxsplit=1)[0]
    label(axes, (x.start + x.end) / 2, bottom + 36, short, "name", anchor="middle")


def _final_row(root: Element, method: dict[str, Any], x: Scale, y: float, *, ours: bool) -> None:
    values = finals(method)
    for index, value in enumerate(values):
        inside = x.low <= value <= x.high
        place = (x(min(max(value, x.low), x.high)), y + (index % 3 - 1) * 3.0)
        shape, kind = ("circle", "dot") if inside else ("diamond", "hollow bad")
        note = f"{method_label(method)}: {value:.4f}" + ("" if inside else ", beyond the axis")
        marker(root, shape, place, f"{kind} s0" if ours and inside else kind, size=3, note=note)
    middle, low, high = _interval(method)
    colour = "s0" if ours else "ink"
    if low is not None and high is not None and low < x.high and high > x.low:
        ends = [(x(max(min(end, x.high), x.low)), y) for end in (low, high)]
        polyline(root, ends, f"line heavy {colour}")
    if middle is not None and x.low <= middle <= x.high:
        note = f"{method_label(method)}: mean {middle:.4f}"
        marker(root, "circle", (x(middle), y), f"mark {colour}", size=5, note=note)
    elif middle is not None:
        left = middle < x.low
        text = f"◂ {middle:.4f}" if left else f"{middle:.4f} ▸"
        edge = x.start + 8 if left else x.end - 8
        label(root, edge, y + 4, text, "value bad", anchor="start" if left else "end")


def _interval(method: dict[str, Any]) -> tuple[float | None, float | None, float | None]:
    final = mapping(method.get("final"))
    middle = number(final.get("mean"))
    return (
        mean(finals(method)) if middle is None else middle,
        number(final.get("low")),
        number(final.get("high")),
    )


def _final_range(result: dict[str, Any]) -> tuple[float, float]:
    """Where nearly all studies ended; a failed one must not press the others together."""
    methods = rows(result.get("methods"))
    every = sorted(value for method in methods for value in finals(method))
    means = [m for method in methods for m in _interval(method) if m is not None]
    if not every:
        return extent(means)
    quarter, median, above = (every[int(share * (len(every) - 1))] for share in (0.25, 0.5, 0.75))
    reach = 5 * max(above - quarter, 1e-3 * abs(median), 1e-9)
    kept = [value for value in (*every, *means) if median - reach <= value <= median + reach]
    return extent(kept)

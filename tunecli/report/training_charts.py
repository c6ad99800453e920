"""Trainings drawn as inline SVG: learning curves, the schedule stage by stage, the probe's ramp.

Each function takes the content of result.json and a width in pixels, and gives the drawing's text,
or nothing where the result holds nothing to draw.
"""

from typing import Any

from tunecli.report.axes import Scale, extent, spread, tick_label
from tunecli.report.charts import best_rate
from tunecli.report.plain import curve, mapping, mean, number, positive, rows
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
    stairs,
)

_LEFT, _RIGHT, _BOTTOM = 50.0, 16.0, 44.0
_SCHEDULE = (
    ("learning_rate", "learning rate α"),
    ("momentum", "momentum β"),
    ("discount", "discount ν"),
    ("batch_size", "batch size b"),
)


def curve_chart(result: dict[str, Any], width: float) -> str:
    """Learning curves of all trials: the validation metric against the samples drawn.

    The best rate's trials stand out; those of smaller rates are solid, of larger ones dashed.
    """
    trials = [
        (rate, trial, points)
        for trial in rows(result.get("trials"))
        if (rate := positive(trial.get("learning_rate"))) is not None
        and len(points := curve(trial.get("curve"))) > 1
    ]
    if not trials:
        return ""
    metric = str(result.get("metric") or "value")
    best = best_rate(result)
    entries = _curve_entries([rate for rate, _, _ in trials], best)
    top = 22 + legend_height(entries, width)
    root = drawing(
        width,
        top + 280 + _BOTTOM,
        name=f"curves-{width:.0f}",
        title=f"Learning curves: validation {metric} against samples",
        description=f"{len(trials)} trials; the curves of the best rate are highlighted.",
    )
    legend(root, entries, x=0, y=0, width=width)
    last = max(x for _, _, points in trials for x, _ in points)
    values = [y for _, _, points in trials for _, y in points]
    area = frame(
        root,
        x=Scale(0.0, last or 1.0, _LEFT, width - 62),
        y=Scale(*extent(values), top + 280, top),
        x_title="samples",
        y_title=f"validation {metric}",
    )
    for rate, trial, points in sorted(trials, key=lambda entry: entry[0] == best):
        state = str(trial.get("state") or "")
        kind = _curve_class(rate, best)
        note = f"rate {rate:g}, seed {trial.get('seed', '?')}: {points[-1][1]:.4f}"
        polyline(area.body, area.points(points), f"line {kind}", f"{note} {state}".strip())
        if state in ("diverged", "aborted"):
            shape, colour = ("cross", "bad") if state == "diverged" else ("down", "soft")
            marker(area.body, shape, area.at(*points[-1]), f"mark {colour}", note=f"{note} {state}")
    ends: dict[float, list[float]] = {}
    for rate, trial, points in trials:
        if trial.get("state") == "complete":
            ends.setdefault(rate, []).append(points[-1][1])
    _label_ends(area, ends, best)
    return source(root)


def _curve_class(rate: float, best: float | None) -> str:
    if rate == best:
        return "strong s0"
    return "thin soft" if best is None or rate < best else "thin warm dashed"


def _curve_entries(rates: list[float], best: float | None) -> list[Entry]:
    if best is None:
        return [Entry("a trial", "thin soft", line=True)]
    texts = (
        (best, f"best, {best:.4g}"),
        (min(rates), "smaller rates"),
        (max(rates), "larger rates"),
    )
    return [
        Entry(text, _curve_class(rate, best), line=True)
        for index, (rate, text) in enumerate(texts)
        if index == 0 or rate != best
    ]


def _label_ends(area: Frame, ends: dict[float, list[float]], best: float | None) -> None:
    """Write the rates beside the ends of their curves, moved apart, at most a dozen."""
    known = {rate: found for rate, values in ends.items() if (found := mean(values)) is not None}
    chosen = sorted(known)
    if len(chosen) > 12:
        stride = -(-len(chosen) // 11)
        chosen = sorted({*chosen[::stride], *([best] if best in known else [])})
    places = spread([area.y(known[rate]) for rate in chosen], 13.5, area.y.end, area.y.start)
    edge = area.x.end
    for rate, place in zip(chosen, places, strict=True):
        start = (edge + 3, area.y(known[rate]))
        polyline(area.root, [start, (edge + 14, place)], "line leader")
        class_ = "tick chosen" if rate == best else "tick"
        label(area.root, edge + 17, place + 4, tick_label(float(f"{rate:.3g}")), class_)


def schedule_chart(result: dict[str, Any], width: float) -> str:
    """The schedule stage by stage: what α, β, ν and b are at every update, one below the other."""
    stages = [
        (steps, s) for s in rows(result.get("schedule")) if (steps := positive(s.get("steps")))
    ]
    drawn = [
        (key, text)
        for key, text in _SCHEDULE
        if any(number(stage.get(key)) is not None for _, stage in stages)
    ]
    if not drawn:
        return ""
    each, gap = 74.0, 42.0
    root = drawing(
        width,
        len(drawn) * (each + gap) + _BOTTOM - 8,
        name=f"schedule-{width:.0f}",
        title="The schedule, stage by stage",
        description=f"{len(stages)} stages over {sum(steps for steps, _ in stages):,.0f} updates: "
        + "; ".join(
            f"{text} " + ", ".join(f"{number(stage.get(key)) or 0:.4g}" for _, stage in stages)
            for key, text in drawn
        ),
    )
    total = sum(steps for steps, _ in stages)
    for index, (key, text) in enumerate(drawn):
        top, last = 26 + index * (each + gap), index == len(drawn) - 1
        known = [(steps, number(stage.get(key))) for steps, stage in stages]
        values = [value for _, value in known if value is not None]
        area = frame(
            root,
            x=Scale(0.0, total, _LEFT, width - _RIGHT),
            y=Scale(*extent(values, margin=0.25), top + each, top),
            x_title="updates" if last else "",
            y_title=text,
            x_labels=last,
            y_ticks=4 if len(set(values)) > 1 else 1,
        )
        _draw_stages(area, known)
    return source(root)


def _draw_stages(area: Frame, stages: list[tuple[float, float | None]]) -> None:
    start, corners = 0.0, []
    written, told = -1e9, ""
    for steps, value in stages:
        x = area.x(start)
        if start:
            put(area.body, "line", x1=x, x2=x, y1=area.y.start, y2=area.y.end, class_="grid")
        if value is not None:
            corners.append(area.at(start, value))
            text = f"{value:.4g}"
            x, y = (corners[-1][0] + area.x(start + steps)) / 2, corners[-1][1]
            if text != told and x - written > 7 * len(text) + 10:
                above = y - 7 if y - 7 > area.y.end + 4 else y + 15
                label(area.root, x, above, text, "value", anchor="middle")
                written, told = x, text
        start += steps
    polyline(area.body, stairs(corners, end=area.x(start)), "line strong s0")


def probe_chart(result: dict[str, Any], width: float) -> str:
    """The probe's ramp: the training loss while the rate rises, and where learning begins."""
    probe = mapping(result.get("probe"))
    rates, losses = probe.get("learning_rates"), probe.get("losses")
    if not isinstance(rates, list | tuple) or not isinstance(losses, list | tuple):
        return ""
    pairs = [
        (rate, loss)
        for raw_rate, raw_loss in zip(rates, losses, strict=False)
        if (rate := positive(raw_rate)) is not None and (loss := number(raw_loss)) is not None
    ]
    if len(pairs) < 2:
        return ""
    marks = [
        (at, text, class_)
        for key, text, class_ in (
            ("learning_starts", "starts", "s0"),
            ("diverges", "diverges", "bad"),
        )
        if (at := positive(probe.get(key))) is not None
    ]
    top = 40.0
    root = drawing(
        width,
        top + 200 + _BOTTOM,
        name=f"probe-{width:.0f}",
        title="The probe: loss while the learning rate rises",
        description="; ".join(f"{text} at {at:g}" for at, text, _ in marks) or "nothing marked",
    )
    shown = sorted(loss for _, loss in pairs)
    ceiling = min(shown[-1], 1.4 * max(pairs[0][1], shown[len(shown) // 2]))  # not the explosion
    area = frame(
        root,
        x=Scale(
            *extent([*(r for r, _ in pairs), *(at for at, _, _ in marks)], log=True),
            _LEFT,
            width - _RIGHT,
            log=True,
        ),
        y=Scale(*extent([shown[0], ceiling]), top + 200, top),
        x_title="learning rate (log)",
        y_title="training loss",
    )
    polyline(area.body, area.points(pairs), "line soft")
    for index, (at, text, class_) in enumerate(marks):
        _mark_rate(area, at, f"{text} at {at:.3g}", class_, row=index)
    return source(root)


def _mark_rate(area: Frame, rate: float, text: str, class_: str, *, row: int) -> None:
    """A vertical line with its text beside it, the first to the left where there is room."""
    x = area.x(rate)
    put(area.body, "line", x1=x, x2=x, y1=area.y.start, y2=area.y.end, class_=f"guide {class_}")
    room = x - area.x.start if row == 0 else area.x.end - x
    left = (row == 0) == (room > 7 * len(text))
    y, inside = area.y.end + 12 + 16 * row, x - 5 if left else x + 5
    label(area.body, inside, y, text, f"value {class_}", anchor="end" if left else "start")

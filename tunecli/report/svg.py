"""Drawing as SVG text: elements, markers, a frame with axes, a legend.

Colours, dashes and fonts are classes of `templates/chart.css`, so a drawing follows light and
dark. Everything goes through `xml.etree`, which escapes all text.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.resources import files
from xml.etree import ElementTree

from tunecli.report.axes import Scale, tick_label
from tunecli.report.plain import printable

Element = ElementTree.Element
Point = tuple[float, float]

SHAPES = ("circle", "square", "triangle", "diamond", "down", "plus", "cross")
_CHARACTER = 6.4  # width of an average character at the charts' font size, on the wide side
_ROW = 19.0  # height of a legend's row


def chart_style() -> str:
    """The style sheet that drawings need, with both colour schemes."""
    return (files("tunecli.report") / "templates" / "chart.css").read_text(encoding="utf-8")


def drawing(width: float, height: float, *, name: str, title: str, description: str) -> Element:
    """An empty drawing with its title and description for those who cannot see it.

    Args:
        width: In pixels at natural size; the page may scale it.
        height: Likewise.
        name: Of the drawing, unique within the page; prefix of its ids.
        title: What it shows.
        description: What there is to see.
    """
    ids = f"{name}-title {name}-description"
    root = Element(
        "svg",
        {
            "xmlns": "http://www.w3.org/2000/svg",
            "id": name,
            "class": "drawing",
            "viewBox": f"0 0 {width:g} {height:g}",
            "width": f"{width:g}",
            "height": f"{height:g}",
            "role": "img",
            "aria-labelledby": ids,
        },
    )
    put(root, "title", printable(title), id=f"{name}-title")
    put(root, "desc", printable(description), id=f"{name}-description")
    return root


def source(root: Element) -> str:
    """A drawing's text."""
    return ElementTree.tostring(root, encoding="unicode")


def put(
    parent: Element, tag: str, text: str | None = None, **attributes: str | float | None
) -> Element:
    """Add an element; numbers are rounded to a tenth of a pixel, `class_` stands for class."""
    found = {
        key.rstrip("_").replace("_", "-"): f"{value:.1f}" if isinstance(value, float) else value
        for key, value in attributes.items()
        if value is not None
    }
    child = ElementTree.SubElement(
        parent, tag, {key: f"{value}" for key, value in found.items() if value is not None}
    )
    if text is not None:
        child.text = printable(text)
    return child


def label(
    parent: Element, x: float, y: float, text: str, class_: str = "tick", *, anchor: str = "start"
) -> Element:
    """Add text; `anchor` is start, middle or end."""
    return put(
        parent, "text", text, x=float(x), y=float(y), class_=class_, text_anchor=anchor, dir="auto"
    )


def polyline(parent: Element, points: Sequence[Point], class_: str, note: str = "") -> None:
    """Add a line through the points, with a note that shows when pointed at."""
    if len(points) < 2:
        return
    steps = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    element = put(parent, "path", d=f"M{steps}", class_=class_)
    if note:
        put(element, "title", note)


def band(parent: Element, lower: Sequence[Point], upper: Sequence[Point], class_: str) -> None:
    """Add the area between two lines."""
    if len(lower) < 2:
        return
    around = " ".join(f"{x:.1f},{y:.1f}" for x, y in [*upper, *reversed(lower)])
    put(parent, "path", d=f"M{around}Z", class_=class_)


def stairs(points: Sequence[Point], end: float | None = None) -> list[Point]:
    """Points of a line that keeps each value until the next one, in pixels.

    Steps too small to be seen are left out, which keeps long curves short.

    >>> stairs([(0, 5), (10, 3), (15, 3.01)], end=20)
    [(0, 5), (10, 5), (10, 3), (20, 3)]
    """
    found: list[Point] = []
    for x, y in points:
        if not found:
            found.append((x, y))
        elif abs(y - found[-1][1]) >= 0.05:
            found += [(x, found[-1][1]), (x, y)]
    last = max([x for x, _ in points[-1:]] + ([] if end is None else [end]), default=0.0)
    if found and last > found[-1][0]:
        found.append((last, found[-1][1]))
    return found


def marker(
    parent: Element,
    shape: str,
    at: Point,
    class_: str = "mark",
    *,
    size: float = 4.0,
    note: str = "",
) -> None:
    """Add a marker, one of `SHAPES`, with a note that shows when pointed at."""
    (x, y), r = at, size
    if shape == "circle":
        element = put(parent, "circle", cx=float(x), cy=float(y), r=float(r), class_=class_)
    else:
        element = put(parent, "path", d=_outline(shape, x, y, r), class_=class_)
    if shape in ("plus", "cross"):
        element.set("class", f"{class_} stroked")
    if note:
        put(element, "title", note)


def _outline(shape: str, x: float, y: float, r: float) -> str:
    if shape in ("plus", "cross"):
        a = r if shape == "plus" else r * math.sqrt(0.5)
        arms = (
            [(-a, 0, a, 0), (0, -a, 0, a)] if shape == "plus" else [(-a, -a, a, a), (-a, a, a, -a)]
        )
        return "".join(f"M{x + p:.1f},{y + q:.1f}L{x + s:.1f},{y + t:.1f}" for p, q, s, t in arms)
    corners = {
        "square": [(-0.9, -0.9), (0.9, -0.9), (0.9, 0.9), (-0.9, 0.9)],
        "diamond": [(0, -1.3), (1.3, 0), (0, 1.3), (-1.3, 0)],
        "triangle": [(0, -1.2), (1.15, 0.85), (-1.15, 0.85)],
        "down": [(0, 1.2), (1.15, -0.85), (-1.15, -0.85)],
    }[shape]
    return "M" + " ".join(f"{x + p * r:.1f},{y + q * r:.1f}" for p, q in corners) + "Z"


@dataclass(frozen=True)
class Frame:
    """The plotted area of a drawing: two scales, and a body that is cut off at the edges.

    Args:
        root: The drawing.
        body: Where to draw; what lies outside the area is not shown.
        x: Scale from left to right.
        y: Scale from bottom (start) to top (end).
    """

    root: Element
    body: Element
    x: Scale
    y: Scale

    def at(self, x: float, y: float) -> Point:
        """Position of a pair of values."""
        return self.x(x), self.y(y)

    def points(self, pairs: Iterable[Point]) -> list[Point]:
        """Positions of pairs of values."""
        return [self.at(x, y) for x, y in pairs]


def frame(
    root: Element,
    *,
    x: Scale,
    y: Scale,
    x_title: str = "",
    y_title: str = "",
    strip: float = 0.0,
    x_labels: bool = True,
    y_ticks: int = 6,
) -> Frame:
    """Draw the axes and give the area between them.

    Args:
        root: The drawing.
        x: Horizontal scale.
        y: Vertical scale, its start at the bottom.
        x_title: What the horizontal axis shows.
        y_title: What the vertical axis shows, written above it.
        strip: Height of an empty strip between the area and the horizontal axis.
        x_labels: Whether the horizontal axis has tick labels.
        y_ticks: How many ticks fit the vertical axis; 0 for an area without values.
    """
    axes = put(root, "g", class_="axes", aria_hidden="true")
    bottom, left, right = y.start + strip, x.start, x.end
    for tick in y.ticks(y_ticks) if y_ticks else ():
        put(axes, "line", x1=left, x2=right, y1=y(tick), y2=y(tick), class_="grid")
        label(axes, left - 7, y(tick) + 4, tick_label(tick), anchor="end")
    widest = max((len(tick_label(tick)) for tick in x.ticks(20)), default=1)
    free = -math.inf  # where the last label ends
    for tick in x.ticks(min(max(2, int((right - left) / (widest * _CHARACTER + 16))), 10)):
        put(axes, "line", x1=x(tick), x2=x(tick), y1=bottom, y2=bottom + 4, class_="axis")
        half = len(tick_label(tick)) * _CHARACTER / 2
        if x_labels and x(tick) - half > free:
            label(axes, x(tick), bottom + 17, tick_label(tick), anchor="middle")
            free = x(tick) + half + 3
    put(axes, "line", x1=left, x2=right, y1=float(bottom), y2=float(bottom), class_="axis")
    if x_title:
        label(axes, (left + right) / 2, bottom + 35, x_title, "name", anchor="middle")
    if y_title:
        label(axes, 0.0, y.end - 10, y_title, "name")
    count = sum(1 for _ in root.iter("clipPath"))
    clip = f"{root.get('id', 'drawing')}-area-{count}"
    area = put(put(root, "clipPath", id=clip), "rect")
    area.attrib.update(
        {
            "x": f"{left - 6:.1f}",
            "y": f"{y.end - 6:.1f}",
            "width": f"{right - left + 12:.1f}",
            "height": f"{y.start - y.end + 12:.1f}",
        }
    )
    return Frame(root, put(root, "g", clip_path=f"url(#{clip})"), x, y)


@dataclass(frozen=True, slots=True)
class Entry:
    """A line of a legend.

    Args:
        text: What the sign means.
        class_: Of the colour and dash.
        shape: The marker, or empty.
        line: Whether a piece of line is shown.
        hollow: Whether the marker is empty inside.
    """

    text: str
    class_: str
    shape: str = ""
    line: bool = False
    hollow: bool = False


def shorten(text: str, width: float) -> str:
    """As much of a text as fits a width in pixels, with an ellipsis where it was cut.

    >>> shorten("a very long label", 60), shorten("short", 60)
    ('a very l…', 'short')
    """
    most = max(2, int(width / _CHARACTER))
    return text if len(text) <= most else text[: most - 1] + "…"


def legend_rows(entries: Sequence[Entry], width: float) -> list[list[Entry]]:
    """Entries broken into rows that fit a width in pixels."""
    found: list[list[Entry]] = []
    used = math.inf
    for entry in entries:
        length = _entry_width(entry, width)
        if used + length > width:
            found.append([])
            used = 0.0
        found[-1].append(entry)
        used += length
    return found


def legend_height(entries: Sequence[Entry], width: float) -> float:
    """How much room a legend takes."""
    return _ROW * len(legend_rows(entries, width)) + (6 if entries else 0)


def legend(root: Element, entries: Sequence[Entry], *, x: float, y: float, width: float) -> None:
    """Draw a legend with its upper left corner at x, y."""
    for number, row in enumerate(legend_rows(entries, width)):
        left, middle = x, y + _ROW * (number + 0.5)
        for entry in row:
            sign = put(root, "g", class_="sign")
            if entry.line:
                polyline(sign, [(left, middle), (left + 24, middle)], f"line {entry.class_}")
            if entry.shape:
                kind = "hollow" if entry.hollow else "mark"
                centre = left + 12 if entry.line else left + 5
                marker(sign, entry.shape, (centre, middle), f"{kind} {entry.class_}")
            start = left + (30 if entry.line else 15)
            label(root, start, middle + 4, shorten(printable(entry.text), width - 36), "key")
            left += _entry_width(entry, width)


def _entry_width(entry: Entry, width: float) -> float:
    text = shorten(printable(entry.text), width - 36)
    return (30 if entry.line else 15) + len(text) * _CHARACTER + 16

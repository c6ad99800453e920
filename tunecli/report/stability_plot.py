"""Pictures of stability under delay: 1/(aη) and 1/η over τ, which are nearly straight lines."""

from collections.abc import Sequence
from io import BytesIO
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PictureFormat = Literal["png", "svg"]
_COLORS = ("#1f5fa8", "#d97706", "#0f766e", "#be185d", "#7c3aed", "#4d7c0f", "#6b7280")
_TITLES = {"none": "no momentum", "standard": "standard momentum", "shifted": "shifted momentum"}


def threshold_plot(rows: Sequence[dict[str, Any]], picture: PictureFormat = "png") -> bytes:
    """1/(aη) at the threshold over the delay, a line per momentum (STAB Figs. 4, 6, 10).

    Args:
        rows: Those of `tunecli stability --json`, of whole delays.
        picture: `png` or `svg`.
    """
    figure = _figure()
    axes = figure.add_subplot()
    for color, (momentum, own) in zip(_cycle(), _by_momentum(rows).items(), strict=False):
        delays = [row["delay"] for row in own]
        inverse = [1 / row["threshold"] for row in own]
        marker = "o" if len(own) <= 40 else ""
        axes.plot(
            delays, inverse, "-", marker=marker, markersize=3.5, color=color, label=_label(momentum)
        )
    kind = rows[0]["momentum_kind"]
    axes.set_ylabel("1/(aη) at the threshold")
    axes.set_title(f"Stability under delay: {_TITLES[kind]}")
    axes.set_ylim(bottom=0)
    _finish_delays(axes)
    if kind != "none":
        axes.legend(fontsize=9)
    return _bytes(figure, picture)


def measured_plot(result: dict[str, Any], picture: PictureFormat = "png") -> bytes:
    """1/η over the delay: the theory's as lines, measured as markers, and their straight-line fits.

    (STAB Figs. 2, 4.) Below it the measured rate over the theory's; a bar reaches from the largest
    rate that stayed to the smallest that left.

    Args:
        result: The content of a stability run's result.json.
        picture: `png` or `svg`.
    """
    figure = _figure(height=5.2)
    axes, ratios = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    fits = {fit["momentum"]: fit["measured"] for fit in result["fits"]}
    groups = _by_momentum(result["points"])
    for color, (momentum, own) in zip(_cycle(), groups.items(), strict=False):
        name = f", {_label(momentum)}" if result["momentum_kind"] != "none" else ""
        delays = [point["delay"] for point in own]
        axes.plot(
            delays, [1 / point["predicted"] for point in own], color=color, label=f"theory{name}"
        )
        axes.plot(
            delays,
            [1 / point["measured"] for point in own],
            "o",
            color=color,
            markerfacecolor="white",
            label=f"measured{name}",
        )
        fit = fits.get(momentum)
        if fit is not None:
            line = [fit["slope"] * delay + fit["intercept"] for delay in delays]
            axes.plot(delays, line, ":", color=color, linewidth=1, label=f"line through it{name}")
        reach = [(point["left_at"] - point["measured"]) / point["predicted"] for point in own]
        ratios.errorbar(
            delays,
            [point["ratio"] for point in own],
            yerr=[[0.0] * len(own), reach],
            fmt="o",
            color=color,
            markersize=4,
            capsize=2,
        )
    axes.set_ylim(bottom=0)
    axes.set_ylabel("1/η")
    axes.set_title(f"{result['recipe']}: largest stable rate, {_TITLES[result['momentum_kind']]}")
    axes.grid(alpha=0.25)
    axes.legend(fontsize=9)
    ratios.axhline(1, color="#6b7280", linewidth=1)
    ratios.set_ylabel("measured / theory")
    _finish_delays(ratios)
    return _bytes(figure, picture)


def _by_momentum(rows: Sequence[dict[str, Any]]) -> dict[float, list[dict[str, Any]]]:
    found: dict[float, list[dict[str, Any]]] = {}
    for row in sorted(rows, key=lambda row: (row["momentum"], row["delay"])):
        found.setdefault(row["momentum"], []).append(row)
    return found


def _cycle() -> Sequence[str]:
    return _COLORS * 20


def _label(momentum: float) -> str:
    return f"momentum {momentum:g}"


def _figure(height: float = 4.0) -> "Figure":
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, height), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _finish_delays(axes: "Axes") -> None:
    from matplotlib.ticker import MaxNLocator

    axes.set_xlabel("delay τ, in updates")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(alpha=0.25)


def _bytes(figure: "Figure", picture: PictureFormat) -> bytes:
    buffer = BytesIO()
    figure.savefig(buffer, format=picture)
    return buffer.getvalue()

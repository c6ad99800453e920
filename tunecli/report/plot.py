"""Pictures of a search."""

from io import BytesIO
from typing import Any


def learning_rate_plot(result: dict[str, Any]) -> bytes:
    """The metric against the learning rate, as a PNG; `result` is result.json's content.

    Every trial is a dot, the mean over seeds a line, trials that were given up early are hollow,
    diverged rates are crosses at the bottom, and the rate found is marked.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter, NullLocator

    figure = Figure(figsize=(6.4, 4.0), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    complete = [trial for trial in result["trials"] if trial["state"] == "complete"]
    axes.plot(
        [trial["learning_rate"] for trial in complete],
        [trial["value"] for trial in complete],
        "o",
        color="#8fb3d9",
        markersize=4,
        label="one seed",
    )
    given_up = [trial for trial in result["trials"] if trial["state"] == "aborted"]
    if given_up:
        axes.plot(
            [trial["learning_rate"] for trial in given_up],
            [trial["value"] for trial in given_up],
            "o",
            color="#8fb3d9",
            markerfacecolor="none",
            markersize=4,
            label="given up early",
        )
    points = sorted(
        (p for p in result["stop"]["points"] if p["value"] is not None and not p["aborted"]),
        key=lambda point: point["learning_rate"],
    )
    axes.plot(
        [point["learning_rate"] for point in points],
        [point["value"] for point in points],
        "-o",
        color="#1f5fa8",
        label="mean",
    )
    diverged = sorted(
        {trial["learning_rate"] for trial in result["trials"] if trial["state"] == "diverged"}
    )
    if diverged:
        axes.plot(
            diverged,
            [0.03] * len(diverged),
            "x",
            color="#b3261e",
            markersize=8,
            transform=axes.get_xaxis_transform(),
            label="diverged",
        )
    if result["learning_rate"] is not None:
        axes.axvline(result["learning_rate"], color="#2e7d32", linestyle="--", linewidth=1)
    rates = sorted({trial["learning_rate"] for trial in result["trials"]})
    axes.set_xscale("log")
    axes.set_xticks(rates[:: max(1, len(rates) // 10)])
    axes.xaxis.set_major_formatter(FuncFormatter(lambda rate, _: f"{rate:g}"))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlabel("initial learning rate α₁")
    axes.set_ylabel(f"validation {result['metric']}")
    found = result["learning_rate"]
    axes.set_title(
        f"{result['recipe']}: " + ("no rate found" if found is None else f"α₁ = {found:g}")
    )
    axes.grid(alpha=0.25)
    if rates:
        axes.legend()
    buffer = BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()

"""The anytime curves of a comparison, as a PNG."""

from io import BytesIO
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_PANELS = {
    "learning_rate": "Optuna over the learning rate",
    "joint": "Optuna over five parameters",
    "alternative": "other optimizers, their rate searched by tunecli",
}
_COLORS = ("#d97706", "#7c3aed", "#0f766e", "#be185d", "#4d7c0f", "#0369a1", "#6b7280")
_OURS = "#111827"


def anytime_plot(result: dict[str, Any]) -> bytes:
    """Mean test value of the incumbent against samples, with bands; `result` is result.json's.

    One panel per group of methods that ran; our curve is in every one.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    methods = [method for method in result["methods"] if method["anytime"]["samples"]]
    groups = [group for group in _PANELS if any(m["group"] == group for m in methods)] or [""]
    figure = Figure(figsize=(5.2 * len(groups), 4.0), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, len(groups), sharey=True, squeeze=False)[0]
    for axes, group in zip(panels, groups, strict=True):
        ours = [method for method in methods if method["group"] == "tunecli"]
        others = [method for method in methods if method["group"] == group]
        for method, color in zip(others, _COLORS, strict=False):
            _draw(axes, method, color, 1.3)
        for method in ours:
            _draw(axes, method, _OURS, 2.2)
            if method["studies"]:
                axes.axvline(method["spent"]["samples"], color=_OURS, linestyle=":", linewidth=1)
        axes.set_title(_PANELS.get(group, ""), fontsize=10)
        axes.set_xlabel("training samples drawn")
        axes.set_xlim(0, result["budget"]["samples"])
        axes.ticklabel_format(axis="x", style="sci", scilimits=(0, 4))
        axes.grid(alpha=0.25)
        if ours or others:
            axes.legend(fontsize=8)
    low, high = _limits(methods)
    panels[0].set_ylim(low, high)
    panels[0].set_ylabel(f"test {result['metric']}, mean (n = {len(result['seeds'])})")
    figure.suptitle(f"{result['recipe']}: best so far by validation", fontsize=11)
    buffer = BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()


def _draw(axes: "Axes", method: dict[str, Any], color: str, width: float) -> None:
    curve = method["anytime"]
    axes.step(
        curve["samples"],
        curve["mean"],
        where="post",
        color=color,
        linewidth=width,
        label=method["label"],
    )
    axes.fill_between(
        curve["samples"],
        curve["low"],
        curve["high"],
        step="post",
        color=color,
        alpha=0.10,
        linewidth=0,
    )


def _limits(methods: list[dict[str, Any]]) -> tuple[float, float]:
    """Where the curves end up, and most of how they get there: a bad start is cut off."""
    ends = [method["anytime"]["mean"][-1] for method in methods]
    every = sorted(value for method in methods for value in method["anytime"]["mean"])
    if not every:
        return 0.0, 1.0
    low = min(*ends, every[len(every) // 20], every[-1])
    high = max(*ends, every[-1 - len(every) // 20], every[0])
    margin = 0.05 * (high - low) or 0.01
    return low - margin, high + margin

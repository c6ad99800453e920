"""Filling the templates of `report.html`, and how a page writes numbers."""

from collections.abc import Callable
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from tunecli.report.plain import mapping, number, printable
from tunecli.report.svg import chart_style

if TYPE_CHECKING:
    from jinja2 import Environment


def render(template: str, result: dict[str, Any], **context: Any) -> str:
    """Fill a template; `context` is what it shows besides the result, all escaped there.

    Args:
        template: File in `templates/`.
        result: Content of result.json; a missing key reads as nothing.
        context: Texts, numbers, and drawings, which the templates mark as safe.
    """
    warnings = result.get("warnings")
    page = (files("tunecli.report") / "templates" / "page.css").read_text(encoding="utf-8")
    return (
        _templates()
        .get_template(template)
        .render(
            result=result,
            style=chart_style() + page,
            warnings=[printable(text) for text in warnings] if isinstance(warnings, list) else [],
            **context,
        )
    )


@cache
def _templates() -> "Environment":
    from jinja2 import ChainableUndefined, Environment, PackageLoader

    def finalize(value: object) -> object:
        return value if hasattr(value, "__html__") else printable(value)

    templates = Environment(
        loader=PackageLoader("tunecli.report"),
        autoescape=True,
        undefined=ChainableUndefined,  # a missing key reads as nothing
        finalize=finalize,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    templates.filters |= {
        "digits": digits,
        "rate": lambda value, places=6: or_dash(value, lambda found: f"{found:.{places}g}"),
        "whole": lambda value: or_dash(value, lambda found: f"{found:,.0f}"),
        "lasting": lambda value: or_dash(value, lasting),
        "plain": lambda value: printable(value) or "–",
        "signed": lambda value: or_dash(value, lambda found: signed(found, 4)),
        "interval": lambda entry: interval(entry, lambda found: f"{found:.4f}"),
        "signed_interval": lambda entry: interval(entry, lambda found: signed(found, 4)),
        "ratio_interval": ratio_interval,
        "said": lambda parts: ", ".join(printable(part) for part in parts if part) or "–",
    }
    return templates


def or_dash(value: object, show: Callable[[float], str]) -> str:
    """A number as `show` writes it, a dash for anything else.

    >>> or_dash(0.5, "{:.2f}".format), or_dash(None, "{:.2f}".format)
    ('0.50', '–')
    """
    found = number(value)
    return "–" if found is None else show(found)


def digits(value: object, places: int) -> str:
    """A number with so many decimals.

    >>> digits(1234.5678, 1), digits(None, 1)
    ('1,234.6', '–')
    """
    return or_dash(value, lambda found: f"{found:,.{places}f}")


def lasting(seconds: float) -> str:
    """A length of time in words, as there is no clock on a page.

    >>> lasting(3.21), lasting(75), lasting(3725)
    ('3.2 s', '1 min 15 s', '1 h 2 min')
    """
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min {rest} s"


def signed(value: float, places: int) -> str:
    """A difference with its sign, none for what rounds to zero.

    >>> signed(0.5, 1), signed(-0.5, 1), signed(-0.01, 1)
    ('+0.5', '−0.5', '0.0')
    """
    text = f"{abs(value):.{places}f}"
    return text if not float(text) else ("−" if value < 0 else "+") + text


def interval(entry: object, show: Callable[[float], str]) -> str:
    """The interval from an entry's `low` to its `high`.

    >>> interval({"low": 1, "high": 2}, "{:g}".format), interval(None, "{:g}".format)
    ('[1, 2]', '–')
    """
    found = mapping(entry)
    low, high = number(found.get("low")), number(found.get("high"))
    return "–" if low is None or high is None else f"[{show(low)}, {show(high)}]"


def ratio_interval(entry: object) -> str:
    """An interval whose upper end may lie beyond what was looked at.

    >>> ratio_interval({"low": 1.2, "high": None})
    '[1.2, beyond the budget]'
    """
    low, high = (number(mapping(entry).get(end)) for end in ("low", "high"))
    if low is None:
        return ""
    return f"[{low:.1f}, " + ("beyond the budget]" if high is None else f"{high:.1f}]")

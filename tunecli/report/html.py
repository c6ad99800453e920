"""`report.html`: a search or a comparison as one page that needs nothing but itself."""

import statistics
from collections.abc import Callable, Iterable
from typing import Any

from tunecli.report.charts import rate_chart
from tunecli.report.comparison_charts import (
    OURS,
    anytime_charts,
    final_chart,
    method_groups,
    method_label,
)
from tunecli.report.delays import delay_chart, delay_lines
from tunecli.report.page import digits, or_dash, render
from tunecli.report.plain import mapping, number, numbers, positive, printable, rows
from tunecli.report.text import count
from tunecli.report.training_charts import curve_chart, probe_chart, schedule_chart

# Pixels; the stylesheet shows either the narrow drawing or one of the others.
_WIDE, _PANEL, _HALF, _NARROW = 824.0, 560.0, 400.0, 340.0
_OUTCOMES = {
    0: "Found: the best rate lies inside what was searched (exit code 0).",
    1: "No rate learned anything (exit code 1).",
    4: "The best rate lies at the edge of what was searched, so a better one may lie beyond it "
    "(exit code 4).",
    5: "Every rate, or every final training, diverged (exit code 5).",
}
_REASONS = {
    "no_improvement": "larger rates did not improve",
    "diverged": "training diverged",
    "grid_edge": "the grid ended",
    "budget": "the budget was spent",
}
_NAMES = {"cpu": "CPU", "device_name": "device name", "threads": "CPU threads"}


def search_page(result: dict[str, Any]) -> str:
    """The page of a search.

    Args:
        result: Content of result.json, see `docs/result.md`; what it lacks is left out.

    Returns:
        A complete HTML document: no script, nothing loaded, all text escaped.
    """
    stop, certificate = mapping(result.get("stop")), mapping(result.get("certificate"))
    told = _told(mapping(result.get("spent")))
    spent = _as_told(mapping(result.get("spent")), told)
    pair = [
        drawn
        for close_up in (False, True)
        if (drawn := rate_chart(result, _HALF, close_up=close_up))
    ]
    trials = rows(result.get("trials"))
    explanations = [stop.get("explanation"), certificate.get("explanation")]
    return render(
        "search.html",
        result,
        environment=_environment(mapping(result.get("environment"))),
        found=positive(result.get("learning_rate")) is not None,
        outcome=_outcome(result),
        trial_count=count(len(_searched(trials)), "trial"),
        explanations=list(dict.fromkeys(printable(text) for text in explanations if text)),
        reasons=_stop_reasons(stop, certificate),
        comparisons=rows(certificate.get("comparisons")),
        noise=number(mapping(certificate.get("noise")).get("std")),
        charts={
            "rates": _figure(rate_chart, result),
            "rates_pair": pair if len(pair) == 2 else [],
            "curves": _figure(curve_chart, result),
            "schedule": _figure(schedule_chart, result),
            "probe": _figure(probe_chart, result),
            "delays": _figure(delay_chart, result),
        },
        stages=_stages(result),
        delays=list(delay_lines(mapping(result.get("asynchronous")))),
        spent=spent,
        bills=_bills(result, spent),
        trials=[_as_told(trial, told) for trial in trials],
        final=[_as_told(trial, told) for trial in rows(result.get("final"))],
        tested=_tested(result),
    )


def comparison_page(result: dict[str, Any]) -> str:
    """The page of a comparison.

    Args:
        result: Content of result.json of `tunecli compare`; what it lacks is left out.

    Returns:
        A complete HTML document: no script, nothing loaded, all text escaped.
    """
    methods = rows(result.get("methods"))
    studies = [len(rows(method.get("studies"))) for method in methods]
    verdicts = result.get("verdict")
    seeds = len(numbers(result.get("seeds"))) or max(studies, default=0)
    return render(
        "comparison.html",
        result,
        environment=_environment(mapping(result.get("environment"))),
        verdicts=[printable(text) for text in verdicts] if isinstance(verdicts, list) else [],
        study_count=sum(studies),
        method_count=count(len(methods), "method"),
        seed_total=seeds,
        seed_count=count(seeds, "seed"),
        groups=_method_rows(result),
        charts={
            "anytime": [
                {"wide": wide, "narrow": narrow}
                for wide, narrow in zip(
                    anytime_charts(result, _PANEL), anytime_charts(result, _NARROW), strict=True
                )
            ],
            "finals": _figure(final_chart, result),
        },
        said=_verdicts(methods),
        terms=_terms(result),
        studies=[_study_row(method) for method in methods],
        skipped=[(entry.get("name"), entry.get("reason")) for entry in rows(result.get("skipped"))],
    )


def _told(spent: dict[str, Any]) -> set[str]:
    """Which counts are known: a script may tell neither updates nor samples of any training."""
    return {key for key in ("updates", "samples", "epochs") if positive(spent.get(key)) is not None}


def _as_told(bill: dict[str, Any], told: set[str]) -> dict[str, Any]:
    """A bill, and its parts, with nothing where nobody knows; 0 would be a claim."""
    known = {
        key: None if key in ("updates", "samples", "epochs") and key not in told else value
        for key, value in bill.items()
    }
    return {
        key: _as_told(value, told) if isinstance(value, dict) and key != "measured" else value
        for key, value in known.items()
    }


def _tested(result: dict[str, Any]) -> bool:
    """Whether the final trainings were measured on a test set; older results say nothing."""
    final = rows(result.get("final"))
    split = mapping(result.get("test")).get("split")
    return split != "validation" and all(each.get("split", "test") == "test" for each in final)


def _figure(draw: Callable[[dict[str, Any], float], str], result: dict[str, Any]) -> dict[str, Any]:
    return {"wide": draw(result, _WIDE), "narrow": draw(result, _NARROW)}


def _outcome(result: dict[str, Any]) -> str:
    code = result.get("exit_code")
    known = _OUTCOMES.get(code) if isinstance(code, int) else None
    return known or ("Exit code " + printable(code) if code is not None else "")


def _stop_reasons(stop: dict[str, Any], certificate: dict[str, Any]) -> list[tuple[str, str]]:
    """The certificate's facts, each as a name and a text."""
    found = []
    strategy = certificate.get("strategy") or stop.get("rule")
    patience = number(certificate.get("patience", stop.get("patience")))
    if strategy:
        found.append(("strategy", printable(strategy)))
    if stop.get("reason"):
        reason = printable(stop["reason"])
        found.append(("ended because", _REASONS.get(reason, reason)))
    if patience is not None:
        found.append(("patience", count(patience, "rate") + " without improvement"))
    noise = mapping(certificate.get("noise"))
    if noise:
        parts = [
            f"standard deviation {digits(noise.get('std'), 4)} between seeds",
            f"{or_dash(noise.get('seeds'), lambda n: count(n, 'seed'))}",
            f"error rate of a comparison {or_dash(noise.get('error_rate'), lambda r: f'{r:g}')}",
        ]
        found.append(("noise", ", ".join(parts)))
    bracket = mapping(certificate.get("bracket"))
    if bracket:
        ends = [or_dash(bracket.get(end), lambda rate: f"{rate:.6g}") for end in ("low", "high")]
        found.append(("bracket", f"the best lies between {ends[0]} and {ends[1]}"))
    verify = mapping(certificate.get("verify"))
    if verify:
        regret = or_dash(verify.get("regret"), lambda value: f"{value:.4f}")
        best = or_dash(verify.get("learning_rate"), lambda rate: f"{rate:.6g}")
        points = count(len(rows(verify.get("points"))), "rate")
        found.append(("verified", f"{points} beyond the stop: regret {regret}, best of all {best}"))
    return found


def _stages(result: dict[str, Any]) -> list[dict[str, Any]]:
    """The schedule's stages with the samples of each."""
    found = []
    for stage in rows(result.get("schedule")):
        steps, size = number(stage.get("steps")), number(stage.get("batch_size"))
        samples = None if steps is None or size is None else steps * size
        found.append({**stage, "samples": samples})
    return found


def _searched(trials: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The trials that the search needed."""
    return [
        trial
        for trial in trials
        if trial.get("state") != "cancelled" and trial.get("role") not in ("verify", "ahead")
    ]


def _bills(result: dict[str, Any], spent: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """What each part of a search cost, parts that cost nothing left out."""
    trials, final = rows(result.get("trials")), rows(result.get("final"))
    verify = [t for t in trials if t.get("role") == "verify" and t.get("state") != "cancelled"]
    searched = len(_searched(trials))
    parts = [
        ("search", "search", searched),
        ("beyond the stop, to verify it", "verify", len(verify)),
        ("run ahead, not needed", "cancelled", len(trials) - searched - len(verify)),
        ("final trainings", "final", len(final)),
    ]
    found = []
    for name, key, many in parts:
        bill = mapping(spent.get(key))
        if any(number(value) for value in bill.values()):
            found.append((name, {**bill, "trials": many}))
    return [*found, ("together", {**spent, "trials": len(trials) + len(final)})]


def _environment(entries: dict[str, Any]) -> list[tuple[str, str]]:
    """Every entry as a name and a text, nested ones flattened."""
    found = []
    for name, value in entries.items():
        text = _git(mapping(value)) if name == "git" and isinstance(value, dict) else _text(value)
        if text:
            found.append((printable(_NAMES.get(name, name)), text))
    return found


def _git(entry: dict[str, Any]) -> str:
    commit = printable(entry.get("commit")) or "unknown commit"
    return commit + (" with uncommitted changes" if entry.get("dirty") else "")


def _text(value: object) -> str:
    if isinstance(value, dict):
        return "; ".join(f"{printable(key)}: {_text(part)}" for key, part in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(_text(part) for part in value)
    return printable(value)


def _method_rows(result: dict[str, Any]) -> list[dict[str, Any]]:
    """Groups of methods, each method with its label and its cost beside ours."""
    groups = method_groups(result)
    ours = next((methods[0] for key, _, methods in groups if key == OURS), {})
    base = positive(mapping(ours.get("spent")).get("samples"))
    found = []
    for key, title, methods in groups:
        entries = []
        for method in methods:
            samples = positive(mapping(method.get("spent")).get("samples"))
            times = f"× {samples / base:.1f}" if key != OURS and samples and base else ""
            entries.append(
                {
                    **method,
                    "label": method_label(method),
                    "times": times,
                    "short": _short(printable(method.get("verdict"))),
                }
            )
        found.append({"key": key, "title": title, "methods": entries})
    return found


def _short(verdict: str) -> str:
    """What a cell can hold of a verdict: all, or what stands before the numbers."""
    return verdict if len(verdict) <= 90 else verdict.split(":", maxsplit=1)[0]


def _verdicts(methods: list[dict[str, Any]]) -> list[tuple[str, str]]:
    """The verdicts that a cell cannot hold, by method."""
    every = [(method_label(m), printable(m.get("verdict"))) for m in methods]
    return [(name, verdict) for name, verdict in every if verdict != _short(verdict)]


def _terms(result: dict[str, Any]) -> list[tuple[str, str]]:
    target, budget = mapping(result.get("target")), mapping(result.get("budget"))
    seeds = _text(result.get("seeds"))
    metric = printable(result.get("metric"))
    found = [
        ("target", or_dash(target.get("value"), lambda value: f"validation {metric} {value:.4f}")),
        ("set by", printable(target.get("from"))),
        ("budget", or_dash(budget.get("samples"), lambda n: count(n, "training sample"))),
        ("in full trainings", or_dash(budget.get("trials"), lambda n: f"{n:,.0f}")),
        ("seeds", seeds),
    ]
    return [(name, text) for name, text in found if text and text != "–"]


def _study_row(method: dict[str, Any]) -> dict[str, Any]:
    studies = rows(method.get("studies"))
    medians = {
        key: _median(study.get(key) for study in studies)
        for key in ("trials", "diverged", "pruned", "aborted", "seconds")
    }
    return {
        "label": method_label(method),
        "parameters": _text(method.get("parameters")),
        "studies": len(studies),
        **medians,
    }


def _median(values: Iterable[object]) -> float | None:
    found = numbers(list(values))
    return statistics.median(found) if found else None

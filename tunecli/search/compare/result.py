"""A comparison's result as plain data: the content of result.json."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import torch

from tunecli.execution import RunFolder
from tunecli.execution.environment import environment
from tunecli.execution.files import RESULT_FORMAT
from tunecli.recipe import Recipe
from tunecli.search.compare.analysis import (
    Study,
    anytime,
    catch_up,
    difference,
    final_values,
    target_value,
    to_target,
)
from tunecli.search.compare.bootstrap import estimate, holm
from tunecli.search.compare.methods import OURS, Method
from tunecli.search.compare.verdict import Opponent, method_verdict, overall_verdict
from tunecli.search.metric import Metric, metric_of


def comparison_result(
    *,
    recipe: Recipe,
    run: RunFolder,
    command: str,
    trials: int,
    samples_per_trial: int,
    seeds: Sequence[int],
    methods: Sequence[Method],
    studies: Mapping[str, Sequence[dict[str, Any]]],
    skipped: Mapping[str, str],
    device: torch.device,
) -> dict[str, Any]:
    """Put a comparison's studies into numbers and words.

    Args:
        recipe: What was trained.
        run: The run's folder.
        command: What to type to get the same again.
        trials: The budget in full trials.
        samples_per_trial: Samples of one full trial.
        seeds: One per study.
        methods: Those that ran, ours first.
        studies: By method, what `run_study` returned, in the order of the seeds.
        skipped: Why a method did not run.
        device: Where the studies ran.
    """
    metric, budget = metric_of(recipe), trials * samples_per_trial
    by_name = {
        method.name: [Study.from_dict(study) for study in studies[method.name]]
        for method in methods
    }
    target = _target(methods, by_name, budget, metric)
    opponents = _opponents(methods, by_name, budget, metric)
    entries = [
        _entry(
            method,
            studies=studies[method.name],
            by_name=by_name,
            budget=budget,
            metric=metric,
            target=target,
            opponent=opponents.get(method.name),
        )
        for method in methods
    ]
    every = [study for group in by_name.values() for study in group]
    return {
        "format": RESULT_FORMAT,
        "kind": "comparison",
        "exit_code": 0,
        "recipe": recipe.name,
        "description": recipe.description,
        "run": str(run.path),
        "command": command,
        "metric": metric.name,
        "maximize": metric.maximize,
        "budget": {"trials": trials, "samples": budget, "samples_per_trial": samples_per_trial},
        "seeds": list(seeds),
        "target": target,
        "methods": entries,
        "verdict": overall_verdict(
            list(opponents.values()),
            metric=metric.name,
            maximize=metric.maximize,
            trials=trials,
            budget=budget,
        ),
        "skipped": [{"name": name, "reason": reason} for name, reason in skipped.items()],
        "warnings": _warnings(methods, studies),
        "spent": {
            "trials": sum(study.trials for study in every),
            "samples": sum(study.samples for study in every),
            "seconds": sum(study.seconds for study in every),
        },
        "environment": environment(device, recipe.training.cpu_threads),
    }


def _entry(
    method: Method,
    *,
    studies: Sequence[dict[str, Any]],
    by_name: Mapping[str, Sequence[Study]],
    budget: int,
    metric: Metric,
    target: dict[str, Any] | None,
    opponent: Opponent | None,
) -> dict[str, Any]:
    own = by_name[method.name]
    final = estimate(final_values(own, budget))
    reached = (
        None
        if target is None
        else to_target(own, target["value"], budget, maximize=metric.maximize)
    )
    found = None
    if opponent is not None:
        found = {**asdict(opponent.difference), "p_holm": opponent.p_holm}
    return {
        "name": method.name,
        "label": method.label,
        "group": method.group,
        "parameters": list(method.parameters),
        "studies": [
            {key: value for key, value in study.items() if key not in ("finished", "warnings")}
            for study in studies
        ],
        "anytime": _lists(asdict(anytime(own, budget))),
        "final": None if final is None else asdict(final),
        "spent": {
            "trials": statistics.median(study.trials for study in own),
            "samples": statistics.median(study.samples for study in own),
            "seconds": statistics.median(study.seconds for study in own),
        },
        "target": None if reached is None else asdict(reached),
        "difference": found,
        "catch_up": None if opponent is None else asdict(opponent.catch_up),
        "verdict": _verdict(method, final is not None, opponent, metric),
    }


def _verdict(method: Method, has_result: bool, opponent: Opponent | None, metric: Metric) -> str:
    if opponent is not None:
        return method_verdict(opponent, metric=metric.name, maximize=metric.maximize)
    if method.name == OURS and has_result:
        return "What the others are compared with."
    return f"No study of {method.label} came to a result within the budget."


def _opponents(
    methods: Sequence[Method],
    by_name: Mapping[str, Sequence[Study]],
    budget: int,
    metric: Metric,
) -> dict[str, Opponent]:
    """The methods that can be compared with ours: both have results, in one study at least."""
    ours = by_name[OURS]
    found = {}
    for method in methods:
        if method.name == OURS:
            continue
        theirs = by_name[method.name]
        apart = difference(ours, theirs, budget)
        means = [estimate(final_values(group, budget)) for group in (ours, theirs)]
        if apart is None or means[0] is None or means[1] is None:
            continue
        found[method.name] = (method, means[0], means[1], apart)
    adjusted = holm([apart.p for _, _, _, apart in found.values()])
    return {
        name: Opponent(
            name=name,
            label=method.label,
            ours=mine,
            theirs=its,
            difference=apart,
            p_holm=p_holm,
            our_samples=statistics.median(study.samples for study in ours),
            their_samples=statistics.median(study.samples for study in by_name[name]),
            catch_up=catch_up(ours, by_name[name], budget, maximize=metric.maximize),
        )
        for (name, (method, mine, its, apart)), p_holm in zip(found.items(), adjusted, strict=True)
    }


def _target(
    methods: Sequence[Method],
    by_name: Mapping[str, Sequence[Study]],
    budget: int,
    metric: Metric,
) -> dict[str, Any] | None:
    """What the best tuned baseline reaches: Optuna's methods, or the others where none ran."""
    baselines = [method for method in methods if method.is_optuna]
    baselines = baselines or [method for method in methods if method.name != OURS]
    values = {
        method.name: value
        for method in baselines
        if (value := target_value(by_name[method.name], budget, maximize=metric.maximize))
        is not None
    }
    if not values:
        return None
    best = (max if metric.maximize else min)(values, key=lambda name: values[name])
    label = next(method.label for method in methods if method.name == best)
    kind = "Optuna methods" if baselines[0].is_optuna else "other methods"
    return {
        "value": values[best],
        "from": best,
        "definition": (
            f"The median over studies of the best validation {metric.name} that {label}, the best "
            f"of the {kind} by that median, finds within the budget. A study reaches it with its "
            "first trial, trained to the end, that is at least as good on validation; a study "
            "without one counts as never."
        ),
    }


def _warnings(
    methods: Sequence[Method], studies: Mapping[str, Sequence[dict[str, Any]]]
) -> list[str]:
    found = [w for group in studies.values() for study in group for w in study["warnings"]]
    for method in methods:
        group = studies[method.name]
        empty = sum(not study["curve"] for study in group)
        if empty:
            found.append(
                f"{method.label} trained nothing to its end in {empty} of {len(group)} studies; "
                "they count as a model that has learned nothing"
            )
    return found


def _lists(record: dict[str, Any]) -> dict[str, Any]:
    return {
        key: list(value) if isinstance(value, tuple) else value for key, value in record.items()
    }

"""Results as `tunecli search` and `tunecli compare` write them, made up but true to life."""

import math
import random
import statistics
from typing import Any

import pytest

RATES = [0.025, 0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 0.5657, 1.1314]
PLATEAU = {0.025: 0.55, 0.05: 0.75, 0.1: 0.943, 0.2: 0.958, 0.4: 0.965, 0.8: 0.971}
PLATEAU |= {0.5657: 0.966, 1.1314: 0.962}
ENVIRONMENT: dict[str, Any] = {
    "python": "3.11.9",
    "tunecli": "0.3.0",
    "torch": "2.13.0",
    "numpy": "2.4.1",
    "optuna": "5.0.0",
    "scikit-learn": "1.8.0",
    "platform": "Linux-6.1.0-x86_64-with-glibc2.36",
    "device": "cpu",
    "device_name": "x86_64",
    "cpu": "AMD EPYC 7B13",
    "threads": 1,
    "git": {"commit": "80567f4a1c", "dirty": True},
    "seeds": {"search": [0, 1, 2], "test": [100, 101, 102, 103, 104]},
}


def make_search(seed: int = 0) -> dict[str, Any]:
    """A search of seven rates and two more around the best, three seeds, the last rate diverged."""
    draw = random.Random(seed)
    points: list[dict[str, Any]] = []
    trials: list[dict[str, Any]] = []
    best_value = 0.0
    for rate in RATES:
        diverged, phase = rate == 1.6, "walk" if rate in RATES[:7] else "narrow"
        values = [] if diverged else [PLATEAU[rate] + draw.gauss(0, 0.003) for _ in range(3)]
        value = None if diverged else statistics.fmean(values)
        points.append(
            {
                "learning_rate": rate,
                "values": values or [0.0],
                "value": value,
                "diverged": diverged,
                "improved": value is not None and value > best_value,
                "learned": not diverged,
                "aborted": False,
                "phase": phase,
            }
        )
        best_value = max(best_value, value or 0.0)
        for number, end in enumerate(values or [0.0]):
            trials.append(make_trial(draw, rate, number, end, diverged=diverged, role=phase))
    test = [0.9667, 0.9722, 0.9694, 0.975, 0.9583]
    final = [make_trial(draw, 0.8, 100 + index, value, role="") for index, value in enumerate(test)]
    bill = {"updates": 588, "samples": 16128, "seconds": 0.4, "epochs": 15.0}
    return {
        "format": 1,
        "kind": "search",
        "exit_code": 0,
        "recipe": "digits-mlp",
        "description": "A small multilayer perceptron on 8×8 digits",
        "run": "runs/digits-mlp-20261121-025104",
        "command": "tunecli search digits-mlp search.seeds='[0, 1, 2]' --device cpu",
        "learning_rate": 0.8,
        "metric": "accuracy",
        "stop": {
            "rule": "geometric",
            "reason": "diverged",
            "explanation": "training diverged at 1.6; the best before it was 0.9685 at 0.8, and "
            "neither of its nearest neighbours, 0.5657 and 1.131, is better",
            "patience": 1,
            "edge": None,
            "learned": True,
            "points": points,
        },
        "certificate": {
            "strategy": "geometric",
            "patience": 1,
            "best": {"learning_rate": 0.8, "value": 0.9685},
            "explanation": "stopped at 0.8 because what is left to gain is inside the noise",
            "noise": {"std": 0.0041, "seeds": 3, "error_rate": 0.05},
            "comparisons": [
                make_challenge(0.8, 0.4, 0.0031, "better"),
                {**make_challenge(1.6, 0.8, None, "diverged"), "pairs": 0},
                make_challenge(0.5657, 0.8, -0.0012, "no difference"),
                make_challenge(1.1314, 0.8, -0.0073, "worse"),
            ],
            "bracket": {"low": 0.5657, "high": 1.1314},
            "verify": {
                "points": [
                    {"learning_rate": 1.3454, "value": 0.9521, "diverged": False},
                    {"learning_rate": 3.2, "value": None, "diverged": True},
                ],
                "regret": 0.0,
                "learning_rate": 0.8,
            },
        },
        "probe": make_probe(),
        "trials": trials,
        "schedule": [
            {
                "learning_rate": 0.8 / 2**index,
                "momentum": 1 - 0.2 / 2**index,
                "discount": 0.7,
                "batch_size": 16 * 2**index,
                "steps": 336 // 2**index,
            }
            for index in range(3)
        ],
        "test": {
            "metric": "accuracy",
            "mean": statistics.fmean(test),
            "std": statistics.stdev(test),
            "n": 5,
            "diverged": 0,
            "values": test,
        },
        "final": final,
        "spent": {
            **{key: value * 31 for key, value in bill.items()},
            "search": {key: value * 25 for key, value in bill.items()},
            "final": {key: value * 5 for key, value in bill.items()},
            "cancelled": bill,
            "verify": dict.fromkeys(bill, 0),
        },
        "warnings": ["the best rate is close to the edge of divergence"],
        "environment": ENVIRONMENT,
    }


def make_trial(
    draw: random.Random,
    rate: float,
    seed: int,
    value: float,
    *,
    diverged: bool = False,
    role: str = "walk",
) -> dict[str, Any]:
    """A trial with a curve that rises to its value."""
    updates = 60 if diverged else 588
    count = 3 if diverged else 15
    curve = [
        [index * 1075, 0.1 + (value - 0.1) * (1 - math.exp(-index * 0.45)) + draw.gauss(0, 0.003)]
        for index in range(count + 1)
    ]
    return {
        "learning_rate": rate,
        "seed": seed,
        "role": role,
        "state": "diverged" if diverged else "complete",
        "reason": "the loss was not finite at update 60" if diverged else "",
        "value": value,
        "updates": updates,
        "samples": updates * 27,
        "seconds": updates * 0.0007,
        "curve": curve,
    }


def make_challenge(
    rate: float, than: float, difference: float | None, verdict: str
) -> dict[str, Any]:
    known = difference is not None
    return {
        "learning_rate": rate,
        "than": than,
        "difference": difference,
        "low": (difference or 0.0) - 0.0025 if known else None,
        "high": (difference or 0.0) + 0.0025 if known else None,
        "pairs": 3,
        "verdict": verdict,
    }


def make_probe() -> dict[str, Any]:
    rates = [10 ** (-4 + index * 5 / 59) for index in range(60)]
    losses = [2.3 - 2 / (1 + (0.06 / rate) ** 1.5) + (rate / 3.5) ** 4 for rate in rates]
    return {
        "learning_rates": rates,
        "losses": losses,
        "learning_starts": 0.012,
        "diverges": 3.1,
        "samples": 1920,
    }


METHODS = {
    "tunecli": ("tunecli", "tunecli", 0.9690, 6.0),
    "tpe": ("TPE", "learning_rate", 0.9680, 30.0),
    "random": ("random search", "learning_rate", 0.9671, 30.0),
    "grid": ("grid", "learning_rate", 0.9662, 30.0),
    "gp": ("Gaussian process", "learning_rate", 0.9684, 30.0),
    "tpe-hyperband": ("TPE with Hyperband", "learning_rate", 0.9676, 30.0),
    "tpe-median": ("TPE with median pruning", "learning_rate", 0.9679, 30.0),
    "tpe-joint": ("TPE over five hyperparameters", "joint", 0.9701, 30.0),
    "random-joint": ("random over five hyperparameters", "joint", 0.9655, 30.0),
    "cosine": ("cosine annealing", "alternative", 0.9688, 30.0),
    "one-cycle": ("one-cycle", "alternative", 0.9692, 30.0),
    "adam": ("Adam", "alternative", 0.9625, 30.0),
}


def make_comparison(studies: int = 10, seed: int = 0) -> dict[str, Any]:
    """Twelve methods, ten studies each, on accuracy."""
    draw = random.Random(seed)
    methods = [make_method(draw, name, studies, *described) for name, described in METHODS.items()]
    return {
        "format": 1,
        "kind": "comparison",
        "exit_code": 0,
        "recipe": "digits-mlp",
        "description": "A small multilayer perceptron on 8×8 digits",
        "run": "runs/compare-digits-mlp-20261121-031500",
        "command": "tunecli compare digits-mlp --studies 10 --trials 30",
        "metric": "accuracy",
        "maximize": True,
        "budget": {"trials": 30, "samples": 483840, "samples_per_trial": 16128},
        "seeds": list(range(studies)),
        "target": {
            "value": 0.9667,
            "from": "tpe",
            "definition": "The median over studies of the best validation accuracy that TPE over "
            "the learning rate alone reached within the budget.",
        },
        "methods": methods,
        "verdict": [
            "tunecli reached the test accuracy of a 30-trial TPE study for a fifth of its samples.",
            "No significant difference in final test accuracy between tunecli and TPE: +0.0010.",
            "Adam with its rate searched the same way ended 0.0065 lower.",
        ],
        "skipped": [
            {"name": "schedule-free", "reason": "the package schedulefree is not installed"},
            {"name": "prodigy", "reason": "the package prodigyopt is not installed"},
        ],
        "warnings": [],
        "spent": {"samples": 55_000_000, "seconds": 1830.0},
        "environment": {**ENVIRONMENT, "seeds": {"studies": list(range(studies))}},
    }


def make_method(
    draw: random.Random, name: str, studies: int, label: str, group: str, end: float, trials: float
) -> dict[str, Any]:
    tests = [end + draw.gauss(0, 0.004) for _ in range(studies)]
    if name == "adam":
        tests[-1] = 0.41
    middle, half = statistics.fmean(tests), 1.96 * 0.004 / math.sqrt(studies)
    samples = [16128 * (1 + index / 4) for index in range(int(trials * 4) - 3)]
    rise = [0.16 * math.exp(-1.1 * index / 4) for index in range(len(samples))]
    mean = [middle - gap for gap in rise]
    if name == "tunecli":  # what it had at its stop, it has to the end
        samples, mean, rise = [*samples, 483840.0], [*mean, mean[-1]], [*rise, rise[-1]]
    ours = name == "tunecli"
    return {
        "name": name,
        "label": label,
        "group": group,
        "parameters": ["learning_rate", "momentum"] if group == "joint" else ["learning_rate"],
        "studies": [
            {
                "seed": index,
                "trials": round(trials),
                "diverged": draw.randrange(8),
                "pruned": 0,
                "aborted": draw.randrange(3),
                "samples": round(16128 * trials),
                "seconds": trials * 0.42,
                "validation": test - 0.001,
                "test": test,
                "best": {"learning_rate": 0.7},
                "curve": [[16128, 0.4, 0.8, 0.79], [16128 * trials, 12.0, test, test]],
            }
            for index, test in enumerate(tests)
        ],
        "anytime": {
            "samples": samples,
            "mean": mean,
            "low": [m - half - gap / 3 for m, gap in zip(mean, rise, strict=True)],
            "high": [m + half + gap / 5 for m, gap in zip(mean, rise, strict=True)],
        },
        "final": {"mean": middle, "low": middle - half, "high": middle + half, "n": studies},
        "spent": {"trials": trials, "samples": round(16128 * trials), "seconds": trials * 0.42},
        "target": {"reached": studies - 2, "n": studies, "samples": 84000, "seconds": 2.4},
        "difference": None
        if ours
        else {
            "mean": 0.969 - middle,
            "low": 0.969 - middle - half,
            "high": 0.969 - middle + half,
            "p": 0.04,
            "p_holm": 0.31,
        },
        "catch_up": {
            "samples": 188000,
            "ratio": 1.9,
            "low": 1.2,
            "high": 3.4 if name == "gp" else None,
        }
        if name in ("gp", "tpe-joint")
        else {"samples": None, "ratio": None, "low": None, "high": None},
        "verdict": "" if ours else f"no significant difference between tunecli and {label}",
    }


@pytest.fixture
def search_result() -> dict[str, Any]:
    """What a search of nine rates left."""
    return make_search()


@pytest.fixture
def comparison_result() -> dict[str, Any]:
    """What a comparison of twelve methods left."""
    return make_comparison()

"""What a result depends on besides the recipe: versions, hardware, the state of the code."""

import os
import platform
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

_GIT_TIMEOUT_S = 5.0


def environment(device: torch.device, cpu_threads: int) -> dict[str, Any]:
    """Versions, device, threads and git state, for the record beside every result."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine()
    packages = ("tunecli", "torch", "numpy", "optuna", "scikit-learn")
    return {
        "python": platform.python_version(),
        **{package: version(package) for package in packages},
        "platform": platform.platform(),
        "cpu": _cpu_name(),
        "cores": os.cpu_count(),
        "device": str(device),
        "device_name": name,
        "threads": cpu_threads,
        "git": _git_state(),
    }


def _cpu_name() -> str:
    """The processor's name where Linux tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())


def _git_state() -> dict[str, Any] | None:
    """Commit of the folder that the command ran in, changed or not; None outside git."""
    commit = _git("rev-parse", "HEAD")
    if commit is None:
        return None
    changes = _git("status", "--porcelain", "--untracked-files=no")
    return {"commit": commit.strip(), "dirty": changes is None or bool(changes.strip())}


def _git(*arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", *arguments],
            capture_output=True,
            text=True,
            check=True,
            timeout=_GIT_TIMEOUT_S,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout

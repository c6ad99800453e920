"""Running exported files where tunecli is not: in a clean interpreter, several in one child."""

import importlib.util
import json
import subprocess
import sys
import sysconfig
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tunecli.report.export import export_text
from tunecli.report.export_run import ExportedRun
from tunecli.schedule import Schedule, multistage_schedule

# Runs each file as `python FILE` would, and tells how it ended.
_DRIVER = """
import contextlib, io, json, runpy, sys, traceback
sys.path[:0] = json.loads(sys.argv[1])
try:
    import tunecli
except ImportError:
    pass
else:
    sys.exit("tunecli is there")
import torch
torch.set_num_threads(1)
ends = []
for name, *arguments in json.loads(sys.argv[2]):
    said, code = io.StringIO(), 0
    sys.argv = [name, *arguments]
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        try:
            runpy.run_path(name, run_name="__main__")
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 0 if end.code is None else 1
            said.write(str(end.code))
        except BaseException:
            code = 1
            traceback.print_exc()
    ends.append([code, said.getvalue()])
assert "tunecli" not in sys.modules
print("\\n" + json.dumps(ends))
"""


class End(NamedTuple):
    """How a program ended: exit code, and what it said on both streams."""

    code: int
    said: str


def clean_path(folder: Path) -> Path:
    """A folder with all installed packages but tunecli, whichever way that is installed."""
    clean = folder / "packages"
    if not clean.exists():
        clean.mkdir()
        for entry in Path(sysconfig.get_path("purelib")).iterdir():
            if "tunecli" not in entry.name.lower() and entry.suffix != ".pth":
                (clean / entry.name).symlink_to(entry)
    return clean


def installed(package: str) -> bool:
    """Whether the clean interpreter has a package."""
    return importlib.util.find_spec(package) is not None


def run_clean(
    folder: Path, programs: Sequence[Sequence[object]], *, stubs: Sequence[Path] = ()
) -> list[End]:
    """Run programs, each a file and its arguments, in one interpreter without tunecli."""
    path = [str(each) for each in (*stubs, clean_path(folder))]
    named = [[str(part) for part in program] for program in programs]
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", _DRIVER, json.dumps(path), json.dumps(named)],
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
    )
    assert done.returncode == 0, done.stderr
    return [End(*end) for end in json.loads(done.stdout.splitlines()[-1])]


def make_schedule(**changes: Any) -> Schedule:
    """Three short stages whose numbers all differ."""
    numbers = {"learning_rate": 0.3, "momentum": 0.9, "batch_size": 12, "stages": 3, "decay": 0.5}
    return multistage_schedule(**{**numbers, "steps": 4, **changes})


def make_run(schedule: Schedule | None = None, **changes: Any) -> ExportedRun:
    """A run, made up, with weight decay."""
    run = {
        "identity": {"run": "quick-20261121-090000", "recipe": "quick", "learning_rate": 0.3},
        "schedule": schedule or make_schedule(),
        "weight_decay": 0.01,
        "weight_decay_mode": "coupled",
        "reset_momentum": False,
        "optimizer": None,
        "notes": (),
    }
    return ExportedRun(**{**run, **changes})


def write(folder: Path, run: ExportedRun, target: str, name: str | None = None) -> Path:
    """Export into a file."""
    path = folder / (name or f"{target}.{'json' if target == 'json' else 'py'}")
    path.write_text(export_text(run, target), encoding="utf-8")
    return path


def mutated(path: Path, old: str, new: str) -> Path:
    """A copy of a file in which `old`, which it must have once, is replaced."""
    text = path.read_text(encoding="utf-8")
    assert text.count(old) == 1, (old, text.count(old))
    copy = path.with_name(f"{len(list(path.parent.iterdir()))}-{path.name}")
    copy.write_text(text.replace(old, new), encoding="utf-8")
    return copy

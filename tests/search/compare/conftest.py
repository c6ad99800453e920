from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from tunecli.recipe import Recipe, find_recipe, load_recipe
from tunecli.search.compare.space import schedule_for
from tunecli.search.compare.study import StudyTask


@dataclass
class Watcher:
    """The context of a study that runs in this process."""

    device: str = "cpu"
    stop_after: int | None = None
    reports: list[Any] = field(default_factory=list)

    @property
    def cancelled(self) -> bool:
        return self.stop_after is not None and len(self.reports) >= self.stop_after

    def report(self, payload: Any) -> None:
        self.reports.append(payload)


@pytest.fixture
def recipe() -> Recipe:
    """Trials of a few hundredths of a second, the rates from too small to too large."""
    return load_recipe(
        find_recipe("digits-logistic"),
        [
            "schedule.epochs=2",
            "training.evaluations=6",
            "search.seeds=[0, 1]",
            "search.grid=[0.001, 0.01, 0.1, 1.0, 10.0]",
        ],
    )


@pytest.fixture
def task(recipe: Recipe, tmp_path: Path) -> StudyTask:
    per_trial = schedule_for(recipe, {"learning_rate": 0.1}, 1077).samples
    return StudyTask(
        recipe=recipe,
        method="tpe",
        seed=3,
        budget=8 * per_trial,
        samples_per_trial=per_trial,
        folder=tmp_path / "study",
    )


def elsewhere(task: StudyTask, name: str) -> StudyTask:
    """The same study in another folder."""
    return replace(task, folder=task.folder.with_name(name))


def without_times(study: dict[str, Any]) -> dict[str, Any]:
    """A study's summary without its seconds, which differ from run to run."""
    plain = {key: value for key, value in study.items() if key != "seconds"}
    plain["curve"] = [[point[0], *point[2:]] for point in study["curve"]]
    plain["finished"] = [[point[0], *point[2:]] for point in study["finished"]]
    return plain

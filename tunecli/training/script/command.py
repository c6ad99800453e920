"""What a script is given: its arguments, its environment, and the schedule as a JSON file."""

import json
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tunecli.errors import RunError
from tunecli.recipe.derive import damped
from tunecli.recipe.script import fill
from tunecli.schedule import Schedule


@dataclass(frozen=True)
class ScriptCall:
    """One trial of a script, as the script is told about it.

    Args:
        command: The recipe's, with placeholders.
        schedule: What the trial is to train with.
        folder: The trial's folder, absolute; schedule, answers and log are in it.
        seed: The trial's seed.
        phase: `search` or `final`.
        device: What tunecli would compute on: `cpu`, `cuda:1`.
        weight_decay: The recipe's.
        undamped: Whether the rate is that of an undamped momentum; then the stages, which are
            advice, are converted, and the learning rate stays what it is.
    """

    command: tuple[str, ...]
    schedule: Schedule
    folder: Path
    seed: int
    phase: str
    device: str = "cpu"
    weight_decay: float = 0.0
    undamped: bool = False

    @property
    def stages(self) -> Schedule:
        """What the script is told of all stages, in QHM's damped form."""
        return damped(self.schedule) if self.undamped else self.schedule

    @property
    def schedule_file(self) -> Path:
        """The JSON file that the script may read."""
        return self.folder / "schedule.json"

    @property
    def answers_file(self) -> Path:
        """The file that the script may answer in."""
        return self.folder / "answers.jsonl"

    @property
    def log_file(self) -> Path:
        """Where everything goes that it prints."""
        return self.folder / "script.log"

    def placeholders(self, checkpoint: str = "") -> dict[str, str]:
        """What every placeholder stands for.

        Args:
            checkpoint: Path that the script reported and goes on from; empty: from the beginning.
        """
        first, stages = self.schedule.stages[0], self.stages.stages

        def of_all(name: str) -> str:
            return ",".join(repr(getattr(stage, name)) for stage in stages)

        return {
            "python": sys.executable,
            "learning_rate": repr(first.learning_rate),
            "momentum": repr(first.momentum),
            "discount": repr(first.discount),
            "batch_size": repr(first.batch_size),
            "steps": repr(self.schedule.total_steps),
            "samples": repr(self.schedule.samples),
            "learning_rates": of_all("learning_rate"),
            "momenta": of_all("momentum"),
            "discounts": of_all("discount"),
            "batch_sizes": of_all("batch_size"),
            "stage_steps": of_all("steps"),
            "seed": repr(self.seed),
            "phase": self.phase,
            "schedule": str(self.schedule_file),
            "answers": str(self.answers_file),
            "checkpoint": checkpoint,
            "folder": str(self.folder),
            # of the devices that it sees (below) the one that it is given is the first
            "device": "cuda:0" if self.device.startswith("cuda") else self.device,
        }

    def arguments(self, checkpoint: str = "") -> list[str]:
        """The command with its placeholders replaced."""
        values = self.placeholders(checkpoint)
        return [fill(item, values.__getitem__) for item in self.command]

    def environment(
        self, checkpoint: str = "", *, base: Mapping[str, str] | None = None
    ) -> dict[str, str]:
        """Our environment, and `TUNECLI_<PLACEHOLDER>` for every placeholder.

        A Python script is told not to hold back what it prints: an answer that arrives with the
        script's end can neither be shown nor end a hopeless trial.

        Args:
            checkpoint: As in `placeholders`.
            base: The environment to add to; by default this process's.
        """
        environment = dict(os.environ if base is None else base)
        environment.setdefault("PYTHONUNBUFFERED", "1")
        for name, value in self.placeholders(checkpoint).items():
            environment[f"TUNECLI_{name.upper()}"] = value
        if self.device.startswith("cuda"):
            index = int(self.device.partition(":")[2] or 0)
            # our own numbers count what we see, which may be a choice already
            seen = environment.get("CUDA_VISIBLE_DEVICES", "")
            visible = [each for each in seen.split(",") if each]
            chosen = visible[index] if index < len(visible) else str(index)
            environment["CUDA_VISIBLE_DEVICES"] = chosen
        return environment

    def write_schedule(self) -> None:
        """Write the JSON file.

        Raises:
            RunError: It cannot be written.
        """
        content = {
            "learning_rate": self.schedule.stages[0].learning_rate,
            "seed": self.seed,
            "phase": self.phase,
            "weight_decay": self.weight_decay,
            "steps": self.schedule.total_steps,
            "samples": self.schedule.samples,
            "stages": self.stages.to_list(),
        }
        try:
            self.schedule_file.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
        except OSError as error:
            raise RunError(
                f"{self.schedule_file} cannot be written: {error.strerror}; make room, then go on "
                "with --resume"
            ) from error

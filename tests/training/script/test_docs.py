import json
import re
import sys
from pathlib import Path

from tests.training.script.conftest import SCHEDULE
from tunecli.recipe.script import PLACEHOLDERS, ScriptSection
from tunecli.schedule import Schedule, Stage
from tunecli.training.script.answers import _KEYS
from tunecli.training.script.command import ScriptCall
from tunecli.training.script.trial import ScriptTrial

PAGE = (Path(__file__).parents[3] / "docs" / "scripts.md").read_text(encoding="utf-8")
EXAMPLE = PAGE.partition("<!-- the example")[2].partition("```python\n")[2].partition("```")[0]
LONGER = Schedule((Stage(0.5, 0.9, 0.5, 1, 100), Stage(0.25, 0.9, 0.5, 1, 150)))


def test_example_of_the_page_trains_and_goes_on(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text(EXAMPLE, encoding="utf-8")

    def trial(name: str, rate: float) -> ScriptTrial:
        return ScriptTrial(
            (sys.executable, "train.py", repr(rate), "{checkpoint}"),
            ScriptSection(folder=str(tmp_path), takes="schedule"),
            LONGER,
            folder=tmp_path / name,
            seed=0,
            metric="loss",
        )

    first = trial("first", 0.5)
    outcome = first.run()
    assert [point.steps for point in outcome.curve] == [0, 100, 200, 250]
    assert outcome.final is not None
    assert outcome.final.loss is not None
    assert outcome.final.loss < 25
    assert trial("second", 50.0).run().diverged
    again = trial("third", 0.5)
    assert first._saved is not None  # as it was interrupted after its last checkpoint
    again.load_state_dict({**first.state_dict(), "record": first._saved.state(), "complete": False})
    assert (again.training.steps, len(again.curve)) == (200, 3)
    resumed = again.run()
    assert [point.steps for point in resumed.curve] == [0, 100, 200, 250]
    assert "/first/state.json\n" in (tmp_path / "third" / "script.log").read_text()


def test_example_of_the_page_is_short() -> None:
    assert len(EXAMPLE.splitlines()) <= 20


def test_page_names_every_placeholder_key_and_answer() -> None:
    table = PAGE.partition("## What the script gets")[2].partition("The JSON file")[0]
    assert set(re.findall(r"`\{(\w+)\}`", table.partition("|---|")[2])) == set(PLACEHOLDERS)
    answers = PAGE.partition("## What it answers")[2].partition("Every other line")[0]
    assert set(re.findall(r"^\| `(\w+)`", answers, re.MULTILINE)) == set(_KEYS)
    keys = PAGE.partition("## How it is run")[2].partition("## How a trial ends")[0]
    assert set(re.findall(r"^\| `(\w+)`", keys, re.MULTILINE)) == set(ScriptSection.model_fields)


def test_page_shows_the_file_that_is_written(tmp_path: Path) -> None:
    shown = json.loads(PAGE.partition("```json\n")[2].partition("```")[0])
    call = ScriptCall(("train",), SCHEDULE, tmp_path, seed=0, phase="search")
    call.write_schedule()
    written = json.loads(call.schedule_file.read_text())
    assert list(shown) == list(written)
    assert list(shown["stages"][0]) == list(written["stages"][0])

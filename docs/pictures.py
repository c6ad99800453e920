"""Draw the terminal of README.md from a finished search.

    tunecli search digits-cnn --run runs/picture
    python docs/pictures.py runs/picture

Writes docs/terminal.svg: the live table and the summary at 80 columns. docs/report.png is the top
of the same run's report.html in a browser, 1000 × 960 pixels.
"""

import json
import sys
from io import StringIO
from pathlib import Path

from rich.console import Console

from tunecli.data.load import training_samples
from tunecli.recipe import derive_schedule, load_recipe
from tunecli.report.live import SearchView
from tunecli.report.tables import search_summary
from tunecli.search.events import SearchStarted, SearchStopped, TrialFinished, TrialRecord
from tunecli.search.stop_rule import Point, Stop, StopReason

HERE = Path(__file__).parent


def main(run: Path) -> None:
    """Draw the picture."""
    result = json.loads((run / "result.json").read_text(encoding="utf-8"))
    recipe = load_recipe(run / "recipe.yaml")
    samples = training_samples(recipe.data)
    console = Console(record=True, width=80, file=StringIO(), force_terminal=False)
    view = SearchView(console)
    rates = recipe.search.learning_rates
    view(
        SearchStarted(
            recipe=recipe,
            schedule=derive_schedule(recipe.schedule, rates[0], samples),
            training_samples=samples,
            most_trials=recipe.search.most_trials,
            usual_trials=recipe.search.usual_trials,
            finished=(),
            device=result["environment"]["device"],
        )
    )
    for trial in result["trials"]:
        view(TrialFinished("search", TrialRecord(**trial)))
    stop = result["stop"]
    points = tuple(Point(**point) for point in stop["points"])
    view(
        SearchStopped(
            Stop(
                reason=StopReason(stop["reason"]),
                learning_rate=result["learning_rate"],
                value=None,
                edge=stop["edge"],
                learned=stop["learned"],
                points=points,
            ),
            stop["explanation"],
        )
    )
    console.export_text()  # what was said so far is the plain form; the picture shows the table
    console.print(view)
    console.print(search_summary(result, samples))
    svg = console.export_svg(title=f"tunecli search recipes/{recipe.name}.yaml")
    (HERE / "terminal.svg").write_text(svg, encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))

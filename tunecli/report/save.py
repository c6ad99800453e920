"""The files that a finished search leaves in its folder."""

from typing import Any

import yaml

from tunecli.errors import RunError
from tunecli.execution.files import write_aside, write_json, write_text
from tunecli.execution.run_folder import RunFolder
from tunecli.report.html import search_page
from tunecli.report.plot import learning_rate_plot


def save_search(result: dict[str, Any], run: RunFolder) -> None:
    """Write plot, page and schedule, and last `result.json`, which says that the run is finished.

    Raises:
        RunError: A file cannot be written.
    """
    picture = learning_rate_plot(result)
    try:
        write_aside(run.plot, lambda file: file.write(picture))
    except OSError as error:
        raise RunError(f"{run.plot} cannot be written: {error.strerror}") from error
    if result["schedule"]:
        write_text(run.schedule, schedule_yaml(result["schedule"]))
    write_text(run.report, search_page(result))
    write_json(run.result, result)


def schedule_yaml(stages: list[dict[str, Any]]) -> str:
    """A schedule's stages as YAML."""
    return yaml.safe_dump(stages, sort_keys=False)

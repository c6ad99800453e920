"""The files that a finished comparison leaves in its folder."""

from typing import Any

from tunecli.errors import RunError
from tunecli.execution.files import write_aside, write_json, write_text
from tunecli.execution.run_folder import RunFolder
from tunecli.report.compare_plot import anytime_plot
from tunecli.report.html import comparison_page


def save_comparison(result: dict[str, Any], run: RunFolder) -> None:
    """Write anytime.png, report.html, and last result.json, which says that the run is finished.

    Raises:
        RunError: A file cannot be written.
    """
    picture, path = anytime_plot(result), run.path / "anytime.png"
    try:
        write_aside(path, lambda file: file.write(picture))
    except OSError as error:
        raise RunError(f"{path} cannot be written: {error.strerror}") from error
    write_text(run.report, comparison_page(result))
    write_json(run.result, result)

"""The files that a finished stability measurement leaves in its folder."""

from typing import Any

from tunecli.errors import RunError
from tunecli.execution.files import write_aside, write_json
from tunecli.execution.run_folder import RunFolder
from tunecli.report.stability_plot import measured_plot


def save_stability(result: dict[str, Any], run: RunFolder) -> None:
    """Write stability.png, and last result.json, which says that the run is finished.

    Raises:
        RunError: A file cannot be written.
    """
    picture, path = measured_plot(result), run.path / "stability.png"
    try:
        write_aside(path, lambda file: file.write(picture))
    except OSError as error:
        raise RunError(f"{path} cannot be written: {error.strerror}") from error
    write_json(run.result, result)

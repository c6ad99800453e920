"""Keep a finished comparison in docs/comparisons/, as data and as a page.

    tunecli compare digits-mlp --run runs/digits-mlp
    python docs/keep_comparison.py runs/digits-mlp

Writes the JSON and the page that README.md names.
"""

import json
import sys
from pathlib import Path

from tunecli.report.html import comparison_page

KEPT = Path(__file__).parent / "comparisons"


def main(run: Path) -> None:
    """Write the two files, named after the recipe."""
    result = json.loads((run / "result.json").read_text(encoding="utf-8"))
    result["run"] = f"runs/{result['recipe']}"  # where it lay on one machine tells nobody anything
    KEPT.mkdir(exist_ok=True)
    page = KEPT / f"{result['recipe']}.html"
    page.write_text(comparison_page(result), encoding="utf-8")
    data = KEPT / f"{result['recipe']}.json"
    data.write_text(json.dumps(result, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))

import json
import shlex
from pathlib import Path

import pytest

from tests.cli.conftest import QUICK, Run
from tunecli.recipe import load_recipe, shipped_recipes


@pytest.fixture(autouse=True)
def _own_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


@pytest.mark.parametrize("form", ["", "--json"], ids=["yaml", "json"])
@pytest.mark.parametrize("path", shipped_recipes(), ids=lambda path: path.stem)
def test_what_show_prints_is_the_same_recipe(run: Run, path: Path, form: str) -> None:
    done = run("show", path, "schedule.stages=2", *shlex.split(form))
    assert done.exit_code == 0, done.output
    Path("shown.yaml").write_text(done.stdout, "utf-8")
    assert load_recipe("shown.yaml") == load_recipe(path, ["schedule.stages=2"])
    if form:
        assert json.loads(done.stdout)["schedule"]["stages"] == 2


def test_show_writes_defaults_out(run: Run, quick: Path) -> None:
    lines = run("show", quick).stdout.splitlines()
    assert "  momentum: 0.9" in lines
    assert "  seeds: [0]" in lines


def test_show_tells_what_would_run_and_whether_it_may(run: Run, quick: Path) -> None:
    assert run("show", quick).stderr == ""
    quick.write_text(QUICK.replace("{name: logistic}", "{import: 'nets:build'}"), "utf-8")
    told = run("show", quick).stderr
    assert "model: nets:build()" in told
    assert f"tunecli trust {quick}" in told
    run("trust", quick, "--yes")
    assert "The file is trusted" in run("show", quick).stderr
    told = run("show", quick, "model.import=nets:other").stderr
    assert "an override on the command line changes what runs" in told


def test_show_does_without_the_store(
    run: Run, quick: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    quick.write_text(QUICK.replace("{name: logistic}", "{import: 'nets:build'}"), "utf-8")
    monkeypatch.setenv("XDG_STATE_HOME", str(quick))
    done = run("show", quick)
    assert done.exit_code == 0
    assert "Whether it is trusted is not known" in done.stderr

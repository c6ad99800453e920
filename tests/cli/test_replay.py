import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from tests.cli.conftest import Run
from tunecli.cli.app import app

TABLES: list[dict[str, Any]] = [
    {
        "name": "peak",
        "learning_rates": [0.1, 0.2, 0.4, 0.8],
        "values": [0.5, 0.7, 0.6, None],
        "maximize": True,
        "samples": 100,
    },
    {"name": "lost [red]\x1b[31m", "learning_rates": [1], "values": [None], "maximize": False},
]


@pytest.fixture
def tables(tmp_path: Path) -> Path:
    path = tmp_path / "tables.json"
    path.write_text(json.dumps(TABLES), encoding="utf-8")
    return path


def test_replay_json_has_every_table_and_all_together(run: Run, tables: Path) -> None:
    done = run("replay", tables, "--strategy", "paper", "--json")
    assert done.exit_code == 0
    result = json.loads(done.stdout)
    assert {key: result[key] for key in ("format", "kind", "strategy", "patience")} == {
        "format": 1,
        "kind": "replay",
        "strategy": "paper",
        "patience": 1,
    }
    assert result["tables"][0] == {
        "name": "peak",
        "rates": 4,
        "learning_rate": 0.2,
        "value": 0.7,
        "best": {"learning_rate": 0.2, "value": 0.7},
        "regret": 0,
        "regret_of_range": 0,
        "within_1_percent": True,
        "within_one_point": True,
        "trials": 3,
        "cost": 3,
        "samples": 300,
        "path": [0.1, 0.2, 0.4],
        "stop": {
            "reason": "no_improvement",
            "explanation": result["tables"][0]["stop"]["explanation"],
        },
    }
    lost = result["tables"][1]
    assert lost["learning_rate"] is lost["value"] is lost["best"] is lost["regret"] is None
    assert lost["within_1_percent"] is None
    assert result["overall"] == {
        "n": 2,
        "all_diverged": 1,
        "within_1_percent": 1,
        "within_one_point": 1,
        "trials": {"median": 2, "p90": 2.8, "mean": 2},
        "cost": {"median": 2, "p90": 2.8, "mean": 2},
        "samples": {"median": 300, "p90": 300, "mean": 300},  # of the one that has a price
    }


def test_replay_takes_the_default_search(run: Run, tables: Path) -> None:
    result = json.loads(run("replay", tables, "--json").stdout)
    assert result["strategy"] == "geometric"
    assert result["tables"][0]["learning_rate"] == 0.2


def test_replay_shows_a_row_per_table_and_obeys_no_name(run: Run, tables: Path) -> None:
    shown = run("replay", tables).stdout
    assert "lost [red]�[31m" in shown
    assert "\x1b" not in shown
    assert "2 tables, strategy geometric" in shown
    assert "at every rate on 1 of them" in shown
    assert "of the grid's best on 100.0 %" in shown


def test_replay_of_many_tables_shows_the_summary_only(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "many.json"
    path.write_text(json.dumps(TABLES[:1] * 31), encoding="utf-8")
    shown = run("replay", path).stdout
    assert "peak" not in shown
    assert "--json has them all" in shown
    assert "31 tables" in shown
    assert len(json.loads(run("replay", path, "--json").stdout)["tables"]) == 31


def test_replay_reads_stdin(tables: Path) -> None:
    text = tables.read_text(encoding="utf-8")
    done = CliRunner().invoke(app, ["replay", "-", "--json"], input=text)
    assert done.exit_code == 0
    assert json.loads(done.stdout)["overall"]["n"] == 2
    wrong = CliRunner().invoke(app, ["replay", "-"], input="[]")
    assert wrong.exit_code == 2
    assert "error: stdin must be a list of at least one table but got []" in wrong.stderr


def test_replay_reads_what_an_editor_put_a_mark_before(run: Run, tables: Path) -> None:
    tables.write_bytes(b"\xef\xbb\xbf" + tables.read_bytes())
    assert run("replay", tables).exit_code == 0


@pytest.mark.parametrize(
    ("arguments", "content", "message"),
    [
        ([], b"{", "tables.json must be JSON but is not"),
        ([], b"\xff\xfe", "tables.json is not: invalid start byte at byte 0"),
        ([], b"[[]]", "table 1 of 1 must be an object with the keys of a table but got []"),
        (["--strategy", "probe"], None, "got probe; a table has no ramp of the learning rate"),
        (["--strategy", "Best"], None, "strategy must be geometric or paper but got Best"),
        (["--patience", "0"], None, "patience must be ≥ 1 but got 0"),
    ],
)
def test_replay_refuses_in_a_sentence(
    run: Run, tables: Path, arguments: list[str], content: bytes | None, message: str
) -> None:
    if content is not None:
        tables.write_bytes(content)
    done = run("replay", tables, *arguments)
    assert done.exit_code == 2
    assert done.stdout == ""
    assert done.stderr.startswith("error: ")
    assert message in " ".join(done.stderr.split())


def test_replay_says_which_file_is_not_there(run: Run, tmp_path: Path) -> None:
    for path in (tmp_path / "none.json", tmp_path):
        done = run("replay", path)
        assert done.exit_code == 2
        assert f"must be a readable file but got {path}" in done.stderr


def test_replay_imports_nothing_heavy(tables: Path) -> None:
    code = (
        "import sys; from tunecli.cli.app import app\n"
        "try: app(sys.argv[1:])\n"
        "except SystemExit as end: assert not end.code, end.code\n"
        "heavy = {'torch', 'optuna', 'numpy', 'pydantic', 'matplotlib'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "replay", str(tables)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr

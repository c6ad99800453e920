"""What `tunecli init` writes: a commented recipe for what a person has, and a starter script."""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from tunecli.recipe.catalog import shipped_recipes

Kind = Literal["npz", "images", "text", "python", "script", "digits"]
Framework = Literal["pytorch", "lightning", "transformers"]
KINDS: tuple[Kind, ...] = get_args(Kind)
FRAMEWORKS: tuple[Framework, ...] = get_args(Framework)

BUILD, LOAD = "nets:build", "nets:load"  # what the starter nets.py has
CONTEXT = 64  # bytes of a text that a model sees
STARTER_SAMPLES = 1077  # of every starter's training set


@dataclass(frozen=True, kw_only=True)
class Start:
    """What is known of somebody's project.

    Args:
        kind: What there is.
        name: Of the recipe.
        batch_size: Of the first stage.
        length: Epochs of one trial; updates of its first stage for a script that does not tell
            how many samples it trains on.
        metric: What is compared: accuracy, loss, or what a script's `value` is.
        minimize: Whether smaller is better, for a metric of a script.
        path: Of the data, as the recipe writes it; for npz, images and text.
        pattern: Which files of a folder of text; None for all.
        model: Import path of what builds the model, for kind python.
        data: Import path of what loads the data, for kind python.
        command: What trains, for kind script; None for the starter of `framework`.
        framework: Of the starter script.
        samples: To train on, where that is known.
        input_shape: Of one sample, where it is known.
        convolutions: How many convolutions with pooling the images take; 0 where they are none.
        numbers: Whether targets are numbers and not classes.
    """

    kind: Kind
    name: str
    batch_size: int
    length: float
    metric: str
    minimize: bool = False
    path: str | None = None
    pattern: str | None = None
    model: str = BUILD
    data: str = LOAD
    command: tuple[str, ...] | None = None
    framework: Framework = "pytorch"
    samples: int | None = None
    input_shape: tuple[int, ...] | None = None
    convolutions: int = 0
    numbers: bool = False

    @property
    def in_steps(self) -> bool:
        """Whether `length` is a number of updates."""
        return self.command is not None and self.samples is None


def recipe_text(start: Start) -> str:
    """A recipe for it, every key with a comment."""
    sections = [_head(start), *_what(start), _schedule(start), _search(start)]
    return "\n".join(sections)


def starter_texts(start: Start, recipe: str) -> dict[str, str]:
    """The files to write beside a recipe, by name; none where the person has their own.

    Args:
        start: What is known.
        recipe: The recipe's file name, for what the files say of themselves.
    """
    if start.kind == "script" and start.command is None:
        source = _example(f"scripts/train_{start.framework}.py").read_text(encoding="utf-8")
        text = source.replace(f"train_{start.framework}.py", "train.py")
        return {"train.py": text.replace(f"script-{start.framework}", recipe)}
    if start.kind == "python" and (start.model == BUILD or start.data == LOAD):
        template = Path(__file__).parent / "starters" / "nets.py.txt"
        return {"nets.py": template.read_text(encoding="utf-8")}
    return {}


def _head(start: Start) -> str:
    return (
        "# Written by `tunecli init`. A key that is left out has a default; `tunecli show` writes\n"
        "# all of them out.\n\n"
    ) + _lines(
        ("version: 1", "of the recipe grammar"),
        (f"name: {start.name}", "names run folders and reports"),
    )


def _what(start: Start) -> list[str]:
    """The sections that say what is trained."""
    if start.kind == "script":
        return _script(start)
    if start.kind == "python":
        return [_own_model(start), _own_data(start)]
    return [_model(start), _data(start), *([_numbers()] if start.numbers else [])]


def _model(start: Start) -> str:
    if start.kind == "text":
        return _lines(
            ("model:", ""),
            ("  name: decoder", "GPT-2's architecture; predicts the next byte"),
            ("  layers: 2", "blocks of attention and a perceptron"),
            ("  heads: 4", "of each attention"),
            ("  width: 64", "of the stream through the blocks"),
        )
    if start.convolutions:
        widths = [16, 32, 64, 128][: min(start.convolutions, _wanted(start.input_shape))]
        return _lines(
            ("model:", ""),
            ("  name: cnn", "or lenet, mlp, logistic"),
            (f"  channels: {widths}", "output channels of 3×3 convolutions; each halves the image"),
            ("  hidden: 64", "then a hidden layer of 64 units"),
        )
    return _lines(
        ("model:", ""),
        ("  name: mlp", "or logistic: one linear layer"),
        ("  hidden: [128, 128]", "width of each hidden layer"),
    )


def _wanted(input_shape: tuple[int, ...] | None) -> int:
    """Convolutions for images of a size; each halves them."""
    side = 0 if input_shape is None else min(input_shape[1:])
    return 2 if side < 24 else 3 if side < 64 else 4


def _data(start: Start) -> str:
    path = (f"  path: {_scalar(start.path)}", "relative to this file") if start.path else ("", "")
    shape = " × ".join(map(str, start.input_shape or ()))
    if start.kind == "digits":
        lines = [("  name: digits", "1797 images, ten classes, comes with scikit-learn")]
    elif start.kind == "npz":
        lines = [("  name: npz", f"arrays; the shape of a sample is {shape}"), path]
    elif start.kind == "images":
        assert start.input_shape is not None
        channels, size, _ = start.input_shape
        lines = [
            ("  name: images", "a folder of pictures, with a folder for each class"),
            path,
            (f"  image_size: {size}", "height and width that every picture is brought to"),
            (f"  channels: {channels}", "3 for colours, 1 for grey"),
        ]
    else:
        lines = [
            ("  name: text", "a file or a folder, read as bytes"),
            path,
            *(
                [(f"  pattern: {_scalar(start.pattern)}", "which files of it")]
                if start.pattern
                else []
            ),
            (f"  context: {CONTEXT}", "bytes that the model sees of the past"),
        ]
    return _lines(("data:", ""), *lines)


def _numbers() -> str:
    return _lines(
        ("loss:", ""),
        ("  name: mse", "mean squared error: the targets are numbers, not classes"),
    )


def _own_model(start: Start) -> str:
    lines = [
        ("model:", "your own code: runs only where this file is trusted"),
        (f"  import: {_scalar(start.model)}", "called, and returns a torch.nn.Module"),
    ]
    if start.model == BUILD:
        lines.append(("  args: {hidden: 64}", "what it is called with"))
    return _lines(*lines)


def _own_data(start: Start) -> str:
    if start.data == "digits":
        return _data(Start(kind="digits", name="", batch_size=1, length=1, metric=""))
    lines = [
        ("data:", ""),
        (f"  import: {_scalar(start.data)}", "called, and returns train, validation and test"),
    ]
    if start.data == LOAD:
        lines.append((f"  samples: {STARTER_SAMPLES}", "to train on: `schedule` runs no code"))
    return _lines(*lines)


def _script(start: Start) -> list[str]:
    if start.command is None:
        shipped = _example(f"script-{start.framework}.yaml").read_text(encoding="utf-8")
        block = shipped[shipped.index("\ncommand:") + 1 : shipped.index("\nschedule:")]
        sections = [block.replace(f"scripts/train_{start.framework}.py", "train.py")]
    else:
        items = "".join(f"  - {_scalar(item)}\n" for item in start.command)
        comment = "a list, never a shell; {words} are filled in for each trial"
        command = _lines(("command:", comment)) + items
        known = []
        if start.samples is not None:
            known = [(f"  samples: {start.samples}", "that it trains on, to count in epochs")]
        script = _lines(
            ("script:", 'it answers with JSON lines, as {"step": 10, "value": 0.9}'),
            ("  folder: .", "where the command runs: beside this file"),
            *known,
            ("  answer_timeout_s: 86400", "longest time without an answer: a day"),
            ("  failure: stop", "an exit code that is not 0 ends the search (or: diverged)"),
        )
        sections = [command, script]
    if start.metric not in ("accuracy", "loss"):
        better = "smaller" if start.minimize else "larger"
        meaning = f"  {start.metric}: {{maximize: {str(not start.minimize).lower()}}}"
        sections.append(_lines(("metrics:", ""), (meaning, f"{better} is better")))
    return sections


def _schedule(start: Start) -> str:
    if start.in_steps:
        length = (f"  steps: {start.length:.0f}", "updates of the first stage")
    else:
        length = (f"  epochs: {start.length:g}", "budget of one trial: passes over the data")
    discount = ("  discount: 0.5", "how much the momentum counts: half")
    if start.kind == "script" and start.command is None and start.framework != "transformers":
        discount = ("  discount: 1.0", "heavy ball, as torch.optim.SGD has it; see the script")
    head = "the closed form, Eq. 17 of the QHM paper"
    if start.kind == "script" and not _takes_schedule(start):
        head = "advice only: your script's own schedule stays"
    return _lines(
        ("schedule:", head),
        ("  stages: 3", "the rate drops twice"),
        ("  decay: 0.5", "per stage: half the learning rate, twice the updates …"),
        ("  batch_decay: 0.5", "… on half the batch, so each stage sees as much data"),
        ("  momentum: 0.9", "of the first stage; it rises as the rate drops"),
        discount,
        (f"  batch_size: {start.batch_size}", "of the first stage"),
        length,
    )


def _search(start: Start) -> str:
    grid, rates = _grid(start)
    return _lines(
        ("search:", ""),
        ("  grid:", f"initial rates to choose from: {rates}"),
        (f"    geometric: {grid}", ""),
        ("  patience: 1", "stop at the first rate that is no better"),
        ("  seeds: [0, 1, 2]", "the first for the walk, all for the last two: one may be lucky"),
        ("  test_seeds: [100, 101, 102]", "fresh seeds for the final training"),
        (f"  metric: {start.metric}", "what is compared, on the validation data"),
    )


def _grid(start: Start) -> tuple[str, str]:
    if start.kind == "script" and not _takes_schedule(start):
        # whatever optimizer the script has, so from Adam's rates to SGD's
        return "{start: 0.0001, factor: 4, count: 8}", "0.0001, 0.0004, … 1.6384"
    if start.numbers:
        return "{start: 0.0025, factor: 2, count: 9}", "0.0025, 0.005, 0.01, … 0.64"
    return "{start: 0.025, factor: 2, count: 9}", "0.025, 0.05, 0.1, … 6.4"


def _takes_schedule(start: Start) -> bool:
    if start.command is None:
        return start.framework != "transformers"
    from tunecli.recipe.script import ScriptSection, what_it_takes

    return what_it_takes(start.command, ScriptSection()) == "schedule"


def _example(name: str) -> Path:
    """A file beside the shipped recipes."""
    return shipped_recipes()[0].parent / name


def _lines(*lines: tuple[str, str]) -> str:
    """Text and comments in two columns."""
    return "".join(
        (f"{text:<33} # {comment}" if comment else text) + "\n" for text, comment in lines
    )


def _scalar(text: str | None) -> str:
    """Text as YAML, in quotes unless it cannot be taken for anything else."""
    assert text is not None
    if re.fullmatch(r"-{0,2}(?:[A-Za-z]|\.{0,2}/)(?:[A-Za-z0-9_./:={}-]*[A-Za-z0-9_/}])?", text):
        return text if text.lower() not in ("true", "false", "null", "yes", "no") else f'"{text}"'
    return json.dumps(text, ensure_ascii=False)

"""`torch.optim.SGD` as docs/scripts.md sets it, and as the example script does."""

from pathlib import Path

import torch

from tunecli import QHM
from tunecli.schedule import multistage_schedule

ROOT = Path(__file__).parents[3]
_PAGE = (ROOT / "docs" / "scripts.md").read_text(encoding="utf-8")
SNIPPET = _PAGE.partition("<!-- torch")[2].partition("```python\n")[2].partition("```")[0]


def a_schedule() -> list[dict[str, float]]:
    return multistage_schedule(
        learning_rate=0.3, momentum=0.9, batch_size=8, stages=3, decay=0.5, discount=1.0, steps=7
    ).to_list()


def gradient_of(weights: list[torch.nn.Parameter], random: torch.Generator) -> None:
    for weight in weights:
        noise = torch.randn(weight.shape, generator=random, dtype=weight.dtype)
        weight.grad = 3 * weight.detach() + noise


def fresh() -> tuple[list[torch.nn.Parameter], torch.Generator]:
    random = torch.Generator().manual_seed(0)
    shapes = ((4,), (3, 2))
    weights = [
        torch.nn.Parameter(torch.randn(shape, generator=random, dtype=torch.float64))
        for shape in shapes
    ]
    return weights, random


def trained_by_qhm() -> list[torch.nn.Parameter]:
    weights, random = fresh()
    optimizer = QHM(weights, 0.3, discount=1.0)
    for stage in a_schedule():
        for group in optimizer.param_groups:
            group["lr"], group["momentum"] = stage["learning_rate"], stage["momentum"]
        for _ in range(int(stage["steps"])):
            gradient_of(weights, random)
            optimizer.step()
    return weights


def test_snippet_of_the_page_makes_the_steps_of_qhm_over_stage_borders() -> None:
    weights, random = fresh()
    exec(  # the page's own lines
        SNIPPET,
        {
            "torch": torch,
            "parameters": weights,
            "stages": a_schedule(),
            "gradient": lambda: gradient_of(weights, random),
        },
    )
    start, _ = fresh()
    for mine, theirs, first in zip(weights, trained_by_qhm(), start, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-12, atol=1e-14)
        assert (mine - first).abs().min() > 1e-3  # it went somewhere


def test_buffers_that_torch_begins_itself_make_other_steps() -> None:
    weights, random = fresh()
    lines = SNIPPET.splitlines(keepends=True)
    without = "".join(line for line in lines if "buffer" not in line and "would begin" not in line)
    assert len(without.splitlines()) == len(lines) - 2
    known = {"torch": torch, "parameters": weights, "stages": a_schedule()}
    exec(without, {**known, "gradient": lambda: gradient_of(weights, random)})
    assert not torch.allclose(weights[0], trained_by_qhm()[0], rtol=1e-3)


def test_example_scripts_set_torch_as_the_page_does() -> None:
    for name in ("train_pytorch.py", "train_lightning.py"):
        script = (ROOT / "recipes" / "scripts" / name).read_text(encoding="utf-8")
        for line in SNIPPET.splitlines():
            if "momentum" in line:
                assert line.strip() in script, (name, line)

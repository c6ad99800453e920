"""The exports for Lightning and transformers: with the real Trainers where they are installed."""

import json
import textwrap
from pathlib import Path
from typing import Any

import pytest

from tests.report.exported import (
    installed,
    make_run,
    make_schedule,
    mutated,
    run_clean,
    write,
)

LIGHTNING = installed("lightning") or installed("pytorch_lightning")
TRANSFORMERS = installed("transformers") and installed("accelerate")
needs_lightning = pytest.mark.skipif(not LIGHTNING, reason="needs lightning")
needs_transformers = pytest.mark.skipif(not TRANSFORMERS, reason="needs transformers")

# As much of the packages as the files import; their self-tests play the Trainer of a long schedule.
STUBS = {
    # where lightning is installed, it is taken instead
    "pytorch_lightning.py": "import torch\nclass Callback: pass\nclass Trainer: pass\n"
    "class LightningModule(torch.nn.Module): pass\n",
    "transformers/__init__.py": "class Trainer: pass\nclass TrainerCallback: pass\n"
    "class TrainingArguments: pass\nclass PrinterCallback: pass\n",
}

# Records what each optimizer step used, and from how many samples; `used` is its answer.
RECORD = """
import json, sys, warnings
sys.path.insert(0, sys.argv[1])
warnings.simplefilter("ignore")
import torch
import exported as e
used, samples = [], [0]
torch.manual_seed(0)
data = torch.utils.data.TensorDataset(torch.randn(50, 3), torch.randn(50, 1))
def watch(optimizer):
    def note(optimizer, *_):
        group = optimizer.param_groups[0]
        used.append([group["lr"], group["momentum"], group["discount"], samples[0]])
        samples[0] = 0
    optimizer.register_step_post_hook(note)
    return optimizer
"""

FIT = """
import logging
from lightning.pytorch import LightningModule, Trainer
logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
accumulate, folder = int(sys.argv[2]), sys.argv[3]

class Module(LightningModule):
    def __init__(self, automatic=True):
        super().__init__()
        self.layer = torch.nn.Linear(3, 1)
        self.other = torch.nn.Linear(3, 1)
        self.automatic_optimization = automatic
    def configure_optimizers(self):
        ours = watch(e.make_optimizer(self.layer.parameters()))
        if self.automatic_optimization:
            return ours
        return [torch.optim.SGD(self.other.parameters(), lr=7.0), ours]
    def train_dataloader(self):
        optimizers = 1 if self.automatic_optimization else 2
        sampler = e.StageBatches(
            50, accumulate=self.trainer.accumulate_grad_batches,
            start_step=self.trainer.global_step // optimizers,
        )
        return torch.utils.data.DataLoader(data, batch_sampler=sampler, num_workers=0)
    def training_step(self, batch, index):
        samples[0] += len(batch[0])
        loss = torch.nn.functional.mse_loss(self.layer(batch[0]), batch[1])
        if not self.automatic_optimization:
            for optimizer in self.optimizers():
                optimizer.zero_grad()
            self.manual_backward(loss)
            for optimizer in self.optimizers():
                optimizer.step()
            assert self.trainer.optimizers[0].param_groups[0]["lr"] == 7.0
        return loss

def fit(module, steps, checkpoint=None):
    trainer = Trainer(
        accelerator="cpu", devices=1, max_steps=steps, callbacks=[e.StageCallback()],
        accumulate_grad_batches=accumulate, use_distributed_sampler=False, logger=False,
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
    )
    trainer.fit(module, ckpt_path=checkpoint)
    return trainer
"""

TRAIN = """
from transformers import PrinterCallback, TrainerCallback, TrainingArguments
accumulate, folder = int(sys.argv[2]), sys.argv[3]
class Logs(TrainerCallback):
    def on_log(self, args, state, control, logs=None, **kwargs):
        if "learning_rate" in logs:
            rates.append(logs["learning_rate"])
rates = []

class Model(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(3, 1)
    def forward(self, x, labels):
        samples[0] += len(x)
        return {"loss": torch.nn.functional.mse_loss(self.layer(x), labels)}

class Data(torch.utils.data.Dataset):
    def __len__(self):
        return len(data)
    def __getitem__(self, index):
        return dict(zip(("x", "labels"), data[index]))

def train(steps, checkpoint=None, **more):
    torch.manual_seed(0)
    model = Model()
    optimizer = watch(e.make_optimizer(model.parameters()))
    args = TrainingArguments(
        folder, max_steps=steps, max_grad_norm=0.0, use_cpu=True, report_to="none",
        disable_tqdm=True, gradient_accumulation_steps=accumulate, logging_steps=1,
        save_strategy="steps", save_steps=10, **more,
    )
    trainer = e.StageTrainer(
        model=model, args=args, train_dataset=Data(), callbacks=[e.StageCallback(), Logs()],
        optimizers=(optimizer, e.KeepLearningRate(optimizer)),
    )
    trainer.remove_callback(PrinterCallback)
    trainer.train(resume_from_checkpoint=checkpoint)
    return model
"""


def script(folder: Path, *parts: str) -> Path:
    """A program that uses `exported.py`, which lies beside it."""
    path = folder / "user.py"
    path.write_text("".join(textwrap.dedent(part) for part in parts), encoding="utf-8")
    return path


def answer(said: str) -> Any:
    return json.loads(said.strip().splitlines()[-1])


def expected() -> list[list[float]]:
    schedule = make_schedule()
    stages = (schedule.stage_at(update) for update in range(schedule.total_steps))
    return [[s.learning_rate, s.momentum, s.discount, s.batch_size] for s in stages]


def test_callbacks_are_tested_without_their_trainers(tmp_path: Path) -> None:
    stubs = tmp_path / "stubs"
    for name, text in STUBS.items():
        (stubs / name).parent.mkdir(parents=True, exist_ok=True)
        (stubs / name).write_text(text, encoding="utf-8")
    long = make_run(make_schedule(steps=10_000), reset_momentum=True)
    lightning, transformers = (write(tmp_path, long, to) for to in ("lightning", "transformers"))
    changes = [
        (
            lightning,
            "trainer.global_step // len(trainer.optimizers)\n        for",
            "0\n        for",
        ),
        (lightning, "set_update(optimizer, update)\n\n\nclass", "pass\n\n\nclass"),
        (transformers, "set_update(optimizer, state.global_step)", "pass"),
        (transformers, "set_update(optimizer, state.global_step)", "set_update(optimizer, 10000)"),
    ]
    files = [lightning, transformers, *(mutated(*change) for change in changes)]
    ends = run_clean(tmp_path, [(path,) for path in files], stubs=[stubs])
    for end in ends[:2]:
        assert end.code == 0, end.said
        assert "9 of 70000 updates" in end.said
    for end, update in zip(ends[2:], (10000, 10000, 10000, 0), strict=True):
        assert end.code == 1
        assert f"self-test FAILED at update {update}:" in end.said


@needs_lightning
def test_lightning_export_tests_itself_with_the_real_trainer(tmp_path: Path) -> None:
    path = write(tmp_path, make_run(reset_momentum=True), "lightning")
    wrong = mutated(path, "set_update(optimizer, update)\n\n\nclass", "pass\n\n\nclass")
    cut = mutated(path, "Stage(0.15, ", "Stage(0.16, ")
    passed, failed, edited = run_clean(tmp_path, [(path,), (wrong,), (cut,)])
    assert passed.code == 0, passed.said
    assert "28 of 28 updates" in passed.said
    for end in (failed, edited):
        assert end.code == 1
        assert "FAILED at update 4:" in end.said


@needs_lightning
@pytest.mark.parametrize("accumulate", [1, 3])
def test_lightning_fit_uses_the_schedule_also_after_a_resume(
    tmp_path: Path, accumulate: int
) -> None:
    write(tmp_path, make_run(), "lightning", "exported.py")
    program = script(
        tmp_path,
        RECORD,
        FIT,
        """
        torch.manual_seed(0)
        whole = Module()
        fit(whole, 28)
        straight, used[:] = list(used), []
        torch.manual_seed(0)
        fit(Module(), 10).save_checkpoint(folder + "/ten.ckpt")
        gone_on = Module()
        fit(gone_on, 28, folder + "/ten.ckpt")
        same = all(map(torch.equal, whole.parameters(), gone_on.parameters()))
        print(json.dumps([straight, used, same]))
        """,
    )
    (end,) = run_clean(tmp_path, [(program, tmp_path, accumulate, tmp_path)])
    assert end.code == 0, end.said
    straight, resumed, same = answer(end.said)
    assert straight == expected()
    assert resumed == expected()
    assert same


@needs_lightning
def test_lightning_callback_with_two_optimizers_sets_ours_alone(tmp_path: Path) -> None:
    write(tmp_path, make_run(), "lightning", "exported.py")
    program = script(
        tmp_path, RECORD, FIT, "fit(Module(automatic=False), 56)\nprint(json.dumps(used))\n"
    )
    (end,) = run_clean(tmp_path, [(program, tmp_path, 1, tmp_path)])
    assert end.code == 0, end.said
    assert answer(end.said) == expected()


@needs_lightning
def test_lightning_callback_refuses_what_would_be_another_schedule(tmp_path: Path) -> None:
    write(tmp_path, make_run(), "lightning", "exported.py")
    program = script(
        tmp_path,
        RECORD,
        FIT,
        """
        said = []
        class Wrong(Module):
            def train_dataloader(self):
                return torch.utils.data.DataLoader(data, batch_sampler=e.StageBatches(50, **wrong))
        class Adam(Module):
            def configure_optimizers(self):
                return torch.optim.Adam(self.parameters())
        for module, steps, wrong in (
            (Wrong, 28, {"accumulate": 2}), (Wrong, 28, {"start_step": 3}), (Module, 29, {}),
            (Module, -1, {}), (Adam, 28, {}),
        ):
            try:
                fit(module(), steps)
            except ValueError as error:
                said.append(str(error))
        print(json.dumps(said))
        """,
    )
    (end,) = run_clean(tmp_path, [(program, tmp_path, 1, tmp_path)])
    assert end.code == 0, end.said
    starts = [
        "accumulate must be 1",
        "start_step must be 0 but got 3",
        "max_steps must be in [0, 28] but got 29",
        "max_steps must be in [0, 28] but got -1",
        "configure_optimizers must return",
    ]
    for sentence, start in zip(answer(end.said), starts, strict=True):
        assert sentence.startswith(start)


@needs_transformers
def test_transformers_export_tests_itself_with_the_real_trainer(tmp_path: Path) -> None:
    path = write(tmp_path, make_run(reset_momentum=True), "transformers")
    wrong = mutated(path, "set_update(optimizer, state.global_step)", "pass")
    cut = mutated(path, "Stage(0.15, ", "Stage(0.16, ")
    passed, failed, edited = run_clean(tmp_path, [(path,), (wrong,), (cut,)])
    assert passed.code == 0, passed.said
    assert "28 of 28 updates" in passed.said
    for end in (failed, edited):
        assert end.code == 1
        assert "FAILED at update 4:" in end.said


@needs_transformers
@pytest.mark.parametrize("accumulate", [1, 3])
def test_transformers_training_uses_the_schedule_also_after_a_resume(
    tmp_path: Path, accumulate: int
) -> None:
    write(tmp_path, make_run(), "transformers", "exported.py")
    program = script(
        tmp_path,
        RECORD,
        TRAIN,
        """
        whole = train(28)
        straight, used[:], logged, rates[:] = list(used), [], list(rates), []
        gone_on = train(28, folder + "/checkpoint-10")
        same = all(map(torch.equal, whole.parameters(), gone_on.parameters()))
        try:
            train(-1)
        except ValueError as error:
            print(json.dumps([straight, used, logged, same, str(error)]))
        """,
    )
    (end,) = run_clean(tmp_path, [(program, tmp_path, accumulate, tmp_path / "out")])
    assert end.code == 0, end.said
    straight, resumed, logged, same, refusal = answer(end.said)
    assert straight == expected()
    assert resumed == expected()[10:]
    assert logged == [values[0] for values in expected()]
    assert same
    assert refusal.startswith("max_steps must be at most 28 but got 84")


@pytest.mark.parametrize(
    ("target", "package"), [("lightning", "lightning"), ("transformers", "transformers accelerate")]
)
def test_missing_package_is_a_sentence(tmp_path: Path, target: str, package: str) -> None:
    for name in ("lightning", "pytorch_lightning", "transformers"):
        stub = tmp_path / "without" / name / "__init__.py"
        stub.parent.mkdir(parents=True, exist_ok=True)
        stub.write_text(f"raise ModuleNotFoundError(\"No module named '{name}'\")\n", "utf-8")
    path = write(tmp_path, make_run(), target)
    importing = tmp_path / "importing.py"
    importing.write_text(
        f"import runpy\ntry:\n    runpy.run_path({str(path)!r})\n"
        "except ImportError as error:\n    print(error)\n",
        "utf-8",
    )
    alone, imported = run_clean(tmp_path, [[path], [importing]], stubs=[tmp_path / "without"])
    sentence = f"this file needs {package}: pip install {package} (No module named '{target}')"
    assert alone == (1, sentence)
    assert imported == (0, sentence + "\n")

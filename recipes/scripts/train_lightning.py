"""Train a small network on scikit-learn's 8×8 digits with Lightning.

The schedule comes from a JSON file, a list of stages (learning rate, momentum, batch size, steps);
the answers go to a file, a JSON line each, because Lightning prints much on its own:

    python train_lightning.py --schedule schedule.json --answers answers.jsonl

`tunecli search script-lightning` writes the one and reads the other. `Stages`, the callback that
sets the rate and the momentum, and `StageBatches`, which cuts the batches, are all that it takes.
"""

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lightning
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import Tensor, nn
from torch.utils.data import DataLoader, Sampler, Subset, TensorDataset

EVALUATIONS = 5  # looks at the validation set, evenly spaced


class Digits(lightning.LightningModule):
    """A multilayer perceptron with one hidden layer, and its optimizer."""

    def __init__(self, learning_rate: float, weight_decay: float) -> None:
        super().__init__()
        self.learning_rate, self.weight_decay = learning_rate, weight_decay
        self.net = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """SGD; `Stages` sets its rate and momentum as the training goes on."""
        optimizer = torch.optim.SGD(
            self.parameters(), lr=self.learning_rate, weight_decay=self.weight_decay
        )
        # torch begins a momentum buffer at the first gradient; from 0, and dampened as below, it is
        # an average of gradients, as in the QHM paper (discount 1)
        for parameter in self.parameters():
            optimizer.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
        return optimizer

    def training_step(self, batch: list[Tensor], index: int) -> Tensor:
        """Loss of one batch."""
        images, labels = batch
        return nn.functional.cross_entropy(self.net(images), labels)

    def validation_step(self, batch: list[Tensor], index: int) -> None:
        """Accuracy on the validation set, which is one batch."""
        self.log("accuracy", self._accuracy(batch))

    def test_step(self, batch: list[Tensor], index: int) -> None:
        """Accuracy on the test set."""
        self.log("test_accuracy", self._accuracy(batch))

    def _accuracy(self, batch: list[Tensor]) -> Tensor:
        images, labels = batch
        return (self.net(images).argmax(dim=1) == labels).double().mean()


class StageBatches(Sampler[list[int]]):
    """Indices of one batch per update, as large as its stage says."""

    def __init__(self, plan: list[dict[str, Any]], num_samples: int, seed: int) -> None:
        self.plan, self.num_samples, self.seed = plan, num_samples, seed

    def __iter__(self) -> Iterator[list[int]]:
        random = torch.Generator().manual_seed(self.seed)
        for stage in self.plan:
            yield torch.randint(self.num_samples, (stage["batch_size"],), generator=random).tolist()

    def __len__(self) -> int:
        return len(self.plan)


class Stages(lightning.Callback):
    """Sets each update's learning rate and momentum, and answers after every validation."""

    def __init__(self, plan: list[dict[str, Any]], answers: Path) -> None:
        self.plan, self.answers = plan, answers
        self.train_loss: dict[str, Tensor] = {}  # of the last update, once there is one

    def on_train_batch_start(self, trainer: lightning.Trainer, *_: object) -> None:
        """Before an update: the numbers of its stage."""
        stage = self.plan[trainer.global_step]
        for group in trainer.optimizers[0].param_groups:
            group["lr"] = stage["learning_rate"]
            group["momentum"] = group["dampening"] = stage["momentum"]

    def on_train_batch_end(
        self, trainer: lightning.Trainer, module: object, outputs: Any, *_: object
    ) -> None:
        """After an update: its loss, for the next answer."""
        self.train_loss = {"train_loss": outputs["loss"].detach()}

    def on_validation_end(self, trainer: lightning.Trainer, *_: object) -> None:
        """After a validation: a line for tunecli."""
        self.answer(
            step=trainer.global_step,
            samples=sum(stage["batch_size"] for stage in self.plan[: trainer.global_step]),
            value=trainer.callback_metrics["accuracy"].item(),
            # not finite: tunecli ends the trial
            **{name: loss.item() for name, loss in self.train_loss.items()},
        )

    def answer(self, **values: float) -> None:
        """Append one JSON line to the file of answers."""
        with self.answers.open("a") as file:
            file.write(json.dumps(values) + "\n")


def load_data() -> tuple[Subset[Any], Subset[Any], Subset[Any]]:
    """Training, validation and test set: the same split at every run."""
    images, labels = load_digits(return_X_y=True)
    digits = TensorDataset(torch.tensor(images / 16, dtype=torch.float32), torch.tensor(labels))
    rest, test = train_test_split(range(len(labels)), test_size=0.2, random_state=0)
    train, validation = train_test_split(rest, test_size=0.25, random_state=0)
    return Subset(digits, train), Subset(digits, validation), Subset(digits, test)


def main() -> None:
    """Train as the schedule says."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--schedule", type=Path, required=True, help="JSON file with the stages")
    parser.add_argument("--answers", type=Path, required=True, help="file for the JSON lines")
    parser.add_argument("--phase", choices=["search", "final"], default="search")
    parser.add_argument("--device", default="cpu", help="cpu or cuda:0")
    options = parser.parse_args()

    schedule = json.loads(options.schedule.read_text())
    plan = [stage for stage in schedule["stages"] for _ in range(stage["steps"])]
    lightning.seed_everything(schedule["seed"], verbose=False)

    train, validation, test = load_data()
    stages = Stages(plan, options.answers)
    trainer = lightning.Trainer(
        accelerator="cpu" if options.device == "cpu" else "gpu",
        devices=1,
        max_epochs=1,  # of the batch sampler: all stages
        val_check_interval=max(1, len(plan) // EVALUATIONS),
        num_sanity_val_steps=0,
        callbacks=[stages],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    model = Digits(schedule["learning_rate"], schedule["weight_decay"])
    batches = DataLoader(train, batch_sampler=StageBatches(plan, len(train), schedule["seed"]))
    validation_batch = DataLoader(validation, batch_size=len(validation))
    trainer.validate(model, validation_batch, verbose=False)  # what learning nothing comes to
    trainer.fit(model, batches, validation_batch)
    trainer.validate(model, validation_batch, verbose=False)  # after the last update
    if options.phase == "final":
        (measured,) = trainer.test(model, DataLoader(test, batch_size=len(test)), verbose=False)
        stages.answer(step=len(plan), test=measured["test_accuracy"])


if __name__ == "__main__":
    main()

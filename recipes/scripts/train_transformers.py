"""Train a tiny vision transformer on scikit-learn's 8×8 digits with the Hugging Face Trainer.

Nothing is downloaded: the model starts from random weights. The script takes a learning rate; the
optimizer and its schedule are the Trainer's own:

    python train_transformers.py --learning-rate 0.003

`tunecli search script-transformers` searches that rate; `Answers`, a callback of a few lines,
tells it how the training goes.
"""

import argparse
import json
import math
import tempfile
from typing import Any

import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch.utils.data import Dataset
from transformers import (
    EvalPrediction,
    Trainer,
    TrainerCallback,
    TrainingArguments,
    ViTConfig,
    ViTForImageClassification,
)


class Digits(Dataset[dict[str, torch.Tensor]]):
    """Images and labels in the form that the Trainer takes."""

    def __init__(self, images: Any, labels: Any) -> None:
        self.images = torch.tensor(images / 8 - 1, dtype=torch.float32).reshape(-1, 1, 8, 8)
        self.labels = torch.tensor(labels)

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        return {"pixel_values": self.images[index], "labels": self.labels[index]}


class Answers(TrainerCallback):
    """One JSON line after every evaluation."""

    def on_evaluate(self, args: Any, state: Any, control: Any, **more: Any) -> None:
        """Tell whoever started this script the accuracy on the validation set."""
        metrics = more["metrics"]
        if "eval_accuracy" in metrics:  # the test set is evaluated as well, at the end
            answer = {
                "step": state.global_step,
                "samples": state.global_step * args.train_batch_size,
                "value": metrics["eval_accuracy"],
                "diverged": not math.isfinite(metrics["eval_loss"]),
            }
            print(json.dumps(answer), flush=True)


def accuracy(predicted: EvalPrediction) -> dict[str, float]:
    """Share of the images whose digit the model tells."""
    labels = predicted.label_ids
    return {"accuracy": float((predicted.predictions.argmax(axis=1) == labels).mean())}


def main() -> None:
    """Train once."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--learning-rate", type=float, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=float, default=10)
    parser.add_argument("--phase", choices=["search", "final"], default="search")
    options = parser.parse_args()

    images, labels = load_digits(return_X_y=True)
    x, test_x, y, test_y = train_test_split(images, labels, test_size=0.2, random_state=0)
    x, validation_x, y, validation_y = train_test_split(x, y, test_size=0.25, random_state=0)

    torch.manual_seed(options.seed)
    model = ViTForImageClassification(
        ViTConfig(
            image_size=8,
            patch_size=2,
            num_channels=1,
            hidden_size=32,
            num_hidden_layers=2,
            num_attention_heads=4,
            intermediate_size=64,
            num_labels=10,
        )
    )
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(
            model=model,
            args=TrainingArguments(
                output_dir=folder,
                learning_rate=options.learning_rate,
                num_train_epochs=options.epochs,
                per_device_train_batch_size=32,
                per_device_eval_batch_size=512,
                eval_strategy="epoch",
                save_strategy="no",
                seed=options.seed,
                report_to="none",
                disable_tqdm=True,
            ),
            train_dataset=Digits(x, y),
            eval_dataset=Digits(validation_x, validation_y),
            compute_metrics=accuracy,
            callbacks=[Answers()],
        )
        trainer.evaluate()  # answers for step 0: what learning nothing comes to
        trainer.train()
        if options.phase == "final":
            test = trainer.evaluate(Digits(test_x, test_y), metric_key_prefix="test")
            print(json.dumps({"test": test["test_accuracy"]}), flush=True)


if __name__ == "__main__":
    main()

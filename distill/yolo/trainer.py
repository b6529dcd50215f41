"""What a training adds to the trainer of ultralytics: whole checkpoints, exact continuation, errors in words."""

from __future__ import annotations

import errno
import io
import json
import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

from labeling.core.errors import BackendError, InputError, StateError
from labeling.image_files import display

from ..dataset import Dataset
from ..students import Tell, pace
from .soft_loss import soften
from .weights import write_whole

TEACHER_FILE = "teacher.pt"
"""The model whose features are taught, in the run folder while it lasts."""


def _to_stderr(line: str) -> None:
    sys.stderr.write(f"{line}\n")


class CarefulTrainer:
    """Comes before a trainer of the library among its bases; imports nothing of it.

    Every epoch has its own seed, and beside last.pt lie the weights, their averages and the state of the optimizer in
    full precision, so that on a CPU a training that was killed and resumed ends with the same weights as one that ran
    through. Checkpoints are written aside and put in place whole.
    """

    tell: Tell = staticmethod(_to_stderr)
    began = 0.0

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        threads = torch.get_num_threads()
        super().__init__(*args, **kwargs)
        torch.set_num_threads(threads)  # the library leaves one core unused: on two cores half of the machine

    def _setup_train(self: Any) -> None:
        super()._setup_train()  # type: ignore[misc]
        if self.train_loader.dataset.soft:
            model = _bare(self.model)
            model.criterion = soften(getattr(model, "criterion", None) or model.init_criterion())

    def build_optimizer(self, *args: Any, **kwargs: Any) -> torch.optim.Optimizer:
        """Let Adam update all weights in one pass on a CPU, too, where the library asks for one step per tensor."""
        optimizer: torch.optim.Optimizer = super().build_optimizer(*args, **kwargs)  # type: ignore[misc]
        if isinstance(optimizer, torch.optim.Adam):
            for group in optimizer.param_groups:
                group.update(fused=True, foreach=False)
        return optimizer

    def run_callbacks(self: Any, event: str) -> None:
        """Seed every epoch by its number: order and augmentation do not depend on what ran before."""
        if event == "on_train_epoch_start":
            self.began = time.monotonic()
            seed = self.args.seed + 1000 * self.epoch + _rank() + 1
            random.seed(seed)
            np.random.seed(seed)
            torch.manual_seed(seed)
            if isinstance(self.train_loader.sampler, torch.utils.data.RandomSampler):
                # A generator of its own: the loader draws from the other one when mosaic ends.
                self.train_loader.sampler.generator = torch.Generator().manual_seed(seed)
        super().run_callbacks(event)  # type: ignore[misc]

    def preprocess_batch(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Take the weights of soft labels, the second column of ``cls``, apart."""
        ready: dict[str, Any] = super().preprocess_batch(batch)  # type: ignore[misc]
        if ready["cls"].shape[1] == 2:
            ready["weights"] = ready["cls"][:, 1].contiguous()
            ready["cls"] = ready["cls"][:, :1].contiguous()
        return ready

    def get_class_counts(self: Any) -> Any:
        """Return how many objects each class has, without boxes to ignore."""
        rows = np.concatenate([label["cls"] for label in self.train_loader.dataset.labels])
        taught = rows[rows[:, -1] > 0] if self.train_loader.dataset.soft else rows
        return np.bincount(taught[:, 0].astype(int), minlength=self.data["nc"]).astype(np.float32)

    def plot_training_labels(self: Any) -> None:
        """Draw the labels, unless they are soft: the drawing expects one column."""
        if not self.train_loader.dataset.soft:
            super().plot_training_labels()  # type: ignore[misc]

    def save_model(self: Any) -> bool:
        """Write the checkpoints aside, and put them in place whole, with what an exact continuation needs."""
        aside = self.save_dir / "weights.part"
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir(parents=True)
        places = self.wdir, self.last, self.best
        self.wdir, self.last, self.best = aside, aside / "last.pt", aside / "best.pt"
        try:
            super().save_model()  # type: ignore[misc]
        except BaseException:
            shutil.rmtree(aside, ignore_errors=True)
            raise
        finally:
            self.wdir, self.last, self.best = places
        try:
            self._put_in_place(aside)
        finally:
            shutil.rmtree(aside, ignore_errors=True)
        self.tell(self._epoch_in_words())
        return True

    def _put_in_place(self: Any, aside: Path) -> None:
        """Write the exact state first: a checkpoint that is in place has its own beside it, whenever we are killed."""
        exact = _exact_file(self.wdir, self.epoch)
        buffer = io.BytesIO()
        torch.save(
            {
                "model": _without_teacher(_bare(self.model).state_dict()),
                "ema": _without_teacher(self.ema.ema.state_dict()),
                "optimizer": self.optimizer.state_dict()["state"],
                "results": self.csv.read_text(encoding="utf-8"),
            },
            buffer,
        )
        self.wdir.mkdir(parents=True, exist_ok=True)
        write_whole(exact, buffer.getbuffer())
        for file in sorted(aside.iterdir()):
            write_whole(self.wdir / file.name, file.read_bytes())
        for old in self.wdir.glob(_exact_file(self.wdir, "*").name):
            if old != exact:
                old.unlink()

    def resume_training(self: Any, ckpt: Mapping[str, Any] | None) -> None:
        """Go on exactly: the library alone would go on from averaged weights in half precision."""
        super().resume_training(ckpt)  # type: ignore[misc]
        if not ckpt or not self.resume:
            return
        file = _exact_file(self.wdir, ckpt["epoch"])
        try:
            exact = torch.load(file, map_location="cpu", weights_only=True)
            _bare(self.model).load_state_dict(exact["model"], strict=False)
            self.ema.ema.load_state_dict(exact["ema"], strict=False)
            self.optimizer.load_state_dict({**self.optimizer.state_dict(), "state": exact["optimizer"]})
        except Exception as error:  # a damaged file can raise anything
            self.tell(f"{display(file)}: cannot be read ({type(error).__name__}): goes on from averaged weights")
            return
        if _rank() in (-1, 0):
            self.csv.write_text(exact["results"], encoding="utf-8")

    def final_eval(self) -> None:
        """Leave the measuring to labelstill evaluate, and the checkpoints as they are."""

    def _epoch_in_words(self: Any) -> str:
        loss = sum(float(one) for one in self.tloss.values())
        words = f"epoch {self.epoch + 1} of {self.epochs}: loss {loss:.3f}"
        measured = {name: self.metrics.get(f"metrics/m{name}(B)") for name in ("AP50", "AP50-95")}
        words += "".join(f", {name} on val {one:.3f}" for name, one in measured.items() if one is not None)
        return f"{words}, {pace(time.monotonic() - self.began, self.epochs - self.epoch - 1)}"


def check_data_hash(dataset: Dataset, folder: Path) -> None:
    """Compare a dataset with the one that the run was begun with, where run.json names it.

    Raises:
        StateError: the data changed.
    """
    try:
        begun = json.loads((folder / "run.json").read_text(encoding="utf-8")).get("dataset")
    except FileNotFoundError:
        return
    except (OSError, ValueError) as error:
        raise StateError(f"{display(folder / 'run.json')}: cannot be read ({error}): start a new run") from error
    if begun != dataset.hash:
        raise StateError(
            f"{display(folder)}: the run was begun with dataset {begun}, this is {dataset.hash}: the data "
            "changed since: start a new run"
        )


def check_same(begun: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    """Compare the settings of a run with those that it shall go on with. Raises InputError."""
    for key in ("epochs", "imgsz", "seed", "task"):
        if begun[key] != wanted[key]:
            raise InputError(f"{key} {wanted[key]}: the run was begun with {begun[key]}: keep it or start a new run")


def first_whole(paths: Sequence[Path], read: Callable[[Path], Any], tell: Tell) -> tuple[Path, Any] | None:
    """Return the first checkpoint that can be read, and what it holds; None where there is none at all.

    Args:
        paths: the newest first.
        read: raises where a file is damaged.
        tell: is told of damaged ones.

    Raises:
        StateError: there are some, and none can be read.
    """
    there = [path for path in paths if path.exists()]
    for path in there:
        try:
            return path, read(path)
        except Exception as error:  # a damaged file can raise anything
            tell(f"{display(path)}: is damaged ({type(error).__name__}): an older checkpoint is taken")
    if there:
        raise StateError(f"{display(there[0].parent)}: no checkpoint can be read: start a new run")
    return None


def tidy(folder: Path) -> None:
    """Remove what only the continuation of a training needs from its run folder."""
    for name in ("weights", "weights.part"):
        shutil.rmtree(folder / "training" / name, ignore_errors=True)
    (folder / TEACHER_FILE).unlink(missing_ok=True)


@contextmanager
def explained(folder: Path) -> Iterator[None]:
    """Turn what a training raises into errors of one line.

    Raises:
        InputError: settings that the library refuses, or too much for the memory of the GPU.
        StateError: the disk is full, or a file cannot be written.
        BackendError: anything else that failed inside the library.
    """
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise InputError("the GPU has not enough memory for this: make --batch or --imgsz smaller") from error
    except subprocess.CalledProcessError as error:
        raise BackendError(f"a training process ended with code {error.returncode}: its messages are above") from error
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise StateError(
                f"{display(folder)}: the disk is full: make room and train on; what earlier epochs left is whole"
            ) from error
        if error.errno is None:  # not from the system: the library knows no such model, or wants to fetch something
            raise InputError(f"ultralytics refuses this training: {_first_line(error)}") from error
        raise StateError(f"{display(folder)}: {_first_line(error)}: check the folder, then resume the run") from error
    except (TypeError, ValueError, SyntaxError, AssertionError) as error:
        raise InputError(f"ultralytics refuses this training: {_first_line(error)}") from error
    except RuntimeError as error:
        raise BackendError(f"the training failed: {_first_line(error)}") from error


def _exact_file(folder: Path, epoch: int | str) -> Path:
    """Return where the state that an exact continuation after an epoch needs lies."""
    return folder / f"exact-{epoch}.pt"


def _bare(model: Any) -> Any:
    """Return the model inside what compiles and distributes it."""
    for name in ("_orig_mod", "module"):
        model = getattr(model, name, model)
    return model


def _without_teacher(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {key: tensor for key, tensor in state.items() if not key.startswith("teacher_model.")}


def _rank() -> int:
    return int(os.getenv("RANK", "-1"))


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:200] if lines else type(error).__name__

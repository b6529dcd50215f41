"""The training loop of D-FINE: warm-up, cosine, moving average, and a checkpoint an epoch to go on from."""

from __future__ import annotations

import copy
import csv
import io
import math
import pickle
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from labeling.ahead import Ahead
from labeling.core.config import write_atomically
from labeling.core.errors import InputError, StateError
from labeling.image_files import display

from ..students import pace
from ..yolo.weights import write_whole
from .answers import scores
from .data import Sample
from .loss import soft_loss
from .pictures import Batch, Changes, batches

CHECKPOINT_FILE = "checkpoint.pt"
HISTORY_FILE = "results.csv"

_CLIP = 0.1
_LAST_LR = 0.01
_COLUMNS = ("epoch", "train_loss", "val_map50_95", "val_map50", "lr")

Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Recipe:
    """How weights are changed; the numbers are those of the published D-FINE-S.

    Attributes:
        lr: of the detector, at its highest.
        backbone: the learning rate of the backbone as a share of it; None is 0.1 from given weights and 1 from random.
        decay: of weights, but not of norms and biases.
        warmup: share of all steps in which the learning rate grows.
        average: largest share of the moving average that a step keeps; smaller in the first steps.
    """

    lr: float = 2.5e-4
    backbone: float | None = None
    decay: float = 1.25e-4
    warmup: float = 0.05
    average: float = 0.9998


@dataclass(frozen=True, slots=True, eq=False)
class Course:
    """One training.

    Attributes:
        train: as often as each is shown in an epoch.
        val: chooses the best epoch; where there is none the last one is taken.
        imgsz: side of the input in pixels.
        batch: images per step.
        epochs: in all.
        seed: of order, changes and noise.
        recipe: see there.
        changes: of the pictures.
        mark: what a checkpoint has to agree with to be gone on from.
    """

    train: Sequence[Sample]
    val: Sequence[Sample]
    imgsz: int
    batch: int
    epochs: int
    seed: int
    recipe: Recipe
    changes: Changes
    mark: Mapping[str, str]


@dataclass(frozen=True, slots=True, eq=False)
class Kept:
    """The best epoch of a training.

    Attributes:
        weights: averaged, on the CPU.
        epoch: its number, from 1.
        ap: AP50-95 on val; None where there is no val.
    """

    weights: Mapping[str, torch.Tensor]
    epoch: int
    ap: float | None


def fit(network: Any, course: Course, folder: Path, device: torch.device, tell: Tell) -> Kept:
    """Train, going on from the folder's checkpoint where there is one, and return the best averaged weights.

    Every draw of an epoch depends on the seed and the epoch alone, so a run that was cut off ends as one that was not.

    Raises:
        InputError: the batch does not fit into the memory of the device.
        StateError: the checkpoint is damaged or of another training, the disk is full, or the loss is no number.
    """
    network = network.to(device)
    network.loss_function = soft_loss
    averaged = copy.deepcopy(network).eval()
    optimiser = torch.optim.AdamW(_groups(network, course.recipe))
    state = _resumed(folder / CHECKPOINT_FILE, course.mark, device)
    if state:
        network.load_state_dict(state["network"])
        averaged.load_state_dict(state["averaged"])
        optimiser.load_state_dict(state["optimiser"])
        tell(f"going on after epoch {state['epoch']} of {course.epochs}")
    first, history, best = state.get("epoch", 0), state.get("history", []), state.get("best", {})
    for epoch in range(first, course.epochs):
        began = time.monotonic()
        try:
            loss = _epoch(network, averaged, optimiser, course, epoch, device)
        except torch.OutOfMemoryError as error:
            raise InputError(
                f"--batch is {course.batch}: that many images of {course.imgsz} pixels do not fit into the memory of "
                f"{device}: give fewer"
            ) from error
        whole, half = scores(averaged, course.val, course.imgsz, course.batch, device) if course.val else (0.0, 0.0)
        if not best or whole >= best["score"]:
            best = {"score": whole, "epoch": epoch + 1, "weights": _copied(averaged)}
        history.append([epoch + 1, loss, whole, half, optimiser.param_groups[0]["lr"]])
        write_checkpoint(
            folder / CHECKPOINT_FILE,
            {
                "mark": dict(course.mark),
                "epoch": epoch + 1,
                "network": network.state_dict(),
                "averaged": averaged.state_dict(),
                "optimiser": optimiser.state_dict(),
                "best": best,
                "history": history,
            },
        )
        _write_history(folder / HISTORY_FILE, history)
        checked = f", AP50-95 {whole:.3f} and AP50 {half:.3f} on val" if course.val else ""
        speed = pace(time.monotonic() - began, course.epochs - epoch - 1)
        tell(f"epoch {epoch + 1} of {course.epochs}: loss {loss:.3f}{checked}, {speed}")
    return Kept(best["weights"], best["epoch"], best["score"] if course.val else None)


def write_checkpoint(path: Path, state: Mapping[str, Any]) -> None:
    """Write tensors and plain values, whole or not at all. Raises StateError where the disk is full."""
    content = io.BytesIO()
    torch.save(dict(state), content)
    try:
        write_whole(path, content.getvalue())
    except OSError as error:
        raise StateError(
            f"{display(path)}: cannot be written ({error.strerror}): free some space, then resume"
        ) from error


def _epoch(
    network: Any, averaged: Any, optimiser: torch.optim.Optimizer, course: Course, epoch: int, device: torch.device
) -> float:
    """Train for one epoch and return the mean loss."""
    torch.manual_seed(course.seed * 100_003 + epoch)
    network.train()
    steps = math.ceil(len(course.train) / course.batch)
    total = 0.0
    source = batches(course.train, course.imgsz, course.batch, course.changes, (course.seed, epoch))
    with Ahead(source, depth=2, name="pictures") as ready:
        for number, batch in enumerate(ready, start=epoch * steps):
            loss = _step(network, optimiser, batch.to(device), _ramp(number, steps * course.epochs, course.recipe))
            if not math.isfinite(loss):
                raise StateError(f"epoch {epoch + 1}: the loss is no number any more: train again with a lower lr")
            _average(averaged, network, min(course.recipe.average, (1 + number) / (10 + number)))
            total += loss
    return total / steps


def _step(network: Any, optimiser: torch.optim.Optimizer, batch: Batch, ramp: float) -> float:
    for group in optimiser.param_groups:
        group["lr"] = group["peak"] * ramp
    loss = network(pixel_values=batch.pixels.float() / 255, labels=batch.targets).loss
    optimiser.zero_grad(set_to_none=True)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(network.parameters(), _CLIP)
    optimiser.step()
    return float(loss.detach())


def _ramp(step: int, steps: int, recipe: Recipe) -> float:
    """Return the share of the highest learning rate: it grows evenly, then falls along a cosine."""
    warm = max(1, round(recipe.warmup * steps))
    if step < warm:
        return (step + 1) / warm
    return _LAST_LR + (1 - _LAST_LR) * 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm)))


@torch.no_grad()
def _average(averaged: Any, network: Any, kept: float) -> None:
    for slow, fast in zip(averaged.parameters(), network.parameters(), strict=True):
        slow.lerp_(fast, 1 - kept)
    for slow, fast in zip(averaged.buffers(), network.buffers(), strict=True):
        slow.lerp_(fast, 1 - kept) if slow.is_floating_point() else slow.copy_(fast)


def _groups(network: Any, recipe: Recipe) -> list[dict[str, Any]]:
    """Return the weights by learning rate and decay."""
    found: dict[tuple[float, float], list[torch.nn.Parameter]] = {}
    for name, weights in network.named_parameters():
        if weights.requires_grad:
            peak = recipe.lr * (1.0 if recipe.backbone is None or ".backbone." not in name else recipe.backbone)
            found.setdefault((peak, recipe.decay if weights.ndim > 1 else 0.0), []).append(weights)
    return [
        {"params": weights, "lr": peak, "peak": peak, "weight_decay": decay}
        for (peak, decay), weights in sorted(found.items(), key=lambda item: item[0], reverse=True)
    ]


def _copied(network: Any) -> dict[str, torch.Tensor]:
    return {key: value.detach().cpu().clone() for key, value in network.state_dict().items()}


def _resumed(path: Path, mark: Mapping[str, str], device: torch.device) -> dict[str, Any]:
    if not path.exists():
        return {}
    try:
        state = torch.load(path, map_location=device, weights_only=True)
        kept = dict(state["mark"])
    except (OSError, RuntimeError, EOFError, ValueError, KeyError, TypeError, pickle.UnpicklingError) as error:
        raise StateError(
            f"{display(path)}: is damaged ({type(error).__name__}): delete it to begin this training from the start"
        ) from error
    for key, value in mark.items():
        if kept.get(key) != value:
            raise StateError(
                f"{display(path)}: was trained with another {key} ({kept.get(key)}, now {value}): train anew"
            )
    found: dict[str, Any] = state
    return found


def _write_history(path: Path, history: Sequence[Sequence[float]]) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_COLUMNS)
    writer.writerows(history)
    write_atomically(path, text.getvalue())

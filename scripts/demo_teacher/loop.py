"""One training loop for both models: warm-up, cosine, checkpoints that a killed run resumes from."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import torch


def train(
    name: str,
    model: torch.nn.Module,
    groups: list[dict[str, object]],
    batches_from: Callable[[int], Iterable[object]],
    loss_of: Callable[[object], torch.Tensor],
    steps: int,
    folder: Path,
    *,
    evaluate: Callable[[], str] | None = None,
    every: int = 100,
) -> None:
    """Run ``steps`` steps, resuming from ``folder/name.pt`` where there is one."""
    optimiser = torch.optim.AdamW(groups, weight_decay=1e-4)
    peaks = [float(group["lr"]) for group in optimiser.param_groups]
    checkpoint, first = folder / f"{name}.pt", 0
    if checkpoint.exists():
        state = torch.load(checkpoint, weights_only=True)
        model.load_state_dict(state["model"])
        optimiser.load_state_dict(state["optimiser"])
        first = state["step"]
        print(f"{name}: resumed at step {first} of {steps}", flush=True)
    model.train()
    began, total, seen = time.monotonic(), 0.0, 0
    for step, batch in enumerate(batches_from(first), start=first):
        ramp = min(1.0, (step + 1) / 200) * (0.5 * (1 + math.cos(math.pi * step / steps)) * 0.97 + 0.03)
        for group, peak in zip(optimiser.param_groups, peaks, strict=True):
            group["lr"] = peak * ramp
        loss = loss_of(batch)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 2.0)
        optimiser.step()
        total, seen = total + float(loss.detach()), seen + 1
        if (step + 1) % every == 0 or step + 1 == steps:
            half = checkpoint.with_suffix(".tmp")
            torch.save({"model": model.state_dict(), "optimiser": optimiser.state_dict(), "step": step + 1}, half)
            os.replace(half, checkpoint)
            pace = (time.monotonic() - began) / seen
            line = f"{name}: step {step + 1}/{steps} loss {total / seen:.3f} {pace:.2f} s/step"
            if evaluate and ((step + 1) % (5 * every) == 0 or step + 1 == steps):
                model.eval()
                line += " " + evaluate()
                model.train()
            print(line, flush=True)
            began, total, seen = time.monotonic(), 0.0, 0
    model.eval()

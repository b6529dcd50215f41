"""A bundle as small as one can be: what bench.py needs beside it, with a student of random weights."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import numpy as np

from export.bundle import write_golden, write_manifest
from export.runtime import Model, OnnxSession
from tests.made_onnx import NAMES, make_onnx, photo
from tests.paths import ROOT

PROGRAMS = ("runtime.py", "device.py", "timing.py", "bench.py")


def flat_bundle(folder: Path, *, golden_shift: float = 0.0) -> Path:
    """Write a bundle in FP32 with two golden images into a folder, or write one anew.

    Args:
        folder: it lies in.
        golden_shift: pixels by which golden boxes are moved away from what the model finds.
    """
    if not (folder / "model.onnx").exists():
        make_onnx(folder, imgsz=64, thresholds=dict.fromkeys(NAMES, 0.2))
    weights = hashlib.sha256((folder / "student.safetensors").read_bytes()).hexdigest()
    shutil.rmtree(folder / "golden", ignore_errors=True)
    (folder / "manifest.json").unlink(missing_ok=True)
    write_golden(folder, [photo(60, 90, 1), photo(70, 50, 2)], Model(OnnxSession(folder / "model.onnx", threads=1)))
    with np.load(folder / "golden.npz", allow_pickle=False) as stored:
        golden = {name: stored[name] + (golden_shift if name.endswith("boxes") else 0) for name in stored.files}
    np.savez(folder / "golden.npz", **golden)  # type: ignore[arg-type]
    (folder / "classes.txt").write_text("".join(f"{name}\n" for name in NAMES))
    for name in PROGRAMS:
        shutil.copyfile(ROOT / "export" / name, folder / name)
    accuracy = {"fp32": {"ap50": 0.9, "ap": 0.6, "images": 12, "part": "val"}}
    about = {"name": "yard", "weights": weights, "models": {"fp32": "model.onnx"}, "classes": list(NAMES)}
    write_manifest(folder, {**about, "precision": "fp32", "accuracy": accuracy})
    return folder

"""Plain `yolo train`: the peer of measure_real.py. The settings that are given, and ultralytics' own for all others."""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
from pathlib import Path


def main() -> None:
    """Train, and leave OUT/SEED.safetensors in the form that `labelstill` loads."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of a dataset")
    parser.add_argument("--start", type=Path, required=True, help="safetensors to start from")
    parser.add_argument("--epochs", type=int, required=True)
    parser.add_argument("--imgsz", type=int, required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    settings = tempfile.mkdtemp(prefix="plain-yolo-")
    os.environ.update(YOLO_OFFLINE="1", YOLO_AUTOINSTALL="false", YOLO_CONFIG_DIR=settings)
    import json

    import torch
    import yaml
    from safetensors.torch import load_file, save_file
    from ultralytics import YOLO
    from ultralytics.nn.tasks import DetectionModel

    options.out.mkdir(parents=True, exist_ok=True)
    model = DetectionModel("yolov8n.yaml", verbose=False)
    model.load_state_dict({key: tensor.float() for key, tensor in load_file(options.start).items()}, strict=True)
    model.args = {}
    start = options.out / f"start-{options.seed}.pt"
    torch.save({"model": model, "train_args": {}}, start)
    # A copy that it may write into, with caches of its own.
    data = options.out / f"data-{options.seed}"
    shutil.rmtree(data, ignore_errors=True)
    shutil.copytree(options.data, data, copy_function=shutil.copyfile)
    for folder in (data, *(path for path in data.rglob("*") if path.is_dir())):
        folder.chmod(0o755)
    run = options.out / f"run-{options.seed}"
    shutil.rmtree(run, ignore_errors=True)
    yolo = YOLO(str(start))
    yolo.train(
        data=str(data / "data.yaml"), epochs=options.epochs, imgsz=options.imgsz, seed=options.seed, device="cpu",
        project=str(options.out.absolute()), name=run.name,
    )  # fmt: skip
    best = torch.load(run / "weights/best.pt", weights_only=False)["model"].float()
    names = yaml.safe_load((data / "data.yaml").read_text())["names"]
    tensors = {key: tensor.contiguous() for key, tensor in best.state_dict().items()}
    metadata = {
        "kind": "ultralytics", "yaml": "yolov8n", "task": "detect", "imgsz": str(options.imgsz),
        "names": json.dumps([names[number] for number in sorted(names)]),
    }  # fmt: skip
    save_file(tensors, options.out / f"{options.seed}.safetensors", metadata)
    shutil.rmtree(settings, ignore_errors=True)


if __name__ == "__main__":
    main()

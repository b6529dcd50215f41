"""Options that train and distill have in common, with one help text each."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

More = Annotated[
    list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Settings of the library, by its names.")
]
ProjectFolder = Annotated[Path, typer.Option("--project", metavar="DIR", help="Folder of the project.")]
Model = Annotated[
    str,
    typer.Option("--model", help="yolov8n, yolov8s, yolov8n-seg, yolo11n and so on (AGPL-3.0); dfine-n (Apache-2.0)."),
]
Start = Annotated[
    Path | None, typer.Option("--start", metavar="FILE", help="Weights to start from; random ones if left out.")
]
Epochs = Annotated[int, typer.Option("--epochs", min=1, help="How often every image is seen.")]
InputSize = Annotated[int, typer.Option("--imgsz", min=32, help="Longer side of the input in pixels.")]
Batch = Annotated[int, typer.Option("--batch", min=1, help="Images per step.")]
Seed = Annotated[int, typer.Option("--seed", min=0, help="Of all that is drawn by lot.")]
Device = Annotated[str, typer.Option("--device", help="auto, cpu, cuda, cuda:N, or several as in 0,1.")]
RunName = Annotated[str | None, typer.Option("--name", metavar="RUN", help="Of the run; counts up if left out.")]
LearningCurve = Annotated[
    bool, typer.Option("--learning-curve", help="Train on a quarter and a half, too: does more data help?")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]

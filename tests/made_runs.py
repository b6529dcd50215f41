"""A project with a split and a finished run, made without a training: random weights that see something everywhere."""

from __future__ import annotations

from pathlib import Path

from distill.dataset import materialise
from distill.run_folder import RunFolder, now
from distill.split import SplitSettings, read_split
from labeling.project import Project
from labeling.stored_photos import StoredPhotos, loader
from tests.made_onnx import make_student
from tests.test_student_commands import CLASSES, project_of


def made_project(root: Path, images: int = 40, reviewed: int = 36) -> Path:
    """Draw a small project and split it; its root comes back."""
    from distill.commands.split import split_project

    path = project_of(root, images=images, reviewed=reviewed)
    project = Project.open(path)
    with project.open_store() as store:
        split_project(project, store, SplitSettings())
    return path


def made_run(root: Path, name: str = "first", model: str = "yolov8n", imgsz: int = 64, seed: int = 5) -> RunFolder:
    """Put a run into a project as if it had been trained on its split."""
    project = Project.open(root)
    with project.open_store() as store:
        split = read_split(store)
        task = "segment" if model.endswith("-seg") else "detect"
        photo = StoredPhotos(store, loader(project.config.images)).photo
        dataset = materialise(project, store, split, photo, task=task)  # type: ignore[arg-type]
    facts = {
        "kind": "dfine" if model.startswith("dfine") else "ultralytics", "model": model, "licence": "AGPL-3.0",
        "dataset": dataset.hash, "ontology": project.ontology.hash, "names": list(CLASSES), "split": split.name,
        "seed": seed, "teaching": {"fold": None, "share": 1.0}, "settings": {"model": model, "imgsz": imgsz},
        "curve_of": None,
    }  # fmt: skip
    run = RunFolder.create(project, name, facts)
    make_student(run.path, model, CLASSES, imgsz, seed)
    return run.write(finished_at=now(), weights=run.weights_hash())

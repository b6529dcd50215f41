"""Real photos with people's labels as projects, cut into the parts that lie beside this file."""

from __future__ import annotations

import json
from pathlib import Path

from cells import labelstill

from distill.splitting.given import given_split, read_lists
from labeling.project import Project

LISTS = Path(__file__).resolve().parent / "splits"
PCB_CLASSES = ("open", "short", "mousebite", "spur", "copper", "pin-hole")


def project_of(name: str, shared: Path, folder: Path) -> Project:
    """Return a project that holds a set as reviewed, and its parts.

    Args:
        name: bccd, raccoon or deeppcb.
        shared: folder with ``data``.
        folder: of the project; made where there is none.
    """
    if not (folder / "labels.db").exists():
        source = shared / "data" / {"deeppcb": "deeppcb-300"}.get(name, name)
        if name == "deeppcb":
            coco = folder.with_name("deeppcb.json")
            coco.parent.mkdir(parents=True, exist_ok=True)
            coco.write_text(json.dumps(_coco_of_boards(source)))
            labels = ("--from", "coco", "--in", str(coco))
        else:
            labels = ("--from", "voc", "--in", str(source / "annotations"))
        labelstill("convert", *labels, "--images", str(source / "images"), "--project", str(folder))
    project = Project.open(folder)
    with project.open_store() as store:
        given_split(store, read_lists(LISTS / name))
    return project


def _coco_of_boards(source: Path) -> dict[str, object]:
    """Return the labels of the circuit boards, ``x0 y0 x1 y1 class`` in pixels with classes from 1, as COCO."""
    images, annotations = [], []
    for number, file in enumerate(sorted((source / "labels").glob("*.txt"))):
        picture = next((source / "images").glob(f"{file.stem}.*"))
        images.append({"id": number, "file_name": picture.name, "width": 640, "height": 640})
        for line in file.read_text(encoding="utf-8").splitlines():
            x0, y0, x1, y1, category = map(int, line.split())
            box = [x0, y0, x1 - x0, y1 - y0]
            annotations.append(
                {"id": len(annotations), "image_id": number, "category_id": category, "bbox": box, "iscrowd": 0,
                 "area": box[2] * box[3]}
            )  # fmt: skip
    categories = [{"id": number, "name": name} for number, name in enumerate(PCB_CLASSES, 1)]
    return {"images": images, "annotations": annotations, "categories": categories}

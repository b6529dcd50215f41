"""Which formats can be read, by what, and a word of help where a file is of another format."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from ..core.errors import InputError
from .coco_dataset import open_coco
from .datasets import Dataset
from .json_files import read_json
from .studio_dataset import open_studio
from .voc_dataset import open_voc
from .yolo_dataset import open_autodistill, open_yolo

SOURCES: dict[str, Callable[[Path, Path | None], Dataset]] = {
    "coco": open_coco,
    "yolo": open_yolo,
    "yolo-seg": open_yolo,
    "yolo-obb": partial(open_yolo, rotated=True),
    "voc": open_voc,
    "labelstudio": open_studio,
    "autodistill": open_autodistill,
}
"""Name of the format, as ``--from`` has it, to what opens it."""

_LARGE_BYTES = 32 * 2**20


def open_dataset(form: str, path: Path, images: Path | None) -> Dataset:
    """Open labels of another program.

    Args:
        form: name of the format, see SOURCES.
        path: file or folder.
        images: folder of the photos, where they do not lie beside the labels.

    Raises:
        InputError: there is no such folder, or the labels are not of this format; says which format they may be.
    """
    if images is not None and not images.is_dir():
        raise InputError(f"--images {images}: expected a folder with the photos, there is none")
    try:
        return SOURCES[form](path, images)
    except InputError as error:
        looks = _looks_like(path)
        if looks is None or looks == form or (form.startswith("yolo") and looks == "yolo"):
            raise
        raise InputError(f"{error}; it looks like {looks}: try --from {looks}") from error


def _looks_like(path: Path) -> str | None:
    """Return the format that a file or folder most likely has, or None."""
    if path.is_dir():
        if (path / "train/images").is_dir() and (path / "valid/images").is_dir():
            return "autodistill"
        if any((path / name).is_file() for name in ("data.yaml", "data.yml", "classes.txt")):
            return "yolo"
        if (path / "Annotations").is_dir() or next(path.glob("*.xml"), None):
            return "voc"
        candidates = [path / name for name in ("tasks.json", "annotations.json")]
        path = next((file for file in candidates if file.is_file()), path)
    if path.suffix.lower() in (".yaml", ".yml"):
        return "yolo"
    if path.suffix.lower() != ".json" or path.stat().st_size > _LARGE_BYTES:
        return None
    try:
        document = read_json(path)
    except InputError:
        return None
    if isinstance(document, dict):
        return "coco" if {"images", "categories"} <= document.keys() else None
    first = document[0] if isinstance(document, list) and document else None
    return "labelstudio" if isinstance(first, dict) and "data" in first else None

"""Two sets of photos with labels of people, as projects: coco-photos with a teacher's claims, and bccd."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from labeling.core.ontology import Ontology, OntologyClass
from labeling.core.records import Annotation
from labeling.core.store import FileStamp, ImageOutcome, Store

SETS = ("coco-photos", "bccd")
WEIGHTS = "weights/yolov8n-coco-fp16.safetensors"


@dataclass(frozen=True, slots=True)
class Photos:
    """One set as people labelled it.

    Attributes:
        name: of the set.
        names: of the classes, in order.
        sizes: width and height by sha256.
        paths: one file per image.
        labels: of people, by sha256.
        project: folder of the project that holds them; it is copied, never changed.
    """

    name: str
    names: tuple[str, ...]
    sizes: dict[str, tuple[int, int]]
    paths: dict[str, Path]
    labels: dict[str, list[Annotation]]
    project: Path


def photos(name: str, shared: Path, work: Path, score: float) -> Photos:
    """Return a set; its project is made through the command line when it is not there yet.

    Args:
        name: one of SETS.
        shared: folder with ``data`` and ``weights``.
        work: folder that outlives this run.
        score: lowest score of the teacher's claims on coco-photos; bccd gets none here.
    """
    project, source = work / name / f"people-{score}", shared / "data" / name
    if not (project / "made").exists():
        shutil.rmtree(project, ignore_errors=True)
        project.mkdir(parents=True)
        if name == "coco-photos":
            _labelled_by_a_teacher(source, shared / WEIGHTS, project, score)
            _labelstill("convert", "--from", "coco", "--in", source / "instances.json", "--images", source / "images",
                        "--project", project)  # fmt: skip
        else:
            _labelstill("convert", "--from", "voc", "--in", source / "annotations", "--images", source / "images",
                        "--project", project)  # fmt: skip
        (project / "made").touch()
    with Store.open(project / "labels.db") as store:
        sizes = store.sizes()
        files = store.rows("SELECT sha256, path_bytes FROM files WHERE sha256 IS NOT NULL ORDER BY path_bytes")
        paths = {sha256: Path(os.fsdecode(path)) for sha256, path in files}
        labels = store.annotations_of_images(sorted(sizes), "human")
        return Photos(name, store.class_names(), sizes, paths, labels, project)


def planted_project(
    photos: Photos,
    project: Path,
    labels: Mapping[str, Sequence[Annotation]],
    claims: Mapping[str, Sequence[Annotation]] | None,
) -> Path:
    """Write a project in which people said these labels; return its labels.db.

    Args:
        photos: the set.
        project: folder to make anew.
        labels: by sha256.
        claims: of a machine, by sha256; None keeps those of the set's own project.
    """
    shutil.rmtree(project, ignore_errors=True)
    project.mkdir(parents=True)
    path = project / "labels.db"
    if claims is None:
        shutil.copy(photos.project / "labels.db", path)
    with Store.open(path, create=claims is not None) as store:
        if claims is not None:
            store.write_classes(Ontology(tuple(OntologyClass(name, (name,)) for name in photos.names)))
            run = store.start_run("label", {})
            store.commit_batch([_outcome(photos, sha256, some) for sha256, some in claims.items()], run)
        for sha256, some in labels.items():
            store.set_reviewed(sha256, some, "reviewed" if some else "reviewed-empty")
    return path


def _outcome(photos: Photos, sha256: str, claims: Sequence[Annotation]) -> ImageOutcome:
    path, (width, height) = photos.paths[sha256], photos.sizes[sha256]
    stat = path.stat()
    stamp = FileStamp(os.fsencode(path), stat.st_size, stat.st_mtime_ns)
    return ImageOutcome((stamp,), sha256, width, height, annotations=tuple(claims), done_key="out of sample")


def _labelled_by_a_teacher(source: Path, weights: Path, project: Path, score: float) -> None:
    document = json.loads((source / "instances.json").read_text())
    ontology = project / "coco-classes.json"
    ontology.write_text(json.dumps({"classes": [{"name": entry["name"]} for entry in document["categories"]]}))
    _labelstill("label", source / "images", "--project", project, "--ontology", ontology,
                "--detector", "ultralytics", "--weights", weights, "--segmenter", "none",
                "--score", str(score))  # fmt: skip


def _labelstill(verb: str, *arguments: str | Path) -> None:
    """Run one verb of the command that is installed beside this Python."""
    command = [str(Path(sys.executable).with_name("labelstill")), verb, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"labelstill {verb} ended with {done.returncode}: {done.stderr.strip()}")

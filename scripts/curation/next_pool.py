"""The photos that `labelstill next` chooses from in its measurement: people's labels, a labels.db, the order."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import numpy as np
from next_student import Found, Photo

from labeling.core.records import Annotation, Provenance
from labeling.core.store import Feature, FileStamp, ImageOutcome, Store
from labeling.project import Project
from labeling.queue import order
from labeling.vectors import image_encoder, image_vectors

KEPT = 0.25
"""Scores below are no labels: the default of the detector."""


def labelstill(*arguments: str) -> None:
    """Run one verb of the command that is installed beside this Python."""
    done = subprocess.run(
        [str(Path(sys.executable).with_name("labelstill")), *arguments], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(f"labelstill {arguments[0]} ended with {done.returncode}: {done.stderr.strip()}")


def read_photos(bccd: Path, project: Path) -> tuple[tuple[str, ...], dict[str, list[Photo]]]:
    """Return the classes, and the photos of each split, as `labelstill convert --from voc` reads them."""
    if not (project / "labels.db").exists():
        labelstill(
            "convert", "--from", "voc", "--in", str(bccd / "annotations"), "--images", str(bccd / "images"),
            "--project", str(project),
        )  # fmt: skip
    with Project.open(project).open_store() as store:
        names = tuple(sorted(store.class_names()))
        photos = {}
        for image in store.iter_images("human"):
            assert image.sha256 is not None
            assert image.width is not None
            assert image.height is not None
            path = Path(image.paths[0])
            objects = tuple(
                (names.index(label.class_name), label.box_xyxy) for label in store.annotations_of(image.sha256)
            )
            photos[path.stem] = Photo(path.stem, path, image.sha256, (image.width, image.height), objects)
    splits = {name: (bccd / "splits" / f"{name}.txt").read_text().split() for name in ("train", "test")}
    return names, {name: [photos[stem] for stem in stems] for name, stems in splits.items()}


def features_of(photos: Sequence[Photo], weights: Path, project: Path) -> dict[str, Feature]:
    """Return the features that `labelstill label` keeps of whole images, by sha256.

    The detector was taught everyday things and finds none of ours; its look at a photo is all that is asked for.
    """
    ontology = project.with_name("everyday.json")
    ontology.write_text(json.dumps({"classes": [{"name": "sports ball"}, {"name": "orange"}]}))
    labelstill(
        "label", *(str(photo.path) for photo in photos), "--project", str(project), "--ontology", str(ontology),
        "--detector", "ultralytics", "--weights", str(weights), "--segmenter", "none",
    )  # fmt: skip
    with Project.open(project).open_store() as store:
        encoder = image_encoder(store)
        assert encoder is not None
        vectors = image_vectors(store, encoder, [photo.sha256 for photo in photos]).astype(np.float16)
        return {
            photo.sha256: Feature(None, encoder.model, vector) for photo, vector in zip(photos, vectors, strict=True)
        }


def pick(
    photos: Sequence[Photo],
    features: Mapping[str, Feature],
    found: Mapping[str, Sequence[Found]],
    reviewed: Collection[str],
    names: Sequence[str],
    count: int,
    database: Path,
) -> list[str]:
    """Return the names of the photos that come next, by the order that push and next share.

    Args:
        photos: all of the pool.
        features: of whole images, by sha256.
        found: boxes of the student of the day, by sha256; none where there is no student yet.
        reviewed: names of the photos that people have labelled.
        names: of the classes.
        count: so many.
        database: a labels.db to make anew.
    """
    database.unlink(missing_ok=True)
    with Store.open(database, create=True) as store:
        with store.transaction() as db:
            rows = [(number, name, "[]", None, "") for number, name in enumerate(names)]
            db.executemany("INSERT INTO classes VALUES (?, ?, ?, ?, ?)", rows)
        run = store.start_run("label", {"classes": list(names), "scores": [KEPT] * len(names)})
        store.commit_batch(
            [_outcome(photo, features[photo.sha256], found.get(photo.sha256, ()), names) for photo in photos], run
        )
        for photo in photos:
            if photo.name in reviewed:
                labels = [_annotation(photo, names[k], box, Provenance("human")) for k, box in photo.objects]
                store.set_reviewed(photo.sha256, labels, "reviewed")
        name_of = {photo.sha256: photo.name for photo in photos if photo.name not in reviewed}
        queue = order(store, list(name_of), audit_share=0)
        return [name_of[next(queue).sha256] for _ in range(count)]


def _outcome(photo: Photo, feature: Feature, found: Sequence[Found], names: Sequence[str]) -> ImageOutcome:
    stat = photo.path.stat()
    return ImageOutcome(
        files=(FileStamp(os.fsencode(photo.path), stat.st_size, stat.st_mtime_ns),),
        sha256=photo.sha256,
        width=photo.size_wh[0],
        height=photo.size_wh[1],
        annotations=tuple(
            _annotation(photo, names[one.class_index], one.box, Provenance("student", model="student", score=one.score))
            for one in found
            if one.score >= KEPT and one.box[0] < one.box[2] and one.box[1] < one.box[3]
        ),
        features=(feature,),
        done_key="student",
        machine="student",
    )


def _annotation(photo: Photo, class_name: str, box: tuple[float, float, float, float], made: Provenance) -> Annotation:
    identity = hashlib.sha256(f"{photo.sha256} {class_name} {box} {made}".encode()).hexdigest()[:32]
    return Annotation(identity, photo.sha256, class_name, box, made)

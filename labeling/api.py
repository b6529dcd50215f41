"""`labeling.label`: what `labelstill label` does, as a Python generator that writes nothing to disk."""

from __future__ import annotations

import os
import sys
from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import closing
from itertools import chain, count
from pathlib import Path
from typing import Literal, TypeAlias

from .core.config import FiltersConfig
from .core.errors import InputError
from .core.ontology import Ontology, OntologyClass, from_autodistill, load_ontology, parse_classes
from .label_result import LabelResult, answered, decoded, refused
from .label_run import AUTO_BATCH
from .pipeline import Pipeline
from .sources import Refused, Source, Sources
from .teachers import backends
from .teachers.filter_settings import FilterSettings
from .teachers.members import with_members
from .teachers.teacher import build_teacher

Classes: TypeAlias = str | Path | Sequence[str] | Mapping[str, str] | Mapping[str, Sequence[str]] | Ontology


def label(
    images: Source | Iterable[Source],
    ontology: Classes,
    *,
    detector: str = "grounding-dino",
    weights: str | Path | None = None,
    class_names: str | Path | None = None,
    segmenter: str | None = None,
    segmenter_weights: str | Path | None = None,
    score: float | None = None,
    device: str = "auto",
    batch: int | Literal["auto"] = "auto",
    trust_weights: bool = False,
    embeddings: str | Path | None = None,
    exemplars: str | Path | None = None,
    prompts_per_pass: int | None = None,
    tile: int | None = None,
) -> Generator[LabelResult, None, None]:
    """Label images from words; yield one result per image, in order, while the next images are under way.

    The arguments are checked at once; models are loaded and the first image is read with the first ``next``. Files
    are decoded, and an iterable is consumed, in threads of their own, a bounded number of images ahead, so memory
    does not grow with their number. Closing the generator ends the threads. Nothing is written to disk.

    Args:
        images: a folder (searched recursively, sorted by path, files that are no images passed over), an image file,
            an array (height, width, 3) uint8 RGB (not OpenCV's BGR), or an iterable of any of these. What cannot be
            used in an iterable is a result with an error.
        ontology: what `--classes` takes, 'forklift, person: worker | driver'; names; ``{name: [prompt, ...]}``;
            autodistill's ``{prompt: name}``; the Path of a file as `--ontology` takes; or an Ontology.
        detector: a name that `labelstill teachers` lists, or several with commas between them.
        weights: file, folder or hub id; None for the detector's own.
        class_names: file with the class names of a detector whose weights do not name them.
        segmenter: a name that `labelstill teachers` lists, or none; None for the one that goes with the detector.
        segmenter_weights: folder or hub id; None for the segmenter's own.
        score: smallest score kept for every class, in [0, 1]; None for the class's own, else the detector's.
        device: auto, cpu, cuda or cuda:N.
        batch: images per forward pass. Results come in batches of this size.
        trust_weights: allow weights that are pickled modules: they can run any code.
        embeddings: file with one embedding per prompt, for yolo-world and yoloe.
        exemplars: folder with one folder of pictures per class, for yoloe.
        prompts_per_pass: most prompts that share a forward pass; None for as many as fit.
        tile: side in pixels of the tiles that images are cut into; None cuts very large ones alone, 0 none.

    Raises:
        InputError: no class, an unknown backend, a value out of range, a folder without images.
        BackendError: weights that are not on this machine, or a teacher that fails on every image.
        MissingExtraError: a library of the teacher is not installed.
    """
    classes = as_ontology(ontology)
    spec = backends.TeacherSpec(
        detector=detector,
        weights=None if weights is None else os.fspath(weights),
        class_names=None if class_names is None else Path(class_names),
        segmenter=segmenter,
        segmenter_weights=None if segmenter_weights is None else os.fspath(segmenter_weights),
        score=score,
        device=device,
        trust_weights=trust_weights,
        embeddings=None if embeddings is None else Path(embeddings),
        exemplars=None if exemplars is None else Path(exemplars),
        prompts_per_pass=prompts_per_pass,
        tile=tile,
    )
    spec = with_members(spec)
    if score is not None and (isinstance(score, bool) or not isinstance(score, int | float)):
        raise InputError(f"score is {score!r}: expected a number from 0 to 1")
    if batch != "auto" and (type(batch) is not int or batch < 1):
        raise InputError(f"batch is {batch!r}: expected 'auto' or a number of images, 1 or more")
    if spec.class_names is not None and not spec.class_names.is_file():
        raise InputError(f"class_names {spec.class_names}: expected a file with one class name per line, there is none")
    backends.effective_scores(spec, classes)
    sources = Sources(images, decoded)
    backends.check_weights(spec)
    return _results(sources, classes, spec, batch)


def as_ontology(classes: Classes) -> Ontology:
    """Return the ontology that ``label`` was asked for. Raises InputError."""
    if isinstance(classes, Ontology):
        return classes
    if isinstance(classes, str):
        return parse_classes(classes)
    if isinstance(classes, Path):
        return load_ontology(classes)
    entries: list[OntologyClass] = []
    if isinstance(classes, Mapping):
        if all(isinstance(text, str) for text in (*classes, *classes.values())):
            return from_autodistill({prompt: str(name) for prompt, name in classes.items()})
        pairs = [(name, prompts) for name, prompts in classes.items()]
    elif isinstance(classes, Sequence):
        pairs = [(name, [name]) for name in classes]
    else:
        raise InputError(f"ontology: expected 'forklift, box: box | carton' or names, got {type(classes).__name__}")
    for name, prompts in pairs:
        listed = isinstance(prompts, Sequence) and not isinstance(prompts, str)
        if not listed or not all(isinstance(text, str) for text in (name, *prompts)):
            raise InputError(f"class {name!r}: expected a name with a list of prompts, all of them strings")
        entries.append(OntologyClass(name, tuple(prompts)))
    return Ontology(tuple(entries))


def _results(
    sources: Sources, ontology: Ontology, spec: backends.TeacherSpec, batch: int | Literal["auto"]
) -> Generator[LabelResult, None, None]:
    settings = FilterSettings(**FiltersConfig().model_dump(include=set(FiltersConfig.model_fields)))
    teacher = build_teacher(spec, ontology, settings)
    size = _auto_batch(spec.device) if batch == "auto" else batch
    pipeline = Pipeline(teacher, sources.load, done_key="", batch=size, copies=True)
    numbers = count()
    with closing(pipeline.run(sources.files())) as batches:
        for outcome in chain.from_iterable(batches):
            while isinstance(entry := sources.taken.popleft(), Refused):
                yield refused(next(numbers), entry, ontology.names)
            path = entry.path if entry.path.is_absolute() else None
            yield answered(next(numbers), path, outcome, ontology.names)
    for entry in sources.taken:
        if isinstance(entry, Refused):
            yield refused(next(numbers), entry, ontology.names)
    if sources.error is not None:
        raise sources.error


def _auto_batch(device: str) -> int:
    if "torch" not in sys.modules:  # a teacher that loaded no torch is on the CPU
        return AUTO_BATCH["cpu"]
    from .teachers.device import pick_device

    return AUTO_BATCH["cpu" if pick_device(device).type == "cpu" else "cuda"]

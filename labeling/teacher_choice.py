"""Which teacher or student a request means: the command line over project.yaml."""

from __future__ import annotations

from pathlib import Path

from .core.config import TeacherConfig
from .core.errors import InputError
from .label_request import LabelRequest
from .teachers import backends
from .teachers.members import with_members
from .teachers.student_choice import StudentChoice, choose_student


def chosen_student(request: LabelRequest, config: TeacherConfig, root: Path) -> StudentChoice:
    """Choose the student; a score in project.yaml is that of the detector named there. Raises as ``choose_student``."""
    own = config if config.detector == backends.STUDENT else TeacherConfig()
    return choose_student(root, request.weights or own.weights, request.score, own.score)


def chosen_teacher(request: LabelRequest, config: TeacherConfig) -> backends.TeacherSpec:
    """Put the command line over project.yaml; weights there belong to the detector and segmenter named there.

    Raises:
        InputError: an unknown backend, a setting that it does not have, or a file that is none.
    """
    detector = request.detector or config.detector
    segmenter = request.segmenter or config.segmenter
    own = config if detector == config.detector else TeacherConfig()
    class_names = request.class_names or (Path(own.class_names) if own.class_names else None)
    spec = backends.TeacherSpec(
        detector=detector,
        weights=request.weights or own.weights,
        class_names=class_names,
        segmenter=segmenter,
        segmenter_weights=request.segmenter_weights
        or (config.segmenter_weights if segmenter == config.segmenter else None),
        score=request.score,
        default_score=config.score,
        device=request.device or config.device,
        trust_weights=request.trust_weights,
        embeddings=request.embeddings or (Path(own.embeddings) if own.embeddings else None),
        exemplars=request.exemplars or (Path(own.exemplars) if own.exemplars else None),
        prompts_per_pass=own.prompts_per_pass if request.prompts_per_pass is None else request.prompts_per_pass,
        tile=config.tile if request.tile is None else request.tile,
    )
    spec = with_members(spec)
    try:
        backends.detector_backend(spec)
        backends.segmenter_backend(spec)
    except InputError as error:
        typed = request.detector or request.segmenter
        raise InputError(f"{error}" if typed else f"teacher in project.yaml: {error}") from error
    if class_names is not None and not class_names.is_file():
        found = "a folder, pipe or device" if class_names.exists() else "nothing"
        raise InputError(f"--class-names {class_names}: expected a file with one class name per line, found {found}")
    return spec

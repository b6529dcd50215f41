"""The table of detectors and segmenters: where each is written, what it needs, whose licence it has."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

STUDENT = "student"
"""The detector that was trained here."""

_BUNDLED = Path(__file__).resolve().parent.parent / "demo" / "teacher"
_GROUNDING_DINO = ".detectors.grounding_dino:GroundingDinoDetector"
_SAM2 = ".segmenters.sam2:Sam2Segmenter"
_TEXT_PARTS = (
    "added_tokens.json",
    "preprocessor_config.json",
    "special_tokens_map.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "vocab.txt",
)


@dataclass(frozen=True, slots=True)
class Backend:
    """One way to detect or to segment.

    Attributes:
        target: "module:name" of a class or function, relative to this package, imported when it is built.
        extra: the extra of this distribution that brings its libraries.
        default_weights: hub id or folder; None where the user has to name the weights.
        licence: of the default weights and the library, for the report.
        default_score: smallest detector score kept where neither the user nor the class says otherwise.
        segmenter: the segmenter that follows this detector; "none" where it draws masks itself, too.
        options: fields of TeacherSpec that the class takes besides weights and device.
        version: counts changes of the adapter that change its answers.
        needs: what the user has to bring besides the extra, in words; empty where nothing.
        accept: the licence that has to be accepted before it is used; None where none has to be.
        environment: the environment of its own that its library runs in; None where it shares this one.
        beside: names of files that decide its answers as well where they lie beside a single weight file.
    """

    target: str
    extra: str
    default_weights: str | None
    licence: str
    default_score: float = 0.0
    segmenter: str = "none"
    options: tuple[str, ...] = ()
    version: int = 1
    needs: str = ""
    accept: str | None = None
    environment: str | None = None
    beside: tuple[str, ...] = ()


DETECTORS: Mapping[str, Backend] = {
    "bundled": Backend(
        _GROUNDING_DINO,
        extra="teacher",
        default_weights=str(_BUNDLED / "detector"),
        licence="Apache-2.0",
        default_score=0.5,
        segmenter="bundled",
        options=("prompts_per_pass",),
    ),
    "grounding-dino": Backend(
        _GROUNDING_DINO,
        extra="teacher",
        default_weights="IDEA-Research/grounding-dino-tiny",
        licence="Apache-2.0",
        default_score=0.3,
        segmenter="sam2",
        options=("prompts_per_pass",),
        beside=_TEXT_PARTS,
    ),
    "mm-grounding-dino": Backend(
        _GROUNDING_DINO,
        extra="teacher",
        default_weights="openmmlab-community/mm_grounding_dino_tiny_o365v1_goldg_v3det",
        licence="Apache-2.0",
        default_score=0.3,
        segmenter="sam2",
        options=("prompts_per_pass",),
        beside=_TEXT_PARTS,
    ),
    "groundingdino-py": Backend(
        ".detectors.worker:WorkerDetector",
        extra="teacher",
        default_weights=None,
        licence="Apache-2.0",
        default_score=0.3,
        segmenter="sam2",
        options=("prompts_per_pass",),
        needs="a folder with the original .pth file and the files of its tokenizer",
        environment="groundingdino-py",
        beside=_TEXT_PARTS,
    ),
    "owlv2": Backend(
        ".detectors.owlv2:load_owlv2",
        extra="teacher",
        default_weights="google/owlv2-base-patch16-ensemble",
        licence="Apache-2.0",
        default_score=0.2,
        segmenter="sam2",
    ),
    "omdet-turbo": Backend(
        ".detectors.omdet_turbo:load_omdet_turbo",
        extra="teacher",
        default_weights="omlab/omdet-turbo-swin-tiny-hf",
        licence="Apache-2.0",
        default_score=0.3,
        segmenter="sam2",
        options=("prompts_per_pass",),
        needs="the library timm, for the published weights",
    ),
    "sam3": Backend(
        ".detectors.sam3:load_sam3",
        extra="teacher",
        default_weights="facebook/sam3",
        licence="SAM License",
        default_score=0.5,
        accept="SAM License",
    ),
    "yolo-world": Backend(
        ".detectors.yolo_prompted:YoloWorldDetector",
        extra="student",
        default_weights=None,
        licence="AGPL-3.0 (library); GPL-3.0 (published weights)",
        default_score=0.25,
        segmenter="sam2",
        options=("embeddings", "trust_weights"),
        needs="a checkpoint, and the embeddings of the prompts or its text encoder",
    ),
    "yoloe": Backend(
        ".detectors.yolo_prompted:YoloeDetector",
        extra="student",
        default_weights=None,
        licence="AGPL-3.0",
        default_score=0.25,
        segmenter="sam2",
        options=("embeddings", "exemplars", "trust_weights"),
        needs="a checkpoint, and the embeddings of the prompts, its text encoder, or pictures as examples",
    ),
    "ultralytics": Backend(
        ".detectors.ultralytics:UltralyticsDetector",
        extra="student",
        default_weights=None,
        licence="AGPL-3.0",
        default_score=0.25,
        segmenter="sam2",
        options=("class_names", "trust_weights"),
        needs="a checkpoint",
    ),
    STUDENT: Backend(
        ".detectors.ultralytics:UltralyticsDetector",
        extra="student",
        default_weights=None,
        licence="AGPL-3.0",
        default_score=0.25,
        needs="a student that was trained here",
    ),
}

SEGMENTERS: Mapping[str, Backend] = {
    "bundled": Backend(_SAM2, extra="teacher", default_weights=str(_BUNDLED / "segmenter"), licence="Apache-2.0"),
    "sam2": Backend(_SAM2, extra="teacher", default_weights="facebook/sam2.1-hiera-small", licence="Apache-2.0"),
    "sam2-native": Backend(
        ".segmenters.sam2_native:Sam2NativeSegmenter",
        extra="sam2",
        default_weights=None,
        licence="Apache-2.0",
        needs="an original .pt checkpoint",
    ),
    "edgetam": Backend(
        ".segmenters.edgetam:EdgeTamSegmenter",
        extra="timm",
        default_weights="yonigozlan/EdgeTAM-hf",
        licence="Apache-2.0",
    ),
    "mobile-sam": Backend(
        ".segmenters.mobile_sam:MobileSamSegmenter",
        extra="student",
        default_weights=None,
        licence="AGPL-3.0 (library); Apache-2.0 (published weights)",
        needs="an original .pt checkpoint",
    ),
}

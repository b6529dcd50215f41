"""One bundle on its way: exported, proven against the student, measured, quantised, and filled with the rest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from distill.asking import Asking
from distill.evaluate import Evaluation
from distill.run_folder import versions
from labeling.core.errors import StateError
from labeling.image_files import display
from labeling.report_words import counted

from . import bundle
from .bundle import MODEL_FILES
from .exporting import Asked
from .onnx_files import read_card, write_card
from .parity import FP16, FP32, Limits, Parity, compare, worst_picture
from .predictor import TorchSession
from .runtime import Card, Model, OnnxSession, Session
from .second_look import SecondLook, second_look
from .to_onnx import DEFAULT_THRESHOLD, ExportSettings, to_half, to_onnx
from .val_images import ValImages

GOLDEN = 8
"""Images that travel with what the model finds in them."""

_LIBRARIES = ("onnx", "onnxruntime", "onnxslim")


@dataclass(slots=True)
class Making:
    """The steps are called in the order in which they stand here.

    Attributes:
        asking: about the run.
        folder: of the bundle.
        asked: see ``Asked``.
        threshold: smallest score that counts.
        remarks: what a reader has to know, one sentence each.
        faults: what a gate said, one sentence each.
    """

    asking: Asking
    folder: Path
    asked: Asked
    threshold: float
    remarks: list[str]
    faults: list[str] = field(default_factory=list)
    _val: ValImages = field(init=False)
    _parities: dict[str, Parity] = field(default_factory=dict)
    _evaluations: dict[str, Evaluation | None] = field(default_factory=dict)
    _look: SecondLook | None = None
    _int8: dict[str, Any] | None = None

    def __post_init__(self) -> None:
        self._val = ValImages(self.asking)

    def proven(self) -> bool:
        """Export, and say whether ONNX finds what the student finds; the FP16 model stays only where it does, too.

        Raises:
            StateError: no image of val can be read.
        """
        run, tell = self.asking.run, self.asking.tell
        side = self.asked.imgsz
        settings = ExportSettings(self.asked.dynamic, self.asked.nms, None if side is None else (side, side))
        tell("writing ONNX")
        # At a high threshold too few objects are compared; the one that goes out is written when this is proven.
        low = dict.fromkeys(run.facts["names"], min(self.threshold, DEFAULT_THRESHOLD))
        card = to_onnx(run.weights, self._file("fp32"), settings, thresholds=low)
        whole = OnnxSession(self._file("fp32"))
        if not self._agree("fp32", TorchSession(run.weights, card), whole, FP32):
            return False
        to_half(self._file("fp32"), self._file("fp16"))
        if not self._agree("fp16", whole, OnnxSession(self._file("fp16")), FP16):
            self._file("fp16").unlink()
        return True

    def show_worst(self, path: Path) -> Path:
        """Write the image on which student and ONNX differ most, and return where."""
        path.parent.mkdir(parents=True, exist_ok=True)
        worst_picture(self._parities["fp32"], path)
        return path

    def measure(self) -> None:
        """Measure on val, and write the cards that go out, with the doubt from which on a frame needs a second look."""
        card = self._card()
        card = replace(card, thresholds=dict.fromkeys(card.names, self.threshold))
        for precision, file in self._models().items():
            self.asking.tell(f"measuring {precision} on val")
            seen = self._val.seen(self.folder / file)
            self._evaluations[precision] = None if seen is None else seen.evaluation()
            if seen is not None and self._look is None:
                limits = dict.fromkeys(seen.names, self.threshold)
                self._look = second_look(seen.truth, seen.found, seen.names, limits)
                card = replace(card, second_look=self._look.card)
            write_card(self.folder / file, replace(card, precision=precision))
        if not self._val.truth:
            self.remarks.append("Accuracy was not measured: nobody has reviewed an image of val.")
        if lost := len(self.asking.photos.vanished):
            self.remarks.append(f"{counted(lost, 'image')} of val cannot be read any more and took no part.")

    def quantise(self) -> None:
        """Add an INT8 model where it loses little; it is then the default."""
        from .calibration import frames_for
        from .int8_gate import Verdict, gate
        from .quantise import search

        asking, reference = self.asking, self._evaluations["fp32"]
        if reference is None:
            self.faults.append("INT8 was not made: no image of val has a known truth to measure it by.")
            return
        chosen = frames_for(asking.project, asking.store, asking.split, fold=asking.fold)
        tried: list[Evaluation] = []

        def judge(path: Path) -> Verdict:
            seen = self._val.seen(path)
            assert seen is not None  # the same images as for the reference
            tried.append(seen.evaluation())
            return gate(reference, tried[-1], asking.names)

        found = search(self._file("fp32"), self._file("int8"), chosen.frames(), judge, tell=asking.tell)
        self.remarks += [f"INT8: {remark}." for remark in chosen.remarks]
        (self.remarks if found.passed else self.faults).append(f"{found.sentence}.")
        self._int8 = {
            "passed": found.passed,
            "images": found.frames,
            "calibration": chosen.digest(self._card()),
            "method": found.method,
            "kept": list(found.steps[-1].kept),
            "classes": [asdict(one) for one in found.verdict.classes],
        }
        if found.passed:
            self._evaluations["int8"] = tried[-1]

    def finish(self, about: Mapping[str, Any]) -> dict[str, Any]:
        """Write golden images, programs and manifest, and return the manifest."""
        self.asking.tell("writing the bundle")
        bundle.write_golden(self.folder, [frame for _, frame in self._val.frames(GOLDEN)], self._model())
        whole = {**about, **self.found()}
        bundle.write_carried(self.folder, self._card().names, whole)
        return bundle.write_manifest(self.folder, whole)

    def found(self) -> dict[str, Any]:
        """Return what is known by now, as the manifest has it."""
        card, models = self._card(), self._models()
        return {
            "model": card.model,
            "classes": list(card.names),
            "licence": card.licence,
            "precision": next(one for one in ("int8", "fp16", "fp32") if one in models),
            "models": models,
            "versions": versions() | {name: version(name) for name in _LIBRARIES},
            "accuracy": {precision: _figures(one) for precision, one in self._evaluations.items()},
            "parity": {precision: _agreement(one) for precision, one in self._parities.items()},
            "second_look": None if self._look is None else {**self._look.card, "sentence": self._look.sentence()},
            "int8": self._int8,
            "remarks": self.remarks,
            "faults": self.faults,
        }

    def _agree(self, precision: str, reference: Session, other: Session, limits: Limits) -> bool:
        """Compare, note, and say whether the two find the same."""
        self.asking.tell(f"comparing {precision} on val")
        found = compare(reference, other, self._val.frames(self.asked.images), truth=self._val.truth)
        if not found.frames:
            raise StateError(
                f"{display(self.asking.project.root)}: no image of val in split {self.asking.split.name!r} can be "
                "read, so nothing can be proven: check that the folder of the photos is there"
            )
        self._parities[precision] = found
        faults = found.faults(limits)
        self.faults += [f"{precision}: {fault}." for fault in faults]
        return not faults

    def _file(self, precision: str) -> Path:
        return self.folder / MODEL_FILES[precision]

    def _models(self) -> dict[str, str]:
        """Return the file of each precision that is there."""
        return {precision: name for precision, name in MODEL_FILES.items() if (self.folder / name).exists()}

    def _card(self) -> Card:
        return read_card(self._file("fp32"))

    def _model(self) -> Model:
        return Model(OnnxSession(self._file("fp32")))


def _figures(evaluation: Evaluation | None) -> dict[str, Any]:
    """Return what is kept of a measurement; None for what was not measured."""
    if evaluation is None:
        return {"ap50": None, "ap": None, "images": 0, "part": "val"}
    return {"ap50": evaluation.ap50, "ap": evaluation.ap50_95, "images": evaluation.images, "part": "val"}


def _agreement(parity: Parity) -> dict[str, Any]:
    """Return what is kept of a comparison."""
    return {
        "images": parity.frames,
        "objects": parity.reference,
        "class_agreement": parity.class_agreement,
        "ap": None if parity.ap is None else list(parity.ap),
        **asdict(parity.all),
        "classes": {name: asdict(one) for name, one in parity.classes.items()},
        "worst": parity.worst.name if parity.worst is not None else None,
    }

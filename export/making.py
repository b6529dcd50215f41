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
from .val_images import Seen, ValImages

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
    _seen: dict[str, Seen | None] = field(default_factory=dict)
    _evaluations: dict[str, Evaluation | None] = field(default_factory=dict)
    _looks: dict[str, SecondLook] = field(default_factory=dict)
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
        if unseen := self._parities["fp32"].unseen:
            self.remarks.append(
                f"The comparison showed no object of {', '.join(unseen)}: of these only the raw outputs were compared."
            )
        return True

    def show_worst(self, path: Path) -> Path:
        """Write the image on which student and ONNX differ most, and return where."""
        path.parent.mkdir(parents=True, exist_ok=True)
        worst_picture(self._parities["fp32"], path)
        return path

    def measure(self) -> None:
        """Measure on val, and write the cards that go out, with the doubt from which on a frame needs a second look."""
        for precision, file in self._models().items():
            self.asking.tell(f"measuring {precision} on val")
            seen = self._val.seen(Model(OnnxSession(self.folder / file)))
            self._note(precision, seen, None if seen is None else seen.evaluation())
        self._compare_sizes()
        if not self._val.truth:
            self.remarks.append("Accuracy was not measured: nobody has reviewed an image of val.")
        if lost := len(self.asking.photos.vanished):
            self.remarks.append(f"{counted(lost, 'image')} of val cannot be read any more and took no part.")

    def quantise(self) -> None:
        """Add an INT8 model where it loses little; it is the default where that was measured on enough objects."""
        from distill.evaluation.paired import paired_difference

        from .calibration import frames_for
        from .int8_gate import Verdict, gate
        from .quantise import search

        asking, reference, whole = self.asking, self._evaluations["fp32"], self._seen["fp32"]
        if reference is None or whole is None:
            self.faults.append("INT8 was not made: no image of val has a known truth to measure it by.")
            return
        chosen = frames_for(asking.project, asking.store, asking.split, fold=asking.fold)
        tried: list[tuple[Seen, Evaluation]] = []

        def judge(path: Path) -> Verdict:
            seen = self._val.seen(Model(OnnxSession(path)))
            assert seen is not None  # the same images as for the reference
            tried.append((seen, seen.evaluation()))
            lost = paired_difference(
                whole.truth, whole.found, seen.found, whole.names, metric="ap50_95", masks=whole.masks
            )
            interval = None if lost.low is None or lost.high is None else (lost.low, lost.high)
            return gate(reference, tried[-1][1], asking.names, interval=interval)

        found = search(self._file("fp32"), self._file("int8"), chosen.frames(), judge, tell=asking.tell)
        self.remarks += [f"INT8: {remark}." for remark in chosen.remarks]
        (self.remarks if found.passed else self.faults).append(f"{found.sentence}.")
        self._int8 = {
            "passed": found.passed,
            "default": found.verdict.precision == "int8",
            "images": found.frames,
            "calibration": chosen.digest(self._card()),
            "method": found.method,
            "kept": list(found.steps[-1].kept),
            "objects": found.verdict.objects,
            "lost": found.verdict.lost,
            "interval": None if found.verdict.interval is None else list(found.verdict.interval),
            "classes": [asdict(one) for one in found.verdict.classes],
            "steps": [
                {"kept": list(step.kept), "ap": step.verdict.int8, "passed": step.verdict.passed,
                 "sentence": step.verdict.sentence}
                for step in found.steps
            ],
        }  # fmt: skip
        if found.passed:
            self._note("int8", *tried[-1])

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
        precision = self._default(models)
        look = self._looks.get(precision)
        return {
            "model": card.model,
            "classes": list(card.names),
            "licence": card.licence,
            "precision": precision,
            "models": models,
            "versions": versions() | {name: version(name) for name in _LIBRARIES},
            "accuracy": {precision: _figures(one) for precision, one in self._evaluations.items()},
            "parity": {precision: _agreement(one) for precision, one in self._parities.items()},
            "second_look": None if look is None else {**look.card, "sentence": look.sentence()},
            "int8": self._int8,
            "remarks": self.remarks,
            "faults": self.faults,
        }

    def _note(self, precision: str, seen: Seen | None, evaluation: Evaluation | None) -> None:
        """Keep what a model file sees in val, and write its card with the doubt that is its own."""
        card = read_card(self._file(precision))
        look = None
        if seen is not None:
            limits = dict.fromkeys(seen.names, self.threshold)
            self._looks[precision] = second_look(seen.truth, seen.found, seen.names, limits)
            look = self._looks[precision].card
        self._seen[precision], self._evaluations[precision] = seen, evaluation
        thresholds = dict.fromkeys(card.names, self.threshold)
        write_card(self._file(precision), replace(card, precision=precision, thresholds=thresholds, second_look=look))

    def _compare_sizes(self) -> None:
        """Say what another size than that of the training does to the accuracy."""
        run, card, trained = self.asking.run, self._card(), int(self.asking.run.facts["settings"]["imgsz"])
        if self.asked.imgsz in (None, trained):
            return
        self.asking.tell(f"measuring the student at {trained} pixels on val")
        seen = self._val.seen(Model(TorchSession(run.weights, replace(card, imgsz=(trained, trained)))))
        here, there = self._evaluations["fp32"], None if seen is None else seen.evaluation()
        figures = (
            "what that costs was not measured"
            if here is None or there is None or here.ap50_95 is None or there.ap50_95 is None
            else f"AP50-95 on val is {here.ap50_95:.3f} at {self.asked.imgsz} and {there.ap50_95:.3f} at {trained}"
        )
        self.remarks.append(f"It was trained at {trained} pixels and takes {self.asked.imgsz} here: {figures}.")

    def _default(self, models: Mapping[str, str]) -> str:
        """Return the precision that is taken unless somebody asks for another."""
        int8 = self._int8 is not None and self._int8["default"] and "int8" in models
        return "int8" if int8 else "fp16" if "fp16" in models else "fp32"

    def _agree(self, precision: str, reference: Session, other: Session, limits: Limits) -> bool:
        """Compare, note, and say whether the two find the same."""
        self.asking.tell(f"comparing {precision} on val")
        truth = self._val.truth_of(reference.card.names)
        found = compare(reference, other, self._val.frames(self.asked.images), truth=truth)
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
    parts = sorted({one.part for one in parity.raw})
    return {
        "images": parity.frames,
        "objects": parity.reference,
        "class_agreement": parity.class_agreement,
        "ap": None if parity.ap is None else list(parity.ap),
        **asdict(parity.all),
        "classes": {name: asdict(one) for name, one in parity.classes.items()},
        "worst": parity.worst.name if parity.worst is not None else None,
        "unseen": list(parity.unseen),
        "raw": {part: max(one.largest for one in parity.raw if one.part == part) for part in parts},
    }

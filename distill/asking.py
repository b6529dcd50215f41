"""One student asked about the parts of its split, and everybody else about the same images."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from labeling.core.errors import StateError
from labeling.core.store import Store
from labeling.core.store_splits import Part
from labeling.image_files import display
from labeling.project import Project
from labeling.report_words import counted
from labeling.stored_photos import StoredPhotos, loader

from . import speakers
from .baseline import baseline
from .compare import Comparison, compare
from .dataset import read_dataset
from .evaluate import OperatingPoint, choose_threshold, evaluate
from .ledger import Opening, TestLedger, test_hash
from .material.folder import MANIFEST
from .objects import Objects
from .reporting.advice import CurvePoint
from .reporting.evidence import BASELINE, PEOPLE, TEACHER
from .reporting.report import STUDENT
from .run_folder import RUN_FILE, RunFolder, runs
from .split import Split, read_split
from .students import Predictor, student

Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Question:
    """What is to be measured.

    Attributes:
        test: open the test part; otherwise val alone.
        again: why the test part is opened again for the same student.
        cost_miss: what an object costs that is not found; above 0.
        cost_false: what a false alarm costs; above 0.
        resamples: how often the images are drawn again for intervals.
        device: auto, cpu, cuda or cuda:N.
    """

    test: bool = True
    again: str | None = None
    cost_miss: float = 1.0
    cost_false: float = 1.0
    resamples: int = 1000
    device: str = "auto"


@dataclass(frozen=True, slots=True, eq=False)
class Answered:
    """One part: the truth about its images, what the student says of them, and which were left out, by reason."""

    truth: tuple[Objects, ...]
    found: tuple[Objects, ...]
    left_out: Mapping[str, int]

    @property
    def images(self) -> list[str]:
        """The images, sha256 each."""
        return [one.sha256 for one in self.truth]


def is_segmenter(run: RunFolder) -> bool:
    """Say whether a student draws masks."""
    return str(run.facts["model"]).endswith("-seg")


@dataclass(slots=True)
class Asking:
    """Asks this student, those before it, and all others about the parts of one split."""

    project: Project
    store: Store
    run: RunFolder
    question: Question
    tell: Tell
    remarks: list[str] = field(default_factory=list)
    split: Split = field(init=False)
    photos: StoredPhotos = field(init=False)
    names: tuple[str, ...] = field(init=False)
    _loaded: dict[str, Predictor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.split = read_split(self.store, str(self.run.facts["split"]))
        self.photos = StoredPhotos(self.store, loader(self.project.config.images))
        self.names = self.project.ontology.names

    @property
    def unreviewed(self) -> bool:
        return self.split.settings.unreviewed

    @property
    def fold(self) -> int | None:
        fold = self.run.facts["teaching"]["fold"]
        return None if fold is None else int(fold)

    def with_truth(self, part: Part) -> tuple[list[str], Counter[str]]:
        """Return the images of a part whose truth is known, and how many others there are, by reason."""
        return speakers.with_truth(self.store, self.split.images(part, self.fold), unreviewed=self.unreviewed)

    def usable(self, part: Part) -> list[str]:
        """Return the images of a part whose truth is known."""
        return self.with_truth(part)[0]

    def unchecked(self, images: Sequence[str]) -> list[str]:
        """Return the images whose labels no person has checked."""
        states = self.store.states()
        return [sha256 for sha256 in images if not states[sha256].startswith("reviewed")]

    def closed(self) -> str | None:
        """Return why the test part stays closed, as a clause; None where it is to be opened."""
        if not self.question.test:
            past = TestLedger(self.store).openings(self.run.weights_hash())
            if not past:
                return "the test part was not opened for this student"
            return f"val alone was measured this time; the test part was opened for this student on {past[0].opened_at}"
        if not self.split.images("test", self.fold):
            return "the test part has no image"
        return None if self.usable("test") else "no image of the test part has a known truth"

    def open_test(self, run: RunFolder, reuse: str | None) -> Opening:
        """Note in the ledger that a student is about to be shown the test part."""
        images = self.usable("test")
        hashed = test_hash(speakers.truth(self.store, images, self.names, unreviewed=self.unreviewed))
        return TestLedger(self.store).open(run.weights_hash(), hashed, images=images, reuse=reuse)

    def predictor(self, run: RunFolder) -> Predictor:
        """Return a student that was trained, loaded once. Raises StateError where its weights were changed."""
        if run.name not in self._loaded:
            if run.facts.get("weights") not in (None, run.weights_hash()):
                raise StateError(
                    f"{display(run.weights)}: are not the weights that the training left (their sha256 differs from "
                    f"the one in {RUN_FILE}): train anew"
                )
            self._loaded[run.name] = student(str(run.facts["kind"])).load(run.weights, self.question.device)
        return self._loaded[run.name]

    def answered(self, run: RunFolder, part: Part) -> Answered:
        """Ask a student about a part. Raises StateError where it has learned from images of it."""
        self.check_unseen(run, part)
        images, left_out = self.with_truth(part)
        self.tell(f"asking {run.name} about {counted(len(images), 'image')} of {part}")
        said = speakers.student(self.predictor(run), images, self.photos.photo, self.names)
        truth = speakers.truth(self.store, said.images, self.names, unreviewed=self.unreviewed, masks=is_segmenter(run))
        left_out.update({reason: len(some) for reason, some in said.left_out.items()})
        return Answered(tuple(truth), said.objects, left_out)

    def check_unseen(self, run: RunFolder, part: Part) -> None:
        """Raise StateError where a student has learned from images of a part, or was chosen on them."""
        if known := self.known(run, part) & set(self.usable(part)):
            raise StateError(
                f"{display(run.path)}: has learned from {counted(len(known), 'image')} of the {part} part, so figures "
                "would be worthless: the split was changed since; train anew"
            )

    def known(self, run: RunFolder, part: Part) -> set[str]:
        """Return the images that a part must not hold: those that a student learned from, or was chosen on."""
        return self.taught(run, "train") | (self.taught(run, "val") if part == "test" else set())

    def gone(self, run: RunFolder, part: Part) -> list[str]:
        """Return of these the images that are in no other part any more: the audit of the split does not see them."""
        return sorted(self.known(run, part) - {sha256 for sha256, home in self.split.parts.items() if home != part})

    def taught(self, run: RunFolder, part: Part) -> set[str]:
        """Return the images of a part of the dataset of a run, as its manifest has them."""
        path = self.project.datasets_path / str(run.facts["dataset"]) / MANIFEST
        try:
            sources: Mapping[str, str] = json.loads(path.read_text(encoding="utf-8"))["sources"]
        except (OSError, ValueError, KeyError):
            raise StateError(
                f"{display(path)}: cannot be read, so it is not known what {run.name} has learned from: train anew"
            ) from None
        return {sha256 for sha256, file in sources.items() if file.startswith(f"images/{part}/")}

    def threshold(self, val: Answered) -> OperatingPoint:
        """Choose the threshold of a student on val."""
        asked = self.question
        return choose_threshold(
            val.truth, val.found, self.names, cost_miss=asked.cost_miss, cost_false=asked.cost_false,
            masks=is_segmenter(self.run), resamples=asked.resamples,
        )  # fmt: skip

    def comparison(self, mine: Answered, part: Part, point: OperatingPoint) -> Comparison:
        """Ask everyone else about the same images; an earlier student's look at the test part is noted as its own."""
        masks, images = is_segmenter(self.run), mine.images
        copied = baseline(self.store, self.split.images("train", self.fold), images, self.names, masks=masks)
        said: dict[str, Sequence[Objects]] = {STUDENT: mine.found}
        unchecked = self.unchecked(images)
        if unchecked:
            self.remarks.append(
                f"The teacher is not compared: its own labels are the truth of {counted(len(unchecked), 'image')} that "
                "nobody has reviewed."
            )
        else:
            said[TEACHER] = speakers.teacher(self.store, images, self.names, masks=masks)
        thresholds = {STUDENT: point.score}
        opening, name = None, ""
        if (before := self._before()) is not None:
            name = f"the student before, {before.name}"
            try:
                self.check_unseen(before, part)
                chosen = self.threshold(self.answered(before, "val")).score
                if part == "test":
                    opening = self.open_test(before, f"compared with {self.run.name}")
                answers = self.answered(before, part)
                said[name] = [one for one in answers.found if one.sha256 in set(images)]
                thresholds[name] = chosen
            except StateError as error:
                self.remarks.append(f"The student before, {before.name}, is not compared: {error}")
        said[PEOPLE] = speakers.second_people(self.store, images, self.names, self.project.ontology.class_of).objects
        said[BASELINE] = copied.objects
        found = compare(
            mine.truth, said, self.names, thresholds=thresholds, student=STUDENT, masks=masks,
            reference=_reference(len(unchecked), len(images)),
            notes={TEACHER: "its labels begin at its own threshold, so its AP ends at the recall that it has there"},
            resamples=self.question.resamples,
        )  # fmt: skip
        if opening is not None:
            figures = [row for standing in found.standings for row in standing.rows if row.speaker == name]
            summary = {"part": part, "compared_with": self.run.name, "images": len(said.get(name, ()))}
            TestLedger(self.store).close(opening, summary | {"ap50": figures[-1].ap50.value if figures else None})
        return found

    def _before(self) -> RunFolder | None:
        """Return the newest student that was finished before this one, apart from those of learning curves."""
        earlier = [
            run
            for run in runs(self.project)
            if run.finished
            and run.name != self.run.name
            and str(run.facts["started_at"]) <= str(self.run.facts["started_at"])
            and run.facts.get("curve_of") is None
            and set(run.facts["names"]) <= set(self.names)
        ]
        return earlier[-1] if earlier else None

    def curve(self, val: Answered) -> tuple[CurvePoint, ...] | None:
        """Return AP50 on val by number of training images, this student last; None where it is the only one."""
        less = [run for run in runs(self.project) if run.finished and run.facts.get("curve_of") == self.run.name]
        if not less:
            return None
        points = []
        for run, part in [*((run, self.answered(run, "val")) for run in less), (self.run, val)]:
            seen = evaluate(
                part.truth, part.found, self.names, masks=is_segmenter(run), resamples=self.question.resamples
            )
            images = read_dataset(self.project.datasets_path / str(run.facts["dataset"])).images["train"]
            if seen.ap50 is not None and seen.ap50_interval is not None:
                points.append(CurvePoint(images, seen.ap50, *seen.ap50_interval))
        return tuple(sorted(points, key=lambda point: point.images))


def _reference(unchecked: int, images: int) -> str:
    """Return whose word the truth is."""
    if not unchecked:
        return "people"
    return "machines" if unchecked == images else "people, and machines where nobody has reviewed an image,"

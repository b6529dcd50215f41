"""One student measured: the threshold on val, the figures on test beside everyone else's, all that its report shows."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from labeling.core.errors import StateError
from labeling.core.store import Store
from labeling.core.store_splits import Part
from labeling.image_files import display
from labeling.project import Project
from labeling.stored_photos import StoredPhotos, loader

from . import speakers
from .baseline import baseline
from .compare import Comparison, compare
from .curation.duplicates import duplicates
from .curation.photo_facts import PhotoFacts, photo_facts
from .dataset import read_dataset
from .evaluate import OperatingPoint, choose_threshold, evaluate
from .ledger import Opening, TestLedger, test_hash
from .material.folder import MANIFEST
from .objects import Objects
from .reporting.advice import CurvePoint
from .reporting.evidence import BASELINE, PEOPLE, TEACHER
from .reporting.report import STUDENT
from .run_folder import RunFolder, runs
from .split import Split, read_split
from .splitting.audit import LeakAudit, audit
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


@dataclass(frozen=True, slots=True, eq=False)
class Measurement:
    """What was measured.

    Attributes:
        run: the training.
        split: that it was made on.
        predictor: the student itself.
        photos: what decodes the images.
        val, test: what was asked; test is None where that part was not opened.
        point: the threshold, chosen on val.
        opening: of the test part.
        comparison: everybody on the test part, or on val where that was not opened.
        curve: AP50 on val by number of training images; None where no student was trained on less.
        audit: of the split, made anew.
        unreviewed: images of the measured part whose labels no person has checked.
        facts: about photos, by sha256.
        remarks: what else a reader has to know, one sentence each.
    """

    run: RunFolder
    split: Split
    predictor: Predictor
    photos: StoredPhotos
    val: Answered
    test: Answered | None
    point: OperatingPoint
    opening: Opening | None
    comparison: Comparison
    curve: tuple[CurvePoint, ...] | None
    audit: LeakAudit
    unreviewed: int
    facts: Mapping[str, PhotoFacts]
    remarks: tuple[str, ...]

    @property
    def shown(self) -> Answered:
        """The part whose figures count most."""
        return self.val if self.test is None else self.test

    @property
    def masks(self) -> bool:
        """Say whether masks are compared."""
        return is_segmenter(self.run)


def measure(
    project: Project, store: Store, run: RunFolder, question: Question, tell: Tell = lambda line: None
) -> Measurement:
    """Measure a student that was trained. The test part is opened before the student sees an image of it.

    Whoever calls closes the opening with a summary.

    Args:
        project: of the run.
        store: labels.db; the opening of the test part is written into it, nothing else.
        run: has finished.
        question: see ``Question``.
        tell: called with lines for people.

    Raises:
        StateError: the training has not finished, there is no val part, the student has learned from images that it
            would be measured on, or the test part was opened for it before.
    """
    if not run.finished:
        raise StateError(f"{display(run.path)}: has not finished: labelstill train --resume {run.name}")
    asking = _Asking(project, store, run, question, tell)
    val = asking.answered(run, "val")
    if not val.truth:
        raise StateError(
            f"{display(project.root)}: no image of val in split {asking.split.name!r} has a known truth, so no "
            "threshold can be chosen: have some reviewed, then labelstill split --fresh"
        )
    point = asking.threshold(val)
    opening, test = None, None
    if question.test and asking.usable("test"):
        asking.check_unseen(run, "test")
        hashed = test_hash(speakers.truth(store, asking.usable("test"), asking.names, unreviewed=asking.unreviewed))
        opening = TestLedger(store).open(weights_hash(run), hashed, reuse=question.again)
        tell("the test part is open")
        test = asking.answered(run, "test")
    tell("comparing with everyone else")
    repeated = duplicates(store)
    return Measurement(
        run,
        asking.split,
        asking.predictor(run),
        asking.photos,
        val,
        test,
        point,
        opening,
        asking.comparison(test or val, "val" if test is None else "test", point),
        asking.curve(val),
        audit(store, asking.split, repeated),
        sum(not store.states()[image].startswith("reviewed") for image in (test or val).images),
        {one.sha256: one for one in photo_facts(store)},
        tuple(asking.remarks),
    )


def weights_hash(run: RunFolder) -> str:
    """Return the sha256 of the weights of a student."""
    with run.weights.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def is_segmenter(run: RunFolder) -> bool:
    """Say whether a student draws masks."""
    return str(run.facts["model"]).endswith("-seg")


@dataclass(slots=True)
class _Asking:
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

    def usable(self, part: Part) -> list[str]:
        """Return the images of a part whose truth is known."""
        return speakers.with_truth(self.store, self.split.images(part, self.fold), unreviewed=self.unreviewed)[0]

    def predictor(self, run: RunFolder) -> Predictor:
        """Return a student that was trained, loaded once."""
        if run.name not in self._loaded:
            self._loaded[run.name] = student(str(run.facts["kind"])).load(run.weights, self.question.device)
        return self._loaded[run.name]

    def answered(self, run: RunFolder, part: Part) -> Answered:
        """Ask a student about a part. Raises StateError where it has learned from images of it."""
        self.check_unseen(run, part)
        images = self.usable(part)
        self.tell(f"asking {run.name} about the {len(images):,} images of {part}")
        said = speakers.student(self.predictor(run), images, self.photos.photo, self.names)
        truth = speakers.truth(self.store, said.images, self.names, unreviewed=self.unreviewed, masks=is_segmenter(run))
        return Answered(tuple(truth), said.objects, {reason: len(some) for reason, some in said.left_out.items()})

    def check_unseen(self, run: RunFolder, part: Part) -> None:
        """Raise StateError where a student has learned from images of a part, or was chosen on them."""
        taught = self.taught(run, "train") | (self.taught(run, "val") if part == "test" else set())
        if known := taught & set(self.usable(part)):
            raise StateError(
                f"{display(run.path)}: has learned from {len(known)} images of the {part} part, so figures would be "
                "worthless: the split was changed since; train anew"
            )

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
        """Ask everyone else about the same images."""
        masks, images = is_segmenter(self.run), mine.images
        copied = baseline(self.store, self.split.images("train", self.fold), images, self.names, masks=masks)
        said: dict[str, Sequence[Objects]] = {
            STUDENT: mine.found,
            TEACHER: speakers.teacher(self.store, images, self.names, masks=masks),
        }
        thresholds = {STUDENT: point.score}
        if (before := self._before()) is not None:
            name = f"the student before, {before.name}"
            try:
                said[name] = [one for one in self.answered(before, part).found if one.sha256 in set(images)]
                thresholds[name] = self.threshold(self.answered(before, "val")).score
            except StateError as error:
                said.pop(name, None)
                self.remarks.append(f"The student before, {before.name}, is not compared: {error}")
        said[PEOPLE] = speakers.second_people(self.store, images, self.names, self.project.ontology.class_of).objects
        said[BASELINE] = copied.objects
        return compare(
            mine.truth, said, self.names, thresholds=thresholds, student=STUDENT, masks=masks,
            notes={TEACHER: "its labels begin at its own threshold, so its AP ends at the recall that it has there"},
            resamples=self.question.resamples,
        )  # fmt: skip

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

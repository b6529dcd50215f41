"""One student measured: the threshold on val, the figures on test beside everyone else's, all that its report shows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from labeling.core.errors import StateError
from labeling.core.store import Store
from labeling.core.store_splits import Part
from labeling.image_files import display
from labeling.project import Project
from labeling.stored_photos import StoredPhotos

from .asking import Answered, Asking, Question, Tell, is_segmenter
from .compare import Comparison
from .curation.duplicates import duplicates
from .curation.photo_facts import PhotoFacts, photo_facts
from .evaluate import OperatingPoint
from .evaluation.unseen import Alike, alike_taught
from .ledger import Opening
from .reporting.advice import CurvePoint
from .run_folder import RunFolder
from .split import Split
from .splitting.audit import LeakAudit, audit
from .students import Predictor


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
        closed: why the test part was not measured, as a clause; None where it was.
        unreviewed: images of the measured part whose labels no person has checked.
        alike: images that it learned from and that are in no part any more, beside images of the measured part.
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
    closed: str | None
    unreviewed: int
    alike: Alike
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
    asking = Asking(project, store, run, question, tell)
    val = asking.answered(run, "val")
    if not val.truth:
        raise StateError(
            f"{display(project.root)}: no image of val in split {asking.split.name!r} has a known truth, so no "
            "threshold can be chosen: have some reviewed, then labelstill split --fresh"
        )
    point = asking.threshold(val)
    closed = asking.closed()
    opening, test = None, None
    if closed is None:
        asking.check_unseen(run, "test")
        opening = asking.open_test(run, question.again)
        tell("the test part is open")
        test = asking.answered(run, "test")
    tell("comparing with everyone else")
    repeated = duplicates(store)
    part: Part = "val" if test is None else "test"
    return Measurement(
        run,
        asking.split,
        asking.predictor(run),
        asking.photos,
        val,
        test,
        point,
        opening,
        asking.comparison(test or val, part, point),
        asking.curve(val),
        audit(store, asking.split, repeated),
        closed,
        len(asking.unchecked((test or val).images)),
        alike_taught(store, asking.gone(run, part), (test or val).images, repeated.threshold),
        {one.sha256: one for one in photo_facts(store)},
        tuple(asking.remarks),
    )

"""From a measurement to what is said about it: the report, its summary for programs, what to label next."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from labeling.core.store import Store
from labeling.core.store_decisions import DecisionLedger
from labeling.project import Project
from labeling.report_words import counted
from labeling.teachers.backends import DETECTORS, STUDENT

from .asking import Answered, Question
from .balance import Balance, balance
from .curation.photo_facts import PhotoFacts
from .curation.scenes import scenes
from .dataset import read_dataset
from .evaluate import AtThreshold, Evaluation, at_threshold, evaluate, measure_latency
from .measurement import Measurement
from .reporting.advice import what_next
from .reporting.errors import worst_errors
from .reporting.report import Closest, StudentReport, judge

_LATENCY_PHOTOS = 16


def report_of(project: Project, store: Store, measured: Measurement, question: Question, command: str) -> StudentReport:
    """Return all that the report of a student shows.

    Args:
        project: of the run.
        store: labels.db; only read.
        measured: see ``measure``.
        question: that was asked.
        command: see ``StudentReport``.
    """
    names, facts = project.ontology.names, measured.facts

    def figures(part: Answered) -> tuple[Evaluation, AtThreshold]:
        masks, resamples, score = measured.masks, question.resamples, measured.point.score
        return (
            evaluate(part.truth, part.found, names, masks=masks, facts=facts, resamples=resamples),
            at_threshold(part.truth, part.found, names, score, masks=masks, facts=facts, resamples=resamples),
        )

    val, val_at = figures(measured.val)
    test, test_at = figures(measured.test) if measured.test is not None else (None, None)
    shown = measured.shown
    photo = measured.photos.photo
    pictures = [loaded.pixels for image in shown.images[:_LATENCY_PHOTOS] if (loaded := photo(image)) is not None]
    name_of = store.names_of(shown.images)
    return StudentReport(
        project.config.name,
        measured.run,
        read_dataset(project.datasets_path / str(measured.run.facts["dataset"])),
        measured.split.left_out,
        measured.point,
        val,
        val_at,
        test,
        test_at,
        measure_latency(measured.predictor, pictures) if pictures else None,
        measured.comparison,
        measured.opening,
        measured.unreviewed,
        measured.audit,
        _closest(store, measured),
        measured.curve,
        licences=_licences(store, measured),
        provenance={"Weights start from": str(measured.run.facts["settings"].get("start") or "random numbers")},
        next_steps=what_next(test or val, test_at or val_at, _reviewed(store, names, facts)),
        worst=worst_errors(
            shown.truth,
            [one.above(measured.point.score) for one in shown.found],
            photo,
            lambda sha256: name_of[sha256],
        ),
        remarks=(*measured.split.remarks, *measured.remarks, *_alike(store, measured), *_decided(store)),
        command=command,
        closed=measured.closed or "",
        alike=measured.alike.images,
        left_out={
            part: answered.left_out
            for part, answered in (("val", measured.val), ("test", measured.test))
            if answered is not None and answered.left_out
        },
    )


def summary_of(report: StudentReport) -> dict[str, Any]:
    """Return what programs and the ledger keep of a measurement."""
    part, evaluation, at = report.shown
    assert evaluation is not None
    assert at is not None
    judged = judge(report)
    return {
        "part": part,
        "images": evaluation.images,
        "objects": evaluation.objects,
        "ap50": evaluation.ap50,
        "ap50_interval": evaluation.ap50_interval,
        "ap50_95": evaluation.ap50_95,
        "threshold": report.point.score if report.point is not None else None,
        "precision": at.overall.precision,
        "recall": at.overall.recall,
        "ap50_by_class": {one.name: one.ap50 for one in evaluation.classes},
        "verdict": judged.state,
        "headline": judged.headline,
        "reuse": report.opening.reuse if report.opening is not None else None,
        "left_out": {part: dict(reasons) for part, reasons in report.left_out.items()},
    }


def _closest(store: Store, measured: Measurement) -> Closest | None:
    found = measured.audit.closest
    if found is None or found.similarity is None:
        return None
    names = store.names_of([found.first, found.second])
    first, second = (measured.photos.photo(sha256) for sha256 in (found.first, found.second))
    return Closest(
        (names[found.first], names[found.second]),
        found.parts,
        (first.pixels if first else None, second.pixels if second else None),
        found.similarity,
    )


def _licences(store: Store, measured: Measurement) -> Mapping[str, str]:
    return {"student and what is made with it": str(measured.run.facts["licence"]), "teacher": _teacher(store)}


def _teacher(store: Store) -> str:
    """Return the licence of who made the teacher's labels; whoever is set in project.yaml need not be the one."""
    if not store.rows("SELECT 1 FROM annotations WHERE source = 'teacher' LIMIT 1"):
        return "no teacher: people's labels only"
    named = [dict(run.settings.get("teacher") or {}).get("detector") for run in store.runs() if run.verb == "label"]
    detector = next((str(name) for name in reversed(named) if name not in (None, STUDENT)), None)
    if detector is None:
        return "not recorded"
    return f"{DETECTORS[detector].licence} ({detector})" if detector in DETECTORS else detector


def _reviewed(store: Store, names: Sequence[str], facts: Mapping[str, PhotoFacts]) -> Balance:
    """Return what people's labels alone hold."""
    return balance((scene for scene in scenes(store) if scene.reviewed), names, facts)


def _alike(store: Store, measured: Measurement) -> list[str]:
    """Return what is to be said of images that the student learned from and that are in no part any more."""
    found = []
    alike = measured.alike
    if alike.pairs:
        first, second, similarity = alike.pairs[0]
        name = store.names_of([first, second])
        found.append(
            f"The student has learned from images that are in the split no more and show the same as "
            f"{counted(alike.images, 'measured image')}: {name.get(first, first[:12])} and {name[second]}, similarity "
            f"{similarity:.3f}, is the most alike pair. Train anew."
        )
    if alike.not_compared:
        found.append(
            f"{counted(alike.not_compared, 'image')} that it learned from, in the split no more and without a "
            "thumbnail, could not be compared with those it is measured on."
        )
    return found


def _decided(store: Store) -> list[str]:
    dropped = len(DecisionLedger(store).images("drop", whole=True))
    were = "was decided to be dropped and is" if dropped == 1 else "were decided to be dropped and are"
    return [f"{counted(dropped, 'image')} {were} in no part."] if dropped else []

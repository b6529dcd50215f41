"""The report of a student: one HTML file, the verdict first, that needs no network and runs no script."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

from labeling.html import page
from labeling.pictures import FRAME_WH
from labeling.report_words import counted
from labeling.teachers.interfaces import RgbImage

from ..compare import METRICS, Comparison
from ..dataset import Dataset
from ..evaluate import AtThreshold, Evaluation, Latency, OperatingPoint
from ..ledger import Opening
from ..run_folder import RunFolder
from ..splitting.audit import LeakAudit
from . import rows as rows
from .advice import CurvePoint
from .curves import curves, learning
from .errors import MOST_ERRORS, WorstError, said
from .evidence import measured, overall, rivals
from .pictures import plain, shown
from .words import NOT_OPENED, TARGET, Evidence, Target, Verdict, percent, verdict

STUDENT = "student"
"""The name under which the student speaks in a comparison."""

_TEMPLATE = Path(__file__).with_name("student.html.j2")
_LOOKS = {"ready": "ready", "not ready": "not", "cannot say": "unknown"}
_SETTINGS = ("start", "epochs", "imgsz", "batch", "device", "loggers", "distill_model", "extra")
_FACTS = (
    ("Model", "model"), ("Seed", "seed"), ("Split", "split"), ("Data hash", "dataset"), ("Ontology hash", "ontology"),
    ("Started", "started_at"), ("Finished", "finished_at"),
)  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class Closest:
    """The two most alike images of which one is in one part of the split and one in another.

    Attributes:
        names: of the two, for people.
        parts: of each.
        pixels: RGB uint8 (H, W, 3) of each; None where no file holds it any more.
        similarity: in [0, 1].
    """

    names: tuple[str, str]
    parts: tuple[str, str]
    pixels: tuple[RgbImage | None, RgbImage | None]
    similarity: float


@dataclass(frozen=True, slots=True, eq=False)
class StudentReport:
    """Everything that the report shows; what is None was not measured, and the report says so.

    Attributes:
        project: its name.
        run: the training.
        dataset: that the student learned from.
        split_left_out: images that the split left out, by reason.
        point: the threshold, chosen on val.
        val, val_at: the val part, and what holds there at the threshold.
        test, test_at: the test part likewise; None where it was not opened.
        latency: of the same weights on this device.
        comparison: everybody on the test part.
        opening: of the test part, as the ledger has it.
        unreviewed: test images whose labels no person has checked.
        audit: of the split; None where nobody looked.
        closest: the pair of images that the audit names.
        curve: AP50 by number of training images, in any order.
        curve_on: the part that the curve was measured on.
        licences: by what they are of, such as student, teacher.
        provenance: further rows, such as device, by name.
        next_steps: what to label next, see ``what_next``.
        worst: see ``worst_errors``.
        remarks: what else a reader has to know about split and dataset, one sentence each.
        target: what the student has to reach.
        command: that was typed, without the verb, such as "--project shop"; stands behind commands.
        closed: why the test part was not measured, as a clause; empty where it was, or where nobody knows.
        alike: measured images that show the same as one that it learned from and that has left the split.
        left_out: images of a part that could not be measured, by part and reason.
    """

    project: str
    run: RunFolder
    dataset: Dataset
    split_left_out: Mapping[str, int] = field(default_factory=dict)
    point: OperatingPoint | None = None
    val: Evaluation | None = None
    val_at: AtThreshold | None = None
    test: Evaluation | None = None
    test_at: AtThreshold | None = None
    latency: Latency | None = None
    comparison: Comparison | None = None
    opening: Opening | None = None
    unreviewed: int | None = None
    audit: LeakAudit | None = None
    closest: Closest | None = None
    curve: Sequence[CurvePoint] | None = None
    curve_on: str = "val"
    licences: Mapping[str, str] = field(default_factory=dict)
    provenance: Mapping[str, str] = field(default_factory=dict)
    next_steps: Sequence[str] = ()
    worst: Sequence[WorstError] = ()
    remarks: Sequence[str] = ()
    target: Target = TARGET
    command: str = ""
    closed: str = ""
    alike: int = 0
    left_out: Mapping[str, Mapping[str, int]] = field(default_factory=dict)

    @property
    def shown(self) -> tuple[str, Evaluation | None, AtThreshold | None]:
        """The part whose figures stand in front: test, or val where that was not opened."""
        if self.test is not None:
            return "test", self.test, self.test_at
        return "val", self.val, self.val_at


def judge(facts: StudentReport) -> Verdict:
    """Return whether a student is ready, why, and what else a reader has to know. Only the test part counts.

    Raises:
        MissingExtraError: scipy is not installed.
    """
    tested = facts.test is not None and facts.test_at is not None
    on = Evidence(
        measured(facts.test, facts.test_at) if facts.test is not None and facts.test_at is not None else None,
        overall(facts.test_at) if facts.test_at is not None else None,
        rivals(facts.comparison, STUDENT) if tested else (),
        facts.audit.leaks if facts.audit is not None else None,
        facts.unreviewed,
        facts.opening.remarks if facts.opening is not None else None,
        facts.shown[0],
        facts.closed or NOT_OPENED,
        facts.alike,
    )
    return verdict(on, facts.target)


def render(facts: StudentReport) -> str:
    """Return the HTML; nothing is written.

    Raises:
        MissingExtraError: matplotlib or scipy is not installed.
    """
    part, evaluation, at = facts.shown
    judged = judge(facts)
    ran = facts.run.facts
    return page(
        _TEMPLATE,
        project=rows.named(facts.project),
        run=facts.run.name,
        model=ran.get("model", ""),
        version=metadata.version("labelstill"),
        frame=FRAME_WH,
        verdict={"word": judged.state.capitalize(), "look": _LOOKS[judged.state], "headline": judged.headline,
                 "notes": judged.notes},
        standing=" ".join([rows.standing(part, evaluation), *rows.left_out_said(facts.left_out)]),
        tiles=list(_tiles(facts)),
        comparison=_compared(facts.comparison),
        not_compared={"said": "Not measured.", "command": _typed("evaluate", facts.run.name, facts.command)},
        classes=_classes(facts, part),
        val_classes=_val(facts) if part == "test" else None,
        plots=[one for one in curves(evaluation, facts.point) if one["plot"] is not None],
        matrix=rows.matrix([one.name for one in evaluation.classes], at.confusion) if evaluation and at else None,
        slices=rows.slices(evaluation, at) if evaluation is not None else None,
        latency=rows.latency(facts.latency),
        errors=[
            {"shown": shown(one, _names(facts)), "name": one.name, "kind": one.kind, "said": said(one, _names(facts))}
            for one in facts.worst[:MOST_ERRORS]
        ],
        no_errors="Not measured." if at is None else "None was found among the images that were measured.",
        next=facts.next_steps,
        no_next="Not measured." if at is None else "Nothing that was measured calls for more labels.",
        learning=learning(facts.curve, facts.curve_on),
        no_learning={"said": "Not measured: it takes students on parts of the training images.",
                     "command": _typed("train", "--learning-curve", facts.command)},
        parts=rows.parts(facts.dataset, facts.test, facts.test_at),
        left_out=rows.left_out(facts.split_left_out, facts.dataset.left_out),
        data_said=list(_data(facts)),
        audit=_audit(facts),
        licences=list(facts.licences.items()),
        licence_note=_licence_note(facts.licences.values()),
        provenance=list(_provenance(facts)),
    )  # fmt: skip


def _names(facts: StudentReport) -> Sequence[str]:
    return [rows.named(name) for name in facts.dataset.names]


def _typed(*words: str) -> str:
    return " ".join(["labelstill", *(word for word in words if word)])


def _tiles(facts: StudentReport) -> Iterator[dict[str, str]]:
    part, evaluation, at = facts.shown
    if evaluation is not None and evaluation.ap50 is not None:
        yield {
            "value": f"{evaluation.ap50:.2f}",
            "label": f"AP50 on {part}",
            "range": rows.span(evaluation.ap50_interval),
        }
    if at is not None:
        one = overall(at)
        for label, number, bounds in (
            ("of the objects found", one.recall, one.recall_bounds),
            ("of what it shows is right", one.precision, one.precision_bounds),
        ):
            if number is not None:
                around = "" if bounds is None else f"{percent(bounds[0])} to {percent(bounds[1])}"
                yield {"value": percent(number), "label": label, "range": around}
        if at.backgrounds.per_image is not None:
            images = counted(at.backgrounds.images, "such image")
            yield {"value": f"{at.backgrounds.per_image:.2f}", "label": "false alarms per empty image", "range": images}
    if facts.point is not None:
        score = f"{facts.point.score:.2f}" if facts.point.score <= 1 else "none"
        yield {"value": score, "label": "threshold, chosen on val", "range": rows.span(facts.point.score_interval)}
    if evaluation is not None:
        label = f"{part} image" if evaluation.images == 1 else f"{part} images"
        yield {"value": f"{evaluation.images:,}", "label": label, "range": counted(evaluation.objects, "object")}
    if facts.latency is not None:
        where = facts.latency.device.gpu or facts.latency.device.cpu
        yield {"value": f"{facts.latency.p50_ms:.0f} ms", "label": "per photo", "range": where}


def _compared(found: Comparison | None) -> dict[str, Any] | None:
    if found is None:
        return None
    strips = rows.strips(found, STUDENT)
    unheard = [f"{rows.named(name)}: not measured, says nothing about these images." for name in found.not_measured]
    notes = [f"{rows.named(row.speaker)}: {note}" for row in found.rows for note in row.notes]
    machines = "" if found.reference == "people" else ": figures say how far a machine agrees with them"
    return {
        "hint": f"What {found.reference} say is the truth{machines}. A bar is the interval of 95 %: all are measured "
        "on the same images, so bars that overlap may still hide a real difference; the pairs below tell.",
        "alt": "AP50 with intervals. " + "; ".join(f"{one['name']}: {one['said']}" for one in strips),
        "strips": strips,
        "table": rows.compared(found),
        "pairs": rows.differences(found, METRICS),
        "rule": "Paired bootstrap: both are measured on the same drawn images. A difference is called real where its "
        "interval leaves out zero; no account is taken of how many pairs there are.",
        "remarks": unheard + notes,
    }


def _classes(facts: StudentReport, part: str) -> dict[str, Any] | None:
    evaluation, at = facts.shown[1:]
    if evaluation is None:
        return None
    score = "the threshold" if facts.point is None else f"the threshold of {facts.point.score:.2f}"
    rules = [
        f"Precision and recall are at {score}, at IoU 0.5. Recall at P {evaluation.precision:g} is the highest that "
        "leaves that precision, at a threshold of its own. A dash: nothing there to measure."
    ]
    if evaluation.without_mask:
        rules.append(f"The boxes of {counted(evaluation.without_mask, 'object')} stood in for masks.")
    return {"hint": f"On the {part} part.", "table": rows.classes(evaluation, at), "rules": rules}


def _val(facts: StudentReport) -> dict[str, Any] | None:
    return None if facts.val is None else {"table": rows.classes(facts.val, facts.val_at)}


def _data(facts: StudentReport) -> Iterator[str]:
    dataset = facts.dataset
    if dataset.repeats:
        extra = sum(times - 1 for times in dataset.repeats.values())
        some = counted(len(dataset.repeats), "image")
        shown_again = "is" if len(dataset.repeats) == 1 else "are"
        yield f"{some} of thin classes {shown_again} shown more than once per epoch, {extra:,} times more in all."
    if dataset.soft:
        yield "Labels of the teacher weigh what their score says, and what it half saw is not taught as background."
    yield from facts.remarks


def _audit(facts: StudentReport) -> dict[str, Any]:
    closest = facts.closest
    if closest is None:
        return {"said": _leaks(facts.audit), "pair": None}
    pair = [
        {"name": name, "shown": None if pixels is None else plain(pixels, name, part)}
        for name, part, pixels in zip(closest.names, closest.parts, closest.pixels, strict=True)
    ]
    told = f"The most alike images in two parts, similarity {closest.similarity:.3f}."
    return {"said": _leaks(facts.audit), "pair": pair, "pair_said": told}


def _leaks(audit: LeakAudit | None) -> str:
    if audit is None:
        return "Not audited: whether it has learned from images of the test part, too, was not measured."
    if audit.leaks:
        counts = (
            counted(len(audit.copies_across), "pair") + " of copies",
            counted(len(audit.groups_across), "group"),
            counted(len(audit.pairs_across), "near pair"),
            counted(len(audit.turned_across), "mirrored or turned pair"),
        )
        text = f"Yes: {', '.join(counts)} lie in two parts. The figures above are too good; make a new split."
    else:
        text = (
            f"No: {counted(audit.images, 'image')} were compared anew, and no copy, no group and no pair at least "
            f"{audit.threshold:.3f} alike lies in two parts."
        )
    if audit.newer:
        text += f" {counted(audit.newer, 'image')} that it learned from are newer than the first of a later part."
    if audit.not_compared:
        text += f" {counted(audit.not_compared, 'image')} without a thumbnail could not be compared."
    return text


def _licence_note(licences: Any) -> str:
    if not any("AGPL" in licence for licence in licences):
        return ""
    return (
        "Under AGPL-3.0, whoever gives the software to others, or lets them use it over a network, has to offer them "
        "its source under the same terms, unless its maker sold another licence. A student of the kind dfine is under "
        "Apache-2.0."
    )


def _provenance(facts: StudentReport) -> Iterator[tuple[str, str]]:
    ran = facts.run.facts
    yield "Run", facts.run.name
    for title, key in _FACTS:
        if ran.get(key) is not None:
            yield title, str(ran[key]).replace("T", " ") if key.endswith("_at") else str(ran[key])
    if isinstance(settings := ran.get("settings"), Mapping):
        chosen = {key: settings[key] for key in _SETTINGS if settings.get(key)}
        yield "Settings", ", ".join(f"{key} {value}" for key, value in chosen.items())
    if isinstance(teaching := ran.get("teaching"), Mapping):
        yield "Teaching", ", ".join(f"{key} {value}" for key, value in teaching.items() if value is not None)
    if isinstance(versions := ran.get("versions"), Mapping):
        yield "Versions", ", ".join(f"{name} {version}" for name, version in versions.items())
    if facts.opening is not None:
        yield "Test part opened", facts.opening.opened_at
        yield "Weights", f"sha256 {facts.opening.student}"
        yield "Test hash", facts.opening.test
    yield from facts.provenance.items()

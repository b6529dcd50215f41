"""From labels.db to what is measured: what was pushed, what each person said, and what counts."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace

from ..core.matching import match
from ..core.ontology import Ontology
from ..core.records import Annotation, ImageState
from ..core.store import Store
from ..core.store_studio import Answer, StudioLedger, Task
from .audit import Audit, Case, Look, Status, audit
from .audit_teacher import MIN_IOU
from .compare import Change, compare
from .convert import Drawn, Kind, read

_MACHINES = ("teacher", "student")


def audit_of(store: Store, ontology: Ontology, *, worst: int = 24) -> Audit:
    """Measure everything that was handed over, one image in memory at a time.

    Args:
        store: of the project.
        ontology: of the project.
        worst: how many disagreements to keep.

    Raises:
        MissingExtraError: scipy is not installed.
    """
    return audit(cases(store, ontology), ontology.names, worst=worst)


def cases(store: Store, ontology: Ontology) -> Iterator[Case]:
    """Yield every image that was handed over, once; of several projects on Label Studio the newest with an answer.

    What counts are the labels that stand in labels.db, so they are those of the policy that ``pull`` was given.
    """
    ledger = StudioLedger(store)
    states, sizes, labelled = store.states(), store.sizes(), store.done_keys()
    waiting: dict[str, Case] = {}
    told: set[str] = set()
    for target in reversed(ledger.targets()):
        for task in ledger.tasks(target):
            size_wh = sizes.get(task.sha256)
            if task.state == "intended" or size_wh is None or task.sha256 in told:
                continue
            answers = list(ledger.answers(target, task.sha256))
            status = _status(task, answers, states.get(task.sha256))
            case = Case(task.sha256, size_wh, status, task.blind, task.drawn)
            if status == "waiting":
                if task.state == "sent":
                    waiting.setdefault(task.sha256, case)
                continue
            told.add(task.sha256)
            yield _read(store, case, ledger.pushed(target, task.sha256), answers, ontology, task.sha256 in labelled)
    yield from (case for sha256, case in waiting.items() if sha256 not in told)


def _status(task: Task, answers: Sequence[Answer], state: ImageState | None) -> Status:
    kinds = {answer.kind for answer in answers}
    if task.attention is not None:
        return "attention"
    if "submitted" in kinds and state in ("reviewed", "reviewed-empty"):
        return "reviewed"
    if kinds - {"draft"}:
        return "skipped"
    return "draft" if kinds else "waiting"


def _read(
    store: Store,
    case: Case,
    pushed: Sequence[Annotation],
    answers: Sequence[Answer],
    ontology: Ontology,
    labelled: bool,
) -> Case:
    """Return the case with what was said; drafts, and answers that could not be taken, say nothing."""
    if case.status not in ("reviewed", "skipped"):
        return case
    truth = truth_of(store, pushed, case) if case.status == "reviewed" else None
    # The only answer is the one that stands; to tell its shapes from what was sent again would take much longer.
    alone = truth if sum(answer.kind == "submitted" for answer in answers) == 1 else None
    looks = [_look(answer, pushed, case, ontology, alone) for answer in answers if answer.kind != "draft"]
    machines = all(annotation.provenance.source in _MACHINES for annotation in pushed)
    return replace(case, teacher=labelled and machines, looks=tuple(looks), truth=truth)


def _look(
    answer: Answer,
    pushed: Sequence[Annotation],
    case: Case,
    ontology: Ontology,
    known: tuple[Change, ...] | None,
) -> Look:
    if answer.kind == "skipped":
        return Look(answer.annotator, _seconds(answer), skipped=True)
    if known is not None:
        return Look(answer.annotator, _seconds(answer), changes=known)
    named = [
        replace(one, class_name=ontology.class_of(one.class_name) or one.class_name)
        for one in read(answer.result, case.size_wh)[0]
    ]
    return Look(answer.annotator, _seconds(answer), changes=_changes(pushed, named, case))


def truth_of(store: Store, pushed: Sequence[Annotation], case: Case) -> tuple[Change, ...]:
    """Return what became of labels in the answer that counts: by id, or by overlap where people never saw them."""
    claims = {annotation.id: annotation for annotation in pushed}
    untouched, touched = list[Change](), list[Drawn]()
    for label in store.annotations_of(case.sha256, "human"):
        claim = claims.get(label.provenance.parent_id or "")
        kind: Kind = "rectangle" if label.rle is None else "brush"
        identity = label.id if claim is None else claim.id
        drawn = Drawn(identity, label.class_name, label.box_xyxy, label.rle, kind, None, None)
        if claim is not None and (claim.box_xyxy, claim.rle) == (label.box_xyxy, label.rle):
            same = claim.class_name == label.class_name
            untouched.append(Change("kept" if same else "relabelled", claims.pop(claim.id), drawn, 1.0))
        else:
            touched.append(drawn)
    if untouched:
        return (*untouched, *compare(list(claims.values()), touched, case.size_wh))
    return _changes(pushed, touched, case)


def _changes(pushed: Sequence[Annotation], drawn: Sequence[Drawn], case: Case) -> tuple[Change, ...]:
    """Return what became of what was pushed.

    The pairs come from the ids of regions. Where none was taken over, because nobody saw the labels or somebody began
    anew, they come from the overlap.
    """
    known = {annotation.id for annotation in pushed}
    if not any(one.region_id in known for one in drawn):
        drawn = _paired(pushed, drawn)
    return tuple(compare(pushed, drawn, case.size_wh))


def _paired(pushed: Sequence[Annotation], drawn: Sequence[Drawn]) -> list[Drawn]:
    """Give what was drawn the ids of the labels that it overlaps, one to one, the same class first."""
    same = [[claim.class_name == one.class_name for one in drawn] for claim in pushed]
    boxes, others = [claim.box_xyxy for claim in pushed], [one.box_xyxy for one in drawn]
    pairs = {j: pushed[i].id for i, j, _iou in match(boxes, others, min_iou=MIN_IOU, prefer=same)}
    return [replace(one, region_id=pairs.get(j, f"drawn-{j}")) for j, one in enumerate(drawn)]


def _seconds(answer: Answer) -> float | None:
    seconds = answer.seconds
    return seconds if seconds is not None and math.isfinite(seconds) and seconds > 0 else None

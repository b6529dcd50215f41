"""`labelstill feasibility`: is a prompt enough? A verdict per class, the work that is left, and what it costs."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from ..core.config import write_atomically
from ..core.errors import StateError
from ..core.ontology import Ontology
from ..core.store import Store
from ..image_files import display
from ..label_request import LabelRequest
from ..project import Project
from ..tables import printable, table
from ..trust import feasibility_words as words
from ..trust.costs import Costs, Prices, costs
from ..trust.verdicts import Feasibility, Seconds, Wanted

_FEWEST = 30
_SENTENCES = 12
_DEFAULT = Prices()


def run(
    project: Annotated[Path, typer.Option("--project", metavar="DIR", help="Folder of the project.")] = Path(),
    detector: Annotated[str | None, typer.Option(help="Judge this one.  [default: the one that labelled last]")] = None,
    weights: Annotated[str | None, typer.Option(metavar="FILE|FOLDER|HUB-ID", help="Its weights.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    good: Annotated[
        float, typer.Option("--good-enough", help="Precision and recall from which nobody has to review.")
    ] = 0.9,
    images: Annotated[int, typer.Option(help="Images to label in all.")] = 10_000,
    objects: Annotated[int, typer.Option(help="Objects of a class that a student needs.")] = 150,
    saving: Annotated[float, typer.Option(help="Share of the time by hand that pre-labels have to save.")] = 0.1,
    add: Annotated[
        float | None, typer.Option("--add-seconds", help="To draw a box.  [default: measured, or 7]")
    ] = None,
    delete: Annotated[float | None, typer.Option("--delete-seconds", help="To remove one.  [measured, or 2]")] = None,
    move: Annotated[
        float | None, typer.Option("--move-seconds", help="To pull one into place.  [measured, or 3.5]")
    ] = None,
    relabel: Annotated[
        float | None, typer.Option("--relabel-seconds", help="To give one another class.  [measured, or 2]")
    ] = None,
    look: Annotated[float | None, typer.Option("--look-seconds", help="To look at an image.  [measured, or 3]")] = None,
    hour: Annotated[float, typer.Option("--price-hour", help="An hour of the people who label.")] = _DEFAULT.hour,
    gpu_hour: Annotated[float, typer.Option("--price-gpu-hour", help="An hour of a GPU.")] = _DEFAULT.gpu_hour,
    teacher_seconds: Annotated[
        float, typer.Option("--teacher-seconds", help="One image of the teacher on that GPU.")
    ] = _DEFAULT.teacher_seconds,
    api_image: Annotated[
        float, typer.Option("--price-api-image", help="One image at a hosted service.")
    ] = _DEFAULT.api_image,
    train_hours: Annotated[
        float, typer.Option("--train-hours", help="Of the GPU, for a student.")
    ] = _DEFAULT.train_hours,
    engineer_hours: Annotated[
        float, typer.Option("--engineer-hours", help="To train, check and ship a student.")
    ] = _DEFAULT.engineer_hours,
    engineer_hour: Annotated[
        float, typer.Option("--price-engineer-hour", help="An hour of whoever does.")
    ] = _DEFAULT.engineer_hour,
    student_image: Annotated[
        float, typer.Option("--price-student-image", help="One image of a student of your own.")
    ] = _DEFAULT.student_image,
    currency: Annotated[str, typer.Option(help="Shown with every amount.")] = _DEFAULT.currency,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="Of the page.  [default: reports/feasibility.html]")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Judge the prompts on reviewed images: ship them, pre-label and correct, collect and train, or don't.

    The images of `labelstill next --gold` are used once people have reviewed them. Nothing is changed.
    """
    wanted = Wanted(good, images, objects, saving)
    prices = Prices(
        hour, gpu_hour, teacher_seconds, api_image, train_hours, engineer_hours, engineer_hour, student_image, currency
    )
    opened = Project.open(project)
    with opened.open_store() as store:
        seconds = _seconds(store, opened.ontology, (add, delete, move, relabel, look))
        found, teacher, remarks = _judged(opened, store, detector, weights, device, seconds, wanted)
    costed = costs(images, found.seconds_per_image, found.seconds_by_hand, _rarest(found), objects, prices)
    page = (out.expanduser() if out is not None else opened.reports_path / "feasibility.html").absolute()
    _write(page, opened, teacher, found, costed, wanted, remarks)
    if as_json:
        told = words.as_json(found, costed, wanted, remarks)
        print(json.dumps({**told, "teacher": teacher, "report": display(page)}))
        return
    print("\n".join(_lines(found, costed, wanted, remarks, teacher)))
    print(f"report       {display(page)}")
    print(_next(found, shlex.quote(display(opened.root))))


def _seconds(store: Store, ontology: Ontology, given: Sequence[float | None]) -> Seconds:
    """Return the seconds of each action: given, else measured, else assumed."""
    from dataclasses import fields, replace

    from ..core.errors import InputError
    from ..studio.audit_read import cases
    from ..trust.review_seconds import measured

    assumed = Seconds(7.0, 2.0, 3.5, 2.0, 3.0, "assumed; 7 s per box: Papadopoulos et al., 2017")
    names = [field.name for field in fields(Seconds) if field.name != "source"]
    known = {name: value for name, value in zip(names, given, strict=True) if value is not None}
    for name, value in known.items():
        if not 0 <= value < 86_400:
            raise InputError(f"--{name}-seconds is {value:g}: expected seconds, 0 or more")
    found = measured(cases(store, ontology), assumed) if len(known) < len(names) else assumed
    source = f"{', '.join(known)} given" if known else ""
    rest = found.source if len(known) < len(names) else ""
    return replace(found, **known, source="; ".join(part for part in (source, rest) if part))


def _judged(
    project: Project,
    store: Store,
    detector: str | None,
    weights: str | None,
    device: str,
    seconds: Seconds,
    wanted: Wanted,
) -> tuple[Feasibility, str, list[str]]:
    """Return the verdict, whose it is about, and what to know."""
    from ..teachers.backends import effective_scores, model_name
    from ..trust.gold import read_gold
    from ..trust.opinions import ask, kept
    from ..trust.verdicts import judge
    from ..trust.whose import judged_teacher

    ontology = project.ontology
    gold = read_gold(store, ontology)
    if len(gold.images) < _FEWEST:
        raise StateError(
            f"{project.root}: {len(gold.images)} reviewed images, a verdict needs at least {_FEWEST}: review "
            f"{_FEWEST - len(gold.images)} more (labelstill next --gold draws them, labelstill push --only gold)"
        )
    request = LabelRequest((), project.root, detector=detector, weights=weights, device=device, segmenter="none")
    spec, note = judged_teacher(project, store, request)
    asked = ask(project, store, spec, ontology, [one.sha256 for one in gold.images])
    filters = project.config.filters
    scores = effective_scores(spec, ontology)
    said = [kept(one, scores, filters.nms_iou, filters.class_agnostic_nms) for one in asked]
    answered = {one.sha256 for one in said}
    images = [one for one in gold.images if one.sha256 in answered]
    remarks = [gold.remark, *([note] if note else [])]
    if gold.waiting:
        remarks.append(f"{gold.waiting} images drawn as gold wait to be reviewed")
    if len(images) < len(gold.images):
        remarks.append(f"{len(gold.images) - len(images)} reviewed images have no photo any more and are left out")
    return judge(images, said, ontology.names, seconds, wanted), model_name(spec), remarks


def _rarest(found: Feasibility) -> float | None:
    rates = [one.objects / found.images for one in found.classes if one.objects]
    return min(rates) if rates else None


def _write(
    target: Path,
    project: Project,
    teacher: str,
    found: Feasibility,
    costed: Costs,
    wanted: Wanted,
    remarks: Sequence[str],
) -> None:
    from ..core.errors import InputError
    from ..trust.feasibility_page import render

    if target.is_dir():
        raise InputError(f"{target}: is a folder; name a file in it, such as {target / 'feasibility.html'}")
    target.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(target, render(project.config.name, teacher, found, costed, wanted, remarks))


def _lines(found: Feasibility, costed: Costs, wanted: Wanted, remarks: Sequence[str], teacher: str) -> list[str]:
    lines = [printable(words.headline(found)), f"{teacher}, judged on {found.images:,} reviewed images"]
    lines += [f"look: {printable(remark)}" for remark in remarks]
    lines += table(words.COLUMNS, words.rows(found))
    lines += [f"  {rule}" for rule in words.RULES]
    if len(found.classes) <= _SENTENCES:
        lines += [f"  {printable(one.name)}: {printable(words.sentence(one, wanted))}" for one in found.classes]
    else:
        lines.append("  the page has a sentence on each class")
    lines += ["what people would still do", *(f"  {line}" for line in words.work_lines(found, wanted))]
    lines += [f"what {wanted.images:,} images cost", *(f"  {line}" for line in words.cost_lines(costed))]
    return lines


def _next(found: Feasibility, folder: str) -> str:
    verdicts = {one.verdict for one in found.classes}
    if verdicts <= {"unknown"}:
        return f"next         labelstill next --gold --project {folder}, with photos that hold the classes"
    if verdicts & {"correct", "train", "dont"}:
        return f"next         labelstill calibrate --project {folder}, which may find better prompts and thresholds"
    return f"next         labelstill label PHOTOS --project {folder}"

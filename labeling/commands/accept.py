"""`labelstill accept`: which images may skip review, on what grounds, and what more audits would bring."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..core.errors import InputError
from ..image_files import display
from ..project import Project
from ..tables import printable, table

if TYPE_CHECKING:
    from ..trust.accept import Acceptance, Region

_SHOWN_CLASSES = 20
NOT_SHOWN = 3
"""Exit code where --apply finds nothing that may skip."""


def run(
    project: Annotated[Path, typer.Option("--project", metavar="DIR", help="Folder of the project.")] = Path(),
    precision: Annotated[
        float, typer.Option("--precision", help="Share of the skipping labels that has to be right.")
    ] = 0.95,
    confidence: Annotated[float, typer.Option("--confidence", help="How sure the statement has to be.")] = 0.95,
    no_faint: Annotated[
        bool, typer.Option("--no-faint", help="Photos with a box just below the threshold never skip.")
    ] = False,
    min_iou: Annotated[
        float, typer.Option("--iou", help="Overlap from which a box that people moved was right.")
    ] = 0.5,
    apply: Annotated[bool, typer.Option("--apply", help="Let these photos skip: push --skip-accepted.")] = False,
    withdraw: Annotated[bool, typer.Option("--withdraw", help="Take the permission away.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> int:
    """Show which photos may skip review with a guarantee, from reviewed photos that came by lot.

    A photo skips when all its labels reach a score from which on, with the stated confidence, the stated share of the
    labels of such photos is right. The guarantee is about labels: it says nothing about objects that were missed.
    """
    from ..trust.accept import acceptance
    from ..trust.permission import Terms, grant
    from ..trust.permission import withdraw as take_away

    opened = Project.open(project)
    if apply and withdraw:
        raise InputError("--apply and --withdraw: expected one of them")
    terms = Terms(precision, confidence, no_faint, min_iou)
    with opened.lock(), opened.open_store() as store:
        if withdraw:
            take_away(store)
            print(json.dumps({"withdrawn": True}) if as_json else f"no photo skips review\n{_next(opened, 'push')}")
            return 0
        found = acceptance(store, opened.ontology, terms)
        permission = found.permission
        if apply and permission is not None:
            grant(store, permission)
    applied = apply and permission is not None
    print(json.dumps(_as_dict(found, applied)) if as_json else "\n".join(_lines(found, opened, applied)))
    return NOT_SHOWN if apply and not applied else 0


def _as_dict(found: Acceptance, applied: bool) -> dict[str, Any]:
    audits, region = found.audits, found.region
    return {
        "precision": found.terms.precision,
        "confidence": found.terms.confidence,
        "no_faint": found.terms.no_faint,
        "iou": found.terms.min_iou,
        "audits": {
            "images": len(audits.images),
            "labels": sum(len(one.right) for one in audits.images),
            "gold": sum(one.gold for one in audits.images),
            "labelled_anew": sum(one.anew for one in audits.images),
            "without_labels": audits.empty,
            "of_another_teacher": audits.other,
            "of_a_part": audits.parts,
            "not_reviewed": audits.unreviewed,
            "skipped": audits.skipped,
            "gold_held": audits.held,
            "gold_not_sent": audits.unsent,
        },
        "waiting": {"images": found.waiting, "labels": found.waiting_labels, "cannot_skip": found.unlabelled},
        "region": None if region is None else _region_dict(region, found),
        "fewest_labels": found.fewest,
        "alike": found.alike,
        "more": None if found.more is None else {"audits": found.more.audits, "share": found.more.share},
        "reach": None
        if found.reach is None
        else {"audits": found.reach.audits, "share": found.reach.share, "skip": found.reach.skip},
        "applied": applied,
    }


def _region_dict(region: Region, found: Acceptance) -> dict[str, Any]:
    return {
        "score": region.level,
        "images": region.images,
        "image_share": _share(region.images, found.waiting),
        "labels": region.labels,
        "label_share": _share(region.labels, found.waiting_labels),
        "audited": {"images": region.audited.images, "labels": region.audited.labels, "wrong": region.audited.wrong},
        "bound": region.bound,
        "p_value": region.audited.p_value,
        "classes": {name: {"labels": labels, "wrong": wrong} for name, (labels, wrong) in region.classes.items()},
        "missed": {"objects": region.missed, "of": region.objects, "interval": region.miss_interval},
    }


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def _lines(found: Acceptance, project: Project, applied: bool) -> list[str]:
    audits, region, terms = found.audits, found.region, found.terms
    labels = sum(len(one.right) for one in audits.images)
    gold = sum(one.gold for one in audits.images)
    of_gold = f" or as gold ({gold} gold)" if gold else ""
    lines = [f"audits       {len(audits.images)} reviewed photos that came by lot{of_gold}, {labels} labels"]
    lines += [
        f"             {count} {words}"
        for count, words in (
            (
                sum(one.anew for one in audits.images),
                "of these were labelled anew after they were handed over: judged by overlap",
            ),
            (audits.held, "gold, but do not count before the gold photos drawn before them are reviewed"),
            (audits.other, "of another teacher, or other prompts or thresholds: they do not count"),
            (audits.parts, "drawn among photos of a class, state or decision: they do not count"),
            (audits.empty, "without a label: such photos never skip"),
            (audits.unreviewed, "came by lot or as gold and are not reviewed yet"),
            (audits.skipped, "were skipped by people: nobody knows"),
        )
        if count
    ]
    if region is None:
        lines += _nothing(found)
    else:
        lines += _region_lines(region, found)
    if found.more is not None:
        lines.append(
            f"more         with {found.more.audits} more audited photos among the surest, probably "
            f"{found.more.share:.0%} of the photos"
        )
    lines.append("not covered  objects that the teacher missed, and photos unlike those that were audited")
    if applied:
        lines.append(f"granted      photos whose labels all reach {region.level if region else 0:.3f} may skip review")
        lines.append(_next(project, "push --skip-accepted"))
    elif region is not None:
        tail = f" --precision {terms.precision:g} --confidence {terms.confidence:g}{' --no-faint' * terms.no_faint}"
        lines.append(_next(project, f"accept --apply{tail}"))
    else:
        lines += _way_out(found, project)
    return [printable(line) for line in lines]


def _region_lines(region: Region, found: Acceptance) -> list[str]:
    audited, terms = region.audited, found.terms
    lines = [
        f"may skip     photos whose labels all have a score of {region.level:.3f} or more: "
        f"{region.images:,} of {found.waiting:,} that wait ({_share(region.images, found.waiting) or 0:.0%}), "
        f"{region.labels:,} of {found.waiting_labels:,} labels",
        f"guarantee    at least {terms.precision:g} of their labels are right, with confidence {terms.confidence:g}: "
        f"{audited.wrong} of {audited.labels} wrong in {audited.images} audited photos, bound {region.bound:.3f}",
    ]
    if region.miss_interval is not None:
        low, high = region.miss_interval
        lines.append(
            f"missed       {region.missed} of {region.objects} objects there ({region.missed / region.objects:.0%}, "
            f"interval {low:.0%} to {high:.0%}): the guarantee says nothing about them"
        )
    rows = [(printable(name), [str(n), str(wrong)]) for name, (n, wrong) in region.classes.items()]
    lines += table(("labels", "wrong"), rows[:_SHOWN_CLASSES])
    return lines


def _nothing(found: Acceptance) -> list[str]:
    terms = found.terms
    audited = found.failed
    if audited is not None and audited.unlike:
        return [
            f"may skip     none: audited photos whose labels all reach {audited.level:.3f} are surer than those that "
            "wait, and do not speak for them: audit some of those by lot"
        ]
    if audited is not None:
        return [
            f"may skip     none: of {audited.labels} audited labels in photos whose labels all reach "
            f"{audited.level:.3f}, {audited.wrong} are wrong; that does not show {terms.precision:g} with confidence "
            f"{terms.confidence:g}"
        ]
    return [
        f"may skip     none: too few audits: at least {found.fewest} labels in photos that would skip have to be "
        f"audited, all of them right"
    ]


def _way_out(found: Acceptance, project: Project) -> list[str]:
    """Return what to do where nothing may skip, by what is left to audit."""
    audits, terms, reach = found.audits, found.terms, found.reach
    if audits.unreviewed:
        return [_next(project, "pull") + ", once these are reviewed"]
    if reach is None:
        labels = sum(len(one.right) for one in audits.images)
        left = (
            f"only {found.waiting:,} photos with {found.waiting_labels:,} labels are left"
            if found.waiting
            else ("no photo with labels is left")
        )
        return [
            f"out of reach {left} to audit, beside {labels:,} audited labels; {found.fewest} is the least. "
            f"Even all right they cannot show {terms.precision:g} with confidence {terms.confidence:g} for the rest: "
            "lower --precision, or label more photos",
            _next(project, "label PHOTOS"),
        ]
    needed = (
        f"needed       at best {reach.audits:,} more audited photos among the surest {reach.share:.0%}, all without a "
        f"mistake: {reach.skip:,} of the others may skip then"
    )
    if audits.unsent:
        return [needed, _next(project, "push --only gold")]
    return [needed, _next(project, f"push --only sure:{reach.share:g} --audit-share 1 --limit {reach.audits}")]


def _next(project: Project, verb: str) -> str:
    name, _, flags = verb.partition(" ")
    return f"next         labelstill {name} --project {shlex.quote(display(project.root))} {flags}".rstrip()

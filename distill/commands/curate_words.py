"""What `labelstill curate` says: findings as lines and as JSON, how to tag, and what became of the tags."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from labeling.core.store_decisions import DECISIONS
from labeling.report_words import counted
from labeling.studio.pulled import shown_name

from ..curation import page_words
from ..curation.doubts import Suspect
from ..curation.tags import Problem

if TYPE_CHECKING:
    from labeling.core.store import Store

    from ..curate import Applied, Built
    from ..curation.findings import Findings

_SHOWN_SUSPECTS = 5
_JSON_SUSPECTS = 100
_SHOWN_PROBLEMS = 20
_SHOWN_IMAGES = 3

TAGS = {
    "ok": "looked at, nothing to do",
    "relabel": "people shall label it again",
    "drop": "not for training",
    "duplicate-of: NAME": "repeats that image",
    "split-test": "belongs into the test part",
    "gold": "people label it, so that prompts can be judged",
    "anything else": "a note",
}


def lines(found: Findings, store: Store) -> list[str]:
    """Return the findings in a few lines: the worst labels, what repeats, what is thin or missing, what to do."""
    balance = found.balance
    said = [f"{counted(found.images, 'image')} with {counted(balance.boxes, 'box')}", page_words.headline(found)]
    worst = _worst(found, _SHOWN_SUSPECTS)
    if worst:
        said.append("most doubtful")
        said += [
            f"  {one.suspicion:.2f}  {_what(one)}: {shown_name(store, one.sha256)}: {one.reasons[0]}" for one in worst
        ]
    said += [f"look: {remark['text']}" for remark in page_words.remarks(found)]
    said += [f"plan: {line}" for line in balance.plan]
    return said + [f"left out: {note}" for note in found.notes]


def facts(found: Findings, store: Store) -> dict[str, Any]:
    """Return the findings for programs."""
    repeated, covered = found.duplicates, found.coverage
    return {
        "images": found.images,
        "boxes": found.balance.boxes,
        "suspects": [
            {
                "image": shown_name(store, one.sha256),
                "sha256": one.sha256,
                "annotation": one.label.id if one.label else None,
                "kind": one.kind,
                "class": (one.label or one.claim).class_name,  # type: ignore[union-attr]
                "box_xyxy": list(one.box_xyxy),
                "suspicion": one.suspicion,
                "reasons": list(one.reasons),
            }
            for one in _worst(found, _JSON_SUSPECTS)
        ],
        "kinds": dict(Counter(one.kind for one in found.suspects if one.suspicion >= page_words.PROBABLE)),
        "duplicates": {
            "pairs": len(repeated.pairs),
            "groups": dict(Counter(group.kind for group in repeated.groups)),
            "threshold": repeated.threshold,
        },
        "classes": {
            one.name: {"images": one.images, "boxes": one.boxes, "verdict": one.verdict}
            for one in found.balance.classes
        },
        "coverage": None if covered is None else {"covered": covered.covered_share, "gaps": len(covered.gaps)},
        "remarks": [remark["text"] for remark in page_words.remarks(found)],
        "plan": list(found.balance.plan),
        "notes": list(found.notes),
    }


def of_dataset(built: Built) -> list[str]:
    """Say what of the project the app does not show."""
    said = [f"not shown: {name}: {reason}" for name, reason in list(built.left_out.items())[:_SHOWN_PROBLEMS]]
    said += [f"not shown: {sentence}" for sentence in built.refused[:_SHOWN_PROBLEMS]]
    more = len(built.left_out) + len(built.refused) - len(said)
    return said + ([f"not shown: {more} more: see --json"] if more > 0 else [])


def of_app(url: str, views: Sequence[str], project: str) -> list[str]:
    """Say which views the app has and what to do there; last, so that they are seen, where it is and how it ends."""
    width = max(map(len, TAGS))
    return [
        "saved views (the box above FILTER, on the left)",
        *(f"  {view}" for view in views),
        "tag photos: select them, tag icon, type a tag, Enter, Apply; with nothing selected the whole view is tagged",
        'tag one box: open the photo, click the box, tag icon, "+ tag selected label", type a tag, Enter, Apply',
        *(f"  {tag.ljust(width)}  {meaning}" for tag, meaning in TAGS.items()),
        f"open {url}",
        f"Ctrl-C closes the app; then, or meanwhile elsewhere: labelstill curate --apply --project {project}",
    ]


def applied(done: Applied, project: str) -> list[str]:
    """Return what became of the tags, decision by decision, and what to run next."""
    added, removed = Counter(one.decision for one in done.added), Counter(one.decision for one in done.removed)
    if not done.datasets:
        return ["FiftyOne holds nothing of this project yet", f"next: labelstill curate --project {project}"]
    said = [f"{len(done.added)} decisions new, {len(done.removed)} taken back, {done.unchanged} as before"]
    for name in DECISIONS:
        if added[name] or removed[name]:
            said.append(
                f"  {name.ljust(14)}{added[name]} new" + (f", {removed[name]} taken back" if removed[name] else "")
            )
    problems = _grouped(done.problems)
    said += [f"attention    {problem}" for problem in problems[:_SHOWN_PROBLEMS]]
    if len(problems) > _SHOWN_PROBLEMS:
        said.append(f"attention    {len(problems) - _SHOWN_PROBLEMS} more: see --json")
    if problems:
        said.append("these tags stay as they are: mend them in the app, then --apply again")
    if done.to_relabel:
        said.append(f"next: labelstill push --only relabel --project {project}")
    else:
        said.append(f"next: labelstill curate --project {project}")
    return said


def applied_facts(done: Applied) -> dict[str, Any]:
    """Return what became of the tags, for programs."""
    return {
        "added": [asdict(one) for one in done.added],
        "removed": [asdict(one) for one in done.removed],
        "unchanged": done.unchanged,
        "problems": [str(problem) for problem in done.problems],
        "to_relabel": done.to_relabel,
        "datasets": done.datasets,
    }


def _grouped(problems: Sequence[Problem]) -> list[str]:
    """Return problems as sentences; equal ones are one, with some of their images."""
    images: dict[str, list[str]] = {}
    for problem in problems:
        images.setdefault(problem.what, []).append(problem.image)
    said = []
    for what, places in images.items():
        names = list(dict.fromkeys(name for name in places if name))
        more = f" and {len(names) - _SHOWN_IMAGES} more" if len(names) > _SHOWN_IMAGES else ""
        among = f" (on {', '.join(names[:_SHOWN_IMAGES])}{more})" if names else ""
        said.append(f"{len(places)} x {what}{among}" if len(places) > 1 else str(Problem(places[0], what)))
    return said


def _worst(found: Findings, most: int) -> list[Suspect]:
    return [one for one in found.suspects[:most] if one.suspicion > 0]


def _what(one: Suspect) -> str:
    there = one.label or one.claim
    return f"{one.kind} {there.class_name}" if there is not None else one.kind

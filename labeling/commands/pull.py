"""`labelstill pull`: bring back what people said in Label Studio, and say where the review stands."""

from __future__ import annotations

import json
import shlex
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..image_files import display
from ..project import Project
from ..tables import printable

if TYPE_CHECKING:
    from ..core.store import Store
    from ..studio.policy import Policy
    from ..studio.pulled import Pulled, Totals

_SHOWN = 20
_WINNER = {
    "latest": "the newest counts; --policy consensus shows where they differ",
    "consensus": "what most of them say counts",
    "annotator": "that of one person counts",
}
_NEEDS_ATTENTION = 2


def run(
    project: Annotated[Path, typer.Option("--project", metavar="DIR", help="Folder of the project.")] = Path(),
    policy: Annotated[
        str | None,
        typer.Option(
            "--policy",
            metavar="POLICY",
            help="Whose answer counts where several people answered: latest, consensus or annotator:MAIL.  "
            "[default: that of the last pull, latest at first]",
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> int:
    """Bring back what people corrected; nothing unreviewed counts as reviewed. Exit code 2: something needs you."""
    from ..studio import policy as policies

    chosen = policies.parse(policy) if policy is not None else None
    opened = Project.open(project)
    with opened.lock(), opened.open_store() as store:
        pulled = _pull(opened, store, chosen)
    print(json.dumps(answer(opened, pulled)) if as_json else as_text(opened, pulled))
    return _NEEDS_ATTENTION if pulled.attention else 0


def answer(project: Project, pulled: Pulled) -> dict[str, Any]:
    """Return what ``--json`` prints."""
    foreign = [{"task": number, "link": link} for number, link in pulled.foreign]
    teacher = {
        name: {"right": right, "pushed": n, "precision": right / n} for name, (right, n) in pulled.teacher.items()
    }
    return {"project": str(project.root), **asdict(pulled), "foreign": foreign, "teacher": teacher}


def as_text(project: Project, pulled: Pulled) -> str:
    """Return what people read."""
    lines = [_headline(pulled)]
    if pulled.changed or pulled.totals.unanswered or pulled.totals.drafts:
        lines.append(f"  in all: {_totals(pulled.totals)}")
    said = {
        f"images have answers of several people, {_WINNER[pulled.policy.partition(':')[0]]}": pulled.several,
        "reviews taken back, since no answer counts any more: they wait for people": pulled.taken_back,
        "tasks deleted in Label Studio": pulled.withdrawn,
        "tasks that were never pushed from here, left alone": len(pulled.foreign),
        "reviewed images set aside, their files hold other pictures now": pulled.set_aside,
    }
    lines += [f"  {number} {what}" for what, number in said.items() if number]
    if pulled.policy != "latest":
        lines.append(f"  policy: {printable(pulled.policy)}")
    lines += _teacher(pulled)
    if pulled.attention:
        lines.append("needs attention:")
        lines += [
            f"  {printable(one.name)}: {printable(one.reason)}: {printable(one.link)}"
            for one in pulled.attention[:_SHOWN]
        ]
    if len(pulled.attention) > _SHOWN:
        lines.append(f"  and {len(pulled.attention) - _SHOWN} more; --json lists all")
    lines.append(f"next: labelstill audit --project {shlex.quote(display(project.root))}")
    return "\n".join(lines)


def _headline(pulled: Pulled) -> str:
    """Say what is new, or that nothing is and where the review stands."""
    totals = pulled.totals
    if pulled.changed:
        return (
            f"{pulled.reviewed} reviewed, {pulled.reviewed_empty} reviewed-empty, {pulled.skipped} skipped, "
            f"{len(pulled.attention)} need attention"
        )
    return (
        f"0 new answers; {totals.reviewed} reviewed, {totals.reviewed_empty} reviewed-empty, {totals.skipped} skipped, "
        f"{len(pulled.attention)} need attention"
    )


def _totals(totals: Totals) -> str:
    said = {
        "reviewed": totals.reviewed,
        "reviewed-empty": totals.reviewed_empty,
        "skipped": totals.skipped,
        "unanswered": totals.unanswered,
        "drafts that were never submitted": totals.drafts,
    }
    return ", ".join(f"{number} {what}" for what, number in said.items() if number or "review" in what)


def _teacher(pulled: Pulled) -> list[str]:
    if not pulled.teacher:
        return []
    lines = ["how often the teacher was right:"]
    for name, (right, n) in pulled.teacher.items():
        lines.append(f"  {right / n:>6.1%}  of {n:<6}  {printable(name)}")
    return lines


def _pull(project: Project, store: Store, policy: Policy | None) -> Pulled:
    from ..core.store_studio import StudioLedger
    from ..studio.client import StudioClient
    from ..studio.pull import pull
    from ..studio.reconcile import settle
    from ..studio.secrets import connection
    from ..studio.target import find_target

    found, ontology = connection(project), project.ontology
    store.check_classes(ontology)
    with StudioClient(found.url, found.token) as client:
        target = find_target(store, client, local=found.local)
        settle(client, StudioLedger(store), target, fresh=False, pause=_wait)
        return pull(store, client, target, ontology, policy=policy)


def _wait(seconds: float) -> bool:
    time.sleep(seconds)
    return False

"""`labelstill push`: labels go to people; what was sent, where to look, what to run next."""

from __future__ import annotations

import json
import math
import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..core.errors import InputError, ServerError, StateError
from ..image_files import display
from ..project import Project
from ..tables import printable
from .progress import stop_on_signals

if TYPE_CHECKING:
    from ..core.store import Store
    from ..studio.pushed import Pushed, Wishes
    from ..trust.accept import Checked

REFUSED = 2
WITHDRAWN = 3
"""Exit code where audits no longer bear out that photos skip review; nothing is sent then."""

_SHOWN = 20
_LOG_EVERY_S = 10.0


def run(
    project: Annotated[Path, typer.Option("--project", metavar="DIR", help="Folder of the project.")] = Path(),
    only: Annotated[
        list[str] | None,
        typer.Option(
            "--only",
            metavar="WHICH",
            help="class:X, state:X, sure:SHARE, or a decision as relabel; several must all hold.",
        ),
    ] = None,
    limit: Annotated[int | None, typer.Option("--limit", help="Send at most this many new tasks.")] = None,
    again: Annotated[bool, typer.Option("--again", help="Send anew what people deleted in Label Studio.")] = False,
    upload: Annotated[
        bool, typer.Option("--upload", help="Upload the pictures, for a server that cannot read this disk.")
    ] = False,
    overlap: Annotated[
        str | None, typer.Option("--overlap", metavar="PERCENT", help="Let two people see this share of the tasks.")
    ] = None,
    audit_share: Annotated[
        float, typer.Option("--audit-share", help="Share of the new tasks that are drawn by lot.")
    ] = 0.1,
    blind_share: Annotated[
        float, typer.Option("--blind-share", help="Share of the images that are sent without predictions.")
    ] = 0.05,
    update_config: Annotated[
        bool, typer.Option("--update-config", help="Put right what was changed in the labelling configuration.")
    ] = False,
    new_project: Annotated[
        bool, typer.Option("--new-project", help="Make another project in Label Studio for all that is not reviewed.")
    ] = False,
    skip_accepted: Annotated[
        bool, typer.Option("--skip-accepted", help="Leave out photos that may skip review, see labelstill accept.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be sent.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> int:
    """Send labels to Label Studio for people to correct. What is there already is never sent twice.

    The same command again goes on where the last one was cut off, and else sends only what is new or has changed.
    """
    from ..studio.pushed import Wishes
    from ..studio.selection import conditions

    opened = Project.open(project)
    percent = _percent(overlap) if overlap is not None else None
    with opened.lock(), opened.open_store() as store:
        boxes = opened.config.review.regions == "boxes"
        accepted = frozenset[str]()
        if skip_accepted:
            from ..trust.accept import check

            checked = check(store, opened.ontology, dry_run=dry_run)
            if not checked.holds:
                print(_withdrawn(checked, opened, as_json=as_json, dry_run=dry_run))
                return WITHDRAWN
            accepted = checked.images
        wishes = Wishes(conditions(only or (), store), limit, again, audit_share, blind_share, percent, boxes, accepted)
        if dry_run:
            done, code = _rehearse(opened, store, wishes, new_project=new_project), 0
        else:
            choices = {"upload": upload, "update_config": update_config, "new_project": new_project}
            done, code = _push(opened, store, wishes, choices, quiet=as_json)
    print(json.dumps(_as_dict(done, dry_run)) if as_json else _as_text(done, opened, only or () if dry_run else None))
    return code or (REFUSED if done.refused else 0)


def _withdrawn(checked: Checked, project: Project, *, as_json: bool, dry_run: bool) -> str:
    audited = checked.audited
    if as_json:
        counts = {"images": audited.images, "labels": audited.labels, "wrong": audited.wrong}
        return json.dumps({"withdrawn_permission": checked.sentence, "audited": counts, "dry_run": dry_run})
    folder = shlex.quote(display(project.root))
    lines = [checked.sentence] + (["dry run      the permission still stands"] if dry_run else [])
    lines.append(f"next         labelstill push --project {folder}, which sends all; or labelstill accept")
    return "\n".join(lines)


def _push(
    project: Project, store: Store, wishes: Wishes, choices: dict[str, bool], *, quiet: bool
) -> tuple[Pushed, int]:
    from ..studio.client import StudioClient
    from ..studio.media import Media
    from ..studio.push import push
    from ..studio.secrets import connection
    from ..studio.target import open_target

    server = connection(project)
    # Pictures of the next chunk are uploaded while a chunk is on its way, so they have a connection of their own.
    with (
        StudioClient(server.url, server.token) as client,
        StudioClient(server.url, server.token) as pictures,
        stop_on_signals() as stop,
        _progress(quiet) as shown,
    ):
        target = open_target(project, store, client, local=server.local, **choices)
        media = Media(project, store, pictures, target)
        done = push(store, client, target, media, wishes, pause=stop.wait, shown=shown)
    return done, stop.exit_code if done.stopped else 0


def _rehearse(project: Project, store: Store, wishes: Wishes, *, new_project: bool) -> Pushed:
    from ..core.store_studio import StudioLedger
    from ..studio.client import StudioClient
    from ..studio.push import foresee, rehearse
    from ..studio.secrets import connection
    from ..studio.target import look_up

    last = None if new_project else next(reversed(StudioLedger(store).targets()), None)
    try:
        server = connection(project)
    except StateError as error:
        return foresee(store, last, wishes, f"not compared with the server: {error}")
    try:
        with StudioClient(server.url, server.token) as client:
            found = None if new_project else look_up(store, client, local=server.local)
            return rehearse(store, client, found, wishes)
    except ServerError as error:
        return foresee(store, last, wishes, f"not compared with the server: {error}")


def _percent(text: str) -> float:
    try:
        value = float(text.strip().removesuffix("%"))
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise InputError(f"--overlap is {text!r}: expected a percentage such as 10%")
    return value


def _as_dict(done: Pushed, dry_run: bool) -> dict[str, Any]:
    refused = [{"name": name, "reason": reason} for name, reason in done.refused]
    return {**asdict(done), "refused": refused, "dry_run": dry_run}


def _as_text(done: Pushed, project: Project, rehearsed: Sequence[str] | None) -> str:
    """Return what to say at the end; of a rehearsal with what it was asked for by ``--only``."""
    dry_run = rehearsed is not None
    would = "would be " if dry_run else ""
    lines = [f"{would}{done.new} new, {done.changed} changed"]
    details: list[tuple[int, Callable[[int], str]]] = [
        (done.unchanged, lambda n: f"unchanged    {n} tasks"),
        (done.drawn, lambda n: f"by lot       {n} of the new ones, so that they speak for all photos"),
        (done.blind, lambda n: f"blind        {n} of the new ones have no predictions, to see what predictions change"),
        (done.overlap or 0, lambda n: f"overlap      {n} % of the tasks are for two people"),
        (done.asked, lambda n: f"asked        {n} tasks to be looked at again: filter by labelstill_ask"),
        (done.answered, lambda n: f"left alone   {n} tasks that people have begun, though their labels changed"),
        (done.adopted, lambda n: f"found        {n} tasks that had arrived before"),
        (done.removed, lambda n: f"removed      {n} second tasks of a photo, untouched"),
        (done.withdrawn, lambda n: f"withdrawn    {n} tasks that people have deleted"),
        (done.left_out, lambda n: f"left out     {n} photos whose task people deleted; --again sends them"),
        (done.set_aside, lambda n: f"set aside    {n} photos that people decided to drop, or that repeat another"),
        (done.accepted, lambda n: f"accepted     {n} photos skip review and keep their pre-labels"),
        (
            done.audits,
            lambda n: f"audit        {n} of the new ones would skip review, and were drawn by lot to check that",
        ),
        (len(done.refused), lambda n: f"refused      {n} photos"),
    ]
    lines += [line(count) for count, line in details if count]
    lines += [f"  {name}: {reason}" for name, reason in done.refused[:_SHOWN]]
    if len(done.refused) > _SHOWN:
        lines.append(f"  and {len(done.refused) - _SHOWN} more: see --json")
    lines += [f"attention    {sentence}" for sentence in done.attention]
    lines += [f"warning      {sentence}" for sentence in done.warnings]
    if done.first_link is not None:
        tasks = done.first_link.rpartition("?")[0]
        lines.append(f"open         {done.first_link}")
        lines.append(f"             {tasks} and there 'Label All Tasks', for one after the other")
    if not done.stopped:
        folder = shlex.quote(display(project.root))
        same = "".join(f" --only {shlex.quote(one)}" for one in rehearsed or ())
        lines.append(f"next         labelstill {'push' if dry_run else 'pull'} --project {folder}{same}")
    return "\n".join(printable(line) for line in lines)


@contextmanager
def _progress(quiet: bool) -> Iterator[Callable[[int, int], None]]:
    """Yield what to call after each chunk: a line on a terminal, a line now and then in a log, or nothing."""
    last = monotonic()
    live = sys.stderr.isatty()

    def shown(done: int, of_all: int) -> None:
        nonlocal last
        if quiet or (not live and monotonic() - last < _LOG_EVERY_S):
            return
        last = monotonic()
        print(f"sent {done:,}/{of_all:,} tasks", end="\r" if live else "\n", file=sys.stderr, flush=True)

    yield shown
    if live and not quiet:
        print("\x1b[K", end="", file=sys.stderr, flush=True)

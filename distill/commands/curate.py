"""`labelstill curate`: what is wrong with the set and what it misses, in FiftyOne or as a report; tags come back."""

from __future__ import annotations

import json
import shlex
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from labeling.commands.report import save_report
from labeling.core.errors import InputError, StateError
from labeling.image_files import display
from labeling.project import Project
from labeling.stored_photos import StoredPhotos, loader
from labeling.tables import printable

from ..fiftyone_app import DEFAULT_PORT
from . import curate_words as words
from .telling import teller

if TYPE_CHECKING:
    from labeling.core.store import Store

    from ..curation.findings import Findings, Mistaken

NEEDS_A_LOOK = 2
"""Exit code of --apply if tags are left that it does not understand."""

_WAIT_FOR_ANOTHER_S = 600.0
_LOOK_EVERY_S = 5.0


def run(
    project: Annotated[Path, typer.Option("--project", metavar="DIR", help="Folder of the project.")] = Path(),
    apply: Annotated[bool, typer.Option("--apply", help="Bring what was tagged in the app into labels.db.")] = False,
    no_app: Annotated[
        bool, typer.Option("--no-app", help="Write reports/curation.html instead; needs no FiftyOne.")
    ] = False,
    port: Annotated[int, typer.Option("--port", min=1, max=65535, help="The port that is tried first.")] = DEFAULT_PORT,
    browser: Annotated[bool, typer.Option("--open", help="Open the browser of this machine, too.")] = False,
    embeddings: Annotated[
        str | None,
        typer.Option("--embeddings", metavar="MODEL", help="Compare images by this model: a folder, or a hub id."),
    ] = None,
    yes: Annotated[
        bool, typer.Option("--yes", help="With --apply: write even a decision about most of the images.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> int:
    """Show which labels are probably wrong, what repeats, what is thin and what was never seen.

    The app runs on this machine alone until Ctrl-C. What people tag there are decisions once --apply has run; it
    exits with 2 if there are tags that it does not understand.
    """
    opened = Project.open(project)
    if apply and (no_app or browser or embeddings):
        raise InputError("--apply only brings tags back: leave out --no-app, --open and --embeddings")
    if yes and not apply:
        raise InputError("--yes belongs to --apply: add --apply, or leave out --yes")
    if not opened.database_path.exists():
        raise StateError(f"{opened.root}: nothing is labelled yet: labelstill label PHOTOS --project {_typed(opened)}")
    if apply:
        return _apply(opened, sure=yes, as_json=as_json)
    if no_app:
        _report(opened, embeddings, as_json=as_json)
    else:
        _app(opened, embeddings, port, browser=browser, as_json=as_json)
    return 0


def _app(project: Project, embeddings: str | None, port: int, *, browser: bool, as_json: bool) -> None:
    from ..fiftyone_app import open_app
    from ..fiftyone_server import answers, database

    tell = teller(as_json)
    tell("starting FiftyOne")
    with database(project) as fiftyone:
        from ..curate import build
        from ..curation.mistakenness import mistaken
        from ..curation.scenes import scenes
        from ..curation.views import WRONG

        with _turn(project, tell), project.open_store() as store:
            found = _found(project, store, embeddings, tell, mistaken=lambda: mistaken(scenes(store)))
            tell("writing the dataset")
            built = build(project, store, found)
            said, facts = words.lines(found, store), words.facts(found, store)
        tell("opening the app")
        views = fiftyone.load_dataset(built.name).list_saved_views()
        first = WRONG if WRONG in views else None
        with open_app(fiftyone, built.name, port, view=first, browser=browser) as app:
            facts |= {"url": app.url, "dataset": built.name, "views": views, "left_out": built.left_out}
            said += words.of_dataset(built) + words.of_app(app.url, views, _typed(project))
            # SIGTERM, all that ends a job in the background, comes as SystemExit.
            with suppress(KeyboardInterrupt, SystemExit):
                print(json.dumps(facts) if as_json else "\n".join(map(printable, said)), flush=True)
                app.wait(lambda: answers(fiftyone))
    tell(f"the app is closed; next: labelstill curate --apply --project {_typed(project)}")


def _report(project: Project, embeddings: str | None, *, as_json: bool) -> None:
    from ..curation.page import render

    tell, target = teller(as_json), project.reports_path / "curation.html"
    left_out = ("FiftyOne was not asked (--no-app): its measure of mistakenness is not among the reasons",)
    with _turn(project, tell), project.open_store() as store:
        found = _found(project, store, embeddings, tell, without=left_out)
        tell("writing the report")
        photos = StoredPhotos(store, loader(project.config.images))
        text = render(found, store, project.config.name, project.ontology, photos.photo)
        said, facts = words.lines(found, store), words.facts(found, store)
    save_report(text, target)
    if as_json:
        print(json.dumps(facts | {"file": str(target), "bytes": len(text.encode())}))
        return
    said += [f"wrote {display(target)}, {len(text.encode()) / 1e6:.1f} MB"]
    said += [f"next: open it in a browser, or tag in the app: labelstill curate --project {_typed(project)}"]
    print("\n".join(map(printable, said)))


def _apply(project: Project, *, sure: bool, as_json: bool) -> int:
    from ..fiftyone_server import database

    tell = teller(as_json)
    tell("starting FiftyOne")
    with database(project):
        from ..curate import apply

        with _turn(project, tell), project.open_store() as store:
            done = apply(project, store, sure=sure)
    said = map(printable, words.applied(done, _typed(project)))
    print(json.dumps(words.applied_facts(done)) if as_json else "\n".join(said))
    return NEEDS_A_LOOK if done.problems else 0


def _found(
    project: Project,
    store: Store,
    embeddings: str | None,
    tell: Callable[[str], None],
    *,
    mistaken: Mistaken | None = None,
    without: tuple[str, ...] = (),
) -> Findings:
    from ..curation.findings import collect

    store.check_classes(project.ontology)
    photos = StoredPhotos(store, loader(project.config.images))
    if embeddings is not None:
        from ..curation.embedding import embed

        tell(f"looking at photos with {embeddings}")
        embed(store, embeddings, photos.photo)
    return collect(store, photos, mistaken=mistaken, without=without, shown=lambda what: tell(f"looking at {what}"))


@contextmanager
def _turn(project: Project, tell: Callable[[str], None]) -> Iterator[None]:
    """Hold the project for writing; who comes second waits, so that two people can start at the same time."""
    until = time.monotonic() + _WAIT_FOR_ANOTHER_S
    with ExitStack() as held:
        while True:
            try:
                held.enter_context(project.lock())
                break
            except StateError as error:
                if time.monotonic() > until:
                    raise
                tell(f"waiting: {error}")
                time.sleep(_LOOK_EVERY_S)
        yield


def _typed(project: Project) -> str:
    return shlex.quote(display(project.root))

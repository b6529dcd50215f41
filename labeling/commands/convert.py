"""`labelstill convert`: labels from a project to another program's format, from such a format, or between two."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from enum import StrEnum
from functools import partial
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..core.config import ImagesConfig
from ..core.errors import InputError
from ..project import Project
from . import convert_words as words

# The formats and all they need are imported by the function that uses them, so that --help answers at once.
if TYPE_CHECKING:
    from ..formats.importing import Imported


class Format(StrEnum):
    """What other programs read and write."""

    COCO = "coco"
    YOLO = "yolo"
    YOLO_SEG = "yolo-seg"
    YOLO_OBB = "yolo-obb"
    VOC = "voc"
    LABELSTUDIO = "labelstudio"
    AUTODISTILL = "autodistill"


class Which(StrEnum):
    """Whose labels: people's where they reviewed and the machine's elsewhere, or one of the two alone."""

    BEST = "best"
    MACHINE = "machine"
    HUMAN = "human"


_LOG_EVERY_S = 10.0
_FORMATS = ", ".join(Format)


def run(
    to: Annotated[
        Format | None, typer.Option("--to", metavar="FORMAT", help=f"Write the labels as {_FORMATS}.")
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", metavar="DIR", help="A new or empty folder for --to.")] = None,
    from_: Annotated[
        Format | None,
        typer.Option(
            "--from", metavar="FORMAT", help="Read labels of people; into the project where there is no --to."
        ),
    ] = None,
    in_: Annotated[Path | None, typer.Option("--in", metavar="PATH", help="The file or folder for --from.")] = None,
    images: Annotated[
        Path | None,
        typer.Option("--images", metavar="DIR", help="Photos that --from speaks of, where they lie elsewhere."),
    ] = None,
    project: Annotated[
        Path | None, typer.Option("--project", metavar="DIR", help="Folder of the project.  [default: .]")
    ] = None,
    labels: Annotated[
        Which | None, typer.Option("--labels", help="best: human where reviewed, machine elsewhere.  [default: best]")
    ] = None,
    force: Annotated[
        bool,
        typer.Option("--force", help="Replace an earlier export in DIR; files of others there are never replaced."),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> int:
    """Write a project's labels in another format (--to), take over existing ones as reviewed (--from), or both at once.

    Photos are only read. Exit code 2 where something could not be used; each is named.
    """
    _check_flags(to, out, from_, in_, images, project, labels, force=force)
    root = project or Path()
    if from_ is None:
        assert to is not None
        assert out is not None
        answer = convert(Project.open(root), to, out.expanduser().absolute(), labels or Which.BEST, force=force)
        print(json.dumps(answer) if as_json else words.of_export(answer))
    elif to is None:
        assert in_ is not None
        answer = take_over(root, from_, in_.expanduser(), images and images.expanduser(), _log(quiet=as_json))
        print(json.dumps(answer) if as_json else words.of_import(answer))
    else:
        assert in_ is not None
        assert out is not None
        places = (in_.expanduser(), images and images.expanduser(), out.expanduser().absolute())
        answer = pass_on(from_, to, *places, force=force)
        print(json.dumps(answer) if as_json else words.of_passing(answer))
    return 2 if answer.get("refused") or answer.get("left_out", {}).get("missing") else 0


def convert(opened: Project, to: Format, out: Path, labels: Which, *, force: bool) -> dict[str, Any]:
    """Write one export of a project and return what ``--json`` prints."""
    from ..core.store_decisions import DecisionLedger
    from ..formats.export import export_labels

    with opened.open_store() as store:
        store.check_classes(opened.ontology)
        copy = _copier(opened.config.images)
        done = export_labels(store, opened.ontology, to.value, out, labels.value, copy, force=force)
        return words.export_answer(done, to.value, labels.value, store.counts(), DecisionLedger(store))


def take_over(
    root: Path, form: Format, path: Path, images: Path | None, on_batch: Callable[[Imported], None] | None = None
) -> dict[str, Any]:
    """Import labels into a project, which is made where there is none, and return what ``--json`` prints."""
    from ..formats.importing import import_labels
    from ..formats.sources import open_dataset
    from ..images import load

    root = root.expanduser().resolve()
    config = Project.open(root).config.images if Project.exists(root) else ImagesConfig()
    dataset = open_dataset(form.value, path, images)
    done = import_labels(dataset, root, partial(load, **_gate(config)), on_batch)
    return words.import_answer(done, form.value, dataset, root)


def pass_on(form: Format, to: Format, path: Path, images: Path | None, out: Path, *, force: bool) -> dict[str, Any]:
    """Write labels of one format in another, without a project, and return what ``--json`` prints."""
    from ..formats.passing import pass_labels
    from ..formats.sources import open_dataset
    from ..images import load

    if path.is_dir() and out.resolve().is_relative_to(path.resolve()):
        raise InputError(f"--out {out}: lies in the folder that is read, {path}: name another folder")
    config = ImagesConfig()
    dataset = open_dataset(form.value, path, images)
    written, passed = pass_labels(dataset, to.value, out, partial(load, **_gate(config)), _copier(config), force=force)
    return words.passing_answer(written, passed, form.value, to.value)


def _check_flags(
    to: Format | None,
    out: Path | None,
    from_: Format | None,
    in_: Path | None,
    images: Path | None,
    project: Path | None,
    labels: Which | None,
    *,
    force: bool,
) -> None:
    """Raise InputError for flags that do not go together."""
    if to is None and from_ is None:
        raise InputError(f"expected --to FORMAT --out DIR or --from FORMAT --in PATH; formats: {_FORMATS}")
    for flag, given, needed in (("--to", to, ("--out", out)), ("--from", from_, ("--in", in_))):
        if given is not None and needed[1] is None:
            raise InputError(
                f"{flag} {given} needs {needed[0]}: the {'folder to write' if flag == '--to' else 'labels to read'}"
            )
    stray: dict[str, bool] = {
        "--out": out is not None and to is None,
        "--force": force and to is None,
        "--in": in_ is not None and from_ is None,
        "--images": images is not None and from_ is None,
        "--labels": labels is not None and from_ is not None,
        "--project": project is not None and to is not None and from_ is not None,
    }
    for flag, is_stray in stray.items():
        if is_stray:
            raise InputError(f"{flag} has no meaning here: {_MEANING[flag]}")


_MEANING = {
    "--out": "it goes with --to",
    "--force": "it goes with --to; an import never replaces what people reviewed",
    "--in": "it goes with --from",
    "--images": "it goes with --from; a project knows where its photos are",
    "--labels": "it chooses among the labels of a project, and --from reads a file",
    "--project": "--from together with --to reads and writes files only; leave one of the three out",
}


def _log(*, quiet: bool) -> Callable[[Imported], None] | None:
    """Return what says now and then how far an import is, on stderr."""
    last = monotonic()

    def say(done: Imported) -> None:
        nonlocal last
        if monotonic() - last >= _LOG_EVERY_S:
            last = monotonic()
            print(f"{done.images + done.kept} photos imported, {len(done.refused)} items refused", file=sys.stderr)

    return None if quiet else say


def _gate(config: ImagesConfig) -> dict[str, Any]:
    return config.model_dump(include={"max_pixels", "background", "accept_truncated"})


def _copier(config: ImagesConfig) -> partial[Any]:
    from ..image_copies import normalised_copy

    return partial(normalised_copy, **_gate(config))

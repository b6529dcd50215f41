"""`labelstill demo`: photos drawn, labelled from words, exported and reported, offline, with the bundled teacher."""

from __future__ import annotations

import json
import shlex
from functools import partial
from itertools import count
from pathlib import Path
from typing import Annotated

import typer

from ..demo.photos import CLASSES, write_photos
from ..image_files import display
from ..job import LabelRequest
from ..project import Project
from .convert import Format, Which, convert
from .label import perform
from .report import write_report

PHOTOS = 24


def run(
    project: Annotated[
        Path | None, typer.Option("--project", metavar="DIR", help="Folder of the demo.  [default: a fresh one here]")
    ] = None,
    full: Annotated[
        bool, typer.Option("--full", help="The whole loop: review, curation, a student, its edge bundle; ten minutes.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> int:
    """Draw warehouse photos, label them from words, export and report. Offline, with the bundled teacher."""
    root = (project or _fresh_folder()).expanduser().absolute()
    if full:
        return _full(root, as_json=as_json)
    write_photos(root / "photos", PHOTOS)
    request = LabelRequest((root / "photos",), root, CLASSES, detector="bundled")
    ending, code = perform(request, quiet=as_json)
    if ending.summary.stopped:
        return code
    opened = Project.open(root)
    exports = {
        target.value: convert(opened, target, opened.exports_path / target.value, Which.BEST, force=True)["file"]
        for target in (Format.COCO, Format.YOLO)
    }
    report = opened.reports_path / "report.html"
    write_report(opened, report)
    with opened.open_store() as store:
        found = store.counts()["annotations"]
    if as_json:
        places = {"labels": str(opened.database_path), "exports": exports, "report": str(report)}
        done = {"project": str(root), "photos": PHOTOS, "labelled": ending.summary.labelled, "annotations": found}
        print(json.dumps({**done, **places}))
    else:
        print(_as_text(root, ending.summary.seconds, found, exports, report))
    return code


def _full(root: Path, *, as_json: bool) -> int:
    from ..demo.whole_loop import Loop

    loop = Loop(root, (lambda _line: None) if as_json else partial(print, flush=True), quiet=as_json)
    loop.run()
    places = {"report": root / "reports/student-demo.html", "bundle": loop.bundle}
    seconds = {step.name: round(step.seconds, 1) for step in loop.steps}
    if as_json:
        said = {"project": str(root), "seconds": seconds, "label_studio": loop.studio}
        print(json.dumps(said | {name: str(path) for name, path in places.items()}))
        return 0
    lines = [f"\nfrom words to an edge bundle in {sum(seconds.values()) / 60:.1f} min"]
    lines += [f"  {took:6.1f} s  {name}" for name, took in seconds.items()]
    lines += ["where it lies"] + [f"  {name:6}  {display(path)}" for name, path in places.items()]
    lines += ["next", f"  copy {display(loop.bundle)} to the device and run ./build.sh there"]
    print("\n".join(lines))
    return 0


def _as_text(root: Path, seconds: float, found: dict[str, int], exports: dict[str, str], report: Path) -> str:
    wide = max(map(len, found))
    took = f" in {seconds:.1f} s" if seconds else ", labelled before"
    lines = [f"found {sum(found.values())} objects on {PHOTOS} photos{took}, asked for: {CLASSES}"]
    lines += [f"  {name:{wide}}  {number}" for name, number in found.items()]
    lines += ["where it lies", f"  labels  {display(root / 'labels.db')}"]
    lines += [f"  {name:6}  {display(Path(path))}" for name, path in exports.items()]
    lines += [f"  report  {display(report)}", "next"]
    shown = shlex.quote(display(root))
    lines += [
        "  open the report in a browser, the least sure boxes first",
        f"  .venv/bin/labelstill label {shown}/photos --project {shown} --classes 'orange barrel' --detector bundled",
        "  .venv/bin/labelstill label PHOTOS --project mine --classes 'forklift, pallet'   (your own photos)",
    ]
    return "\n".join(lines)


def _fresh_folder() -> Path:
    return next(folder for number in count(1) if not (folder := Path(f"demo-{number}")).exists())

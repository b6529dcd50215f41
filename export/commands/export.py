"""`labelstill export`: a student as a folder that runs on a Jetson, with the proof that it is the same student."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from distill.commands.telling import teller
from labeling.image_files import display
from labeling.project import Project
from labeling.tables import printable, table

if TYPE_CHECKING:
    from ..exporting import Exported

GATE_FAILED = 3
"""Exit code where an export does not find what the student finds, or INT8 costs too much."""


def run(
    name_of_run: Annotated[
        str | None, typer.Argument(metavar="[RUN]", help="The training; the newest that has finished if left out.")
    ] = None,
    project: Annotated[Path, typer.Option("--project", metavar="DIR", help="Folder of the project.")] = Path(),
    imgsz: Annotated[
        int | None,
        typer.Option("--imgsz", min=32, help="Side of the input in pixels; that of the training if left out."),
    ] = None,
    int8: Annotated[
        bool,
        typer.Option(
            "--int8", help="An INT8 model, too; it is the default where it loses little on at least 200 objects of val."
        ),
    ] = False,
    nms: Annotated[bool, typer.Option("--nms", help="Put NMS into the graph.")] = False,
    dynamic: Annotated[
        bool, typer.Option("--dynamic", help="Take any height and width, as evaluation did; slower on a device.")
    ] = False,
    name: Annotated[
        str | None,
        typer.Option(
            "--name",
            metavar="NAME",
            help="Of the bundle; that of the run if left out, with a number where a bundle of other settings has it.",
        ),
    ] = None,
    images: Annotated[
        int, typer.Option("--images", min=1, help="Images of val on which student and exports are compared.")
    ] = 64,
    fresh: Annotated[bool, typer.Option("--fresh", help="Make the bundle anew although it is there.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> int:
    """Export a student to ONNX, prove it on images of val, and pack all that a Jetson needs into one folder.

    The test part is not looked at. It exits with 3 if a check failed: if ONNX does not find what the student finds,
    there is no bundle; if FP16 or INT8 fails, the bundle is there without it.
    """
    from distill.training import named_run

    from ..exporting import Asked, export

    opened = Project.open(project)
    asked = Asked(imgsz, dynamic, nms, int8, images)
    with opened.lock():
        done = export(opened, named_run(opened, name_of_run), asked, name=name, fresh=fresh, tell=teller(as_json))
    if as_json:
        print(json.dumps(_as_dict(done)))
    else:
        print("\n".join(map(printable, _lines(done))))
    return GATE_FAILED if done.faults else 0


def _as_dict(done: Exported) -> dict[str, Any]:
    about = {key: value for key, value in done.about.items() if key != "files"}
    folder, picture = (None if path is None else str(path) for path in (done.path, done.picture))
    return {**about, "folder": folder, "made": done.made, "picture": picture, "taken": done.taken}


def _lines(done: Exported) -> Iterator[str]:
    about = done.about
    yield from (f"FAILED: {fault}" for fault in done.faults)
    if done.path is None:
        yield "no bundle was made"
        yield f"next: {_remedy(done)}"
        return
    if not done.made:
        yield f"is there already, made on {about['made_at'][:10]}: nothing changed (--fresh makes it anew)"
    yield from table(("AP50", "AP50-95", "images of val"), [_row(*one) for one in about["accuracy"].items()])
    proof = about["parity"]["fp32"]
    yield (
        f"the same as the student on {proof['images']:,} images of val: {proof['matched']:,} pairs of boxes, the worst "
        f"with an IoU of {_share(proof['min_iou'])}"
    )
    yield from (f"note: {remark}" for remark in about["remarks"])
    if done.taken is not None:
        yield f"note: {done.taken} is there with other settings, so this is {done.path.name} (--name gives another one)"
    folder = display(done.path)
    kind = f"{about['model']}, {about['licence']}, {about['precision']} by default"
    yield f"{'wrote' if done.made else 'bundle:'} {folder} ({kind})"
    yield f"next: scp -r {shlex.quote(folder)} USER@JETSON: && ssh -t USER@JETSON {done.path.name}/build.sh"


def _remedy(done: Exported) -> str:
    proof = done.about["parity"]["fp32"]
    if not proof["matched"] and not proof["alone"]:
        return f"labelstill evaluate {done.about['settings']['run']} --val says how much the student finds"
    return (
        f"look at {display(done.picture or Path())} (student green, ONNX purple), then try --imgsz, --nms or --dynamic"
    )


def _row(precision: str, figures: Mapping[str, Any]) -> tuple[str, tuple[str, ...]]:
    return precision, (_share(figures["ap50"]), _share(figures["ap"]), f"{figures['images']:,}")


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"

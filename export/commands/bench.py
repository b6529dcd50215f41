"""`labelstill bench`: how fast an exported student is on this machine, and how right."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from labeling.core.errors import InputError, MissingExtraError
from labeling.image_files import display
from labeling.project import Project
from labeling.tables import printable


def run(
    bundle: Annotated[
        Path, typer.Argument(metavar="BUNDLE", help="Folder that labelstill export wrote, or its name in the project.")
    ],
    project: Annotated[Path, typer.Option("--project", metavar="DIR", help="Folder of the project.")] = Path(),
    images: Annotated[
        Path | None, typer.Option("--images", metavar="DIR", help="Photos to time; the golden images if left out.")
    ] = None,
    fps: Annotated[
        float, typer.Option("--fps", min=0, help="Frames per second one by one that it must reach; 0 for no gate.")
    ] = 0,
    precision: Annotated[
        Literal["fp32", "fp16", "int8"] | None, typer.Option("--precision", help="Which model; fp32 if left out.")
    ] = None,
    threads: Annotated[int, typer.Option("--threads", min=0, help="Of ONNX Runtime; 0 leaves the choice to it.")] = 0,
    calls: Annotated[int | None, typer.Option("--calls", min=1, help="Frames to time; 300 if left out.")] = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="Write JSON there; a bundle is sealed and holds none.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> int:
    """Time an exported student on this machine with ONNX Runtime, and compare it with its golden outputs.

    The same that bench.py of the bundle does on a device. It exits with 3 if the model finds other things than when it
    was exported, or if frames one by one, outliers included, do not reach --fps in the mean.
    """
    try:
        import onnxruntime  # noqa: F401
    except ImportError as error:
        raise MissingExtraError("onnxruntime", "edge") from error
    if not math.isfinite(fps):
        raise InputError(f"--fps is {fps}: expected frames per second such as 60, or 0")
    from ..bench import GATE_FAILED, faults, lines, markdown, measure, report
    from ..runtime import RuntimeFault
    from ..timing import CALLS

    bundle = _bundle(bundle, project)
    if out is not None and out.resolve().is_relative_to(bundle.resolve()):
        raise InputError(f"--out is {display(out)}: a bundle is sealed by its manifest: name a file outside of it")
    try:
        result = measure(bundle, images, backend="onnx", precision=precision, threads=threads, calls=calls or CALLS)
    except RuntimeFault as error:
        raise InputError(str(error)) from error
    failed, text = faults(result, fps), json.dumps(report(result, fps))
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(text + "\n", encoding="utf-8")
    if as_json:
        print(text)
    else:
        print("\n".join(map(printable, [*lines(result), "", *markdown(result).splitlines()])))
        if out is not None:
            print(f"wrote {display(out)}")
    for sentence in failed:
        print(f"FAILED: {printable(sentence)}", file=sys.stderr)
    return GATE_FAILED if failed else 0


def _bundle(name: Path, project: Path) -> Path:
    """Return the folder of a bundle, or of the one of this name in a project.

    Raises:
        InputError: there is none.
    """
    from ..runtime import MANIFEST

    if (name / MANIFEST).is_file():
        return name
    there: list[str] = []
    if Project.exists(project):
        exports = Project.open(project).exports_path
        if (exports / name / MANIFEST).is_file():
            return exports / name
        there = sorted(path.parent.name for path in exports.glob(f"*/{MANIFEST}"))
    known = f"those of the project are in exports: {', '.join(there)}" if there else "labelstill export makes one"
    raise InputError(f"{display(name)}: is no bundle, for no {MANIFEST} is in it: {known}")

"""`labelstill monitor`: whether the world of a device has changed, two students compared, frames sent back."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from labeling.core.errors import StateError
from labeling.image_files import display
from labeling.project import Project
from labeling.tables import printable

if TYPE_CHECKING:
    from ..monitor import Monitored
    from ..monitoring.candidates import Candidates
    from ..monitoring.opening import Opened

DRIFTED = 3
"""Exit code where an alarm is raised."""

UNDECIDED = 1
"""Exit code where the logs are too few to say anything, and nothing else was asked for."""


def run(
    logs: Annotated[list[Path], typer.Argument(metavar="LOGS...", help="Logs of the runtime: files, folders of them.")],
    project: Annotated[
        Path, typer.Option("--project", metavar="DIR", help="Project that keeps the reference and takes frames back.")
    ] = Path(),
    reference: Annotated[
        Path | None,
        typer.Option("--reference", metavar="LOG", help="Log, or folder of logs, of a world as usual."),
    ] = None,
    window: Annotated[int, typer.Option("--window", metavar="N", min=1, help="Frames per window, at least.")] = 1000,
    first: Annotated[
        int | None,
        typer.Option(
            "--first",
            metavar="N",
            min=1,
            help="The first N frames, best of whole days, become the reference.",
        ),
    ] = None,
    false_alarms: Annotated[
        float, typer.Option("--false-alarms", metavar="RATE", help="Chance of an alarm where nothing has drifted.")
    ] = 0.01,
    open_: Annotated[
        int, typer.Option("--open", metavar="N", min=0, help="Make N doubtful, different kept frames new images.")
    ] = 0,
    shadow: Annotated[
        bool, typer.Option("--shadow", help="Compare two students that saw the same frames, and nothing else.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> int:
    """Say from logs what has changed, since when, by how much and how sure that is; send frames back.

    The first frames become the reference, which the project keeps; later calls compare with it. It exits with 3 where
    an alarm is raised.
    """
    if shadow:
        return _shadow(logs, as_json=as_json)
    from ..monitor import monitor
    from ..monitoring.candidates import Candidates
    from ..monitoring.opening import open_frames

    opened = Project.open(project) if Project.exists(project.expanduser()) else None
    if opened is None and (open_ or project != Path()):
        raise StateError(f"{display(project.absolute())}: is no project: start one with labelstill init --project DIR")
    candidates = Candidates()
    found = monitor(
        logs,
        memory=opened.reports_path / "monitor" if opened else None,
        reference=reference,
        window=window,
        false_alarms=false_alarms,
        first=first,
        look=candidates.look,
    )
    sent = None
    if opened is not None and open_:
        drifted = found.verdict.drifted if found.verdict else [False] * len(found.windows)
        spans = [(one.since, one.until) for one, shows in zip(found.windows, drifted, strict=True) if shows]
        sent = open_frames(opened, candidates.ranked(spans), open_)
    page = _page(opened, found) if opened is not None else None
    if as_json:
        print(json.dumps(_as_dict(found, candidates, sent, page), allow_nan=False))
    else:
        print("\n".join(map(printable, _lines(found, candidates, sent, opened, page))))
    if found.state in ("too small", "too short"):
        return UNDECIDED if sent is None else 0
    return DRIFTED if found.state == "drift" else 0


def _shadow(logs: list[Path], *, as_json: bool) -> int:
    from dataclasses import asdict

    from ..monitoring.log import read_headers
    from ..monitoring.shadow import compare_shadow
    from ..monitoring.words import shadow_lines

    found = compare_shadow(read_headers(logs))
    if as_json:
        print(json.dumps({"verdict": found.verdict, **asdict(found)}, allow_nan=False))
    else:
        print("\n".join(map(printable, shadow_lines(found))))
    return 0


def _page(project: Project, found: Monitored) -> Path:
    from labeling.commands.report import save_report

    from ..monitoring.page import render

    target = project.reports_path / "monitor.html"
    save_report(render(project.config.name, found), target)
    return target


def _lines(
    found: Monitored, candidates: Candidates, sent: Opened | None, project: Project | None, page: Path | None
) -> list[str]:
    from labeling.report_words import counted

    from ..monitoring.words import lines

    said = lines(found)
    if project is None:
        said.append("note: no project here, so the reference was not kept: name one with --project DIR")
    if sent is not None:
        already = f", {sent.known:,} are known already" if sent.known else ""
        said.append(f"opened {counted(len(sent.new), 'frame')} as new images in {display(sent.folder)}{already}")
        said.append(f"  {candidates.kept:,} frames have a picture, {candidates.without:,} were logged without one")
        said += [f"  {count:,} could not be used: {reason}" for reason, count in sorted(sent.refused.items())]
        if sent.first_refused:
            said.append(f"  the first: {sent.first_refused}")
    if page is not None:
        said.append(f"wrote {display(page)}")
    if sent is not None and sent.new and project is not None:
        folder, root = (shlex.quote(display(path)) for path in (sent.folder, project.root))
        said.append(f"next: labelstill label {folder} --project {root}{_detector(project)}")
    elif found.state == "drift" and project is not None and candidates.kept and sent is None:
        said.append(f"next: the same command with --open 50: {counted(candidates.kept, 'frame')} were kept")
    return said


def _detector(project: Project) -> str:
    """Return the options for the student of the project, else for what labelled it last."""
    from labeling.teachers.student_runs import finished_runs

    if finished_runs(project.root):
        return " --detector student"
    with project.open_store() as store:
        runs = [run for run in store.runs() if run.verb == "label"]
    teacher = runs[-1].settings.get("teacher") if runs else None
    names = ("detector", "weights", "class_names", "segmenter", "segmenter_weights")
    used = {name: teacher[name] for name in names if teacher.get(name)} if isinstance(teacher, dict) else {}
    return "".join(f" --{name.replace('_', '-')} {shlex.quote(str(value))}" for name, value in used.items())


def _as_dict(found: Monitored, candidates: Candidates, sent: Opened | None, page: Path | None) -> dict[str, Any]:
    from ..monitoring.answer import as_dict

    answer = as_dict(found)
    answer["frames_with_picture"], answer["frames_without_picture"] = candidates.kept, candidates.without
    answer["page"] = str(page) if page else None
    answer["opened"] = None
    if sent is not None:
        answer["opened"] = {
            "folder": str(sent.folder),
            "new": [str(path) for path in sent.new],
            "known": sent.known,
            "refused": dict(sent.refused),
        }
    return answer

"""`labelstill evaluate`: how good a student is beside teacher, people and baseline, and what would make it better."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from labeling.commands.report import save_report
from labeling.image_files import display
from labeling.project import Project
from labeling.report_words import counted
from labeling.tables import printable, table

from .telling import teller

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..asking import Question
    from ..reporting.report import StudentReport
    from ..run_folder import RunFolder


def run(
    name: Annotated[
        str | None, typer.Argument(metavar="[RUN]", help="The training; the newest that has finished if left out.")
    ] = None,
    project: Annotated[Path, typer.Option("--project", metavar="DIR", help="Folder of the project.")] = Path(),
    val: Annotated[bool, typer.Option("--val", help="Measure on val alone; the test part stays closed.")] = False,
    again: Annotated[
        str | None, typer.Option("--again", metavar="WHY", help="Open the test part once more; the report says so.")
    ] = None,
    cost_miss: Annotated[float, typer.Option("--cost-miss", help="What an object costs that is not found.")] = 1.0,
    cost_false: Annotated[float, typer.Option("--cost-false", help="What a false alarm costs.")] = 1.0,
    device: Annotated[str, typer.Option("--device", help="auto, cpu, cuda or cuda:N.")] = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Measure a student on images that it has not learned from, and write one report about it.

    The threshold is chosen on val by the two costs. The test part opens once for each student.
    """
    from ..asking import Question
    from ..training import named_run

    opened = Project.open(project)
    question = Question(not val, again, cost_miss, cost_false, device=device)
    with opened.lock():
        report, target = measured(opened, named_run(opened, name), question, teller(as_json))
    say(report, target, as_json=as_json)


def measured(
    project: Project, run: RunFolder, question: Question, tell: Callable[[str], None]
) -> tuple[StudentReport, Path]:
    """Measure a student, write its report, and note the figures in its run folder and in the ledger.

    Figures of val alone have a report and a place in the run folder of their own: those of test stay.
    """
    from ..judgement import report_of, summary_of
    from ..ledger import TestLedger
    from ..measurement import measure
    from ..reporting.report import render

    with project.open_store() as store:
        found = measure(project, store, run, question, tell)
        report = report_of(project, store, found, question, f"--project {shlex.quote(display(project.root))}")
        summary = summary_of(report)
        if found.opening is not None:
            TestLedger(store).close(found.opening, summary)
        run.write(**{"evaluation_val" if found.test is None else "evaluation": summary})
    target = project.reports_path / f"student-{run.name}{'-val' if found.test is None else ''}.html"
    tell("writing the report")
    save_report(render(report), target)
    return report, target


def say(report: StudentReport, target: Path, *, as_json: bool) -> None:
    """Print the verdict first, then the figures, then where the report lies."""
    from ..evaluate import to_json
    from ..judgement import summary_of
    from ..reporting.report import judge

    if as_json:
        _part, evaluation, at = report.shown
        facts: dict[str, Any] = {"run": report.run.name, **summary_of(report), "report": str(target)}
        facts |= {
            "evaluation": to_json(evaluation),
            "at_threshold": to_json(at),
            "compared": to_json(report.comparison),
        }
        print(json.dumps(facts))
        return
    judged = judge(report)
    lines: list[str] = [
        judged.headline,
        *(note.text for note in judged.notes),
        "",
        *_lines(report),
    ]
    lines += [f"next: {step}" for step in report.next_steps]
    lines += [f"wrote {display(target)}"]
    print("\n".join(map(printable, lines)))


def _lines(report: StudentReport) -> list[str]:
    from ..reporting.rows import left_out_said

    part, evaluation, at = report.shown
    if evaluation is None or at is None:
        return []
    lines = (
        [f"on {counted(evaluation.images, 'image')} of {part}, threshold {report.point.score:.2f}"]
        if report.point
        else [part]
    )
    lines += left_out_said(report.left_out)
    rows = [
        (one.name, (_share(answers.precision), _share(answers.recall), _share(one.ap50), f"{one.objects:,}"))
        for one, answers in zip(evaluation.classes, at.classes, strict=True)
    ]
    overall = at.overall
    total = (_share(overall.precision), _share(overall.recall), _share(evaluation.ap50), f"{evaluation.objects:,}")
    lines += table(("precision", "recall", "AP50", "objects"), [*rows, ("all", total)])
    if report.comparison is not None:
        for row in report.comparison.standings[0].rows:
            lines.append(f"  AP50 {_share(row.ap50.value)}  {row.speaker}")
    return lines


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"

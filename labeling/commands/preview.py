"""`labelstill label --preview N`: a report on a varied few photos, before everything is labelled; no label is kept."""

from __future__ import annotations

import json
import shlex
from collections import Counter
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from ..image_files import display
from ..job import LabelRequest
from ..preview import preview_job, throw_away_project
from ..report import Preview, render
from ..teachers.filter_settings import in_words
from ..video.files import shown_address
from .label import Ending, in_brackets
from .progress import show_progress, stop_on_signals
from .report import save_report

REPORT = Path("reports", "preview.html")
"""Where the report lies in the project folder, which need not be a project yet."""


def preview(request: LabelRequest, count: int, *, as_json: bool = False) -> int:
    """Label a varied sample, write the report, tell the user, and return the exit code.

    Nothing in the project changes but the report; labels.db is not even opened.
    """
    job, photos = preview_job(request, count)
    label, again = command_line(request), command_line(request, "--preview", str(count))
    with throw_away_project(job.ontology) as (project, store):
        plan = job.plan(store)
        with stop_on_signals() as stop, show_progress(len(plan.files), quiet=as_json) as shown:
            summary = job.run(plan, project, store, stop, shown)
        ending = Ending(job, plan, summary)
        code = stop.exit_code if summary.stopped else ending.exit_code()
        report = None
        if not summary.stopped:
            report = job.root / REPORT
            save_report(render(store, job.ontology, job.root, job.load, Preview(photos, label, again))[0], report)
    done = PreviewEnding(ending, photos, report, label)
    print(json.dumps(done.as_dict()) if as_json else done.as_text())
    return code


_FLAG_OF = {"exemplars": "--exemplar"}


def command_line(request: LabelRequest, *more: str) -> str:
    """Return the `labelstill label` command that asks for this."""
    words = ["labelstill", "label", *map(display, request.photos), *map(shown_address, request.streams)]
    for field in fields(request):
        value = getattr(request, field.name)
        if field.name in ("photos", "streams") or value == field.default:
            continue
        words.append(_FLAG_OF.get(field.name, f"--{field.name.replace('_', '-')}"))
        if value is not True:
            words.append(display(value) if isinstance(value, Path) else str(value))
    return shlex.join([*words, *more])


@dataclass(frozen=True, slots=True)
class PreviewEnding:
    """What to say at the end of a preview; without a report it was stopped."""

    ending: Ending
    photos: int
    report: Path | None
    label: str

    def as_dict(self) -> dict[str, Any]:
        """Return what ``--json`` prints."""
        said = self.ending.as_dict()
        kept = ("objects", "dropped", "quarantined", "seconds", "stopped")
        return {
            "previewed": said["labelled"],
            "photos": self.photos,
            "videos_left_out": self.ending.job.moving,
            **{key: said[key] for key in kept},
            "report": None if self.report is None else str(self.report),
            "next": self.label,
        }

    def as_text(self) -> str:
        """Return what people read: what was seen, where the report lies, what to run next."""
        summary, refused = self.ending.summary, self.ending.quarantined
        found = Counter({name: summary.objects[name] for name in self.ending.job.ontology.names})
        objects = f", {found.total()} objects{in_brackets(found)}"
        lines = [f"previewed    {summary.labelled} of {self.photos:,} photos{objects}"]
        if left_out := self.ending.job.moving:
            lines.append(f"left out     {left_out} videos and streams: a preview looks at photos alone")
        if summary.dropped:
            lines.append(f"dropped      {summary.dropped.total()} boxes{in_brackets(in_words(summary.dropped))}")
        if refused:
            lines.append(f"not usable   {len(refused)} files")
            lines += [f"  {path}: {reason}" for path, reason in refused]
        if self.report is None:
            lines.append("report       none, stopped before the end")
        else:
            lines.append(f"report       {shlex.quote(display(self.report))}")
            lines.append("labels       none kept: this was a look; labels.db was not touched")
            lines.append("next         open the report; if it looks right, label everything:")
            lines.append(f"             {self.label}")
        return "\n".join(lines)

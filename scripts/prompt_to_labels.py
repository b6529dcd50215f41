#!/usr/bin/env python
"""Photos and prompts in, labels out: the whole way from words to labels.db, step by step.

    python scripts/prompt_to_labels.py PHOTOS --project DIR --classes "forklift, pallet, person: worker | driver"

The flags are those of `labelstill label`, and so are the functions.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence

from labeling.cli import guarded
from labeling.commands.label import Ending, parse_request
from labeling.commands.progress import show_progress, stop_on_signals
from labeling.job import LabelJob


def prompt_to_labels(arguments: Sequence[str]) -> int:
    asked = parse_request(arguments, "prompt_to_labels.py")
    if asked is None:
        return 0
    if asked.preview is not None:
        from labeling.commands.preview import preview

        return preview(asked.request, asked.preview, as_json=asked.as_json)

    # 1. What to look for, with which teacher, in which photos: checked before anything is loaded or written.
    job = LabelJob(asked.request)

    # 2. The project folder, held for writing; a new one is made once the teacher is loaded and took the prompts.
    with job.open_project() as (project, store):
        # 3. Which photos need labels: new ones, changed ones, and those labelled for other prompts or by other models.
        plan = job.plan(store)

        # 4. Decode, detect, segment, write, batch by batch; Ctrl-C ends it between two batches.
        done = plan.unchanged + plan.reviewed
        with stop_on_signals() as stop, show_progress(len(plan.files), quiet=asked.as_json, before=done) as shown:
            summary = job.run(plan, project, store, stop, shown)

    # 5. What was found, where it lies, what to run next.
    ending = Ending(job, plan, summary)
    code = stop.exit_code if summary.stopped else ending.exit_code()
    print(json.dumps(ending.as_dict()) if asked.as_json else ending.as_text())
    return code


if __name__ == "__main__":
    sys.exit(guarded(prompt_to_labels, sys.argv[1:]))

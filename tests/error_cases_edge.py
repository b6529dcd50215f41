"""Every way to make export, bench, budget and monitor fail before anything is exported or measured."""

from __future__ import annotations

from tests.error_cases import Case, both, file, labelled

EDGE = [
    Case("export: no project", "export --project %/empty"),
    Case("export: nothing is trained", "export --project %/p", labelled),
    Case("export: a run that is not there", "export first --project %/p", labelled),
    Case("export: a size that does not fit", "export --project %/p --imgsz 33", labelled),
    Case("bench: a folder that is no bundle", "bench %/empty"),
    Case("bench: a bundle that is not in the project", "bench first --project %/p", labelled),
    Case("bench: frames per second that are none", "bench %/empty --fps nan"),
    Case("budget: a model that nobody has counted", "budget yolov8q"),
    Case("budget: a device that nobody has", "budget yolov8n --device orion"),
    Case("budget: a size that does not fit", "budget yolov8n --imgsz 100"),
    Case("monitor: no project", "monitor %/empty/log.jsonl --project %/empty"),
    Case("monitor: a log that is not there", "monitor %/empty/log.jsonl --project %/p", labelled),
    Case(
        "monitor: a log that is none", "monitor %/log.jsonl --project %/p", both(labelled, file("log.jsonl", "hello\n"))
    ),
    Case("monitor: a rate that is none", "monitor %/log.jsonl --project %/p --false-alarms 2", labelled),
]

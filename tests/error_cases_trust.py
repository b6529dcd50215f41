"""Every way to make teachers, calibrate, feasibility and accept fail before a model is loaded; new ways of label."""

from __future__ import annotations

from tests.error_cases import Case, labelled

TRUST = [
    Case("teachers: something else than accept or install", "teachers remove sam3"),
    Case("teachers: a licence that nobody asks about", "teachers accept sam2 --yes"),
    Case("teachers: a name that is slightly off", "teachers accept sam33 --yes"),
    Case("teachers: an environment that nobody needs", "teachers install owlv2"),
    Case("next: a gold set that is too small", "next 10 --gold --project %/p", labelled),
    Case("next: a gold set that is too large", "next 500 --gold --project %/p", labelled),
    Case("calibrate: no project", "calibrate --project %/empty"),
    Case("calibrate: nobody has reviewed anything", "calibrate --project %/p", labelled),
    Case("calibrate: a precision that is none", "calibrate --recall-at-precision 2 --project %/p", labelled),
    Case("calibrate: a prompt of a class that is not there", "calibrate --aliases 'cat: tom' --project %/p", labelled),
    Case("feasibility: no project", "feasibility --project %/empty"),
    Case("feasibility: nobody has reviewed anything", "feasibility --project %/p", labelled),
    Case("feasibility: a share that is none", "feasibility --good-enough 1 --project %/p", labelled),
    Case("feasibility: a price that is none", "feasibility --price-hour -3 --project %/p", labelled),
    Case("accept: no project", "accept --project %/empty"),
    Case("accept: a precision that is none", "accept --precision 1.2 --project %/p", labelled),
    Case("accept: a confidence that is none", "accept --confidence 0 --project %/p", labelled),
    Case(
        "label: an ensemble of one and itself", "label %/photos --project %/p --classes red --detector bundled,bundled"
    ),
    Case(
        "label: weights of none of the detectors",
        "label %/photos --project %/p --classes red --detector bundled,owlv2 --weights x=FILE",
    ),
    Case("label: a licence that nobody has accepted", "label %/photos --project %/p --classes red --detector sam3"),
    Case(
        "label: pictures for a detector that reads words",
        "label %/photos --project %/p --classes red --detector bundled --exemplar %/photos",
    ),
    Case(
        "label: original weights that nobody named",
        "label %/photos --project %/p --classes red --detector bundled --segmenter sam2-native",
    ),
    Case("push: a permission that nobody gave", "push --skip-accepted --project %/p", labelled),
]

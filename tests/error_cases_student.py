"""Every way to make split, train, evaluate and distill fail before anything is trained."""

from __future__ import annotations

from tests.error_cases import Case, config, labelled

EMPTY = config("name: x\nclasses: [a]\n")
STUDENT = [
    Case("split: no project", "split --project %/empty"),
    Case("split: nothing is labelled", "split --project %/p", EMPTY),
    Case("split: nobody has reviewed anything", "split --project %/p", labelled),
    Case("split: shares that are none", "split --project %/p --parts 70-15-15", labelled),
    Case("split: one fold", "split --project %/p --folds 1", labelled),
    Case("split: folds by time", "split --project %/p --folds 5 --time always", labelled),
    Case("split: lists that are not there", "split --project %/p --lists %/photos", labelled),
    Case("train: no project", "train --project %/empty"),
    Case("train: no split", "train --project %/p", labelled),
    Case("train: a model that is none", "train --project %/p --model resnet50", labelled),
    Case("train: a size that does not fit", "train --project %/p --imgsz 100", labelled),
    Case("train: a setting without a value", "train mosaic --project %/p", labelled),
    Case("train: a logger that is none", "train --project %/p --log paper", labelled),
    Case("train: a run that is not there", "train --project %/p --resume first", labelled),
    Case("evaluate: no project", "evaluate --project %/empty"),
    Case("evaluate: nothing is trained", "evaluate --project %/p", labelled),
    Case("evaluate: a run that is not there", "evaluate first --project %/p", labelled),
    Case("distill: no project", "distill --project %/empty"),
    Case("distill: nobody has reviewed anything", "distill --project %/p", labelled),
]

"""Train the bundled teacher from nothing: a small GroundingDINO and a small SAM 2 on drawn warehouse scenes.

Usage: python scripts/train_demo_teacher.py {scenes,detector,segmenter,export} [--work DIR]

Each step resumes where it was stopped. The four in this order, with their defaults, make the committed weights.
"""

from __future__ import annotations

import argparse
from pathlib import Path

SEED = 20261121


def main() -> None:
    """Run one step of the training."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("step", choices=("scenes", "detector", "segmenter", "export"))
    parser.add_argument("--work", type=Path, default=Path("runs/demo-teacher"), help="where scenes and checkpoints lie")
    parser.add_argument("--shards", type=int, default=40, help="files of 500 scenes to draw")
    parser.add_argument("--stages", default="proposals,decoder,joint,settle", help="detector stages to run")
    parser.add_argument("--images", type=float, default=1.0, help="share of the planned images per stage")
    options = parser.parse_args()
    if options.step == "scenes":
        from demo_teacher.shards import write_all

        write_all(options.work / "scenes", options.shards)
    elif options.step == "detector":
        from demo_teacher.detector_stages import run

        run(options.work, options.stages.split(","), SEED, options.images)
    elif options.step == "segmenter":
        from demo_teacher.segmenter import run as run_segmenter

        run_segmenter(options.work, SEED, options.images)
    else:
        from demo_teacher.folders import export

        export(options.work)


if __name__ == "__main__":
    main()

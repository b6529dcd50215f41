"""`labelstill calibrate`: prompts, thresholds and NMS tuned on the gold set; what it is worth, before it is applied."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import Annotated, Any

import typer

from ..core.config import write_atomically
from ..core.errors import InputError
from ..image_files import display
from ..label_request import LabelRequest
from ..project import Project
from ..tables import printable, table
from ..teachers import backends

_REFUSED = 3


def run(
    project: Annotated[Path, typer.Option("--project", metavar="DIR", help="Folder of the project.")] = Path(),
    miss_cost: Annotated[float, typer.Option("--miss-cost", min=0, help="Cost of an object that is not found.")] = 1,
    false_alarm_cost: Annotated[
        float, typer.Option("--false-alarm-cost", min=0, help="Cost of a box where there is nothing.")
    ] = 1,
    precision: Annotated[
        float | None,
        typer.Option("--recall-at-precision", metavar="P", help="Find as much as possible at this precision instead."),
    ] = None,
    aliases: Annotated[
        str | None, typer.Option(metavar="FILE|TEXT", help="Prompts to try, too: 'person: worker | driver'.")
    ] = None,
    detector: Annotated[
        str | None, typer.Option(help="As labelstill label takes it.  [default: the one that labelled last]")
    ] = None,
    weights: Annotated[str | None, typer.Option(metavar="FILE|FOLDER|HUB-ID|RUN", help="Its weights.")] = None,
    class_names: Annotated[Path | None, typer.Option(metavar="FILE", help="As labelstill label takes it.")] = None,
    embeddings: Annotated[Path | None, typer.Option(metavar="FILE", help="As labelstill label takes it.")] = None,
    exemplars: Annotated[
        Path | None, typer.Option("--exemplar", metavar="DIR", help="As labelstill label takes it.")
    ] = None,
    tile: Annotated[int | None, typer.Option(min=0, metavar="PX", help="As labelstill label takes it.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    trust_weights: Annotated[
        bool, typer.Option("--trust-weights", help="Allow weights that are pickled modules: they can run any code.")
    ] = False,
    apply: Annotated[bool, typer.Option("--apply", help="Write the settings into project.yaml.")] = False,
    out: Annotated[Path | None, typer.Option("--out", metavar="FILE", help="Write one HTML file, too.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> int:
    """Tune prompts, thresholds and NMS on the gold set, and say what that is worth on images that did not choose.

    Draw the gold set with `labelstill next --gold` first. Nothing is changed without --apply, and nothing is applied
    where no gain is shown. Answers of the detector are kept, so a second call and one after a kill are quick.
    """
    if precision is not None and not 0 < precision < 1:
        raise InputError(f"--recall-at-precision is {precision}: expected a number between 0 and 1, such as 0.95")
    if precision is None and miss_cost == false_alarm_cost == 0:
        raise InputError("--miss-cost and --false-alarm-cost are both 0: then nothing is better than anything else")
    opened = Project.open(project)
    from ..trust.aliases import prompt_options
    from ..trust.calibrate import apply as write_settings
    from ..trust.calibrate import calibrate
    from ..trust.calibration_claims import Aim
    from ..trust.calibration_next import label_command, surer, waits
    from ..trust.whose import judged_teacher

    aim = Aim(miss_cost, false_alarm_cost, precision)
    options = prompt_options(opened.ontology, aliases)
    with opened.open_store() as store:
        request = LabelRequest(
            (), opened.root, detector=detector, weights=weights, class_names=class_names, embeddings=embeddings,
            exemplars=exemplars, tile=tile, device=device, trust_weights=trust_weights, segmenter="none",
        )  # fmt: skip
        spec, note = judged_teacher(opened, store, request)
        outcome = calibrate(opened, store, spec, aim, options, announce=_announce(spec), passed=_passed)
        outcome = replace(outcome, note=note)
        gain = outcome.found.gain_shown
        if apply and gain:
            with opened.lock():
                write_settings(opened, store, spec, outcome.found)
        names = opened.ontology.names
        left = waits(store)
        label = label_command(opened, store, spec, outcome.found.chosen.prompts_per_pass)
        more = surer(opened, store, outcome.gold)
    from ..trust import calibration_words as words

    if out is not None:
        _write_page(out.expanduser().absolute(), opened, backends.model_name(spec), outcome, aim)
    if as_json:
        said = words.as_dict(outcome, names, aim) | {
            "applied": apply and gain,
            "next": label if apply and gain and left else None,
        }
        print(json.dumps(said))
    else:
        print("\n".join(_lines(outcome, names, aim)))
        if out is not None:
            print(f"wrote        {display(out.expanduser().absolute())}")
        again = f"next: {label}"
        if not left:
            again = f"every photo is reviewed and stays as it is: nothing to label again; for new photos: {label}"
        print(_ending(opened, apply, gain, again, more))
    return _REFUSED if apply and not gain else 0


def _announce(spec: backends.TeacherSpec) -> Any:
    def said(passes: int, images: int) -> None:
        times = "once" if passes == 1 else f"at most {passes} times"
        print(f"asking {spec.detector} {times} about {images} images; its answers are kept", file=sys.stderr)

    return said


def _passed(number: int) -> None:
    print(f"pass {number}", file=sys.stderr)


def _lines(outcome: Any, names: tuple[str, ...], aim: Any) -> list[str]:
    from ..trust import calibration_words as words

    found = outcome.found
    today, new = found.counts_today, found.counts_calibrated
    short = words.shortfall(found, aim)
    lines = [
        *([f"precision    {short}"] if short else []),
        words.standing(today, "today       "),
        words.standing(new, "calibrated  ") + " (held out)",
        f"verdict      {words.verdict(found, aim)}",
        *(f"also         {figure}" for figure, _ in words.figures(found)),
        *table(words.COLUMNS, words.rows(found, names)),
        *(f"  {rule}" for rule in words.RULES),
    ]
    lines += [f"tried for {printable(one)}" for one in words.tried(outcome, names)]
    lines += [f"change       {printable(one)}" for one in words.changes(found, names)]
    return lines + [f"note: {printable(one)}" for one in words.remarks(outcome, names)]


def _ending(project: Project, apply: bool, gain: bool, again: str, more: str) -> str:
    if not gain:
        why = "not applied: no gain was shown on images that did not choose"
        return f"{why}\n{more}" if apply else more
    if apply:
        return f"wrote {display(project.config_path)}\n{again}"
    return "not applied yet; next: the same command with --apply"


def _write_page(target: Path, project: Project, teacher: str, outcome: Any, aim: Any) -> None:
    from ..html import page
    from ..trust import calibration_words as words

    if target.is_dir():
        raise InputError(f"{target}: is a folder; name a file in it, such as {target / 'calibration.html'}")
    found, names = outcome.found, project.ontology.names
    text = page(
        Path(words.__file__).with_name("calibration.html.j2"),
        project=project.config.name,
        teacher=teacher,
        headline=words.headline(found, aim),
        shortfall=words.shortfall(found, aim),
        verdict=words.verdict(found, aim),
        images=found.images,
        passes=found.passes,
        remarks=words.remarks(outcome, names),
        rules=words.RULES,
        columns=words.COLUMNS,
        rows=words.rows(found, names),
        figures=words.figures(found),
        tried=words.tried(outcome, names),
        changes=words.changes(found, names),
        version=metadata.version("labelstill"),
    )
    write_atomically(target, text)

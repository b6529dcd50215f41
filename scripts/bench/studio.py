"""B7: the round trip with Label Studio: push beside the SDK's import, pull beside a bare listing, memory, payload.

Usage: python scripts/bench/studio.py [--tasks N] [--heavy N] [--rounds N] [--json]

A Label Studio of its own is started and ended. Photos are tiny JPEGs with different bytes; the labels, five boxes per
photo with the decimals of a detector, and the image features were written through the store.

Push: both send the same tasks in requests of 250 to new projects of one server. Ours is everything that the command
does once its modules are imported: reading labels.db, the order of the queue, checks, ledger, the comparison with the
server. The SDK has its tasks ready in memory and its project made before the clock runs. The copies of the photos are
there already; what they cost the first time is a row of its own.

Nothing to do: a push and a pull when nobody has done anything since, beside the plain listing of the same tasks.

Answered: one answer per task, 20 s apart, one region of the five moved. The plain listing has annotations, too.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path
from time import perf_counter

import studio_parts
from label_studio_sdk.client import LabelStudio
from photos import HD, scenes, tiny
from processes import run_to_end
from rounds import Row, arguments, interleave, measured, publish, ratio, spread
from studio_parts import CHUNK, REGIONS, Bench, Counting, own_server
from studio_payload import FULL_HD, payload, speckled

from labeling.studio.pulled import Pulled
from labeling.studio.pushed import Pushed

LISTED = 2000
_TINY = (32, 24)
_PHOTOS = 8
_HEAVY_MASKS = 4
_MB = 1e6


def bench(tasks: int, heavy: int, rounds: int, *, only_push: bool = False) -> list[Row]:
    """Return the rows; with ``only_push`` those of the push beside the SDK alone."""
    rows = [] if only_push else payload()
    with own_server() as studio:
        few = max(tasks // 10, 1)
        for name, count in (("few", few), ("many", tasks)):
            studio.fill(name, sorted(tiny(count).iterdir()), _TINY)
        rows += _copies(studio, tasks)
        bodies: dict[str, list[bytes]] = {}
        for name in ("few", "many"):
            bodies[name] = _pushed(studio, name).bodies
        largest = max(map(len, bodies["many"]))
        rows = _push(studio, tasks, bodies["many"], rounds) + rows
        if only_push:
            return rows
        rows += _push_memory(studio, few, tasks)
        studio.back("many pushed")
        rows += _nothing_to_do(studio, "push", studio.push, tasks, rounds)
        rows += _listing(studio, min(LISTED, tasks), rounds)
        for name in ("few", "many"):
            studio.answer(f"{name} answered", f"{name} pushed", bodies[name])
        del bodies
        rows += _pull(studio, tasks, rounds)
        rows += _pull_memory(studio, few, tasks)
        studio.back("many pulled")
        rows += _nothing_to_do(studio, "pull", studio.pull, tasks, rounds)
        return rows + _heavy(studio, heavy, largest)


def _copies(studio: Bench, tasks: int) -> list[Row]:
    """Return what the copies cost when they are made for the first time."""
    rows = []
    hd = [photo.path for photo in scenes(_PHOTOS)]
    studio.fill("hd", hd, HD)
    for name, what in (("hd", f"{HD[0]} x {HD[1]} photo"), ("many", f"tiny photo, {tasks:,} of them")):
        studio.back(name)
        with studio.media() as (store, media):
            images = list(store.states())
            began = perf_counter()
            for start in range(0, len(images), CHUNK):
                _, refused = media.addresses(images[start : start + CHUNK])
                _expect(not refused, f"{len(refused)} photos had no copy")
            rows.append(Row(f"copy of a {what}, first time: ms", 1000 * (perf_counter() - began) / len(images)))
    return rows


def _pushed(studio: Bench, name: str) -> Counting:
    """Push a whole labels.db once, keep what it is then, and return what went over the wire."""
    studio.back(name)
    wire = Counting(keep=True)
    done = studio.push(wire)
    _expect(not (done.refused or done.warnings), f"the push refused {done.refused[:1]} {done.warnings[:1]}")
    studio.keep(f"{name} pushed")
    return wire


def _push(studio: Bench, tasks: int, bodies: Sequence[bytes], rounds: int) -> list[Row]:
    pieces = [json.loads(body) for body in bodies]
    sdk = LabelStudio(base_url=studio.url, api_key=studio.token)
    with studio.client() as client:
        config = (client.project(studio.project_id()) or {})["label_config"]

    def peer() -> None:
        number = sdk.projects.create(title="peer", label_config=config).id  # ours makes its own within the time, too
        for piece in pieces:
            sdk.projects.import_tasks(id=number, request=piece, return_task_ids=True)
        with studio.client() as client:
            _expect(client.count_tasks(number) == tasks, "the SDK has lost tasks")

    def ours() -> None:
        studio.back("many")
        _expect(studio.push().new == tasks, "the push has lost tasks")

    times = interleave({"peer": peer, "ours": ours}, rounds)
    what = f"{tasks:,} tasks x {REGIONS} regions: push ÷ SDK's import_tasks in tasks/s"
    why = "queue, checks and ledger need a processor beside the server's; see the load of the machine"
    return [
        measured(what, ratio(times, "peer", "ours"), ">= 1", ">= 1", why),
        measured("push: tasks/s", spread([tasks / seconds for seconds in times["ours"]])),
        measured("SDK's import_tasks: tasks/s", spread([tasks / seconds for seconds in times["peer"]])),
    ]


def _nothing_to_do(studio: Bench, verb: str, step: Callable[[], Pushed | Pulled], tasks: int, rounds: int) -> list[Row]:
    number = studio.project_id()

    def listing() -> None:
        _expect(studio.pages(number, full=False) == tasks, "the listing is not whole")

    def ours() -> None:
        done = step()
        _expect(not (done.changed or (isinstance(done, Pushed) and done.new)), f"the {verb} had something to do")

    times = interleave({"ours": ours, "listing": listing}, rounds)
    return [
        measured(f"{verb} with nothing to do, {tasks:,} tasks: s", spread(times["ours"])),
        measured(f"{verb} with nothing to do ÷ plain listing of them", ratio(times, "ours", "listing"), "<= 1", "<= 1"),
        measured(f"plain listing beside that {verb}: s", spread(times["listing"])),
    ]


def _listing(studio: Bench, tasks: int, rounds: int) -> list[Row]:
    number = studio.project_id()
    sdk = LabelStudio(base_url=studio.url, api_key=studio.token)

    def peer() -> None:
        listed = sdk.tasks.list(project=number, page_size=CHUNK, resolve_uri=False)
        _expect(len(list(islice(listed, tasks))) == tasks, "the SDK's listing is not whole")

    def ours() -> None:
        with studio.client() as client:
            _expect(len(list(islice(client.tasks(number), tasks))) == tasks, "our listing is not whole")

    times = interleave({"peer": peer, "ours": ours}, rounds)
    return [measured(f"listing of {tasks:,} tasks: SDK ÷ ours in s", ratio(times, "peer", "ours"))]


def _pull(studio: Bench, tasks: int, rounds: int) -> list[Row]:
    studio.back("many answered")
    number = studio.project_id()

    def listing() -> None:
        _expect(studio.pages(number, full=True) == tasks, "the listing is not whole")

    def ours() -> None:
        studio.back("many answered")
        _expect(studio.pull().reviewed == tasks, "the pull has lost answers")

    times = interleave({"ours": ours, "listing": listing}, rounds)
    studio.keep("many pulled")
    return [
        measured(f"first pull of {tasks:,} answered tasks: s", spread(times["ours"])),
        measured("first pull ÷ plain listing with annotations", ratio(times, "ours", "listing")),
        measured("plain listing with annotations: s", spread(times["listing"])),
    ]


def _push_memory(studio: Bench, few: int, many: int) -> list[Row]:
    peaks = []
    for name in ("few", "many"):
        studio.back(name)
        peaks.append(_peak(studio, "push", "--blind-share", "0"))
    return _flat("push", peaks, few, many)


def _pull_memory(studio: Bench, few: int, many: int) -> list[Row]:
    peaks = []
    for name in ("few", "many"):
        studio.back(f"{name} answered")
        peaks.append(_peak(studio, "pull"))
    return _flat("pull", peaks, few, many)


def _flat(verb: str, peaks: Sequence[float], few: int, many: int) -> list[Row]:
    return [
        Row(
            f"{verb}: peak memory at {many:,} tasks ÷ at {few:,}",
            peaks[1] / peaks[0],
            goal="<= 1.15",
            why="not profiled yet",
        ),
        Row(f"{verb}: peak MB at {many:,} tasks, whole process", peaks[1]),
    ]


def _peak(studio: Bench, verb: str, *flags: str) -> float:
    command = [sys.executable, str(Path(studio_parts.__file__)), verb, "--project", str(studio.project.root), *flags]
    said, _ = run_to_end(command)
    return float(said.split()[-1])


def _heavy(studio: Bench, tasks: int, largest: int) -> list[Row]:
    """Return how tasks travel whose brushes are so large that a request holds few of them."""
    studio.fill("heavy", sorted(tiny(tasks).iterdir()), FULL_HD, [speckled(seed) for seed in range(_HEAVY_MASKS)])
    studio.back("heavy")
    wire = Counting()
    began = perf_counter()
    _expect(studio.push(wire).new == tasks, "the push has lost tasks")
    seconds = perf_counter() - began
    return [
        Row(f"largest request of {CHUNK} tasks x {REGIONS} boxes: MB", largest / _MB),
        Row(f"{tasks} tasks of {sum(wire.sizes) / _MB:.0f} MB of brushes: requests", len(wire.sizes)),
        Row(f"{tasks} tasks of brushes: largest request, MB", max(wire.sizes) / _MB, goal="<= 20", floor="<= 20"),
        Row(f"{tasks} tasks of brushes: MB/s", sum(wire.sizes) / _MB / seconds),
    ]


def _expect(holds: bool, otherwise: str) -> None:
    if not holds:
        raise SystemExit(otherwise)


def main() -> None:
    """Print the figures."""
    parser = arguments(__doc__, rounds=3, tasks=10_000, heavy=20)
    parser.add_argument("--only-push", action="store_true", help="measure the push beside the SDK's import alone")
    options = parser.parse_args()
    notes = [
        "Label Studio 1.23.2 with its SQLite, on the same machine, which both sides share the processor with.",
        "Every push and every listing was counted on the server; a bench that has lost a task fails.",
    ]
    publish("studio", bench(options.tasks, options.heavy, options.rounds, only_push=options.only_push), options, notes)


if __name__ == "__main__":
    main()

"""labels.db: what the views show, what a rerun replaces and never replaces, and that a batch is all or nothing."""

from __future__ import annotations

import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from labeling.core.errors import InputError, LabelstillError, StateError
from labeling.core.file_hashes import cached_hash
from labeling.core.ontology import parse_classes
from labeling.core.records import Annotation, ImageState, Provenance
from labeling.core.store import Feature, FileRow, FileStamp, ImageOutcome, Store
from labeling.core.store_schema import MIGRATIONS, migrate
from labeling.vectors import Encoder, box_vectors, image_vectors
from tests.outcomes import RLE, digest, human, machine, outcome, refused

ROOT = Path(__file__).resolve().parents[1]

VIEWS = {
    "v_images": ["sha256", "path", "width", "height", "state", "reason"],
    "v_annotations": [
        *("id", "sha256", "class_name", "x0", "y0", "x1", "y1", "rle", "score", "source", "prompt", "model"),
        "parent_id",
    ],
}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    opened = Store.open(tmp_path / "labels.db", create=True)
    opened.write_classes(parse_classes("box: a box, pallet"))
    opened.start_run("label", {"score": 0.3})
    return opened


def select(store: Store, sql: str) -> list[tuple[object, ...]]:
    """Ask labels.db as another program would."""
    with sqlite3.connect(store.path) as db:
        return db.execute(sql).fetchall()


def test_views_have_exactly_the_promised_columns(store: Store) -> None:
    for view, columns in VIEWS.items():
        assert [row[0] for row in select(store, f"SELECT name FROM pragma_table_info('{view}')")] == columns


def test_views_show_what_was_committed(store: Store) -> None:
    store.commit_batch([outcome("a", machine("a")), outcome("b")], 1)
    assert select(store, "SELECT * FROM v_images ORDER BY path") == [
        (digest("a"), "/photos/a.jpg", 6, 4, "prelabelled", None),
        (digest("b"), "/photos/b.jpg", 6, 4, "prelabelled", None),
    ]
    (row,) = select(store, "SELECT * FROM v_annotations")
    box = (1.5, 2.0, 5.0, 3.5)
    assert row[:7] == (machine("a").id, digest("a"), "box", *box)
    assert json.loads(str(row[7])) == RLE
    assert row[8:] == (0.75, "teacher", "a box", "m1", None)


def test_labels_come_back_as_they_went_in(store: Store) -> None:
    plain = Annotation("0" * 32, digest("a"), "pallet", (0.0, 0.0, 1.0, 1.0), Provenance("teacher", "m1"))
    flagged = machine("a", flags=("full_image",))
    store.commit_batch([outcome("a", flagged, plain)], 1)
    assert store.annotations_of(digest("a")) == [flagged, plain]


def test_one_image_in_several_files_is_one_row_with_the_smallest_path(store: Store) -> None:
    store.commit_batch([outcome("a", paths=("/z.jpg", "/b.jpg"))], 1)
    store.commit_batch([outcome("a", key=None, paths=("/c.jpg",))], 1)
    assert select(store, "SELECT path, width, state FROM v_images") == [("/b.jpg", 6, "prelabelled")]
    (record,) = store.iter_images()
    assert record.paths == ("/b.jpg", "/c.jpg", "/z.jpg")
    assert store.files_of(digest("a")) == (Path("/b.jpg"), Path("/c.jpg"), Path("/z.jpg"))


def test_a_file_that_could_not_be_read_is_a_row_of_its_own(store: Store) -> None:
    unread = [refused(name, "unreadable: no permission", sha256=None) for name in ("b", "a")]
    store.commit_batch(unread, 1)
    expected = [
        (None, f"/photos/{name}.jpg", None, None, "quarantined", "unreadable: no permission") for name in ("a", "b")
    ]
    assert select(store, "SELECT * FROM v_images ORDER BY path") == expected
    store.commit_batch([outcome("a")], 1)
    assert select(store, "SELECT sha256, path FROM v_images ORDER BY path") == [
        (digest("a"), "/photos/a.jpg"),
        (None, "/photos/b.jpg"),
    ]


def test_file_names_that_are_no_text_are_shown_and_found_again(store: Store) -> None:
    raw = b"/photos/caf\xe9 \x1b.jpg"
    store.commit_batch([replace(outcome("a"), files=(FileStamp(raw, 1, 2),))], 1)
    assert store.known_files() == {raw: FileRow(1, 2, digest("a"), "ok", None)}
    assert select(store, "SELECT path FROM v_images") == [("/photos/caf\\xe9 \x1b.jpg",)]
    assert [os.fsencode(path) for path in store.files_of(digest("a"))] == [raw]
    decomposed = "/photos/cafe\u0301.jpg"
    store.commit_batch([outcome("b", paths=(decomposed,))], 1)
    assert [image.paths for image in store.iter_images()][1:] == [("/photos/caf\u00e9.jpg",)]
    assert [str(path) for path in store.files_of(digest("b"))] == [decomposed]


def test_a_file_whose_bytes_changed_leaves_the_old_image_out_of_the_views(store: Store) -> None:
    store.commit_batch([outcome("old", machine("old"), paths=("/a.jpg",))], 1)
    store.commit_batch([outcome("new", machine("new"), paths=("/a.jpg",))], 1)
    assert select(store, "SELECT sha256 FROM v_images") == [(digest("new"),)]
    assert select(store, "SELECT sha256 FROM v_annotations") == [(digest("new"),)]
    assert store.counts()["annotations"] == {"box": 1, "pallet": 0}
    store.commit_batch([outcome("old", key=None, paths=("/copy.jpg",))], 1)
    assert len(select(store, "SELECT sha256 FROM v_annotations")) == 2


def test_labelling_again_replaces_labels_features_and_drops(store: Store) -> None:
    feature = Feature(machine("a").id, "enc", np.arange(3, dtype=np.float16))
    whole = Feature(None, "enc", np.ones(4, dtype=np.float16))
    first = replace(outcome("a", machine("a")), features=(feature, whole), drops=Counter({("nms", "box"): 2}))
    store.commit_batch([first], 1)
    assert store.drop_counts() == {("nms", "box"): 2}
    assert image_vectors(store, Encoder("enc", 4), [digest("a")]).tolist() == [[1, 1, 1, 1]]
    names, vectors = box_vectors(store, Encoder("enc", 3), [digest("a")])
    assert (names, vectors.tolist()) == ([machine("a").id], [[0, 1, 2]])
    store.commit_batch([outcome("a", machine("a", 1), key="k2")], 1)
    assert [label.id for label in store.annotations_of(digest("a"))] == [machine("a", 1).id]
    assert store.done_keys() == {digest("a"): "k2"}
    assert (store.drop_counts(), store.rows("SELECT * FROM features")) == (Counter(), [])


def test_committing_the_same_batch_twice_changes_nothing(store: Store) -> None:
    batch = [outcome("a", machine("a")), refused("b"), outcome("c")]
    store.commit_batch(batch, 1)
    before = [select(store, f"SELECT * FROM {view}") for view in VIEWS]
    store.commit_batch(batch, 1)
    assert [select(store, f"SELECT * FROM {view}") for view in VIEWS] == before


@pytest.mark.parametrize("state", ["reviewed", "reviewed-empty", "skipped"])
def test_what_people_said_is_never_replaced(store: Store, state: ImageState) -> None:
    store.commit_batch([outcome("a", machine("a"))], 1)
    said = (human("a", parent=machine("a").id),) if state == "reviewed" else ()
    store.set_reviewed(digest("a"), said, state)
    store.commit_batch([outcome("a", machine("a", 1), key="k2")], 1)
    store.commit_batch([refused("a")], 1)
    assert store.states() == {digest("a"): state}
    assert store.annotations_of(digest("a"), "machine") == [machine("a")]
    assert store.annotations_of(digest("a"), "human") == list(said)
    assert store.done_keys() == {digest("a"): "k1"}


def test_best_labels_are_human_where_reviewed_and_machine_elsewhere(store: Store) -> None:
    names = ("machine", "reviewed", "empty", "skipped")
    store.commit_batch([outcome(name, machine(name)) for name in names], 1)
    store.commit_batch([outcome("found", key=None), refused("bad")], 1)
    store.set_reviewed(digest("reviewed"), [human("reviewed", 0), human("reviewed", 1)], "reviewed")
    store.set_reviewed(digest("empty"), [], "reviewed-empty")
    store.set_reviewed(digest("skipped"), [], "skipped")

    def labels(kind: str) -> dict[str, int]:
        images = {image.paths[0]: image.sha256 for image in store.iter_images(kind)}  # type: ignore[arg-type]
        return {Path(path).stem: len(store.annotations_of(str(sha), kind)) for path, sha in images.items()}  # type: ignore[arg-type]

    assert labels("best") == {"empty": 0, "machine": 1, "reviewed": 2}
    assert labels("human") == {"empty": 0, "reviewed": 2}
    assert labels("machine") == {"empty": 1, "machine": 1, "reviewed": 1, "skipped": 1}
    assert store.annotations_of(digest("skipped"), "best") == []
    assert len(list(store.iter_images())) == 6


def test_a_pushed_image_may_be_labelled_again_and_stays_pushed(store: Store) -> None:
    store.commit_batch([outcome("a", machine("a"))], 1)
    with sqlite3.connect(store.path) as db:
        db.execute("UPDATE images SET state = 'pushed'")
    store.commit_batch([outcome("a", machine("a", 1), key="k2")], 1)
    assert store.states() == {digest("a"): "pushed"}
    assert [label.id for label in store.annotations_of(digest("a"))] == [machine("a", 1).id]


def test_quarantine_and_back(store: Store) -> None:
    store.commit_batch([outcome("a", machine("a"), paths=("/a.jpg", "/b.jpg"))], 1)
    store.commit_batch([replace(refused("a", "too_large"), files=(FileStamp(b"/a.jpg", 10, 20),))], 1)
    assert store.counts() == {
        "images": {"quarantined": 1},
        "annotations": {"box": 0, "pallet": 0},
        "quarantined": [{"path": "/a.jpg", "reason": "too_large"}, {"path": "/b.jpg", "reason": "too_large"}],
        "skipped_files": 0,
    }
    assert store.done_keys() == {}
    store.commit_batch([outcome("a", machine("a"), paths=("/a.jpg",))], 1)
    assert store.counts()["images"] == {"prelabelled": 1}
    assert store.counts()["quarantined"] == []


def test_counts_name_states_classes_files_and_skipped(store: Store) -> None:
    assert store.counts() == {
        "images": {},
        "annotations": {"box": 0, "pallet": 0},
        "quarantined": [],
        "skipped_files": 0,
    }
    store.commit_batch([outcome("a", machine("a"), machine("a", 1)), outcome("b", key=None), refused("c")], 1)
    store.record_skipped([(b"/photos/notes.txt", "no image"), (b"/photos/\xff", "no image")])
    store.record_skipped([(b"/photos/notes.txt", "no image")])
    assert store.counts() == {
        "images": {"new": 1, "prelabelled": 1, "quarantined": 1},
        "annotations": {"box": 2, "pallet": 0},
        "quarantined": [{"path": "/photos/c.jpg", "reason": "truncated"}],
        "skipped_files": 2,
    }


def test_new_classes_are_appended_and_prompts_change(store: Store) -> None:
    store.write_classes(parse_classes("box: carton, pallet, cone"))
    assert store.class_names() == ("box", "pallet", "cone")
    assert select(store, "SELECT prompts FROM classes WHERE name = 'box'") == [('["carton"]',)]


@pytest.mark.parametrize(
    ("text", "came"),
    [("box", "nothing"), ("pallet, box", "'pallet'"), ("crate, pallet", "'crate'"), ("cone, box, pallet", "'cone'")],
)
def test_classes_are_not_removed_renamed_or_moved(store: Store, text: str, came: str) -> None:
    with pytest.raises(StateError, match=f"got {came}.*add new ones at the end, after 'pallet'"):
        store.write_classes(parse_classes(text))
    assert store.class_names() == ("box", "pallet")


@pytest.mark.parametrize(
    "label",
    [
        machine("a", class_name="cone"),
        machine("a", sha256=digest("elsewhere")),
        machine("a", box_xyxy=(1.0, 1.0, 1.0, 2.0)),
        machine("a", box_xyxy=(float("nan"), 1.0, 2.0, 2.0)),
        machine("a", box_xyxy=(0.0, 0.0, float("inf"), 2.0)),
        machine("a", provenance=Provenance("teacher", score=1.5)),
        machine("b"),
    ],
)
def test_labels_that_cannot_be_are_refused_and_so_is_their_batch(store: Store, label: Annotation) -> None:
    store.commit_batch([outcome("b", machine("b"))], 1)
    with pytest.raises(StateError, match="refused the data"):
        store.commit_batch([outcome("c"), outcome("a", label)], 1)
    assert set(store.states()) == {digest("b")}
    store.commit_batch([outcome("a", machine("a"))], 1)


def test_reviews_that_contradict_themselves_are_refused(store: Store) -> None:
    store.commit_batch([outcome("a")], 1)
    for labels, state in [
        ([human("a")], "reviewed-empty"),
        ([], "reviewed"),
        ([machine("a")], "reviewed"),
        ([human("b")], "reviewed"),
        ([], "prelabelled"),
    ]:
        with pytest.raises(StateError):
            store.set_reviewed(digest("a"), labels, state)  # type: ignore[arg-type]
    with pytest.raises(StateError, match="is not known"):
        store.set_reviewed(digest("b"), [human("b")], "reviewed")
    assert store.states() == {digest("a"): "prelabelled"}


def test_an_image_that_was_never_decoded_cannot_be_reviewed_and_a_review_ends_quarantine(store: Store) -> None:
    damaged = ImageOutcome((FileStamp(b"/a", 1, 1),), "a" * 64, None, None, status="quarantined", reason="truncated")
    failed = ImageOutcome((FileStamp(b"/b", 1, 1),), "b" * 64, 20, 10, status="quarantined", reason="teacher_failed")
    store.commit_batch([damaged, failed], store.start_run("label", {}))
    with pytest.raises(StateError, match="never decoded"):
        store.set_reviewed("a" * 64, [], "reviewed-empty")
    store.set_reviewed("b" * 64, [], "reviewed-empty")
    assert [(image.state, image.reason) for image in store.iter_images("human")] == [("reviewed-empty", None)]
    assert [file["path"] for file in store.counts()["quarantined"]] == ["/a"]


def test_runs_keep_settings_and_summary(store: Store) -> None:
    number = store.start_run("label", {"classes": ["box"]})
    store.finish_run(number, {"labelled": 3})
    first, second = store.runs()
    assert (first.verb, first.settings, first.finished_at, first.summary) == ("label", {"score": 0.3}, None, None)
    assert (second.id, second.settings, second.summary) == (number, {"classes": ["box"]}, {"labelled": 3})
    assert second.finished_at is not None
    assert second.finished_at.endswith("+00:00")


def test_small_facts_are_remembered(store: Store) -> None:
    assert store.recall("batch") is None
    store.remember("batch", "8")
    store.remember("batch", "4")
    assert store.recall("batch") == "4"


def test_a_file_is_hashed_again_only_when_it_changed(store: Store, tmp_path: Path) -> None:
    weights = tmp_path / "w.safetensors"
    weights.write_bytes(b"one")
    assert cached_hash(store, weights) == digest("one")
    stamp = weights.stat()
    weights.write_bytes(b"two")
    os.utime(weights, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    assert cached_hash(store, weights) == digest("one")
    os.utime(weights, ns=(stamp.st_atime_ns, stamp.st_mtime_ns + 1))
    assert cached_hash(store, weights) == digest("two")
    with pytest.raises(InputError, match="cannot be read"):
        cached_hash(store, tmp_path / "none")


def test_everything_is_there_after_reopening(store: Store) -> None:
    store.commit_batch([outcome("a", machine("a"))], 1)
    store.close()
    with Store.open(store.path) as again:
        assert again.annotations_of(digest("a")) == [machine("a")]
        mode = again.rows("PRAGMA journal_mode"), again.rows("PRAGMA synchronous"), again.rows("PRAGMA foreign_keys")
        assert mode == ([("wal",)], [(2,)], [(1,)])


def test_a_missing_file_is_not_made_by_accident(tmp_path: Path) -> None:
    with pytest.raises(StateError, match="no such file: label some photos first"):
        Store.open(tmp_path / "labels.db")
    assert not list(tmp_path.iterdir())


def test_files_that_are_not_ours_are_refused_and_left_alone(tmp_path: Path) -> None:
    rubbish = tmp_path / "rubbish.db"
    rubbish.write_bytes(b"no database at all" * 100)
    other = tmp_path / "other.db"
    with sqlite3.connect(other) as db:
        db.execute("CREATE TABLE songs (title TEXT)")
    newer = tmp_path / "newer.db"
    Store.open(newer, create=True).close()
    with sqlite3.connect(newer) as db:
        db.execute("PRAGMA user_version = 99")
    for path, said in ((rubbish, "is damaged"), (other, "another program"), (newer, "update labelstill")):
        before = path.read_bytes()
        with pytest.raises(StateError, match=said):
            Store.open(path)
        assert path.read_bytes() == before
    with pytest.raises(InputError, match="cannot be opened"):
        Store.open(tmp_path / "none" / "labels.db", create=True)


def test_an_old_database_is_brought_up_to_date_in_one_step(tmp_path: Path) -> None:
    path = tmp_path / "labels.db"
    Store.open(path, create=True).close()
    db = sqlite3.connect(path, isolation_level=None)
    db.execute("INSERT INTO meta VALUES ('batch', '8')")
    later = (*MIGRATIONS, ("ALTER TABLE meta ADD COLUMN note TEXT",), ("UPDATE meta SET note = 'kept'",))
    broken = (*later, ("CREATE TABLE extra (x)", "no such statement"))
    with pytest.raises(sqlite3.OperationalError):
        migrate(db, "labels.db", broken)
    assert db.execute("PRAGMA user_version").fetchone() == (len(MIGRATIONS),)
    assert db.execute("SELECT * FROM meta").fetchall() == [("batch", "8")]
    migrate(db, "labels.db", later)
    assert db.execute("PRAGMA user_version").fetchone() == (len(MIGRATIONS) + 2,)
    assert db.execute("SELECT * FROM meta").fetchall() == [("batch", "8", "kept")]
    db.close()
    with pytest.raises(StateError, match="update labelstill"):
        Store.open(path)


def test_a_writer_that_waits_too_long_says_so(store: Store) -> None:
    with Store.open(store.path, busy_timeout_s=0.05) as second:
        store._db.execute("BEGIN IMMEDIATE")
        with pytest.raises(StateError, match="another process is writing"):
            second.remember("batch", "1")
        assert second.recall("batch") is None
        store._db.execute("ROLLBACK")
        second.remember("batch", "1")


def test_reading_goes_on_while_a_batch_is_written(store: Store) -> None:
    store.commit_batch([outcome(f"{n:03}", machine(f"{n:03}")) for n in range(50)], 1)
    seen = []
    for image in store.iter_images("best"):
        assert image.sha256 is not None
        seen.append(image.paths[0])
        store.set_reviewed(image.sha256, [], "skipped")
    assert seen == sorted(seen)
    assert len(seen) == 50


def test_a_full_disk_leaves_the_last_batch_and_a_way_on(store: Store) -> None:
    store.commit_batch([outcome("first", machine("first"))], 1)
    pages = store.rows("PRAGMA page_count")[0][0]
    store._db.execute(f"PRAGMA max_page_count = {pages + 2}")
    batch = [outcome(f"{n}", machine(f"{n}")) for n in range(500)]
    with pytest.raises(StateError, match=r"the disk is full.*run the same command again"):
        store.commit_batch(batch, 1)
    assert set(store.states()) == {digest("first")}
    store._db.execute("PRAGMA max_page_count = 100000")
    store.commit_batch(batch, 1)
    assert len(store.states()) == 501


WRITER = """
import resource, sys
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from labeling.core.store import Store
from labeling.core.errors import LabelstillError
from labeling.core.ontology import parse_classes
from tests.outcomes import machine, outcome
if limit := int(sys.argv[3]):
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
try:
    with Store.open(Path(sys.argv[2]), create=True) as store:
        store.write_classes(parse_classes("box: a box, pallet"))
        run = store.start_run("label", {})
        done = store.done_keys()
        todo = [f"{n:04}" for n in range(160) if outcome(f"{n:04}").sha256 not in done]
        assert (160 - len(todo)) % 8 == 0, "half a batch was committed"
        print("begin", flush=True)
        for start in range(0, len(todo), 8):
            names = todo[start : start + 8]
            store.commit_batch([outcome(name, machine(name), machine(name, 1)) for name in names], run)
except LabelstillError as error:
    sys.exit(f"{type(error).__name__}: {error}")
"""


def content(path: Path) -> list[list[tuple[object, ...]]]:
    with sqlite3.connect(path) as db:
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        return [db.execute(f"SELECT * FROM {view} ORDER BY 1").fetchall() for view in VIEWS]


def writer(path: Path, limit: int = 0) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", WRITER, str(ROOT), str(path), str(limit)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> list[list[tuple[object, ...]]]:
    path = tmp_path_factory.mktemp("whole") / "labels.db"
    process = writer(path)
    assert process.communicate()[1] == ""
    rows = content(path)
    assert [len(part) for part in rows] == [160, 320]
    return rows


def test_killed_at_any_moment_the_next_run_ends_with_the_same_content(
    tmp_path: Path, uninterrupted: list[list[tuple[object, ...]]]
) -> None:
    chance = random.Random(7)
    kills = 0
    for round_ in range(4):
        path = tmp_path / f"{round_}.db"
        for _ in range(2):
            process = writer(path)
            assert process.stdout is not None
            process.stdout.readline()
            try:
                process.wait(chance.uniform(0, 0.1))
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGKILL)
                kills += 1
            process.communicate()
        last = writer(path)
        assert last.communicate()[1] == ""
        assert content(path) == uninterrupted
    assert kills > 0


def test_a_disk_that_fills_at_any_size_loses_nothing(
    tmp_path: Path, uninterrupted: list[list[tuple[object, ...]]]
) -> None:
    failed = 0
    for round_, limit in enumerate((1, 40_000, 130_000, 200_000, 400_000)):
        path = tmp_path / f"{round_}.db"
        process = writer(path, limit)
        message = process.communicate()[1]
        assert process.returncode in (0, 1)
        if process.returncode:
            failed += 1
            assert message.startswith("StateError")
            assert "disk" in message
            assert message.count("\n") == 1
        last = writer(path)
        assert last.communicate()[1] == ""
        assert content(path) == uninterrupted
    assert failed >= 3


def test_two_processes_that_open_a_new_file_at_once_both_succeed(tmp_path: Path) -> None:
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); from pathlib import Path; from labeling.core.store import Store; "
        "Store.open(Path(sys.argv[2]), create=True).remember('k', 'v')"
    )
    command = [sys.executable, "-c", code, str(ROOT), str(tmp_path / "labels.db")]
    started = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(4)]
    assert [process.communicate()[1] for process in started] == [""] * 4


def test_opening_the_store_needs_nothing_heavy() -> None:
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); import labeling.core.store; "
        "print([m for m in ('numpy', 'pydantic', 'ruamel', 'torch', 'cv2', 'shapely', 'PIL') if m in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code, str(ROOT)], capture_output=True, text=True, check=True)
    assert run.stdout == "[]\n"


def test_errors_are_of_the_tree_and_one_line(store: Store) -> None:
    store.close()
    with pytest.raises(LabelstillError) as caught:
        store.states()
    assert "\n" not in str(caught.value)


def test_of_a_reviewed_image_the_labels_of_people_are_counted_and_not_those_below_them(store: Store) -> None:
    store.commit_batch([outcome("a", machine("a")), outcome("b", machine("b"), paths=("/b.jpg",))], 1)
    assert store.counts()["annotations"] == {"box": 2, "pallet": 0}
    store.set_reviewed(digest("a"), [human("a")], "reviewed")
    assert store.counts()["annotations"] == {"box": 1, "pallet": 1}
    store.set_reviewed(digest("a"), [], "reviewed-empty")
    assert store.counts()["annotations"] == {"box": 1, "pallet": 0}

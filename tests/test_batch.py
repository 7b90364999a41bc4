"""Many scans at once, without a page: what is found, in which order, what a bad one does, and what the ZIP holds."""

import csv
import gc
import hashlib
import io
import json
import sys
import weakref
import zipfile
from dataclasses import asdict
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from synthetic_masks import masked_bscan

from octhub import Classifier, OctNet, ScanError, Segmenter, ServingConfig, UNet, read_scan
from octhub.batch import MAX_ARCHIVES, MAX_SCANS, BatchError, answer_all, intake
from octhub.mask import read_mask
from octhub.mask_render import mask_overlay
from octhub.measure import Scale, measure
from octhub.render import overlay
from octhub.result_zip import RECORD, TABLES
from octhub.results import AREAS, CLASSIFICATION, COLUMNS

LABELS, LAYERS = ("CNV", "DME", "DRUSEN", "NORMAL"), ("above", "layer", "fluid")
SCALE = Scale(3.87, 11.5)


@pytest.fixture(scope="module")
def classifier() -> Classifier:
    torch.manual_seed(0)
    serving = ServingConfig(LABELS, (64, 128), (0.2,), (0.2,))
    return Classifier(OctNet(channels=(4, 4, 8, 8, 8, 16), hidden=(8, 8), serving=serving), "cpu")


@pytest.fixture(scope="module")
def segmenter() -> Segmenter:
    torch.manual_seed(0)
    serving = ServingConfig(LAYERS, (64, 96), framing="whole")
    model = UNet(num_classes=3, encoder="resnet10t", decoder_channels=(32, 16, 16, 8, 8), serving=serving)
    return Segmenter(model, "cpu")


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> list[Path]:
    """z.png, bad.png, eyes.zip (left/a.png, a broken one, one that leads out, notes), cut.zip, b.png."""
    folder, rng = tmp_path_factory.mktemp("brought"), np.random.default_rng(0)
    for name in ("z.png", "a.png", "b.png"):
        Image.fromarray(masked_bscan(rng)[0]).save(folder / name)
    (folder / "bad.png").write_bytes(b"no picture")
    with zipfile.ZipFile(folder / "eyes.zip", "w") as file:
        file.write(folder / "a.png", "left/a.png")
        file.writestr("left/broken.png", b"no picture")
        file.writestr("../../up.png", b"")
        file.writestr("notes.txt", b"")
    (folder / "cut.zip").write_bytes((folder / "eyes.zip").read_bytes()[:100])
    return [folder / name for name in ("z.png", "bad.png", "eyes.zip", "cut.zip", "b.png")]


NAMES = ["z.png", "bad.png", "eyes/left/a.png", "eyes/left/broken.png", "eyes/up.png", "cut.zip", "b.png"]
GOOD = ["z.png", "eyes/left/a.png", "b.png"]


class TestIntake:
    def test_order_and_names(self, files):
        with intake(files) as batch:
            assert [item.name for item in batch.items] == NAMES
            assert batch.passed_over == 1
            for item, path in zip(batch.items[::6], (files[0], files[-1]), strict=True):
                assert item.read() == path.read_bytes()
            for item in (batch.items[4], batch.items[5]):
                with pytest.raises(ScanError, match="expected"):
                    item.read()

    def test_no_two_have_one_name(self, files, tmp_path):
        brought = []
        for number in (1, 2):
            (tmp_path / f"{number}").mkdir()
            for path, name in ((files[0], "z.png"), (files[2], "eyes.zip"), (files[2], "areas.csv.zip")):
                brought.append(tmp_path / f"{number}" / name)
                brought[-1].write_bytes(path.read_bytes())
        (tmp_path / "eyes").write_bytes(b"")
        with intake([*brought, tmp_path / "eyes"], TABLES) as batch:
            names = [item.name for item in batch.items]
        assert len(set(names)) == len(names)
        assert {n.split("/")[0] for n in names} == {
            *("z.png", "z (2).png", "eyes", "eyes (2)", "eyes (3)", "areas (2).csv", "areas (3).csv")
        }

    def test_limits(self, files, tmp_path):
        with pytest.raises(BatchError, match=f"more than {MAX_SCANS} scans"), intake([files[0]] * (MAX_SCANS + 1)):
            pass
        with pytest.raises(BatchError, match=f"more than {MAX_ARCHIVES} ZIPs"), intake([files[2]] * (MAX_ARCHIVES + 1)):
            pass
        with zipfile.ZipFile(tmp_path / "many.zip", "w") as file:
            for number in range(MAX_SCANS + 1):
                file.writestr(f"{number}.png", b"")
        with pytest.raises(BatchError, match=f"at most {MAX_SCANS} in one run"), intake([tmp_path / "many.zip"]):
            pass

    def test_nothing_to_do(self, tmp_path):
        with pytest.raises(BatchError, match="no scans, expected images"), intake([]):
            pass
        with zipfile.ZipFile(tmp_path / "papers.zip", "w") as file:
            file.writestr("notes.txt", b"")
        with pytest.raises(BatchError, match=r"\(the ZIPs hold 1 other files\)"), intake([tmp_path / "papers.zip"]):
            pass


class TestAnswers:
    def test_bad_ones_are_told_in_their_place(self, files, classifier, segmenter):
        with intake(files) as batch:
            ask = lambda scan: (classifier(scan, heatmap=True), segmenter(scan))  # noqa: E731
            answers = list(answer_all(batch.items, ask, lambda *seen: None, SCALE))
        assert [a.name for a in answers] == NAMES
        assert [a.name for a in answers if not a.error] == GOOD
        said = {a.name: a.error for a in answers if a.error}
        assert said["bad.png"].startswith("bad.png: not a known kind of image")
        assert said["eyes/left/broken.png"].startswith("eyes/left/broken.png: not a known kind of image")
        assert said["eyes/up.png"] == "eyes.zip: '../../up.png' leads out of the ZIP, expected a path inside it"
        assert said["cut.zip"].startswith("cut.zip: not a ZIP, or not all of one")
        first = answers[0]
        expected = classifier(files[0])
        assert (first.classification.label, first.classification.heatmap) == (expected.label, None)
        assert first.classification.probabilities == pytest.approx(expected.probabilities)
        assert first.areas == measure(segmenter(files[0]).mask, LAYERS, SCALE)
        assert first.given.sha256 == hashlib.sha256(files[0].read_bytes()).hexdigest()

    def test_no_two_scans_are_in_memory(self, files, segmenter):
        held = []

        def ask(scan):
            gc.collect()
            assert not [ref for ref in held if ref() is not None]
            answer = segmenter(scan)
            held.extend(map(weakref.ref, (scan, answer.mask)))
            return None, answer

        with intake([files[0], files[-1], files[2]]) as batch:
            assert len([*answer_all(batch.items, ask, lambda *seen: None)]) == 5
        assert len(held) == 6


class TestRun:
    """many_run.steps, which page and API show."""

    @pytest.fixture
    def run(self, root, monkeypatch, files, classifier, segmenter, tmp_path):
        monkeypatch.syspath_prepend(str(root))
        import many_run

        def run(order=None, ask=None, stop=lambda: "", files=files):
            order = order or many_run.Order(classifier, segmenter, SCALE)
            ask = ask or (
                lambda scan, c, s: (classifier(scan, heatmap=True) if c else None, segmenter(scan) if s else None)
            )
            return many_run.steps(files, order, ask, tmp_path / "out.zip", stop)

        yield run
        sys.modules.pop("many_run")

    @staticmethod
    def tables(path: Path) -> tuple[zipfile.ZipFile, dict[str, list[dict]], dict]:
        file = zipfile.ZipFile(path)
        assert file.testzip() is None
        tables = {
            name: list(csv.DictReader(io.StringIO(file.read(name).decode(), newline="")))
            for name in (CLASSIFICATION, AREAS)
            if name in file.namelist()
        }
        return file, tables, json.loads(file.read(RECORD))

    def test_steps_come_one_by_one(self, run, tmp_path):
        seen = list(run())
        assert [s.now for s in seen] == [*NAMES, ""]
        assert [len(s.rows) for s in seen] == [*range(len(NAMES) + 1)]
        assert {s.total for s in seen} == {len(NAMES)}
        last = seen[-1]
        assert (last.bad, last.passed_over, last.ended) == (4, 1, "")
        assert [row["file"] for row in last.rows] == NAMES
        assert [bool(row["error"]) for row in last.rows] == [name not in GOOD for name in NAMES]

    def test_the_zip_holds_tables_pictures_and_a_record(self, run, files, classifier, segmenter, tmp_path):
        *_, last = run()
        file, tables, record = self.tables(tmp_path / "out.zip")
        endings = (".heatmap.png", ".labels.png", ".overlay.png")
        assert file.namelist() == [*(f"{name}{e}" for name in GOOD for e in endings), *TABLES]
        for name, path in (("z.png", files[0]), ("b.png", files[-1])):
            scan, label, answer = read_scan(path), classifier(path, heatmap=True), segmenter(path)
            assert np.array_equal(read_mask(file.read(f"{name}.labels.png"), scan.shape, LAYERS), answer.mask)
            picture = np.asarray(Image.open(io.BytesIO(file.read(f"{name}.overlay.png"))))
            assert np.array_equal(picture, mask_overlay(scan, answer.mask, LAYERS))
            picture = np.asarray(Image.open(io.BytesIO(file.read(f"{name}.heatmap.png"))))
            assert np.array_equal(picture, overlay(scan, label.heatmap, 0.6))
        assert [row["file"] for row in tables[CLASSIFICATION]] == NAMES
        assert [row["label"] for row in tables[CLASSIFICATION]] == [row["label"] or "" for row in last.rows]
        assert list(tables[AREAS][0]) == COLUMNS
        assert [row["file"] for row in tables[AREAS]] == [n for n in NAMES for _ in range(3 if n in GOOD else 1)]
        digest = hashlib.sha256(files[0].read_bytes()).hexdigest()
        assert {row["input_sha256"] for table in tables.values() for row in table if row["file"] == "z.png"} == {digest}
        assert record["classifier"]["class_names"] == list(LABELS)
        assert record["segmenter"]["architecture"] == "UNet"
        assert record["scale"] == {"axial_um": 3.87, "lateral_um": 11.5}
        first, second = record["scans"][:2]
        assert first["input"]["sha256"] == digest
        assert first["areas"] == [asdict(m) for m in measure(segmenter(files[0]).mask, LAYERS, SCALE)]
        assert first["probabilities"] == pytest.approx(classifier(files[0]).probabilities)
        assert second == {"file": "bad.png", "input": None, "error": last.rows[1]["error"]}
        assert str(files[0].parent) not in json.dumps(record)

    def test_one_model_alone(self, run, classifier, segmenter, tmp_path):
        from many_run import Order

        *_, last = run(Order(classifier, None))
        file, tables, record = self.tables(tmp_path / "out.zip")
        assert list(tables) == [CLASSIFICATION]
        assert {n.rsplit(".", 2)[1] for n in file.namelist() if n.endswith(".png")} == {"heatmap"}
        assert list(last.rows[0]) == ["file", "label", *LABELS, "decision", "reason", "error", "input_sha256"]
        assert record["segmenter"] is None
        *_, last = run(Order(None, segmenter))
        _, tables, _ = self.tables(tmp_path / "out.zip")
        assert list(tables) == [AREAS]
        assert list(last.rows[0]) == ["file", "decision", "reason", "fluid (px)", "error", "input_sha256"]

    def test_cancelled_in_the_middle_and_what_there_is_stays(self, run, tmp_path):
        turns = iter(["", "", "it was cancelled"])
        *_, last = run(stop=lambda: next(turns))
        assert (len(last.rows), last.ended) == (2, "it was cancelled")
        file, tables, record = self.tables(tmp_path / "out.zip")
        assert len(record["scans"]) == len(tables[CLASSIFICATION]) == 2
        assert len([n for n in file.namelist() if n.endswith(".png")]) == 3

    def test_cancelled_before_its_turn(self, run, tmp_path):
        *_, last = run(stop=lambda: "it was cancelled", ask=lambda *a: pytest.fail("it was run"))
        assert not last.rows
        assert not self.tables(tmp_path / "out.zip")[2]["scans"]

    def test_a_gpu_that_is_used_up_ends_it(self, run, segmenter, tmp_path):
        from many_run import NoAnswer

        asked = []

        def ask(scan, *wanted):
            asked.append(scan)
            if len(asked) > 1:
                raise NoAnswer("no GPU is left")
            return None, segmenter(scan)

        from many_run import Order

        *_, last = run(Order(None, segmenter), ask)
        assert (last.ended, [bool(r["error"]) for r in last.rows]) == ("no GPU is left", [False, True])
        assert len(self.tables(tmp_path / "out.zip")[2]["scans"]) == 2

    def test_results_that_grow_too_large_end_it(self, run, monkeypatch):
        monkeypatch.setattr("many_run.MAX_RESULT", 1000)
        *_, last = run()
        assert "the results have" in last.ended
        assert len(last.rows) == 1

    @pytest.mark.parametrize("steps", [1, 3])
    def test_given_up_it_leaves_nothing(self, run, tmp_path, steps):
        running = run()
        for _ in range(steps):
            next(running)
        assert (tmp_path / "out.zip").exists()
        running.close()  # as when the visitor closes the page
        assert not list(tmp_path.iterdir())

    def test_failing_it_leaves_nothing(self, run, tmp_path):
        def ask(*question):
            raise RuntimeError("a bug")

        with pytest.raises(RuntimeError, match="a bug"):
            list(run(ask=ask))
        with pytest.raises(BatchError):
            list(run(files=[]))
        assert not list(tmp_path.iterdir())

    def test_hostile_names_are_escaped(self, run, files, tmp_path, classifier, segmenter):
        from many_run import Order, status_html, table_html

        evil = "<img src=x onerror=alert(1)>&.png"
        with zipfile.ZipFile(tmp_path / "x.zip", "w") as file:
            file.writestr(f"../{evil}", b"")
            file.writestr(evil, files[0].read_bytes())
        order = Order(classifier, segmenter)
        pages = [h for s in run(order, files=[tmp_path / "x.zip"]) for h in (status_html(s), table_html(order, s))]
        assert "<img" not in "".join(pages)
        assert "&lt;img" in pages[-1] or "_img src=x onerror=alert(1)_&amp;.png" in pages[-1]

    def test_the_table_only_grows(self, run, classifier, segmenter):
        from many_run import Order, table_html

        order = Order(classifier, segmenter, SCALE)
        pages = [table_html(order, step) for step in run(order)]
        assert all(after.startswith(before) for before, after in pairwise(pages))
        assert pages[-1].count("<tr>") == len(NAMES) + 1

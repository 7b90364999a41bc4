"""The demo's Many scans tab as its visitors meet it, and its API endpoint."""

import base64
import csv
import io
import json
import os
import re
import shutil
import sys
import time
import zipfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from app_fixtures import ABSENT, assert_came_from

from octhub.batch import BatchError
from octhub.mask import read_mask
from octhub.measure import Scale, measure

TABLE, STATUS = "#many-table", "#many-status"


@pytest.fixture(scope="module")
def brought(scans, tmp_path_factory) -> list[Path]:
    """scan.png, plain.bmp and eyes.zip, which holds left/deep.png, a broken one, one that leads out, and notes."""
    path = tmp_path_factory.mktemp("many") / "eyes.zip"
    with zipfile.ZipFile(path, "w") as file:
        file.write(scans["deep.png"], "left/deep.png")
        file.write(scans["broken.png"], "left/broken.png")
        file.writestr("../../up.png", b"")
        file.writestr("notes.txt", b"")
    return [scans["scan.png"], scans["plain.bmp"], path]


NAMES = ["scan.png", "plain.bmp", "eyes/left/deep.png", "eyes/left/broken.png", "eyes/up.png"]
GOOD = NAMES[:3]


WATCH = """() => {
  [window.counts, window.ran] = [[0], false];
  const look = () => {
    counts.push(document.querySelectorAll("#many-table tbody tr").length);
    ran ||= !document.querySelector("#many-run")?.offsetParent && Boolean(document.querySelector("#many-cancel"));
  };
  new MutationObserver(look).observe(document.body, { childList: true, subtree: true });
}"""
"""JavaScript that notes how many rows the table has after each change, and whether Run made way for Cancel: on a quick
machine a run is over before a test can look."""


@pytest.fixture
def many(visit):
    """many(width=…, dark=…) → the page, with the tab open."""

    def many(width: int = 1440, height: int = 900, dark: bool = False):
        page = visit(width, height, dark)
        page.get_by_role("tab", name="Many scans").click()
        page.locator(".many-files input[type=file]").wait_for(state="attached")
        return page

    return many


def add(page, files: list[Path]) -> None:
    page.locator(".many-files input[type=file]").set_input_files(files)
    page.locator(".many-files .file-preview").get_by_text(files[-1].stem).last.wait_for()


def ended(page, text: str) -> None:
    page.locator(f"{STATUS} h2", has_text=text).wait_for()
    page.get_by_role("button", name="Run", exact=True).wait_for()


def rows(page) -> list[list[str]]:
    """What is to be seen of the table."""
    return page.eval_on_selector_all(
        f"{TABLE} tbody tr", "l => l.map(r => [...r.children].filter(c => c.offsetParent).map(c => c.innerText))"
    )


def download(page) -> zipfile.ZipFile:
    with page.expect_download() as download:
        page.get_by_text("Download results (ZIP)").click()
    assert download.value.suggested_filename == "octhub-results.zip"
    file = zipfile.ZipFile(io.BytesIO(Path(download.value.path()).read_bytes()))
    assert file.testzip() is None
    return file


class TestPage:
    def test_files_and_a_zip(self, many, brought, scans, classifier, segmenter):
        page = many()
        add(page, brought)
        page.evaluate(WATCH)
        page.get_by_role("button", name="Run", exact=True).click()
        ended(page, "5 scans, 2 could not be read")
        seen = page.evaluate("counts")
        assert seen == sorted(seen)
        assert len(set(seen) & {1, 2, 3, 4}) > 1, "the rows come one by one"
        assert page.evaluate("ran")
        assert "1 other file was passed over" in page.locator(STATUS).inner_text()
        found = rows(page)
        assert [row[0].splitlines()[0] for row in found] == NAMES
        for row, name in zip(found, ("scan.png", "plain.bmp", "deep.png"), strict=False):
            answer, areas = classifier(scans[name]), measure(segmenter(scans[name]).mask, segmenter.class_names)
            assert row[1] == answer.label
            assert row[2:6] == [f"{p:.1%}" for p in answer.probabilities.values()]
            assert row[6] == f"{next(m.pixels for m in areas if m.name == ABSENT):,}"
        assert found[3][1].startswith("not a known kind of image, expected a JPEG")
        assert found[4][1] == "eyes.zip: '../../up.png' leads out of the ZIP, expected a path inside it"

        file = download(page)
        endings = ("heatmap", "labels", "overlay")
        assert sorted(n for n in file.namelist() if n.endswith(".png")) == sorted(
            f"{name}.{ending}.png" for name in GOOD for ending in endings
        )
        labels = read_mask(file.read("eyes/left/deep.png.labels.png"))
        assert np.array_equal(labels, segmenter(scans["deep.png"]).mask)
        lines = list(csv.DictReader(io.StringIO(file.read("classification.csv").decode(), newline="")))
        assert [line["file"] for line in lines] == NAMES
        record = json.loads(file.read("record.json"))
        assert [s["file"] for s in record["scans"]] == NAMES
        assert record["classifier"]["sha256"] == classifier.model.weights_sha256

    def test_what_is_not_wanted_is_not_done_and_pixels_may_have_a_size(self, many, scans, segmenter):
        page = many()
        add(page, [scans["scan.png"]])
        page.get_by_label("Classify").uncheck()
        page.locator(".many").get_by_label("Axial").fill("3,87")
        page.get_by_role("button", name="Run", exact=True).click()
        ended(page, "This can't be run")
        page.locator(f"{STATUS} [role=alert]").get_by_text("the lateral size of a pixel is missing").wait_for()
        page.locator(".many").get_by_label("Lateral").fill("11.5")
        page.get_by_role("button", name="Run", exact=True).click()
        ended(page, "1 scan")
        areas = measure(segmenter(scans["scan.png"]).mask, segmenter.class_names, Scale(3.87, 11.5))
        expected = next(m.area_mm2 for m in areas if m.name == ABSENT)
        assert rows(page) == [["scan.png", f"{round(expected, 4):,}"]]
        assert f"{ABSENT} (mm²)".capitalize() in page.locator(f"{TABLE} thead").inner_text()
        assert not [n for n in download(page).namelist() if "heatmap" in n or "classification" in n]
        page.get_by_label("Segment", exact=True).uncheck()
        page.get_by_role("button", name="Run", exact=True).click()
        ended(page, "This can't be run")
        assert page.locator(STATUS).get_by_text("nothing to do").is_visible()
        assert not rows(page)

    def test_nothing_brought(self, many):
        page = many()
        page.get_by_role("button", name="Run", exact=True).click()
        ended(page, "These scans can't be used")
        assert "no scans, expected images of B-scans or ZIPs of them" in page.locator(STATUS).inner_text()

    def test_cancel_keeps_what_there_is(self, many, scans):
        page = many()
        add(page, [scans["scan.png"]] * 30)
        page.get_by_role("button", name="Run", exact=True).click()
        page.locator(f"{STATUS} h2", has_text=re.compile(r"Scan ([3-9]|[12]\d) of 30")).wait_for()
        page.get_by_role("button", name="Cancel").click()
        page.locator(f"{STATUS} [role=alert]").get_by_text("It ended early: it was cancelled.").wait_for()
        page.get_by_role("button", name="Run", exact=True).wait_for()
        done = len(rows(page))
        assert 2 <= done < 30
        assert page.locator(f"{STATUS} h2").inner_text() == f"{done} of 30 scans"
        assert len(json.loads(download(page).read("record.json"))["scans"]) == done

    def test_other_tabs_have_their_turn_meanwhile(self, many, visit, scans):
        busy, page = many(), visit()
        add(busy, [scans["deep.png"]] * 40)
        busy.get_by_role("button", name="Run", exact=True).click()
        busy.locator(f"{STATUS} h2", has_text=re.compile(r"Scan ([2-9]|[1-3]\d) of 40")).wait_for()
        page.locator(".scan-file:visible input[type=file]").set_input_files(scans["scan.png"])
        page.locator("#classify-viewer figcaption b", has_text="scan.png").wait_for()
        assert busy.get_by_role("button", name="Cancel").is_visible()  # it still runs
        busy.get_by_role("button", name="Cancel").click()
        ended(busy, "of 40 scans")

    def test_drop_anywhere_adds_them_all(self, many, scans):
        page = many()
        files = [[n, base64.b64encode(scans[n].read_bytes()).decode()] for n in ("scan.png", "plain.bmp")]
        page.evaluate(
            """files => {
              const dataTransfer = new DataTransfer();
              for (const [name, data] of files) {
                const bytes = Uint8Array.from(atob(data), (c) => c.charCodeAt(0));
                dataTransfer.items.add(new File([bytes], name));
              }
              const target = document.querySelector("#many-status");
              target.dispatchEvent(new DragEvent("drop", { dataTransfer, bubbles: true, cancelable: true }));
            }""",
            files,
        )
        for stem in ("scan", "plain"):
            page.locator(".many-files .file-preview").get_by_text(stem).wait_for()

    @pytest.mark.parametrize("width", [390, 1440])
    @pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
    def test_fits_the_screen(self, many, root, brought, width, dark):
        page = many(width, 844 if width < 500 else 900, dark)
        shots = root / "screenshots"
        shots.mkdir(exist_ok=True)
        name = f"many-{width}-{'dark' if dark else 'light'}"
        page.screenshot(path=shots / f"{name}-before.png", full_page=True)
        add(page, brought)
        page.get_by_role("button", name="Run", exact=True).click()
        ended(page, "5 scans")
        page.mouse.move(1, 1)
        page.screenshot(path=shots / f"{name}-after.png", full_page=True)
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        assert page.eval_on_selector(f"{TABLE} .scroll", "e => e.scrollWidth <= e.clientWidth")
        assert page.locator(f"{TABLE} td.share").first.is_visible() == (width > 720)
        assert page.locator(f"{TABLE} td small").first.is_visible() == (width <= 720)
        assert page.get_by_text("Research use only").is_visible()


class TestApi:
    @staticmethod
    def ask(client, paths, **options):
        from gradio_client import handle_file

        return client.submit([handle_file(str(p)) for p in paths], **options, api_name="/many")

    def test_table_and_zip(self, client, brought, scans, classifier, segmenter):
        job = self.ask(client, brought, axial_um=3.87, lateral_um=11.5)
        facts, path = job.result(120)
        assert [row["file"] for row in facts["table"]] == NAMES
        first = facts["table"][0]
        answer = classifier(scans["scan.png"])
        assert first["label"] == answer.label
        assert [first[n] for n in classifier.class_names] == pytest.approx([*answer.probabilities.values()], abs=1e-4)
        assert first[f"{ABSENT} (mm²)"] == 0
        assert (first["error"], facts["table"][3]["label"]) == ("", None)
        assert "not a known kind of image" in facts["table"][3]["error"]
        with zipfile.ZipFile(path) as file:
            assert file.testzip() is None
            record = json.loads(file.read("record.json"))
        both = {"classifier": classifier, "segmenter": segmenter}
        for name, model in both.items():
            origin = {**record, "model": facts["provenance"][name], "input": record["scans"][0]["input"]}
            assert_came_from(origin, model, scans["scan.png"])
        assert first["input_sha256"] == record["scans"][0]["input"]["sha256"]
        outputs = job.outputs()
        assert [len(facts["table"]) for facts, _ in outputs] == [*range(len(NAMES) + 1)]
        assert [path for _, path in outputs[:-1]] == [None] * len(NAMES)

    def test_one_model(self, client, scans):
        facts, path = self.ask(client, [scans["scan.png"]], segment=False).result(60)
        assert facts["provenance"]["segmenter"] is None
        assert sorted(zipfile.ZipFile(path).namelist()) == ["classification.csv", "record.json", "scan.png.heatmap.png"]

    def test_bad_input_reaches_the_client_as_a_message(self, client, scans):
        from gradio_client.exceptions import AppError

        good = [scans["scan.png"]]
        for paths, options, message in (
            ([], {}, "no scans, expected images"),
            (good, {"classify": False, "segment": False}, "nothing to do"),
            (good, {"axial_um": 3}, "the lateral size of a pixel is missing"),
            (["http://198.51.100.1/scan.zip"], {}, "a URL, expected an uploaded file"),
        ):
            with pytest.raises(AppError, match=message):
                self.ask(client, paths, **options).result(60)

    def test_a_client_that_goes_leaves_nothing(self, connect, scans, server):
        before = set(server.uploads.rglob("octhub-results.zip"))
        job = self.ask(connect(), [scans["deep.png"]] * 40)
        deadline = time.monotonic() + 60
        while len(job.outputs()) < 2 and time.monotonic() < deadline:
            time.sleep(0.1)
        (mine,) = set(server.uploads.rglob("octhub-results.zip")) - before
        job.cancel()
        while mine.exists() and time.monotonic() < deadline:
            time.sleep(0.1)
        assert not mine.exists()

    def test_is_described(self, client):
        endpoint = client.view_api(return_format="dict", print_info=False)["named_endpoints"]["/many"]
        found = {p["parameter_name"]: p["parameter_has_default"] for p in endpoint["parameters"]}
        defaults = dict.fromkeys(("classify", "segment", "axial_um", "lateral_um"), True)
        assert found == {"files": False, **defaults}
        assert "ZIP" in endpoint["description"]


class TestInProcess:
    def test_without_a_segmenter_it_classifies(self, app, classifier, scans):
        demo = app().build_demo(classifier)
        (many,) = [f.fn for f in demo.fns.values() if f.api_name == "many"]
        *_, (facts, path) = many([str(scans["scan.png"])])
        assert facts["provenance"]["segmenter"] is None
        assert "areas.csv" not in zipfile.ZipFile(path).namelist()

    def test_on_zero_gpu_every_scan_asks_for_its_own(self, zero_gpu, app, classifier, segmenter, brought):
        demo = app().build_demo(classifier, segmenter)
        (many,) = [f.fn for f in demo.fns.values() if f.api_name == "many"]
        *_, (facts, _) = many([str(p) for p in brought])
        assert [row["file"] for row in facts["table"]] == NAMES
        assert len(zero_gpu) == len(GOOD)  # those that can't be read ask for none
        assert max(zero_gpu) <= 15

    def test_a_quota_that_is_used_up_ends_it(self, app, classifier, segmenter, brought, monkeypatch):
        import gradio as gr

        demo = app().build_demo(classifier, segmenter)
        (many,) = [f.fn for f in demo.fns.values() if f.api_name == "many"]
        cells = [cell.cell_contents for cell in many.__closure__]
        (bench,) = [c for c in cells if isinstance(c, sys.modules["many_tab"].Bench)]
        asked = []

        def used_up(*question):
            asked.append(question)
            if len(asked) > 1:
                raise gr.Error("no quota is left")
            return classifier(question[0], heatmap=True), segmenter(question[0])

        monkeypatch.setattr(bench, "_ask", used_up)
        *_, (facts, path) = many([str(p) for p in brought])
        assert [row["file"] for row in facts["table"]] == ["scan.png"]
        assert len(json.loads(zipfile.ZipFile(path).read("record.json"))["scans"]) == 1

    def test_a_run_ends_before_its_uploads_are_swept(self, app, classifier, scans, monkeypatch):
        demo = app().build_demo(classifier)
        (many,) = [f.fn for f in demo.fns.values() if f.api_name == "many"]
        running = many([str(scans["scan.png"])] * 3)
        next(running)
        monkeypatch.setattr(sys.modules["many_tab"], "KEEP_SECONDS", -1)
        *_, (facts, path) = running
        assert facts["table"] == []
        assert Path(path).exists()

    def test_the_time_of_a_run_counts_from_its_oldest_upload(self, app, classifier, scans, monkeypatch, tmp_path):
        app().build_demo(classifier)
        many_tab = sys.modules["many_tab"]
        files = [str(shutil.copy(scans["scan.png"], tmp_path / name)) for name in ("old.png", "new.png")]
        real = os.stat
        aged = SimpleNamespace(st_ctime=time.time() - 1200)
        monkeypatch.setattr(
            many_tab.os, "stat", lambda f, **how: aged if str(f).endswith("old.png") else real(f, **how)
        )
        assert many_tab.oldest(files) == aged.st_ctime
        assert time.time() - many_tab.oldest(files[1:]) < 60
        monkeypatch.undo()
        Path(files[0]).unlink()
        with pytest.raises(BatchError, match=r"old\.png was deleted from the server, .* add it again"):
            many_tab.oldest(files)

    def test_uploads_and_results_are_swept(self, app, classifier, segmenter, brought, monkeypatch, tmp_path):
        from gradio.route_utils import delete_files_created_by_app
        from gradio_client import Client, handle_file

        monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "cache"))
        demo = app().build_demo(classifier, segmenter)
        demo.launch(prevent_thread_lock=True, quiet=True)
        try:
            client = Client(demo.local_url, download_files=tmp_path / "client", verbose=False)
            client.predict([handle_file(str(p)) for p in brought], api_name="/many")
            theirs = {"eyes.zip", "octhub-results.zip", "plain.bmp", "scan.png"}

            def kept():
                return theirs & {p.name for p in (tmp_path / "cache").rglob("*") if p.is_file()}

            assert kept() == theirs
            delete_files_created_by_app(demo, age=None)
            assert not kept()
        finally:
            demo.close()

    def test_what_is_being_written_is_swept_too_if_it_is_left(self, app, classifier, segmenter, brought):
        """A run's ZIP is known to the sweep from its first byte."""
        from gradio.route_utils import delete_files_created_by_app

        demo = app().build_demo(classifier, segmenter)
        (many,) = [f.fn for f in demo.fns.values() if f.api_name == "many"]
        running = many([str(p) for p in brought])
        next(running)
        (path,) = [Path(p) for files in demo.temp_file_sets for p in files if p.endswith("octhub-results.zip")]
        assert path.exists()
        delete_files_created_by_app(demo, age=3600)
        assert path.exists()
        delete_files_created_by_app(demo, age=None)
        assert not path.exists()

    def test_runs_that_were_ended_are_not_remembered_for_ever(self, app, classifier):
        app()
        many_tab = sys.modules["many_tab"]
        bench = many_tab.Bench(classifier, None, None)
        for number in range(3 * many_tab.FORGOTTEN):
            bench.end(str(number))
        assert len(bench.ended) <= many_tab.FORGOTTEN + 1

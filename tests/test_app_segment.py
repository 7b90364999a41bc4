"""The demo's Segment tab as its visitors meet it. What it shows is compared with a Segmenter in this process."""

import base64
import csv
import io
import json
import sys
from dataclasses import asdict
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from app_fixtures import ABSENT, CLASS_NAMES, assert_came_from, upload
from PIL import Image

from octhub import read_scan
from octhub.gallery import Example, load
from octhub.mask import UNKNOWN, read_mask
from octhub.mask_render import OPACITY, disagreement_key, disagreement_layer, mask_layer, mask_overlay
from octhub.measure import Scale, measure
from octhub.promise import ClassPromise, MaskPromise
from octhub.provenance import COLUMNS, columns, provenance
from octhub.render import grey
from octhub.results import decided

VIEWER = "#segment-viewer"


@pytest.fixture(scope="module")
def answer(segmenter, scans):
    """The Segmentation of scan.png, which has all classes but one."""
    answer = segmenter(scans["scan.png"])
    found = {CLASS_NAMES[i] for i in np.unique(answer.mask) if i != UNKNOWN}
    assert found == {*CLASS_NAMES} - {ABSENT}
    return answer


@pytest.fixture(scope="module")
def masks(answer, tmp_path_factory):
    """Masks as visitors bring them for scan.png: name → path."""
    folder = tmp_path_factory.mktemp("masks")
    expert = np.roll(answer.mask, 5, axis=0)
    expert[:, :40] = UNKNOWN
    strange = expert.copy()
    strange[100:110] = 77
    made = {"expert.png": expert, "small.png": expert[:100, :200], "strange.png": strange}
    for name, ids in made.items():
        Image.fromarray(ids).save(folder / name)
    return {p.name: p for p in folder.iterdir()}


def data_of(url: str) -> bytes:
    return base64.b64decode(url.split(";base64,")[1])


def picture(page, selector: str) -> np.ndarray:
    """The pixels of one of the viewer's images."""
    source = page.locator(f"{VIEWER} {selector}").get_attribute("src")
    return np.asarray(Image.open(io.BytesIO(data_of(source))))


def rows(page, table: str) -> list[list[str]]:
    return page.eval_on_selector_all(
        f"{table} tbody tr", "l => l.map(row => [...row.children].map(cell => cell.innerText))"
    )


def saved(page, link: str) -> tuple[str, bytes]:
    """Click on something that downloads: the file's name and bytes."""
    with page.expect_download() as download:
        page.locator("#segment-areas, #segment-viewer").get_by_text(link).click()
    return download.value.suggested_filename, Path(download.value.path()).read_bytes()


def assert_shows(page, path: Path, answer) -> None:
    """The page shows this answer for this scan, at the scan's own size, and what it measures."""
    page.locator(f"{VIEWER} figcaption b", has_text=path.name).wait_for()
    assert np.array_equal(picture(page, "img.scan"), grey(read_scan(path)))
    assert np.array_equal(picture(page, "img.layer[data-layer=model]"), mask_layer(answer.mask, CLASS_NAMES))
    areas = [[m.name, f"{m.pixels:,}"] for m in measure(answer.mask, CLASS_NAMES)]
    assert [row[:2] for row in rows(page, "#segment-areas")] == areas


def assert_scores(page, answer, mask: Path) -> None:
    """The page shows the answer's score by this mask."""
    score = answer.score(mask)
    scores = page.locator("#segment-scores")
    scores.get_by_text(f"Mask {mask.name}", exact=True).wait_for()
    figures = scores.locator("dd").all_inner_texts()
    assert figures == [f"{score.miou:.3f}", f"{score.pixel_accuracy:.1%}"]
    expected = [[n, f"{score.iou[n]:.3f}", f"{score.dice[n]:.3f}"] for n in CLASS_NAMES if n != ABSENT]
    assert rows(page, "#segment-scores") == [*expected, [ABSENT, "–", "–"]]
    assert "over 9 of 10 classes. – is in neither mask and left out" in scores.inner_text()


def alert(page, text: str) -> None:
    page.locator("#segment-scores [role=alert]").get_by_text(text).wait_for()


def errors_of(fn, *args) -> str:
    with pytest.raises(ValueError) as error:
        fn(*args)
    return str(error.value)


class TestPage:
    def test_scan_then_mask(self, visit, scans, masks, answer, segmenter):
        page = visit(tab="Segment")
        upload(page, scans["scan.png"])
        assert_shows(page, scans["scan.png"], answer)
        assert not page.locator("[data-view]").count()
        assert not page.locator("#segment-scores table").count()
        name, labels = saved(page, "Labels (PNG)")
        assert name == "scan-labels.png"
        assert np.array_equal(read_mask(labels, answer.mask.shape, CLASS_NAMES), answer.mask)

        upload(page, masks["expert.png"], "mask-file")
        assert_scores(page, answer, masks["expert.png"])
        assert_shows(page, scans["scan.png"], answer)
        name, table = saved(page, "Table (CSV)")
        assert name == "scan-areas.csv"
        lines = list(csv.DictReader(io.StringIO(table.decode())))
        assert [line["class"] for line in lines] == list(CLASS_NAMES)
        assert [int(line["pixels"]) for line in lines] == [m.pixels for m in measure(answer.mask, CLASS_NAMES)]
        assert float(lines[1]["iou"]) == pytest.approx(answer.score(masks["expert.png"]).iou["NFL"], abs=1e-5)
        assert lines[-1]["iou"] == lines[-1]["area_mm2"] == ""
        name, record = saved(page, "Record (JSON)")
        assert name == "scan-areas.json"
        record = json.loads(record)
        assert_came_from(record["provenance"], segmenter, scans["scan.png"])
        assert record["areas"] == [asdict(m) for m in measure(answer.mask, CLASS_NAMES)]
        assert record["scores"]["miou"] == pytest.approx(answer.score(masks["expert.png"]).miou)
        assert {key: lines[-1][key] for key in COLUMNS} == columns(record["provenance"])
        assert {key: lines[-1][key] for key in ("decision", "reason")} == decided(answer)

        truth = read_mask(masks["expert.png"])
        layers = {
            "model": mask_layer(answer.mask, CLASS_NAMES),
            "expert": mask_layer(truth, CLASS_NAMES),
            "difference": disagreement_layer(answer.mask, truth, CLASS_NAMES),
        }
        for view, button in {"expert": "Expert", "difference": "Difference", "model": "Model"}.items():
            page.get_by_role("button", name=button, exact=True).click()
            page.locator(f"{VIEWER} img.layer[data-layer={view}]").wait_for(state="visible")
            assert page.locator(f"{VIEWER} img.layer:visible").count() == 1
            assert np.array_equal(picture(page, "img.layer:not([hidden])"), layers[view])
            assert page.locator(f"{VIEWER} .key.difference").is_visible() == (view == "difference")
        key = page.locator(f"{VIEWER} .key.difference").text_content()
        assert all(text in key for text, _ in disagreement_key(CLASS_NAMES))
        name, overlay = saved(page, "Save picture")
        assert name == "scan-overlay.png"
        expected = mask_overlay(read_scan(scans["scan.png"]), answer.mask, CLASS_NAMES)
        found = np.asarray(Image.open(io.BytesIO(overlay)).convert("RGB"), int)
        assert np.abs(found - expected).max() <= 4  # canvases blend in 8 bits

    def test_mask_first_and_a_second_scan(self, visit, scans, masks, answer, segmenter):
        page = visit(tab="Segment")
        upload(page, masks["expert.png"], "mask-file")
        page.get_by_text("Mask expert.png is ready").wait_for()
        upload(page, scans["scan.png"])
        assert_scores(page, answer, masks["expert.png"])
        assert_shows(page, scans["scan.png"], answer)
        upload(page, scans["deep.png"])
        page.get_by_text("Mask expert.png was removed").wait_for()
        assert_shows(page, scans["deep.png"], segmenter(scans["deep.png"]))
        assert "It is the mask of scan.png" in page.locator("#segment-scores").inner_text()
        assert not page.locator(".remove-mask").is_visible()

    def test_masks_that_cannot_be_used(self, visit, scans, masks, answer):
        page = visit(tab="Segment")
        upload(page, scans["scan.png"])
        assert_shows(page, scans["scan.png"], answer)
        upload(page, masks["strange.png"], "mask-file")
        alert(page, errors_of(read_mask, masks["strange.png"], None, CLASS_NAMES))
        assert_shows(page, scans["scan.png"], answer)
        upload(page, masks["small.png"], "mask-file")
        alert(page, errors_of(read_mask, masks["small.png"], answer.mask.shape, CLASS_NAMES))
        assert_shows(page, scans["scan.png"], answer)
        upload(page, scans["broken.png"], "mask-file")
        alert(page, errors_of(read_mask, scans["broken.png"]))
        upload(page, masks["expert.png"], "mask-file")
        assert_scores(page, answer, masks["expert.png"])
        page.get_by_role("button", name="Remove mask expert.png").click()
        page.get_by_text("How good is it?").wait_for()
        assert_shows(page, scans["scan.png"], answer)

    def test_scans_that_cannot_be_used(self, visit, scans, answer, server):
        page = visit(tab="Segment")
        upload(page, scans["broken.png"])
        page.locator(f"{VIEWER} [role=alert]", has_text=errors_of(read_scan, scans["broken.png"])).wait_for()
        assert not page.locator("#segment-areas").is_visible()
        upload(page, scans["scan.png"])
        assert_shows(page, scans["scan.png"], answer)
        for path in server.uploads.rglob("scan.png"):
            path.unlink()  # as the sweep does
        upload(page, scans["broken.png"], "mask-file")
        page.locator(f"{VIEWER} [role=alert]", has_text="scan.png is no longer here").wait_for()

    def test_a_class_is_singled_out_in_the_browser_alone(self, visit, scans, masks, answer):
        page = visit(tab="Segment")
        upload(page, scans["scan.png"])
        upload(page, masks["expert.png"], "mask-file")
        assert_scores(page, answer, masks["expert.png"])
        page.wait_for_timeout(1000)  # a gentle scroll
        page.watch.requests.clear()
        truth = read_mask(masks["expert.png"])
        for view, ids, id in (("Model", answer.mask, 3), ("Expert", truth, 5), ("Model", answer.mask, 1)):
            page.get_by_role("button", name=view, exact=True).click()
            self.point(page, ids, id)
            self.assert_single(page, ids, id)
            assert page.locator(f"{VIEWER} .tip").inner_text() == CLASS_NAMES[id]
        page.mouse.move(1, 1)
        page.locator(f"{VIEWER} .viewer:not(.singled)").wait_for()
        assert not page.locator(f"{VIEWER} canvas.single, {VIEWER} .tip").locator("visible=true").count()

        button = page.get_by_role("button", name=f"{CLASS_NAMES[4]}, {(answer.mask == 4).mean():.1%} of the scan")
        button.focus()
        self.assert_single(page, answer.mask, 4)
        page.keyboard.press("Enter")  # it stays
        page.keyboard.press("Tab")  # to its eye
        self.assert_single(page, answer.mask, 4)
        page.keyboard.press("Tab")
        self.assert_single(page, answer.mask, 5)
        page.keyboard.press("Escape")
        page.locator(f"{VIEWER} .viewer:not(.singled)").wait_for()
        button.click()
        page.mouse.move(1, 1)
        page.get_by_role("tab", name="Segment").focus()
        self.assert_single(page, answer.mask, 4)
        assert button.get_attribute("aria-pressed") == "true"
        page.locator("#segment-areas tr", has_text=CLASS_NAMES[2]).hover()
        self.assert_single(page, answer.mask, 2)
        assert page.get_by_role("button", name=f"{ABSENT}, not found").is_visible()
        assert not page.watch.requests

    @staticmethod
    def point(page, ids: np.ndarray, id: int) -> None:
        """Move the mouse to the middle of a class's largest region."""
        inside = cv2.distanceTransform((ids == id).astype(np.uint8), cv2.DIST_L2, 5)
        row, column = np.unravel_index(inside.argmax(), ids.shape)
        box = page.locator(f"{VIEWER} .stage").bounding_box()
        scale = min(box["width"] / ids.shape[1], box["height"] / ids.shape[0])
        left = box["x"] + (box["width"] - ids.shape[1] * scale) / 2
        top = box["y"] + (box["height"] - ids.shape[0] * scale) / 2
        page.mouse.move(left + (column + 0.5) * scale, top + (row + 0.5) * scale)

    @staticmethod
    def assert_single(page, ids: np.ndarray, id: int) -> None:
        """The canvas shows exactly this class, and its name stands out."""
        page.locator(f"{VIEWER} .legend button.on", has_text=CLASS_NAMES[id]).wait_for()
        assert page.locator(".segment tr.on").count() == page.locator(".segment table").count()  # areas and scores
        alpha = page.eval_on_selector(
            f"{VIEWER} canvas.single",
            """c => {
              const { data } = c.getContext("2d").getImageData(0, 0, c.width, c.height);
              return data.filter((_, i) => i % 4 === 3).join();
            }""",
        )
        shown = np.array(alpha.split(","), int).reshape(ids.shape) > 0
        assert np.array_equal(shown, ids == id)

    def test_examples(self, visit, root, scans, answer, segmenter):
        examples = [e for e in load(root / "examples") if e.segment]
        if not examples:
            pytest.skip("the gallery has no example for the segmenter")
        page = visit(tab="Segment")
        upload(page, scans["scan.png"])
        assert_shows(page, scans["scan.png"], answer)
        for index in (0, len(examples) - 1):
            example = examples[index]
            page.locator(".examples:visible button.thumbnail-item").nth(index).click()
            assert_shows(page, example.path, segmenter(example.path))
            if example.mask:
                page.locator("#segment-scores").get_by_text(f"Mask {example.mask.name}", exact=True).wait_for()

    def test_scale(self, visit, scans, answer):
        page = visit(tab="Segment")
        upload(page, scans["scan.png"])
        assert_shows(page, scans["scan.png"], answer)
        note = page.locator("#segment-areas .note")
        assert "In pixels" in note.inner_text()
        page.get_by_label("Axial").fill("3,5")
        page.get_by_text("the lateral size of a pixel is missing").wait_for()
        page.get_by_label("Lateral").fill("0")
        page.get_by_text("expected two numbers from 0.001 to 10000").wait_for()
        page.get_by_label("Lateral").fill("11")
        page.get_by_text("At 3.5 µm (axial) × 11 µm (lateral) per pixel.").wait_for()
        measured = measure(answer.mask, CLASS_NAMES, Scale(3.5, 11))
        expected = [
            [f"{m.area_mm2:.3f}", f"{m.thickness_um_mean:.1f}"] if m.pixels else ["0.000", "–"] for m in measured
        ]
        assert [row[4:6] for row in rows(page, "#segment-areas")] == expected
        upload(page, scans["plain.bmp"])  # what the visitor has typed stays
        page.locator(f"{VIEWER} figcaption b", has_text="plain.bmp").wait_for()
        assert "At 3.5 µm" in note.inner_text()

    def test_drop_anywhere_adds_a_scan(self, visit, scans, answer):
        page = visit(tab="Segment")
        data = base64.b64encode(scans["scan.png"].read_bytes()).decode()
        page.evaluate(
            """data => {
              const bytes = Uint8Array.from(atob(data), (c) => c.charCodeAt(0));
              const dataTransfer = new DataTransfer();
              dataTransfer.items.add(new File([bytes], "scan.png", { type: "image/png" }));
              const target = document.querySelector("#segment-viewer .viewer");
              target.dispatchEvent(new DragEvent("drop", { dataTransfer, bubbles: true, cancelable: true }));
            }""",
            data,
        )
        assert_shows(page, scans["scan.png"], answer)

    @pytest.mark.parametrize("width", [390, 1440])
    @pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
    def test_fits_the_screen(self, visit, root, scans, masks, answer, width, dark):
        page = visit(width, 844 if width < 500 else 900, dark, tab="Segment")
        shots = root / "screenshots"
        shots.mkdir(exist_ok=True)
        upload(page, scans["scan.png"])
        assert_shows(page, scans["scan.png"], answer)
        box = page.locator(f"{VIEWER} .stage").bounding_box()
        upload(page, masks["expert.png"], "mask-file")
        assert_scores(page, answer, masks["expert.png"])
        page.get_by_label("Axial").fill("3.87")
        page.get_by_label("Lateral").fill("11.5")
        page.get_by_text("At 3.87 µm").wait_for()
        for view in ("Model", "Difference"):
            page.get_by_role("button", name=view, exact=True).click()
            page.locator(".legend button").nth(3).click()  # as a finger would
            page.locator(f"{VIEWER} .singled").wait_for()
            name = f"segment-{width}-{'dark' if dark else 'light'}-{view.lower()}"
            page.screenshot(path=shots / f"{name}.png", full_page=True)
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
            page.locator(".legend button").nth(3).click()
        assert box["width"] > 300
        assert page.get_by_text("Research use only").is_visible()


class TestApi:
    @staticmethod
    def ask(client, path, mask=None, **options):
        from gradio_client import handle_file

        options |= {} if mask is None else {"mask": handle_file(str(mask))}
        return client.predict(handle_file(str(path)), **options, api_name="/segment")

    def test_without_and_with_a_mask(self, client, scans, masks, answer, server, segmenter):
        facts, labels, overlay, table = self.ask(client, scans["scan.png"])
        assert facts["areas"] == [asdict(m) for m in measure(answer.mask, CLASS_NAMES)]
        assert [facts[key] for key in ("scale", "mask", "scores")] == [None] * 3
        assert_came_from(facts["provenance"], segmenter, scans["scan.png"])
        assert (facts["decision"], facts["reason"]) == (answer.decision, answer.reason)
        assert [Path(p).name for p in (labels, overlay, table)] == [
            "scan-labels.png",
            "scan-overlay.png",
            "scan-areas.csv",
        ]
        assert Image.open(labels).format == Image.open(overlay).format == "PNG"
        assert np.array_equal(read_mask(labels, None, CLASS_NAMES), answer.mask)
        picture = mask_overlay(read_scan(scans["scan.png"]), answer.mask, CLASS_NAMES, OPACITY)
        assert np.array_equal(np.asarray(Image.open(overlay)), picture)
        (*_, last) = csv.DictReader(Path(table).read_text().splitlines())
        assert "iou" not in last
        assert {key: last[key] for key in COLUMNS} == columns(facts["provenance"])
        assert {key: last[key] for key in ("decision", "reason")} == decided(answer)

        scale = {"axial_um": 3.87, "lateral_um": 11.5}
        facts, _, _, table = self.ask(client, scans["scan.png"], masks["expert.png"], **scale)
        assert facts["areas"] == [asdict(m) for m in measure(answer.mask, CLASS_NAMES, Scale(3.87, 11.5))]
        assert facts["scores"] == answer.score(masks["expert.png"]).as_dict()
        assert (facts["mask"], facts["scale"]) == ("expert.png", scale)
        assert facts["scores"]["iou"][ABSENT] is None
        assert "iou" in Path(table).read_text()
        assert len(list(server.uploads.rglob("scan-labels.png"))) >= 1  # where the sweep finds it

    @pytest.mark.parametrize(
        ("mask", "options", "message"),
        [
            ("small.png", {}, "small.png: 200 × 100 pixels, expected 512 × 450"),
            ("strange.png", {}, "strange.png: id 77 without a class"),
            (None, {"axial_um": 3}, "the lateral size of a pixel is missing"),
            (None, {"axial_um": 3, "lateral_um": -1}, "expected two numbers from 0.001 to 10000"),
        ],
    )
    def test_bad_input_reaches_the_client_as_a_message(self, client, scans, masks, mask, options, message):
        from gradio_client.exceptions import AppError

        with pytest.raises(AppError, match=message):
            self.ask(client, scans["scan.png"], mask and masks[mask], **options)

    def test_bad_scan_and_urls(self, client, scans):
        from gradio_client import handle_file
        from gradio_client.exceptions import AppError

        with pytest.raises(AppError) as reached:
            self.ask(client, scans["broken.png"])
        assert errors_of(read_scan, scans["broken.png"]) in str(reached.value)
        url = handle_file("http://198.51.100.1/mask.png")
        with pytest.raises(AppError, match=r"mask\.png: a URL, expected an uploaded file"):
            client.predict(handle_file(str(scans["scan.png"])), url, api_name="/segment")

    def test_is_described(self, client):
        endpoint = client.view_api(return_format="dict")["named_endpoints"]["/segment"]
        found = {p["parameter_name"]: p["parameter_has_default"] for p in endpoint["parameters"]}
        assert found == {"image": False, "mask": True, "axial_um": True, "lateral_um": True}
        assert "mIoU" in endpoint["description"]


class TestInProcess:
    def test_without_a_segmenter_there_is_no_tab(self, app, classifier):
        demo = app().build_demo(classifier)
        assert not [f for f in demo.fns.values() if f.api_name == "segment"]
        assert "outlines" not in json.dumps(demo.get_config_file(), default=str)

    def test_on_zero_gpu_everything_that_crosses_the_fork_is_pickled(
        self, zero_gpu, app, classifier, segmenter, scans, masks, answer
    ):
        demo = app().build_demo(classifier, segmenter)
        (run,) = [f.fn for f in demo.fns.values() if f.api_name == "segment"]
        facts, labels, *_ = run(str(scans["scan.png"]), str(masks["expert.png"]))
        assert np.array_equal(read_mask(labels), answer.mask)
        assert facts["scores"]["classes_counted"] == 9
        assert len(zero_gpu) == 1
        assert 0 < zero_gpu[0] <= 15

    def test_produced_files_are_swept(self, app, classifier, segmenter, scans, monkeypatch, tmp_path):
        from gradio.route_utils import delete_files_created_by_app
        from gradio_client import Client, handle_file

        monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "cache"))
        demo = app().build_demo(classifier, segmenter)
        demo.launch(prevent_thread_lock=True, quiet=True)
        try:
            client = Client(demo.local_url, download_files=tmp_path / "client", verbose=False)
            client.predict(handle_file(str(scans["scan.png"])), api_name="/segment")
            kept = [p.name for p in (tmp_path / "cache").rglob("scan*") if p.is_file()]
            assert sorted(kept) == ["scan-areas.csv", "scan-labels.png", "scan-overlay.png", "scan.png"]
            delete_files_created_by_app(demo, age=None)
            assert not [p for p in (tmp_path / "cache").rglob("scan*") if p.is_file()]
        finally:
            demo.close()

    @pytest.fixture
    def desk(self, app, segmenter, scans, masks):
        """A visitor's desk with two examples."""
        app()
        origin = dict.fromkeys(("sha256", "source", "licence", "attribution", "patient", "split"), "")
        promises = [MaskPromise(masks["expert.png"], ""), ClassPromise("NFL")]
        examples = [
            Example(path=scans[n], **origin, segment=p) for n, p in zip(("scan.png", "deep.png"), promises, strict=True)
        ]
        describe = partial(provenance, segmenter)
        return sys.modules["segment_tab"].Desk(segmenter, CLASS_NAMES, examples, describe)

    def test_examples_come_with_their_masks(self, desk, masks, answer):
        case, _, view, scores, *_ = desk.add_example(desk_case(), "", "", SimpleNamespace(index=0))
        assert case.compared
        assert f"{answer.score(masks['expert.png']).miou:.3f}" in scores
        assert "data-expert" in view
        case, _, view, scores, *_ = desk.add_example(case, "", "", SimpleNamespace(index=1))
        assert case.mask is None
        assert "deep.png" in view
        assert [sys.modules["segment_tab"].caption(e) for e in desk.examples] == ["with mask", "NFL"]

    def test_file_names_are_escaped(self, desk, scans, masks, tmp_path):
        name = "<img src=x onerror=alert(1)>&\"'.png"
        for source, folder in ((scans["scan.png"], "scan"), (masks["expert.png"], "mask")):
            (tmp_path / folder).mkdir()
            (tmp_path / folder / name).write_bytes(source.read_bytes())
        _, case, *_ = desk.add_mask(str(tmp_path / "mask" / name), desk_case(), "", "")
        _, case, _, *pages = desk.add_scan(str(tmp_path / "scan" / name), case, "", "")
        assert case.compared
        html = "".join(p if isinstance(p, str) else p.constructor_args.get("value", "") for p in pages)
        assert "<img src=x" not in html
        assert html.count("&lt;img src=x onerror=alert(1)&gt;&amp;&quot;&#x27;") >= 5
        _, case, _, _, scores, *_ = desk.add_scan(str(scans["deep.png"]), case, "", "")
        assert "<img" not in scores
        assert "was removed" in scores

    def test_the_scan_on_show_keeps_its_mask_when_it_comes_back(self, desk, scans, masks):
        _, case, *_ = desk.add_mask(str(masks["expert.png"]), desk_case(), "", "")
        _, case, *_ = desk.add_scan(str(scans["scan.png"]), case, "", "")
        assert desk.take((str(scans["scan.png"]), ""), case, "", "")[0] is case
        assert desk.take(None, case, "", "")[0] is case
        other, *_ = desk.take((str(scans["deep.png"]), "a note"), case, "", "")
        assert (other.name, other.note, other.mask) == ("deep.png", "a note", None)

    def test_the_state_is_small(self, desk, scans, answer):
        _, case, *_ = desk.add_scan(str(scans["scan.png"]), desk_case(), "", "")
        assert len(case.answer.data) < answer.mask.size / 5

    @pytest.mark.parametrize(
        ("typed", "scale"),
        [(("", None), None), (("3,87", " 11.5 "), Scale(3.87, 11.5)), ((2, 3.0), Scale(2, 3))],
    )
    def test_scale(self, app, typed, scale):
        app()
        assert sys.modules["segment_case"].scale_of(*typed) == scale

    @pytest.mark.parametrize(
        "typed", [("1", ""), (None, 2), ("x", "1"), (0, 1), ("inf", "1"), ("nan", 1), ("1e999", 1)]
    )
    def test_bad_scale(self, app, typed):
        app()
        with pytest.raises(ValueError, match="pixel"):
            sys.modules["segment_case"].scale_of(*typed)


def desk_case():
    return sys.modules["segment_case"].Case()

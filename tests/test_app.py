"""The web demo as its visitors meet it: a real server, a real browser, the real API client.

What it shows is compared with what the Classifier says in this process, so any checkpoint will do.
"""

import base64
import io
import json
import os
import sys
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from app_fixtures import assert_came_from, upload
from PIL import Image

from octhub import ScanError, read_scan
from octhub.render import grey, heat_layer, overlay

HANDFUL = 1e-5  # another process may sum in another order


@pytest.fixture(scope="session")
def examples(root):
    entries = json.loads((root / "examples" / "manifest.json").read_text())["examples"]
    return [e for e in entries if e.get("label")]


def picture(page, layer: str) -> np.ndarray:
    """The pixels that the page shows as "scan" or "layer"."""
    data = page.locator(f"#classify-viewer img.{layer}").get_attribute("src").removeprefix("data:image/png;base64,")
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(data))))


def pick(page, index: int) -> None:
    page.locator(".examples button.thumbnail-item").nth(index).click()


def assert_shows(page, path: Path, classifier, heatmap: bool | str = True) -> None:
    """The page shows what the Classifier says about this file, at the scan's own size."""
    from playwright.sync_api import expect

    page.locator("#classify-viewer figcaption b", has_text=path.name).wait_for()
    expected, scan = classifier(path, heatmap=heatmap), read_scan(path)
    page.locator("#classify-viewer .key", has_text=expected.heatmap_class).wait_for()
    label = page.locator("#classify-label")
    expect(label.locator("h2")).to_have_text(expected.label)
    expect(page.locator("#classify-doubt .doubt")).to_have_count(1 if expected.reason else 0)
    expect(label.locator("h2")).to_be_visible(visible=not expected.reason)
    for name, probability in expected.probabilities.items():
        expect(label).to_contain_text(name)
        expect(label).to_contain_text(f"{round(probability * 100)}%")
    sizes = page.eval_on_selector_all(
        "#classify-viewer .stage img", "l => l.map(i => [i.naturalHeight, i.naturalWidth])"
    )
    assert sizes == [list(scan.shape)] * 2
    assert np.array_equal(picture(page, "scan"), grey(scan))
    assert np.abs(picture(page, "layer").astype(int) - heat_layer(expected.heatmap)).max() <= 2


class TestPage:
    @pytest.mark.parametrize("name", ["scan.png", "deep.png", "deep.tiff", "plain.bmp"])
    def test_upload(self, visit, scans, classifier, name):
        page = visit()
        upload(page, scans[name])
        assert_shows(page, scans[name], classifier)

    def test_what_is_no_scan_is_told(self, visit, classifier, root, examples, tmp_path):
        noise = tmp_path / "noise.png"
        Image.fromarray(np.random.default_rng(0).integers(0, 256, (200, 300), np.uint8)).save(noise)
        page = visit()
        upload(page, noise)
        assert_shows(page, noise, classifier)
        doubt = page.locator("#classify-doubt").inner_text()
        assert "This does not look like an OCT B-scan" in doubt
        assert classifier(noise).reason[1:] in doubt
        pick(page, 0)  # and the doubt goes with the image
        assert_shows(page, root / "examples" / examples[0]["file"], classifier)

    def test_one_scan_after_another(self, visit, scans, classifier, root, examples):
        page = visit()
        files = [root / "examples" / e["file"] for e in examples]
        pick(page, 0)
        assert_shows(page, files[0], classifier)
        assert f"graded {examples[0]['label']}" in page.locator("#classify-viewer").inner_text()
        pick(page, len(files) - 1)
        assert_shows(page, files[-1], classifier)
        for name in ("scan.png", "deep.png"):
            upload(page, scans[name])
            assert_shows(page, scans[name], classifier)
        pick(page, len(files) - 1)  # the one that was picked last
        assert_shows(page, files[-1], classifier)

    def test_an_impatient_visitor_gets_the_last_scan_and_class(self, visit, classifier, root, examples):
        page = visit()
        for index in (0, 3, 5, 7):
            pick(page, index)
        assert_shows(page, root / "examples" / examples[7]["file"], classifier)
        for name in classifier.class_names:
            page.locator(".wanted label", has_text=name).click()
        page.locator("#classify-viewer .key", has_text=name).wait_for()
        assert_shows(page, root / "examples" / examples[7]["file"], classifier, name)

    def test_opacity_works_in_the_browser_alone(self, visit, root, examples, classifier):
        page = visit()
        pick(page, 0)
        assert_shows(page, root / "examples" / examples[0]["file"], classifier)
        stage, number = page.locator("#classify-viewer .stage"), page.locator(".opacity input[type=number]")
        page.wait_for_timeout(500)
        page.watch.requests.clear()
        shots = []
        for percent in (60, 0, 100):
            number.fill(str(percent))
            number.press("Enter")
            page.wait_for_function(
                "o => getComputedStyle(document.querySelector('#classify-viewer .layer')).opacity == o",
                arg=percent / 100,
            )
            shots.append(stage.screenshot())
        assert len(set(shots)) == 3
        assert not [r for r in page.watch.requests if "queue" in r or "run" in r or "call" in r]
        number.fill("20")
        number.press("Enter")
        pick(page, 1)  # and it stays as it was set
        assert_shows(page, root / "examples" / examples[1]["file"], classifier)
        assert page.eval_on_selector("#classify-viewer .layer", "e => getComputedStyle(e).opacity") == "0.2"

    def test_heatmap_class(self, visit, root, examples, classifier):
        page = visit()
        path = root / "examples" / examples[2]["file"]
        pick(page, 2)
        assert_shows(page, path, classifier)
        layers = []
        for name in classifier.class_names:
            page.locator(".wanted label", has_text=name).click()
            page.locator("#classify-viewer .key", has_text=name).wait_for()
            assert_shows(page, path, classifier, name)
            layers.append(picture(page, "layer").tobytes())
        assert len(set(layers)) > 1
        page.locator(".wanted label", has_text="likeliest").click()
        assert_shows(page, path, classifier)

    def test_bad_scan_is_explained_and_the_page_goes_on(self, visit, scans, classifier):
        page = visit()
        upload(page, scans["scan.png"])
        assert_shows(page, scans["scan.png"], classifier)
        upload(page, scans["broken.png"])
        with pytest.raises(ScanError) as error:
            read_scan(scans["broken.png"])
        page.locator("#classify-viewer [role=alert]", has_text=str(error.value)).wait_for()
        assert not page.locator("#classify-viewer img").count()
        assert not page.locator("#classify-label").is_visible()
        upload(page, scans["deep.png"])
        assert_shows(page, scans["deep.png"], classifier)

    def test_an_upload_that_was_swept_away(self, visit, scans, classifier, server):
        page = visit()
        upload(page, scans["plain.bmp"])
        assert_shows(page, scans["plain.bmp"], classifier)
        kept = [p for p in server.uploads.rglob("plain.bmp") if p.stat().st_size]
        assert kept
        for path in kept:
            path.unlink()
        page.locator(".wanted label", has_text=classifier.class_names[1]).click()
        page.locator("#classify-viewer [role=alert]", has_text="plain.bmp is no longer here").wait_for()

    @pytest.mark.parametrize("event", ["paste", "drop"])
    def test_paste_and_drop_anywhere(self, visit, scans, classifier, event):
        page = visit()
        data = base64.b64encode(scans["scan.png"].read_bytes()).decode()
        page.evaluate(
            """([event, name, data]) => {
              const bytes = Uint8Array.from(atob(data), (c) => c.charCodeAt(0));
              const carrier = new DataTransfer();
              carrier.items.add(new File([bytes], name, { type: "image/png" }));
              const Kind = event === "paste" ? ClipboardEvent : DragEvent;
              const key = event === "paste" ? "clipboardData" : "dataTransfer";
              const target = document.querySelector("#classify-viewer .viewer");
              target.dispatchEvent(new Kind(event, { [key]: carrier, bubbles: true, cancelable: true }));
            }""",
            [event, "scan.png", data],
        )
        assert_shows(page, scans["scan.png"], classifier)

    def test_saved_picture_is_the_overlay_and_the_record_says_the_rest(self, visit, scans, classifier, tmp_path):
        page = visit()
        upload(page, scans["scan.png"])
        assert_shows(page, scans["scan.png"], classifier)
        with page.expect_download() as download:
            page.get_by_role("button", name="Save picture").click()
        assert download.value.suggested_filename == "scan-octhub.png"
        download.value.save_as(tmp_path / "saved.png")
        saved = np.asarray(Image.open(tmp_path / "saved.png").convert("RGB"), int)
        answer = classifier(scans["scan.png"], heatmap=True)
        expected = overlay(read_scan(scans["scan.png"]), answer.heatmap, 0.6)
        assert saved.shape == expected.shape
        assert np.abs(saved - expected).max() <= 4  # canvases blend in 8 bits
        with page.expect_download() as download:
            page.get_by_role("link", name="Record (JSON)").click()
        assert download.value.suggested_filename == "scan-octhub.json"
        record = json.loads(Path(download.value.path()).read_text())
        assert (record["label"], record["heatmap_class"]) == (answer.label, answer.heatmap_class)
        assert_came_from(record["provenance"], classifier, scans["scan.png"])

    @pytest.mark.parametrize("width", [390, 1440])
    @pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
    def test_fits_the_screen(self, visit, root, examples, classifier, width, dark):
        page = visit(width, 844 if width < 500 else 900, dark)
        shots = root / "screenshots"
        shots.mkdir(exist_ok=True)
        name = f"classify-{width}-{'dark' if dark else 'light'}"
        page.wait_for_function("[...document.querySelectorAll('.examples img')].every(i => i.complete)")
        page.screenshot(path=shots / f"{name}-before.png", full_page=True)
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        pick(page, 0)
        assert_shows(page, root / "examples" / examples[0]["file"], classifier)
        page.wait_for_timeout(1000)  # a gentle scroll
        page.mouse.move(1, 1)
        page.screenshot(path=shots / f"{name}-after.png", full_page=True)
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        box = page.locator("#classify-viewer .stage").bounding_box()
        assert box["y"] >= 0
        assert box["y"] + box["height"] <= page.viewport_size["height"]
        assert page.get_by_text("Research use only").is_visible()
        lightness = page.evaluate(
            "getComputedStyle(document.body).backgroundColor.match(/\\d+/g).slice(0, 3).map(Number)"
        )
        assert max(lightness) < 60 if dark else min(lightness) > 200


class TestApi:
    @staticmethod
    def ask(client, path, **options):
        from gradio_client import handle_file

        return client.predict(handle_file(str(path)), **options, api_name="/classify")

    def check(self, answer, path, classifier, heatmap: bool | str = True, opacity: float = 0.6):
        facts, file = answer
        expected = classifier(path, heatmap=heatmap)
        assert [facts[k] for k in ("label", "decision", "reason")] == [
            expected.label,
            expected.decision,
            expected.reason,
        ]
        assert facts["heatmap_class"] == expected.heatmap_class
        assert_came_from(facts["provenance"], classifier, path)
        assert facts["probabilities"] == pytest.approx(expected.probabilities, abs=HANDFUL)
        image = Image.open(file)
        assert image.format == "PNG"
        lossless = overlay(read_scan(path), expected.heatmap, opacity)
        assert np.asarray(image).shape == lossless.shape
        assert np.abs(np.asarray(image, int) - lossless).max() <= 2

    @pytest.mark.parametrize("name", ["scan.png", "deep.png", "deep.tiff", "plain.bmp"])
    def test_says_what_the_classifier_says(self, client, scans, classifier, name):
        self.check(self.ask(client, scans[name]), scans[name], classifier)

    def test_heatmap_class_and_opacity(self, client, scans, classifier):
        for name in classifier.class_names:
            answer = self.ask(client, scans["scan.png"], heatmap_class=name, opacity=30)
            self.check(answer, scans["scan.png"], classifier, name, 0.3)

    def test_bad_scan_reaches_the_client_as_a_message(self, client, scans, classifier):
        from gradio_client.exceptions import AppError

        with pytest.raises(ScanError) as error:
            read_scan(scans["broken.png"])
        with pytest.raises(AppError) as reached:
            self.ask(client, scans["broken.png"])
        assert str(error.value) in str(reached.value)
        with pytest.raises(AppError, match="not in the list of choices"):
            self.ask(client, scans["scan.png"], heatmap_class="GLAUCOMA")
        self.check(self.ask(client, scans["scan.png"]), scans["scan.png"], classifier)

    def test_a_url_is_not_fetched(self, client):
        from gradio_client import handle_file
        from gradio_client.exceptions import AppError

        with pytest.raises(AppError, match=r"scan\.png: a URL, expected an uploaded file"):
            client.predict(handle_file("http://198.51.100.1/scan.png"), api_name="/classify")

    def test_two_users_at_once_get_their_own_answers(self, connect, scans, classifier):
        jobs = [scans["scan.png"], scans["deep.png"]]
        clients = [connect() for _ in jobs]
        for _ in range(3):
            with ThreadPoolExecutor(len(jobs)) as pool:
                answers = list(pool.map(self.ask, clients, jobs))
            for answer, path in zip(answers, jobs, strict=True):
                self.check(answer, path, classifier)

    def test_is_described_and_the_only_endpoint(self, client):
        api = client.view_api(return_format="dict")
        assert list(api["named_endpoints"]) == ["/classify", "/segment", "/many", "/about"]
        assert not api["unnamed_endpoints"]
        endpoint = api["named_endpoints"]["/classify"]
        assert [p["parameter_name"] for p in endpoint["parameters"]] == ["image", "heatmap_class", "opacity"]
        assert "Grad-CAM" in endpoint["description"]

    def test_files_of_the_server_stay_there(self, server, scans):
        """A caller can't have a file classified that lies on the server and was never uploaded."""
        file = {"path": str(scans["scan.png"]), "meta": {"_type": "gradio.FileData"}}
        call = f"{server.url}/gradio_api/call/classify"
        body = json.dumps({"data": [file, "likeliest", 60]}).encode()
        request = urllib.request.Request(call, body, {"Content-Type": "application/json"})
        event = json.load(urllib.request.urlopen(request))["event_id"]
        stream = urllib.request.urlopen(f"{call}/{event}").read().decode()
        assert "event: error" in stream
        assert "probabilities" not in stream


class TestStart:
    def test_importing_it_loads_and_launches_nothing(self, app, monkeypatch):
        import gradio as gr

        from octhub import Classifier, Segmenter

        def never(*args, **kwargs):
            pytest.fail("called at import")

        monkeypatch.setattr(gr.Blocks, "launch", never)
        monkeypatch.setattr(Classifier, "from_pretrained", never)
        monkeypatch.setattr(Segmenter, "from_pretrained", never)
        assert app().main

    @pytest.mark.parametrize("option", ["--classifier", "--segmenter"])
    def test_a_checkpoint_that_is_not_there(self, app, tmp_path, segmenter_folder, option):
        checkpoints = {"--segmenter": str(segmenter_folder), option: str(tmp_path / "no such folder")}
        with pytest.raises(SystemExit, match="no such folder"):
            app().main([word for pair in checkpoints.items() for word in pair])

    def test_environment_and_options(self, app, monkeypatch):
        options = app().options
        for name in ("OCTHUB_CLASSIFIER", "OCTHUB_SEGMENTER", "OCTHUB_HOST", "OCTHUB_PORT", "SPACE_ID"):
            monkeypatch.delenv(name, raising=False)
        assert vars(options([])) == {
            "classifier": "checkpoints/octnet-oct2017",
            "segmenter": "checkpoints/unet-duke-dme",
            "host": "127.0.0.1",
            "port": None,
            "share": False,
        }
        monkeypatch.setenv("SPACE_ID", "someone/octhub")
        assert options([]).host == "0.0.0.0"
        monkeypatch.setenv("OCTHUB_HOST", "::1")
        monkeypatch.setenv("OCTHUB_PORT", "7999")
        monkeypatch.setenv("OCTHUB_CLASSIFIER", "owner/name")
        monkeypatch.setenv("OCTHUB_SEGMENTER", "owner/other")
        found = options([])
        assert (found.host, found.port, found.classifier) == ("::1", 7999, "owner/name")
        assert found.segmenter == "owner/other"
        assert options(["--port", "7001"]).port == 7001

    def test_on_zero_gpu_everything_that_crosses_the_fork_is_pickled(self, zero_gpu, app, classifier, scans):
        demo = app().build_demo(classifier)
        (run,) = [f.fn for f in demo.fns.values() if f.api_name == "classify"]
        facts, image = run(str(scans["scan.png"]), "likeliest", 60)
        assert facts["label"] == classifier(scans["scan.png"]).label
        assert read_scan(image).shape == read_scan(scans["scan.png"]).shape
        assert len(zero_gpu) == 1
        assert 0 < zero_gpu[0] <= 15

    def test_idle_visitors_are_forgotten(self, app):
        """Gradio's memory of a session holds what it was last shown: its scan."""
        app()
        tabs, visits = sys.modules["tabs"], sys.modules["visits"]
        now = datetime.now()
        idle = {"old": now - timedelta(seconds=tabs.KEEP_SECONDS + 1), "new": now}
        holder = SimpleNamespace(time_last_used=dict(idle), session_data=dict.fromkeys(idle))
        visits.forget(holder, tabs.KEEP_SECONDS)
        assert list(holder.session_data) == list(holder.time_last_used) == ["new"]
        assert tabs.KEEP_SECONDS + tabs.SWEEP_SECONDS <= 1800

    def test_what_gradio_leaves_among_the_uploads_is_swept(self, app, tmp_path):
        """Visitors who leave while their scan is uploaded leave a part of it behind."""
        app()
        tabs = sys.modules["tabs"]
        old, new, digest = "tmpabcd_12x", "tmpabcd_12y", "0123456789abcdef" * 4
        for name in (old, new, "models.txt"):
            (tmp_path / name).write_bytes(b"half a scan")
        for name in (digest, digest[:32], "vibe_edit_history"):
            (tmp_path / name).mkdir()
        (tmp_path / digest[:32] / "scan.png").write_bytes(b"Gradio's affair")
        for path in tmp_path.iterdir():
            os.utime(path, (0, 0) if path.name != new else None)
        sys.modules["visits"].sweep(tmp_path, tabs.KEEP_SECONDS)
        assert {p.name for p in tmp_path.iterdir()} == {new, "models.txt", digest[:32], "vibe_edit_history"}
        sys.modules["visits"].sweep(tmp_path / "missing", 0)

    def test_the_server_forgets_on_schedule(self, app, classifier, monkeypatch, tmp_path):
        monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
        stray = tmp_path / "tmpabcd_12x"
        stray.write_bytes(b"half a scan")
        os.utime(stray, (0, 0))
        demo = app().build_demo(classifier)
        tabs = sys.modules["tabs"]
        monkeypatch.setattr(tabs, "SWEEP_SECONDS", 0.05)
        monkeypatch.setattr(tabs, "KEEP_SECONDS", 0)
        demo.launch(prevent_thread_lock=True, quiet=True, app_kwargs={"lifespan": sys.modules["visits"].forgetful})
        try:
            holder = demo.state_holder
            assert holder["visitor"]
            deadline = time.monotonic() + 20
            while "visitor" in holder and time.monotonic() < deadline:
                time.sleep(0.05)
            assert not holder.session_data
            assert not holder.time_last_used
            while stray.exists() and time.monotonic() < deadline:
                time.sleep(0.05)
            assert not stray.exists()
        finally:
            demo.close()

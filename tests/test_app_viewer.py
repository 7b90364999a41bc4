"""What the viewers do in the browser alone: comparing, switching layers off, the thickness profile; and what the page
says of the heat."""

import base64
import csv
import io
import sys
from types import SimpleNamespace
from unittest.mock import Mock

import numpy as np
import pytest
import test_app
import test_app_segment
from app_fixtures import ABSENT, CLASS_NAMES, upload
from PIL import Image

from octhub import read_scan
from octhub.heat_share import heat_inside
from octhub.mask_render import OPACITY, mask_layer
from octhub.profile_plot import RETINA, profiles
from octhub.render import blend, grey, overlay

VIEWERS = {"Classify": "#classify-viewer", "Segment": "#segment-viewer"}


@pytest.fixture
def opened(visit, scans, classifier, segmenter):
    """opened(tab, name) → the page with this scan in this tab, and no request of a model under way."""

    def opened(tab: str, name: str = "scan.png", **options):
        page = visit(tab=tab, **options)
        add(page, tab, scans[name], classifier, segmenter)
        return page

    return opened


def add(page, tab, path, classifier, segmenter) -> None:
    upload(page, path)
    if tab == "Classify":
        test_app.assert_shows(page, path, classifier)
        page.locator("#classify-heat").get_by_text("%").wait_for()
    else:
        test_app_segment.assert_shows(page, path, segmenter(path))
        page.locator("#segment-profile .profile[data-dressed]").wait_for()
    page.wait_for_timeout(1000)  # a gentle scroll
    page.watch.requests.clear()


def mode(page, word: str) -> None:
    page.locator(".bar:visible").get_by_role("button", name=word, exact=True).click()


def canvas(page, selector: str) -> np.ndarray:
    """(H, W, 4) uint8, what a canvas shows."""
    data = page.eval_on_selector(selector, "c => c.toDataURL()")
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(data.split(",")[1]))).convert("RGBA"))


def saved(page) -> np.ndarray:
    """(H, W, 3) int, the picture that is saved."""
    with page.expect_download() as download:
        page.locator(".viewer:visible").get_by_role("button", name="Save picture").click()
    return np.asarray(Image.open(download.value.path()).convert("RGB"), int)


def assert_close(found: np.ndarray, expected: np.ndarray) -> None:
    assert found.shape == expected.shape
    assert np.abs(found.astype(int) - expected).max() <= 4  # canvases blend in 8 bits


class TestCompare:
    @pytest.mark.parametrize("tab", VIEWERS)
    def test_slider_by_keys_and_by_dragging(self, opened, scans, classifier, segmenter, tab):
        from playwright.sync_api import expect

        page, viewer = opened(tab), VIEWERS[tab]
        split = page.locator(f"{viewer} .split")
        expect(split).to_be_hidden()
        mode(page, "Slider")
        expect(split).to_be_visible()
        shown = page.locator(f"{viewer} .layer").first

        def assert_split(percent: int) -> None:
            expect(split).to_have_value(str(percent))
            expect(shown).to_have_css("clip-path", f"inset(0px 0px 0px {percent}%)")

        assert_split(50)
        split.focus()
        for key, percent in {"ArrowRight": 51, "ArrowLeft": 50, "Home": 0, "End": 100}.items():
            page.keyboard.press(key)
            assert_split(percent)
        assert split.get_attribute("aria-valuetext") == "plain scan up to 100 %"
        box = page.locator(f"{viewer} .frame.main").bounding_box()
        middle = box["y"] + box["height"] / 2
        page.mouse.move(box["x"] + box["width"] - 1, middle)
        page.mouse.down()
        page.mouse.move(box["x"] + box["width"] * 0.6, middle, steps=4)
        page.mouse.move(box["x"] + box["width"] * 0.3, middle, steps=4)
        page.mouse.up()
        assert_split(30)
        assert not page.locator(f"{viewer} .viewer.singled [aria-pressed=true][data-class]").count()  # it's no click

        scan, whole = read_scan(scans["scan.png"]), self.overlay_of(tab, scans["scan.png"], classifier, segmenter)
        at = round(scan.shape[1] * 0.3)
        picture = saved(page)
        assert np.array_equal(picture[:, : at - 1, 0], grey(scan)[:, : at - 1])
        assert_close(picture[:, at + 1 :], whole[:, at + 1 :])
        assert not page.watch.requests

        add(page, tab, scans["plain.bmp"], classifier, segmenter)  # the choice outlives the scan
        assert_split(30)
        expect(page.locator(f"{viewer} [data-mode=slider]")).to_have_attribute("aria-pressed", "true")
        mode(page, "Overlay")
        expect(split).to_be_hidden()
        expect(shown).to_have_css("clip-path", "none")

    @pytest.mark.parametrize("tab", VIEWERS)
    @pytest.mark.parametrize(("width", "dark"), [(1440, False), (390, True)])
    def test_side_by_side(self, opened, scans, classifier, segmenter, tab, width, dark):
        page, viewer = opened(tab, width=width, dark=dark), VIEWERS[tab]
        mode(page, "Side by side")
        plain, main = (page.locator(f"{viewer} .frame.{name}").bounding_box() for name in ("plain", "main"))
        assert (plain["width"], plain["height"]) == pytest.approx((main["width"], main["height"]), abs=1)
        if width > 1000:
            assert plain["x"] + plain["width"] <= main["x"]
            assert plain["y"] == pytest.approx(main["y"], abs=1)
        else:
            assert plain["y"] + plain["height"] <= main["y"]
            assert plain["x"] == pytest.approx(main["x"], abs=1)
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        for name in ("scan.png", "plain.bmp"):
            scan = read_scan(scans[name])
            page.wait_for_function(
                "([selector, width]) => document.querySelector(selector).width === width",
                arg=[f"{viewer} .plain canvas", scan.shape[1]],
            )
            page.wait_for_timeout(200)
            assert np.array_equal(canvas(page, f"{viewer} .plain canvas")[..., 0], grey(scan))
            if name == "scan.png":
                add(page, tab, scans["plain.bmp"], classifier, segmenter)
        picture = saved(page)
        assert np.array_equal(picture[:, : scan.shape[1], 0], grey(scan))
        assert_close(picture[:, scan.shape[1] :], self.overlay_of(tab, scans["plain.bmp"], classifier, segmenter))

    @staticmethod
    def overlay_of(tab, path, classifier, segmenter) -> np.ndarray:
        scan = read_scan(path)
        if tab == "Classify":
            return overlay(scan, classifier(path, heatmap=True).heatmap, 0.6)
        return blend(scan, mask_layer(segmenter(path).mask, CLASS_NAMES), OPACITY)

    @pytest.mark.parametrize("width", [1440, 390])
    @pytest.mark.parametrize("tab", VIEWERS)
    def test_nothing_jumps_when_the_answer_comes(self, visit, scans, classifier, segmenter, tab, width):
        page = visit(tab=tab, width=width)
        stage = page.locator(f"{VIEWERS[tab]} .stage")
        before = stage.bounding_box(), page.locator(".controls:visible").bounding_box()
        page.evaluate("Element.prototype.scrollIntoView = () => {}")
        add(page, tab, scans["scan.png"], classifier, segmenter)
        assert stage.bounding_box() == before[0]
        if width > 1000:
            assert page.locator(".controls:visible").bounding_box() == before[1]


class TestLayers:
    def test_switched_off_and_on(self, opened, scans, classifier, segmenter, tmp_path):
        page = opened("Segment")
        mask, scan = segmenter(scans["scan.png"]).mask, read_scan(scans["scan.png"])
        eye = {name: page.get_by_role("checkbox", name=f"Show {name}", exact=True) for name in CLASS_NAMES}
        assert not eye["above retina"].count()  # what is clear anyway has none
        assert not eye["below retina"].count()

        eye["INL"].focus()
        page.keyboard.press("Space")
        self.assert_off(page, mask, ["INL"])
        page.locator(".legend label[title='Show OPL']").click()
        self.assert_off(page, mask, ["INL", "OPL"])
        layer = mask_layer(mask, CLASS_NAMES)
        layer[np.isin(mask, [3, 4])] = 0
        assert_close(saved(page), blend(scan, layer, OPACITY))

        # To point at what is off names it, but doesn't bring it back; to point at its name does
        test_app_segment.TestPage.point(page, mask, 3)
        page.locator(".tip").get_by_text("INL (hidden)").wait_for()
        assert not page.locator(".singled").count()
        page.locator(".legend [data-class='3']").hover()
        test_app_segment.TestPage.assert_single(page, mask, 3)
        page.mouse.move(1, 1)

        page.get_by_role("button", name="Show no layer").click()
        self.assert_off(page, mask, CLASS_NAMES[1:8] + CLASS_NAMES[9:])
        assert_close(saved(page), np.repeat(grey(scan)[..., None], 3, 2))
        page.get_by_role("button", name="Show all layers").click()
        page.locator(".viewer[data-model]:not(.some-off)").wait_for()
        assert page.locator("#segment-viewer img.layer").first.is_visible()
        assert not page.watch.requests

        eye["NFL"].press("Space")
        add(page, "Segment", scans["plain.bmp"], classifier, segmenter)  # it outlives the scan
        self.assert_off(page, segmenter(scans["plain.bmp"]).mask, ["NFL"])

    @staticmethod
    def assert_off(page, mask: np.ndarray, names) -> None:
        """The picture shows all but these classes, and the profile has no lines of them."""
        page.wait_for_function(
            "n => document.querySelectorAll('.profile dl .off').length === n && "
            "document.querySelectorAll('.legend input:not(:checked)').length === n",
            arg=len(names),
        )
        page.wait_for_timeout(300)
        layer = mask_layer(mask, CLASS_NAMES)
        off = [CLASS_NAMES.index(name) for name in names]
        layer[np.isin(mask, off)] = 0
        found = canvas(page, "canvas.toggled")
        assert np.array_equal(found[..., 3], layer[..., 3])
        assert_close(found * (layer[..., 3:] > 0), layer)
        assert not page.locator("#segment-viewer img.layer").first.is_visible()
        for id in off:
            lines = page.locator(f".profile g[data-class='{id}']")
            assert not lines.count() or not lines.is_visible()

    def test_in_every_view(self, opened, scans, segmenter, tmp_path):
        page = opened("Segment")
        mask = segmenter(scans["scan.png"]).mask
        truth = np.roll(mask, 9, axis=0)
        truth[:, :30] = 255
        Image.fromarray(truth).save(tmp_path / "expert.png")
        upload(page, tmp_path / "expert.png", "mask-file")
        page.locator("[data-view=expert]").click()
        page.locator(".legend label[title='Show INL']").click()
        page.locator(".some-off").wait_for()
        page.wait_for_timeout(300)
        layer = mask_layer(truth, CLASS_NAMES)
        layer[truth == 3] = 0
        assert np.array_equal(canvas(page, "canvas.toggled")[..., 3], layer[..., 3])
        page.locator("[data-view=difference]").click()
        page.wait_for_timeout(500)
        shown = canvas(page, "canvas.toggled")[..., 3] > 0
        clear = [0, 3, 8]  # what is clear anyway, and what is off
        gone = np.isin(mask, [*clear, 255]) & np.isin(truth, clear) & ((mask == 3) | (truth == 3))
        assert gone.any()
        assert np.array_equal(shown, (mask != truth) & ~gone | (truth == 255))

    def test_the_next_scan_has_its_own_classes(self, opened, scans, classifier, segmenter):
        """Gradio turns the last scan's element into the next one's."""
        page = opened("Segment")
        first = segmenter(scans["scan.png"]).mask
        test_app_segment.TestPage.point(page, first, 5)
        test_app_segment.TestPage.assert_single(page, first, 5)
        page.mouse.move(1, 1)
        page.locator("#segment-viewer .viewer:not(.singled)").wait_for()
        add(page, "Segment", scans["plain.bmp"], classifier, segmenter)
        mask = segmenter(scans["plain.bmp"]).mask
        page.locator(".legend [data-class='5']").hover()
        page.locator(".legend button.on").wait_for()
        assert np.array_equal(canvas(page, "canvas.single")[..., 3] > 0, mask == 5)


class TestProfile:
    def test_column_is_marked_in_scan_and_plot(self, opened, scans, segmenter):
        page = opened("Segment")
        mask = segmenter(scans["scan.png"]).mask
        lines = profiles(mask, CLASS_NAMES)
        width = mask.shape[1]
        rest = self.figures(page)
        assert list(rest) == list(lines)

        plot = page.locator(".profile .column")
        plot.scroll_into_view_if_needed()
        box = plot.bounding_box()
        for column in (0, 100, width - 1):
            page.mouse.move(box["x"] + (column + 0.5) / width * box["width"], box["y"] + 60)
            self.assert_marks(page, lines, column, width)
        page.mouse.move(1, 1)
        page.locator(".segment:not(.marked)").wait_for()
        assert self.figures(page) == rest

        plot.focus()  # keys
        self.assert_marks(page, lines, width // 2, width)
        page.keyboard.press("ArrowRight")
        self.assert_marks(page, lines, width // 2 + 1, width)
        spoken = plot.get_attribute("aria-valuetext")
        assert spoken.startswith(f"column {width // 2 + 1}: {RETINA} {lines[RETINA][width // 2 + 1]:.0f} px, NFL ")
        page.keyboard.press("Tab")

        frame = page.locator("#segment-viewer .frame.main")
        frame.scroll_into_view_if_needed()
        box = frame.bounding_box()
        page.mouse.move(box["x"] + 200.5 / width * box["width"], box["y"] + 50)
        self.assert_marks(page, lines, 200, width)
        assert not page.watch.requests

    def test_scan_and_plot_are_on_the_same_columns(self, opened):
        page = opened("Segment", "plain.bmp")  # of another shape than the stage
        frame, plot = (page.locator(s).bounding_box() for s in ("#segment-viewer .frame.main", ".profile .column"))
        assert (plot["x"], plot["width"]) == pytest.approx((frame["x"], frame["width"]), abs=1.5)

    def test_singled_out_line_stands_out(self, opened):
        from playwright.sync_api import expect

        page = opened("Segment")
        page.locator(".legend [data-class='2']").hover()
        page.locator(".profile.singled g.on[data-class='2']").wait_for()
        expect(page.locator(".profile g[data-class='1']")).to_have_css("opacity", "0.18")
        expect(page.locator(".profile g[data-class='2']")).to_have_css("opacity", "1")
        assert page.locator(".profile dl .on").count() == 1

    def test_scale_and_csv(self, opened, scans, segmenter):
        page = opened("Segment")
        lines = profiles(segmenter(scans["scan.png"]).mask, CLASS_NAMES)
        page.get_by_label("Axial").fill("3.87")
        page.get_by_label("Lateral").fill("11.5")
        page.locator(".profile[data-unit=µm][data-dressed]").wait_for()
        page.locator(".profile .column").focus()
        page.keyboard.press("Home")
        page.locator(".profile .at").get_by_text("At 0.00 mm, µm").wait_for()
        assert float(self.figures(page)["NFL"]) == pytest.approx(lines["NFL"][0] * 3.87, abs=0.051)
        with page.expect_download() as download:
            page.get_by_role("link", name="Profile (CSV)").click()
        assert download.value.suggested_filename == "scan-profile.csv"
        with open(download.value.path(), newline="") as f:
            rows = list(csv.DictReader(f))
        assert [float(row[f"{RETINA}_px"]) for row in rows] == lines[RETINA].tolist()
        assert float(rows[7]["NFL_um"]) == pytest.approx(lines["NFL"][7] * 3.87, rel=1e-4)

    @staticmethod
    def figures(page) -> dict[str, str]:
        pairs = page.eval_on_selector_all(".profile dl > div", "l => l.map(d => [...d.children].map(c => c.innerText))")
        return dict(pairs)

    def assert_marks(self, page, lines, column: int, width: int) -> None:
        page.locator(".profile .at").get_by_text(f"At column {column}, px", exact=True).wait_for()
        assert self.figures(page) == {name: f"{line[column]:.0f}" for name, line in lines.items()}
        at = float(page.eval_on_selector(".panes.marked", "e => e.style.getPropertyValue('--column')"))
        assert at == pytest.approx((column + 0.5) / width)
        for name in ("#segment-viewer .frame.main", ".profile .plot"):
            pseudo = "::before" if "frame" in name else "::after"
            left = page.eval_on_selector(name, f"e => parseFloat(getComputedStyle(e, '{pseudo}').left) / e.offsetWidth")
            assert left == pytest.approx(at, abs=0.003)


class TestHeat:
    def test_share_within_the_retina(self, opened, scans, classifier, segmenter):
        page = opened("Classify")
        mask = segmenter(scans["scan.png"]).mask
        for name in (None, *classifier.class_names):
            if name:
                page.locator(".wanted label", has_text=name).click()
                page.locator("#classify-viewer .key", has_text=name).wait_for()
            answer = classifier(scans["scan.png"], heatmap=name or True)
            page.wait_for_timeout(500)
            if not answer.heatmap.any():
                assert not page.locator("#classify-heat").is_visible()
                continue
            share = heat_inside(answer.heatmap, mask, CLASS_NAMES)
            text = page.locator("#classify-heat").inner_text()
            assert float(text.split("%")[0]) == pytest.approx(share * 100, abs=0.7)
            assert "of the heat lies within the retina" in text
        upload(page, scans["broken.png"])
        page.locator("#classify-viewer [role=alert]").wait_for()
        assert not page.locator("#classify-heat").is_visible()

    @pytest.mark.parametrize(("device", "runs"), [("cuda", 1), ("cpu", 2)])
    def test_on_an_accelerator_one_visit_answers_both(self, zero_gpu, app, classifier, segmenter, scans, device, runs):
        app()
        module = sys.modules["classify_tab"]
        elsewhere = Mock(wraps=segmenter, device=SimpleNamespace(type=device), class_names=CLASS_NAMES)
        desk = module.Desk(classifier, [], elsewhere)
        path = str(scans["scan.png"])
        *_, seen = desk.show((path, ""), "likeliest", module.Seen())
        if runs == 2:
            assert seen.mask is None
            _, seen = desk.find_retina(seen)
        assert np.array_equal(seen.mask.ids(), segmenter(path).mask)
        assert len(zero_gpu) == runs
        *_, seen = desk.show((path, ""), classifier.class_names[0], seen)  # where the retina is, is known now
        assert seen.mask is not None
        assert len(zero_gpu) == runs + 1

    def test_without_a_segmenter_nothing_is_said(self, app, classifier, scans):
        app()
        module = sys.modules["classify_tab"]
        *_, heat, _ = module.Desk(classifier, [], None).show((str(scans["scan.png"]), ""), "likeliest", module.Seen())
        assert heat.visible is False


def test_absent_class_is_in_the_legend_with_its_eye(opened):
    page = opened("Segment")
    assert page.get_by_role("checkbox", name=f"Show {ABSENT}", exact=True).is_checked()

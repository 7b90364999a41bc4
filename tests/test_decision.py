"""When there is no answer: rules at their limits, on made-up images, and what the committed checkpoints decide."""

import csv
import re
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from synthetic import bscan

from octhub import Classification, Classifier, OctNet, Segmenter, ServingConfig, UNet
from octhub.__main__ import main
from octhub.bscan import STATISTICS, BScanRule, scaled
from octhub.bscan_statistics import statistics
from octhub.decision import NOT_BSCAN, OUTLINED, UNSURE, decide
from octhub.gallery import EXAMPLES, judge, load
from octhub.remote import _decided
from octhub.scan import read_scan
from octhub.tables import doubt_html
from octhub.unsure import UnsureRule
from segment_case import Case, Packed, scores_of
from training.decision_scores import fit_rule
from training.made_up_images import made_up

NAMES = ("CNV", "DME", "DRUSEN", "NORMAL")
ENTRIES = [e for e in load(EXAMPLES) if e.label]
SMALL_UNET = {"num_classes": 2, "encoder": "resnet10t", "decoder_channels": (16, 8, 8, 8, 8)}
LAYOUT = {"channels": (4, 4, 8, 8, 8, 16), "hidden": (8, 8)}


def scans(n: int, seed: int = 0) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [bscan(NAMES[i % 4], rng).astype(np.float32) / 255 for i in range(n)]


@pytest.fixture(scope="module")
def rule() -> BScanRule:
    """What is usual for the tests' synthetic B-scans."""
    figures = np.array([statistics(s) for s in scans(40)])
    loose = fit_rule(figures, figures, limit=1.0)
    return replace(loose, limit=max(loose.distance(f) for f in figures))


@pytest.fixture(scope="module")
def images() -> dict[str, list[np.ndarray]]:
    return {kind: made[:6] for kind, made in made_up(seed=3).items()}


def classifier(**kwargs) -> Classifier:
    torch.manual_seed(0)
    serving = ServingConfig(NAMES, (64, 128), (0.2,), (0.2,), **kwargs)
    model = OctNet(**LAYOUT, serving=serving, remembered=3)
    model.memory.copy_(model.eval().features(torch.randn(3, 1, 64, 128)).detach())
    return Classifier(model, "cpu")


class TestBScanRule:
    def test_real_likenesses_pass_and_other_images_do_not(self, rule, images):
        passed = [rule.distance(statistics(s)) <= rule.limit for s in scans(20, seed=1)]
        assert np.mean(passed) >= 0.75
        for kind, made in images.items():
            assert all(rule.reason(statistics(i)) for i in made), kind

    def test_reason_names_the_figure_and_what_was_expected(self, rule):
        wide = replace(rule, low=tuple(-0.005 for _ in rule.low), high=tuple(1.005 for _ in rule.high))
        blank = statistics(np.full((100, 100), 0.5, np.float32))
        found = (
            r"too thin a band of light: .* over 0\.0 % of the height, expected 8\.\d % to 9\.\d %; distance \d+\.\d "
        )
        assert re.match(found, rule.reason(blank))
        assert wide.reason(blank).startswith("distance ")  # each figure is usual, and only their mix is not

    def test_a_scan_at_the_limit_is_one(self, rule):
        figures = statistics(scans(1)[0])
        distance = rule.distance(figures)
        assert replace(rule, limit=distance).reason(figures) == ""
        assert replace(rule, limit=np.nextafter(distance, 0)).reason(figures) != ""

    def test_what_is_no_number_is_no_scan(self, rule):
        figures = statistics(scans(1)[0])
        figures[2] = np.nan
        assert rule.distance(figures) == float("inf")
        assert "inf" in rule.reason(figures)

    @pytest.mark.parametrize("shape", [(32, 32), (33, 2000), (2000, 33), (496, 768)])
    @pytest.mark.parametrize("level", [0.0, 0.5, 1.0])
    def test_any_image_has_finite_statistics(self, shape, level):
        figures = statistics(np.full(shape, level, np.float32))
        assert figures.shape == (len(STATISTICS),)
        assert np.isfinite(figures).all()
        assert np.isfinite(scaled(figures)).all()

    def test_one_scan_in_a_batch_of_figures(self):
        figures = np.array([statistics(s) for s in scans(3)])
        assert np.array_equal(scaled(figures)[1], scaled(figures[1]))

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"names": ("layering",)}, "statistics"),
            ({"mean": (0.0,)}, "expected 11 values"),
            ({"limit": float("nan")}, "expected numbers"),
            ({"limit": 0.0}, "above 0"),
        ],
    )
    def test_nonsense_is_refused(self, rule, change, message):
        with pytest.raises(ValueError, match=message):
            replace(rule, **change)


class TestUnsureRule:
    rule = UnsureRule(probability=0.6, novelty=0.4)

    def test_limits_are_inside(self):
        assert self.rule.reason("DME", 0.6, 0.4) == ""

    def test_reasons(self):
        assert self.rule.reason("DME", 0.45, 0.1) == "DME is likeliest, with only 45.0 %, expected at least 60.0 %"
        assert "0.500 away from the nearest one's, expected at most 0.400" in self.rule.reason("DME", 0.9, 0.5)

    @pytest.mark.parametrize(("probability", "novelty"), [(float("nan"), 0.1), (0.9, float("nan")), (0.9, None)])
    def test_what_is_not_known_is_unsure(self, probability, novelty):
        assert self.rule.reason("DME", probability, novelty)

    def test_no_limits_never_abstain(self):
        assert UnsureRule().reason("DME", 0.26, None) == ""

    @pytest.mark.parametrize("limits", [{"probability": -1}, {"novelty": float("inf")}, {"probability": "a"}])
    def test_nonsense_is_refused(self, limits):
        with pytest.raises(ValueError, match="expected a number"):
            UnsureRule(**limits)


class TestDecision:
    def test_without_rules_the_label_is_decided(self, images):
        for image in images["made-up noise"][:3]:
            answer = classifier()(image)
            assert (answer.decision, answer.reason) == (answer.label, "")

    def test_old_constructions_decide_their_label(self):
        assert Classification("DME", {"DME": 1.0}).decision == "DME"

    def test_no_bscan_comes_before_unsure(self, rule):
        serving = ServingConfig(NAMES, (64, 128), bscan=rule, unsure=UnsureRule(1.0, 0.0))
        noise = np.random.default_rng(0).random((100, 100), np.float32)
        assert decide(noise, serving, "DME", 0.5, 1.0)[0] == NOT_BSCAN
        assert decide(scans(1)[0], serving, "DME", 0.5, 1.0)[0] == UNSURE

    def test_heatmap_and_neighbours_change_nothing(self, rule):
        served = classifier(bscan=rule, unsure=UnsureRule(0.3, 1.0))
        some = [*scans(3), np.random.default_rng(0).random((100, 100), np.float32)]
        alone = [(a.decision, a.reason) for a in map(served, some)]
        again = [(a.decision, a.reason) for a in (served(s, heatmap=True) for s in reversed(some))]
        assert alone == again[::-1]

    def test_novelty_is_the_same_in_a_batch(self):
        model = classifier().model
        features = model.features(torch.randn(5, 1, 64, 128))
        one_by_one = torch.cat([model.novelty(f[None]) for f in features])
        assert torch.allclose(model.novelty(features), one_by_one, atol=1e-6)
        assert model.novelty(model.memory[:1]).item() == pytest.approx(0, abs=1e-3)

    def test_checkpoint_keeps_rules_and_memory(self, rule, tmp_path):
        served = classifier(bscan=rule, unsure=UnsureRule(0.3, 1.0))
        served.model.save_pretrained(tmp_path)
        loaded = Classifier.from_pretrained(tmp_path, device="cpu")
        assert loaded.serving == served.serving
        assert torch.equal(loaded.model.memory, served.model.memory)
        assert loaded(scans(1)[0]) == served(scans(1)[0])
        assert asdict(loaded.serving)["bscan"]["limit"] == rule.limit

    def test_segmenter_needs_no_classifier(self, rule):
        torch.manual_seed(0)
        serving = ServingConfig(("a", "b"), (64, 96), framing="whole", bscan=rule)
        segmenter = Segmenter(UNet(**SMALL_UNET, serving=serving), "cpu")
        assert (segmenter(scans(1)[0]).decision, segmenter(scans(1)[0]).reason) == (OUTLINED, "")
        answer = segmenter(np.zeros((64, 64), np.uint8))
        assert answer.decision == NOT_BSCAN
        assert "expected" in answer.reason
        assert answer.mask.shape == (64, 64)


class TestCommandLine:
    @pytest.fixture
    def folder(self, tmp_path):
        (tmp_path / "scans").mkdir()
        Image.fromarray((scans(1)[0] * 255).astype(np.uint8)).save(tmp_path / "scans/scan.png")
        Image.fromarray(np.random.default_rng(0).integers(0, 256, (100, 100), np.uint8)).save(
            tmp_path / "scans/noise.png"
        )
        return tmp_path / "scans"

    @staticmethod
    def rows(path) -> dict[str, dict[str, str]]:
        with path.open(newline="") as f:
            return {Path(row["file"]).name: row for row in csv.DictReader(f)}

    def test_classify_tells_the_decision_and_ends_well(self, rule, folder, tmp_path, capsys):
        classifier(bscan=rule).model.save_pretrained(tmp_path / "octnet")
        options = ["--csv", str(tmp_path / "out.csv"), "--classifier", str(tmp_path / "octnet"), "--device", "cpu"]
        assert main(["classify", str(folder), *options]) == 0
        noise, scan = (line.split("\t")[1:] for line in capsys.readouterr().out.splitlines())
        table = self.rows(tmp_path / "out.csv")
        assert (scan[0], table["scan.png"]["reason"]) == (table["scan.png"]["label"], "")
        assert (noise[0], table["noise.png"]["decision"]) == (NOT_BSCAN, NOT_BSCAN)
        assert noise[1] == table["noise.png"]["reason"]
        assert noise[2].split()[0] == table["noise.png"]["label"] in NAMES

    def test_segment_notes_what_is_no_bscan(self, rule, folder, tmp_path, capsys):
        serving = ServingConfig(("a", "b"), (64, 96), framing="whole", bscan=rule)
        UNet(**SMALL_UNET, serving=serving).save_pretrained(tmp_path / "unet")
        options = ["--out", str(tmp_path / "out"), "--segmenter", str(tmp_path / "unet"), "--device", "cpu"]
        assert main(["segment", str(folder), *options]) == 0
        table = self.rows(tmp_path / "out/areas.csv")
        assert f"note: {folder / 'noise.png'}: {NOT_BSCAN}: {table['noise.png']['reason']}" in capsys.readouterr().err
        assert (table["scan.png"]["decision"], table["scan.png"]["reason"]) == (OUTLINED, "")


class TestElsewhere:
    def test_segment_tab_tells_a_doubt_until_the_next_scan(self):
        names, ids = ("a", "b"), Packed.of(np.zeros((40, 40), np.uint8))
        case = replace(Case("noise.png"), answer=ids, decision=NOT_BSCAN, reason="no layers")
        assert "No layers." in scores_of(case, names)
        assert "No layers." not in scores_of(replace(case.with_scan("scan.png"), answer=ids), names)
        compared = replace(case, mask=ids, mask_name="mask.png").with_scan("scan.png")
        assert "No layers." not in scores_of(replace(compared, answer=ids), names)

    def test_an_app_hands_its_decision_on(self):
        facts = {"label": "DME", "probabilities": {"DME": 1.0}}
        assert _decided(facts) == {}  # an app from before there were decisions
        assert Classification(**facts, **_decided(facts)).decision == "DME"
        said = {"decision": UNSURE, "reason": "too far"}
        assert _decided(facts | said) == said

    def test_an_example_that_is_not_decided_fails(self):
        undecided = Classification("DME", {"DME": 0.99}, decision=UNSURE, reason="too far")
        example = next(e for e in ENTRIES if e.label == "DME")
        outcomes = list(judge([replace(example, probability=None)], lambda e: undecided, None))
        assert [o.problem for o in outcomes] == ["unsure: too far"]

    def test_page_escapes_the_reason(self):
        assert doubt_html("DME", "") == ""
        html = doubt_html(NOT_BSCAN, "no layers: <b>")
        assert "This does not look like an OCT B-scan" in html
        assert "No layers: &lt;b&gt;." in html


@pytest.fixture(scope="module")
def segmenter_rule(root) -> BScanRule:
    return UNet.from_pretrained(root / "checkpoints" / "unet-duke-dme").serving.bscan


class TestCommittedCheckpoints:
    @pytest.mark.parametrize("example", ENTRIES, ids=lambda e: e.path.name)
    def test_every_example_is_decided(self, classifier, example):
        answer = classifier(example.path)
        assert (answer.decision, answer.reason) == (example.label, "")

    def test_made_up_images_are_no_bscans(self, classifier, images):
        for kind, made in images.items():
            answers = [classifier(image) for image in made[::3]]
            assert {a.decision for a in answers} == {NOT_BSCAN}, kind
            assert all("expected" in a.reason for a in answers)

    def test_turned_and_negative_scans_are_no_bscans(self, classifier):
        scan = read_scan(ENTRIES[0].path)
        assert classifier(np.ascontiguousarray(scan.T)).decision == NOT_BSCAN
        assert classifier(1 - scan).decision == NOT_BSCAN

    def test_both_have_the_same_rule(self, classifier, segmenter_rule):
        assert classifier.serving.bscan == segmenter_rule
        assert all(segmenter_rule.reason(statistics(read_scan(e.path))) == "" for e in load(EXAMPLES))

    def test_a_scan_further_than_the_limit_is_unsure(self, classifier):
        narrow = replace(classifier.serving, unsure=replace(classifier.serving.unsure, novelty=0.0))
        strict = Classifier(classifier.model, "cpu")
        strict.serving = narrow
        assert strict(ENTRIES[0].path).decision == UNSURE

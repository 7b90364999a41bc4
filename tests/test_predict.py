"""What the models answer: the same from file, picture and array, and from many threads; masks at the scan's size."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from synthetic import bscan

from octhub import CheckpointError, Classifier, MaskError, OctNet, ScanError, Segmenter, ServingConfig, UNet

NAMES = ("CNV", "DME", "DRUSEN", "NORMAL")


@pytest.fixture(scope="module")
def classifier() -> Classifier:
    torch.manual_seed(0)
    serving = ServingConfig(NAMES, (64, 128), (0.2,), (0.2,), temperature=2.0)
    return Classifier(OctNet(channels=(4, 4, 8, 8, 8, 16), hidden=(8, 8), serving=serving), "cpu")


@pytest.fixture(scope="module")
def scan() -> np.ndarray:
    return bscan("DME", np.random.default_rng(0))


def test_answer(classifier, scan):
    answer = classifier(scan)
    assert tuple(answer.probabilities) == NAMES
    assert sum(answer.probabilities.values()) == pytest.approx(1, abs=1e-6)
    assert answer.label == max(answer.probabilities, key=answer.probabilities.get)
    assert answer.heatmap is None


def test_file_picture_and_array_agree(classifier, scan, tmp_path):
    path = tmp_path / "scan.png"
    Image.fromarray(scan).save(path)
    answers = [classifier(s) for s in (scan, Image.fromarray(scan), path, str(path))]
    assert all(a == answers[0] for a in answers)


def test_temperature_softens(classifier, scan):
    sharp = Classifier(classifier.model, "cpu")
    sharp.serving = ServingConfig(NAMES, (64, 128), (0.2,), (0.2,), temperature=0.01)
    assert max(sharp(scan).probabilities.values()) > max(classifier(scan).probabilities.values())
    assert sharp(scan).label == classifier(scan).label


@pytest.mark.parametrize("wanted", [True, *NAMES])
def test_heatmap_has_the_scans_size(classifier, scan, wanted):
    answer = classifier(scan, heatmap=wanted)
    assert answer.heatmap.shape == scan.shape
    assert answer.heatmap.dtype == np.float32
    assert 0 <= answer.heatmap.min() <= answer.heatmap.max() <= 1
    assert answer.heatmap_class == (answer.label if wanted is True else wanted)


def test_heatmap_does_not_change_the_answer(classifier, scan):
    assert classifier(scan, heatmap="CNV").probabilities == classifier(scan).probabilities


def test_unknown_class_is_named(classifier, scan):
    with pytest.raises(ValueError, match="'GLAUCOMA', expected one of CNV, DME, DRUSEN, NORMAL"):
        classifier(scan, heatmap="GLAUCOMA")


def test_bad_scan_is_a_scan_error(classifier, tmp_path):
    (tmp_path / "no.png").write_text("no picture")
    with pytest.raises(ScanError, match=r"no\.png"):
        classifier(tmp_path / "no.png")


def test_threads_share_a_classifier(classifier):
    rng = np.random.default_rng(1)
    jobs = [(bscan(NAMES[i % 4], rng), NAMES[i % 3] if i % 2 else False) for i in range(24)]
    alone = [classifier(s, heatmap=h) for s, h in jobs]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda job: classifier(job[0], heatmap=job[1]), jobs))
    for a, b in zip(alone, together, strict=True):
        assert a.probabilities == b.probabilities
        assert (a.heatmap is None) == (b.heatmap is None)
        assert a.heatmap is None or np.array_equal(a.heatmap, b.heatmap)


def test_model_without_serving_is_refused():
    with pytest.raises(CheckpointError, match="no serving configuration"):
        Classifier(OctNet())


class TestSegmenter:
    @pytest.fixture
    def model(self):
        torch.manual_seed(0)
        serving = ServingConfig(("above", "layer", "fluid"), (64, 96), framing="whole")
        return UNet(num_classes=3, encoder="resnet10t", decoder_channels=(16, 16, 8, 8, 8), serving=serving)

    def test_mask_at_the_scans_own_size(self, model):
        scan = np.random.default_rng(0).integers(0, 255, (130, 211)).astype(np.uint8)
        answer = Segmenter(model)(scan)
        assert answer.mask.shape == (130, 211)
        assert answer.mask.dtype == np.uint8
        assert set(np.unique(answer.mask)) <= {0, 1, 2}
        assert answer.class_names == ("above", "layer", "fluid")

    def test_black_sides_belong_to_no_class(self, model):
        scan = np.random.default_rng(0).integers(1, 255, (130, 211)).astype(np.uint8)
        scan[:, :20] = scan[:, -7:] = 0
        mask = Segmenter(model)(scan).mask
        assert (mask[:, :20] == 255).all()
        assert (mask[:, -7:] == 255).all()
        assert (mask[:, 20:-7] < 3).all()

    def test_mirror_image_gives_the_mirrored_mask(self, model):
        """With `mirror`, left and right are the same to it; the odd ties aside."""
        model.set_serving(replace(model.serving, mirror=True))
        segmenter = Segmenter(model)
        scan = np.random.default_rng(0).integers(1, 255, (130, 210)).astype(np.uint8)
        a, b = segmenter(scan).mask, segmenter(np.ascontiguousarray(scan[:, ::-1])).mask
        assert (a == b[:, ::-1]).mean() > 0.999

    def test_score_against_a_mask(self, model):
        answer = Segmenter(model)(np.random.default_rng(0).integers(0, 255, (64, 96)).astype(np.uint8))
        score = answer.score(answer.mask)
        assert score.miou == score.pixel_accuracy == 1
        with pytest.raises(MaskError, match="expected 96 × 64"):
            answer.score(answer.mask[:, 1:])
        with pytest.raises(MaskError, match="without a class"):
            answer.score(np.full((64, 96), 7))

    def test_a_model_without_serving_is_refused(self):
        model = UNet(num_classes=3, encoder="resnet10t", decoder_channels=(8, 8, 8, 8, 8))
        with pytest.raises(CheckpointError, match="no serving configuration"):
            Segmenter(model)

    def test_threads_get_their_own_scans_mask(self, model):
        segmenter = Segmenter(model)
        scans = [np.random.default_rng(i).integers(0, 255, (64, 96)).astype(np.uint8) for i in range(6)]
        alone = [segmenter(scan).mask for scan in scans]
        with ThreadPoolExecutor(3) as pool:
            together = [answer.mask for answer in pool.map(segmenter, scans)]
        assert all(np.array_equal(a, b) for a, b in zip(alone, together, strict=True))


@pytest.mark.parametrize("name", ["healthy-1", "healthy-2"])
def test_committed_segmenter_outlines_an_unseen_eye(root, name):
    """An eye that trained nothing: every layer whose borders its set and Duke's draw alike."""
    segmenter = Segmenter.from_pretrained()
    score = segmenter(root / f"examples/{name}.png").score(root / f"examples/{name}-mask.png")
    assert score.pixel_accuracy > 0.95
    for layer in ("NFL", "GCL-IPL", "INL", "OPL", "ONL-ISM"):
        assert score.iou[layer] > 0.6, layer

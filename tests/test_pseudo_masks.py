"""Scans labelled by trained segmenters."""

import numpy as np
import pytest
import torch
from PIL import Image

from octhub import ServingConfig, UNet
from octhub.mask import UNKNOWN, read_mask
from training import pseudo_masks
from training.masked_scans import masked_scans, read_classes

NAMES = ("ground", "layer", "fluid")


@pytest.fixture
def teachers(tmp_path):
    """Two random networks' checkpoints."""
    folders = []
    for seed in range(2):
        torch.manual_seed(seed)
        model = UNet(num_classes=3, serving=ServingConfig(NAMES, (64, 96), framing="whole", mirror=True))
        model.eval().save_pretrained(tmp_path / f"teacher-{seed}")
        folders.append(tmp_path / f"teacher-{seed}")
    return folders


@pytest.fixture
def scans(tmp_path):
    (tmp_path / "scans").mkdir()
    for n in range(2):
        pixels = np.random.default_rng(n).integers(0, 255, (70, 110), np.uint8)
        Image.fromarray(pixels).save(tmp_path / "scans" / f"DME-{n}-1.png")
    return tmp_path / "scans"


def run(teachers, scans, out, *options):
    return pseudo_masks.main([*map(str, teachers), "--scans", str(scans), "--out", str(out), *options])


def test_folder_trains_the_next_network(teachers, scans, tmp_path):
    out = tmp_path / "labelled"
    assert run(teachers, scans, out, "--confidence", "0") == 0
    found = masked_scans(out)  # what train_unet --extra reads
    assert [s.subject for s in found] == ["DME-0-1", "DME-1-1"]
    assert read_classes(out / "classes.txt") == NAMES
    assert all(read_mask(s.mask, (70, 110), NAMES).max() < len(NAMES) for s in found)


def test_labels_are_the_teachers_mean_where_it_is_sure(teachers, scans):
    models = [UNet.from_pretrained(t) for t in teachers]
    pixels = np.asarray(Image.open(scans / "DME-0-1.png"), np.float32) / 255
    all_of_it = pseudo_masks.pseudo_mask(models, pixels, 0)
    unknown = []
    for confidence in np.linspace(0, 1, 21):
        sure = pseudo_masks.pseudo_mask(models, pixels, confidence)
        assert (sure == all_of_it)[sure != UNKNOWN].all()
        unknown.append((sure == UNKNOWN).mean())
    assert unknown == sorted(unknown)
    assert 0 in unknown
    assert (pseudo_masks.pseudo_mask(models, pixels, 1.0) == UNKNOWN).all()
    alone = [pseudo_masks.pseudo_mask([m], pixels, 0) for m in models]
    agreed = alone[0] == alone[1]
    assert (all_of_it == alone[0])[agreed].mean() > 0.99


def test_what_does_not_fit_is_named(teachers, scans, tmp_path, capsys):
    out = tmp_path / "labelled"
    run(teachers, scans, out)
    assert run(teachers, scans, out) == 2
    assert "has a scan of this name already" in capsys.readouterr().err
    torch.manual_seed(0)
    other = UNet(num_classes=2, serving=ServingConfig(("a", "b"), (64, 96), framing="whole"))
    other.save_pretrained(tmp_path / "other")
    assert run([teachers[0], tmp_path / "other"], scans, tmp_path / "new") == 2
    assert "different classes" in capsys.readouterr().err
    (scans / "DME-2-1.png").write_bytes(b"no image")
    assert run(teachers, scans, tmp_path / "third") == 2
    assert "DME-2-1.png" in capsys.readouterr().err

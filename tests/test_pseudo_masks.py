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


def test_people_have_the_last_word_on_the_class_they_annotated(teachers, scans, tmp_path, capsys):
    masks = tmp_path / "annotated"
    masks.mkdir()
    theirs = np.zeros((70, 110), np.uint8)
    theirs[20:30, 40:60], theirs[5:9, 5:9] = 3, 4  # another lesion, which isn't asked for
    Image.fromarray(theirs).save(masks / "DME-0-1.png")
    Image.fromarray(np.zeros_like(theirs)).save(masks / "DME-1-1.png")
    out, options = tmp_path / "labelled", ["--annotated", str(masks), "--annotated-class", "fluid=1,3"]
    assert run(teachers, scans, out, "--confidence", "0", *options) == 0
    (found,) = masked_scans(out)  # nobody found fluid in the other scan
    mask, plain = read_mask(found.mask, (70, 110), NAMES), tmp_path / "plain"
    assert run(teachers, scans, plain, "--confidence", "0") == 0
    teachers_mask = read_mask(masked_scans(plain)[0].mask, (70, 110), NAMES)
    annotated = theirs == 3
    assert (teachers_mask == 2).any()
    np.testing.assert_array_equal(mask == 2, annotated)
    np.testing.assert_array_equal(mask == UNKNOWN, (teachers_mask == 2) & ~annotated)
    rest = (teachers_mask != 2) & ~annotated
    np.testing.assert_array_equal(mask[rest], teachers_mask[rest])

    (masks / "DME-1-1.png").unlink()
    assert run(teachers, scans, tmp_path / "again", *options) == 2
    assert "DME-1-1.png" in capsys.readouterr().err
    assert run(teachers, scans, tmp_path / "other", *options[:3], "blood=1") == 2
    assert "class 'blood', expected one of ground, layer, fluid" in capsys.readouterr().err


def test_only_training_scans_of_a_table_are_labelled(teachers, scans, tmp_path):
    table = tmp_path / "scans.csv"
    table.write_text("image,split\nscans/DME-0-1.png,test\nscans/DME-1-1.png,train\n")
    assert run(teachers, scans, tmp_path / "out", "--table", str(table)) == 0
    assert [s.subject for s in masked_scans(tmp_path / "out")] == ["DME-1-1"]


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

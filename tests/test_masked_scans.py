"""Any folder of images, masks and a classes file is read, split by subject, cropped and warped."""

import shutil

import numpy as np
import pytest
import torch
from PIL import Image
from synthetic_masks import CLASS_NAMES, make_masked_scans

from octhub import MaskError, ServingConfig
from octhub.mask import UNKNOWN
from training.mask_dataset import MaskDataset, class_frequencies, framed, retina_share
from training.masked_scans import by_subject, draw_subjects, masked_digest, masked_scans, read_classes, split_column
from training.samples import DataError
from training.segment_task import class_weights, segmentation_loss
from training.warp import random_grid, warp

SERVING = ServingConfig(CLASS_NAMES, (96, 96), framing="whole")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_masked_scans(tmp_path_factory.mktemp("masked"))


def test_scans_and_subjects(folder):
    scans = masked_scans(folder)
    assert len(scans) == 8
    assert {s.subject for s in scans} == {"S01", "S02", "S03", "S04"}
    assert all(s.image.stem == s.mask.stem for s in scans)
    assert read_classes(folder / "classes.txt") == CLASS_NAMES


def test_subject_by_pattern(folder):
    assert {s.subject for s in masked_scans(folder, subject=r"_(\d)")} == {"0", "1"}
    with pytest.raises(DataError, match=r"S01_0\.png: no subject by the pattern"):
        masked_scans(folder, subject="(nobody)")


def test_split_by_subject(folder):
    rest, held = by_subject(masked_scans(folder), ["S02", "S04"])
    assert {s.subject for s in rest} == {"S01", "S03"}
    assert len(held) == 4
    with pytest.raises(DataError, match="no scan of subject S09, expected some of S01"):
        by_subject(rest, ["S09"])


def test_subjects_are_drawn_by_seed(folder):
    scans = masked_scans(folder)
    assert draw_subjects(scans, 0, 0) == []
    assert draw_subjects(scans, 0.5, 0) == draw_subjects(scans[::-1], 0.5, 0)
    assert len(draw_subjects(scans, 0.5, 0)) == 2
    assert len(draw_subjects(scans, 0.01, 0)) == 1
    with pytest.raises(DataError, match=r"a share of 0\.9 of 4 subjects, expected some on both sides"):
        draw_subjects(scans, 0.9, 0)


def test_split_by_table(tmp_path):
    table = tmp_path / "list.csv"
    table.write_text("image,split\nx/a.png,test\nx/b.png,train\n")
    assert split_column(table, "test") == {"a"}
    table.write_text("file,part\na,b\n")
    with pytest.raises(DataError, match=r"list\.csv: .*expected a CSV with the columns image and split"):
        split_column(table, "test")


def test_unfit_folders_are_named(folder, tmp_path):
    copy = shutil.copytree(folder, tmp_path / "copy")
    (copy / "masks/S03_1.png").unlink()
    with pytest.raises(DataError, match=r"S03_1\.png: no file S03_1\.\* in .*masks"):
        masked_scans(copy)
    with pytest.raises(DataError, match="labels: no such folder"):
        masked_scans(copy, masks="labels")
    (copy / "classes.txt").write_text("one\none\n")
    with pytest.raises(DataError, match=r"classes\.txt: class names one, one"):
        read_classes(copy / "classes.txt")


def test_digest_follows_scans_and_masks(folder, tmp_path):
    copy = shutil.copytree(folder, tmp_path / "copy")
    before = masked_digest(masked_scans(folder))
    assert masked_digest(reversed(masked_scans(copy))) == before
    Image.new("L", (160, 120)).save(copy / "masks/S01_0.png")
    assert masked_digest(masked_scans(copy)) != before


def test_ids_without_a_class_are_refused(folder):
    few = ServingConfig(CLASS_NAMES[:3], (96, 96), framing="whole")
    with pytest.raises(MaskError, match=r"S01_0\.png.*expected 0 to 2"):
        framed(masked_scans(folder)[0], few)


def test_plain_crop_is_the_scan_itself(folder):
    image, mask = framed(masked_scans(folder)[0], ServingConfig(CLASS_NAMES, (120, 160), framing="whole"))
    grid = random_grid((120, 160), (120, 160), 0.5, strength=0)
    crop, ids = warp(image, mask, grid)
    torch.testing.assert_close(crop, image, atol=1e-4, rtol=0)
    assert torch.equal(ids, mask.long())


def test_plain_crops_come_from_everywhere():
    grids = [random_grid((400, 300), (100, 100), 0.5, strength=0, flip=False) for _ in range(200)]
    centres = torch.stack([grid.mean((0, 1)) for grid in grids])
    assert centres.min(0).values.tolist() == pytest.approx([-2 / 3, -3 / 4], abs=0.05)
    assert centres.max(0).values.tolist() == pytest.approx([2 / 3, 3 / 4], abs=0.05)


def test_image_and_mask_move_together():
    """Warped alike, a scan that shows its own mask still does, whatever the resolutions."""
    rng = np.random.default_rng(0)
    mask = torch.from_numpy(np.kron(rng.integers(0, 2, (6, 6)), np.ones((32, 64))).astype(np.uint8))
    image = torch.nn.functional.interpolate(mask[None, None].float(), (96, 96), mode="area")[0]
    for seed in range(20):
        torch.manual_seed(seed)
        crop, ids = warp(image, mask, random_grid((96, 96), (64, 64), 0.5))
        known = ids != UNKNOWN
        sure = known & ((crop[0] > 0.98) | (crop[0] < 0.02))
        assert sure.float().mean() > 0.3
        assert ((crop[0] > 0.5) == ids.bool())[sure].float().mean() > 0.98


def test_outside_of_the_scan_is_unknown():
    grid = torch.stack(torch.meshgrid(torch.linspace(-3, 3, 30), torch.linspace(-3, 3, 30), indexing="xy"), -1)
    image, ids = warp(torch.ones(1, 10, 10), torch.full((20, 20), 2, dtype=torch.uint8), grid)
    assert set(ids.unique().tolist()) == {2, UNKNOWN}
    assert ids[0, 0] == UNKNOWN
    assert image[0, 0, 0] == 0


def test_layers_keep_their_order():
    mask = (torch.arange(200) // 20).to(torch.uint8)[:, None].repeat(1, 200)
    for seed in range(20):
        torch.manual_seed(seed)
        _, ids = warp(torch.zeros(1, 200, 200), mask, random_grid((200, 200), (128, 128), 0.5))
        steps = ids.where(ids != UNKNOWN, -1).diff(dim=0)
        inside = (ids[1:] != UNKNOWN) & (ids[:-1] != UNKNOWN)
        assert (steps[inside] >= 0).all()


def make_dataset(folder, **kwargs):
    return MaskDataset(masked_scans(folder), SERVING, **{"crops": 16, "crop": (64, 64), **kwargs})


def test_crops_repeat_by_seed_and_epoch(folder):
    a, b, c = make_dataset(folder), make_dataset(folder), make_dataset(folder, seed=1)
    assert all(torch.equal(x, y) for x, y in zip(a[3], b[3], strict=True))
    assert not torch.equal(a[3][0], c[3][0])
    b.epoch = 1
    assert not torch.equal(a[3][0], b[3][0])
    image, ids = a[0]
    assert image.shape == (1, 64, 64)
    assert ids.shape == (64, 64)
    assert ids.dtype == torch.int64


def test_every_scan_comes_equally_often(folder):
    scans = masked_scans(folder)
    data = MaskDataset(scans[:5], SERVING, extra=scans[5:], extra_share=0.25, crops=12, crop=(32, 32))
    seen = {"main": [0] * 5, "extra": [0] * 3}
    for epoch in range(5):
        data.epoch = epoch
        for index in range(12):
            image = data._pick(index)[0]
            for kind, entries in (("main", data.main), ("extra", data.extra)):
                for i, (other, _) in enumerate(entries):
                    seen[kind][i] += image is other
    assert seen == {"main": [9] * 5, "extra": [5] * 3}


def test_second_grader_labels_his_share(folder):
    data = make_dataset(folder, second_masks=masked_scans(folder, masks="masks_2"), second_share=0.5, crops=400)
    torch.manual_seed(0)
    second = sum(any(data._pick(i)[1] is m for m in data.second) for i in range(400))
    assert 150 < second < 250
    with pytest.raises(DataError, match="other scans"):
        make_dataset(folder, second_masks=masked_scans(folder)[1:])


def test_classes_of_another_convention_are_forgotten(folder):
    scans = masked_scans(folder)
    plain = MaskDataset(scans[:1], SERVING, extra=scans[1:2], extra_share=0.5, crops=2, crop=(32, 32))
    data = MaskDataset(
        scans[:1], SERVING, extra=scans[1:2], extra_share=0.5, extra_unknown=["fluid"], crops=2, crop=(32, 32)
    )
    before, after = plain.extra[0][1], data.extra[0][1]
    assert (before == 4).any()
    assert not (after == 4).any()
    changed = before != after
    assert (after[changed] == UNKNOWN).all()
    assert 0 < (changed & (before != 4)).sum() < 4 * (before == 4).sum()  # the rim, too, and no more
    assert torch.equal(data.main[0][1], plain.main[0][1])


def test_retina_share_and_frequencies(folder):
    mask = torch.zeros(100, 50, dtype=torch.uint8)
    mask[60:62] = 1
    mask[62:] = 2
    assert retina_share(mask) == pytest.approx(0.605, abs=0.01)
    mask[:10] = UNKNOWN
    assert class_frequencies([mask], 4).tolist() == pytest.approx([50 / 90, 2 / 90, 38 / 90, 0])
    assert 0 <= retina_share(torch.full((10, 10), UNKNOWN, dtype=torch.uint8)) <= 1


def test_class_weights():
    frequencies = torch.tensor([0.9, 0.1, 0.0])
    assert class_weights(frequencies, 0).tolist() == [1, 1, 0]
    weights = class_weights(frequencies, 1)
    assert weights[1] / weights[0] == pytest.approx(9)
    assert float((weights * frequencies).sum()) == pytest.approx(1)


def test_loss_ignores_unknown_pixels():
    torch.manual_seed(0)
    logits, ids = torch.randn(2, 3, 16, 16), torch.randint(0, 3, (2, 16, 16))
    weights = torch.ones(3)
    ids[:, 8:] = UNKNOWN
    changed = logits.clone()
    changed[:, :, 8:] = torch.randn(2, 3, 8, 16)
    assert torch.allclose(segmentation_loss(logits, ids, weights), segmentation_loss(changed, ids, weights))
    perfect = torch.nn.functional.one_hot(ids.where(ids != UNKNOWN, 0), 3).permute(0, 3, 1, 2) * 50.0
    assert segmentation_loss(perfect, ids, weights) < 1e-3
    logits.requires_grad_()
    segmentation_loss(logits, torch.full_like(ids, UNKNOWN), weights).backward()
    assert logits.grad.abs().sum() == 0

"""The leak audit on synthetic scans: clean splits pass, and every kind of planted leak is found and named."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageOps
from synthetic import CLASSES, bscan

from training.audit import SHOWN, leaks, main, patients_crossing
from training.duplicate_calibration import ALTERATIONS, calibrate
from training.near_duplicates import BITS, candidates, fingerprint, mirror, read_small, texture_match
from training.samples import DataError, Sample, oct2017

ROOT = Path(__file__).parent.parent


def scan(rng: np.random.Generator, label: str = "NORMAL") -> Image.Image:
    """A 512×496 scan: the synthetic one, under speckle of several sizes that marks it as an eye of its own."""
    pixels = bscan(label, rng, 496, 512).astype(float)
    for cells in (8, 16, 32, 64):
        speckle = Image.fromarray(rng.normal(0, 12, (cells, cells)).astype(np.float32))
        pixels += np.asarray(speckle.resize((512, 496), Image.Resampling.BICUBIC))
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


@pytest.fixture(scope="module")
def clean(tmp_path_factory) -> Path:
    """OCT2017's layout, 4 classes × (4 training, 2 test) scans of as many patients, and no leak."""
    root, rng, patient = tmp_path_factory.mktemp("oct2017"), np.random.default_rng(0), 0
    for split, count in (("train", 4), ("test", 2)):
        for label in CLASSES:
            (root / split / label).mkdir(parents=True)
            for _ in range(count):
                patient += 1
                scan(rng, label).save(root / split / label / f"{label}-{patient}-1.jpeg", quality=90)
    return root


@pytest.fixture
def data(clean, tmp_path) -> Path:
    """A copy of the clean data, to plant leaks in. CNV-1-1 is a training scan, no patient has a number over 900."""
    return Path(shutil.copytree(clean, tmp_path / "oct2017"))


def audit(data: Path, capsys, *options: str) -> tuple[int, str]:
    """(exit status, output)"""
    return main([str(data), *options]), capsys.readouterr().out


def test_clean_data_passes(clean, capsys):
    status, out = audit(clean, capsys)
    assert status == 0
    assert out.splitlines() == [
        "scans: 16 in train, 8 in test",
        "patients in more than one split: 0",
        "identical files in more than one split: 0",
        "identical files under more than one label: 0",
        "near-duplicates across splits: 0",
    ]


def test_shared_patient(data, capsys):
    scan(np.random.default_rng(1)).save(data / "test/NORMAL/NORMAL-1-7.jpeg")
    status, out = audit(data, capsys)
    assert status == 1
    assert "patients in more than one split: 1\n  oct2017:1: 1 in train, 1 in test" in out
    assert out.count(": 0\n") + out.endswith(": 0\n") >= 3


def test_identical_file_in_two_splits_and_labels(data, capsys):
    shutil.copy(data / "train/CNV/CNV-1-1.jpeg", data / "test/DME/DME-901-1.jpeg")
    status, out = audit(data, capsys)
    assert status == 1
    pair = "train/CNV/CNV-1-1.jpeg = test/DME/DME-901-1.jpeg"
    assert f"identical files in more than one split: 1\n  {pair}" in out
    assert f"identical files under more than one label: 1\n  {pair}" in out
    assert "near-duplicates across splits: 0" in out  # reported once


def test_identical_file_under_two_labels_of_one_split(data, capsys):
    shutil.copy(data / "train/CNV/CNV-1-1.jpeg", data / "train/DME/DME-1-2.jpeg")
    status, out = audit(data, capsys)
    assert status == 1
    assert "identical files in more than one split: 0" in out
    assert "identical files under more than one label: 1" in out


COPIES = {
    "JPEG": (lambda s: s, {"format": "JPEG", "quality": 50}),
    "brighter": (lambda s: ImageEnhance.Brightness(s).enhance(1.1), {"format": "PNG"}),
    "darker": (lambda s: ImageEnhance.Brightness(s).enhance(0.9), {"format": "PNG"}),
    "half": (lambda s: s.resize((256, 248), Image.Resampling.BICUBIC), {"format": "PNG"}),
    "crop": (lambda s: s.crop((0, 10, 502, 496)), {"format": "PNG"}),
    "mirrored": (ImageOps.mirror, {"format": "PNG"}),
    "mirrored crop, JPEG": (lambda s: ImageOps.mirror(s).crop((5, 0, 512, 490)), {"format": "JPEG", "quality": 50}),
    "16 bits": (lambda s: Image.fromarray(np.asarray(s).astype(np.uint16) * 256), {"format": "PNG"}),
    "colour": (lambda s: s.convert("RGB"), {"format": "PNG"}),
}


@pytest.mark.parametrize("kind", COPIES)
def test_near_duplicate(data, kind, capsys):
    alter, save = COPIES[kind]
    with Image.open(data / "train/DRUSEN/DRUSEN-9-1.jpeg") as image:
        alter(image.convert("L")).save(data / "test/NORMAL/NORMAL-902-1.jpeg", **save)
    status, out = audit(data, capsys)
    assert status == 1
    found = out.splitlines()[-2:]
    assert found[0] == "near-duplicates across splits: 1"
    assert "train/DRUSEN/DRUSEN-9-1.jpeg ~ test/NORMAL/NORMAL-902-1.jpeg" in found[1]
    assert "other patient, other label" in found[1]
    assert ("mirrored" in found[1]) == ("mirrored" in kind)


def test_near_duplicates_within_a_split_are_fine(data, capsys):
    with Image.open(data / "train/CNV/CNV-1-1.jpeg") as image:
        image.save(data / "train/CNV/CNV-1-2.jpeg", quality=50)
    assert audit(data, capsys)[0] == 0


def test_threshold_zero_finds_equal_hashes_only(data, capsys):
    original = data / "train/CNV/CNV-1-1.jpeg"
    (data / "test/CNV/CNV-901-1.jpeg").write_bytes(original.read_bytes() + b"\0")  # other bytes, the same pixels
    with Image.open(original) as image:
        image.crop((0, 10, 502, 496)).save(data / "test/CNV/CNV-902-1.png")
    status, out = audit(data, capsys, "--threshold", "0")
    assert status == 1
    assert "near-duplicates across splits: 1\n" in out
    assert "CNV-901-1.jpeg (0 bits, texture 1.00, other patient)" in out
    assert "near-duplicates across splits: 2\n" in audit(data, capsys)[1]


def test_json_has_the_whole_report(data, tmp_path, capsys):
    for i in range(SHOWN + 3):
        (data / f"test/CNV/CNV-1-{i + 2}.jpeg").write_bytes((data / "test/CNV/CNV-17-1.jpeg").read_bytes() + bytes([i]))
        (data / f"train/CNV/CNV-{17 + i}-2.jpeg").write_bytes(
            (data / "train/CNV/CNV-2-1.jpeg").read_bytes() + bytes([i])
        )
    with Image.open(data / "train/CNV/CNV-1-1.jpeg") as image:
        ImageOps.mirror(image).save(data / "test/DME/DME-901-1.jpeg")
    status, out = audit(data, capsys, "--json", str(tmp_path / "report.json"))
    report = json.loads((tmp_path / "report.json").read_text())
    assert status == 1
    assert report["scans"] == {"train": 16 + SHOWN + 3, "test": 8 + SHOWN + 4}
    crossing = [p for p in report["patients"] if p["patient"] == "oct2017:1"]
    assert crossing == [{"patient": "oct2017:1", "scans": {"train": 1, "test": SHOWN + 3}}]
    (near,) = report["near_duplicates"]
    assert near["files"] == ["train/CNV/CNV-1-1.jpeg", "test/DME/DME-901-1.jpeg"]
    assert (near["flipped"], near["same_patient"], near["same_label"]) == (True, False, False)
    assert str(data) not in json.dumps(report)
    assert out.count("oct2017:") == min(SHOWN, len(report["patients"]))


def test_long_lists_are_cut(clean):
    splits = {"train": [Sample(Path("a"), "CNV", str(i)) for i in range(25)]}
    crossing = patients_crossing({**splits, "test": splits["train"]})
    assert len(crossing) == 25
    report = leaks({"train": oct2017(clean, "train")}, threshold=None)
    text = str(type(report)(report.scans, crossing, [], [], None))
    assert "patients in more than one split: 25" in text
    assert "… and 5 more" in text
    assert "near-duplicates across splits: not looked for" in text


def test_val_is_audited_where_there_is_one(data, capsys):
    (data / "val/DME").mkdir(parents=True)
    shutil.copy(data / "train/DME/DME-5-1.jpeg", data / "val/DME/DME-5-1.jpeg")
    status, out = audit(data, capsys)
    assert status == 1
    assert "scans: 16 in train, 1 in val, 8 in test" in out
    assert "train/DME/DME-5-1.jpeg = val/DME/DME-5-1.jpeg" in out
    assert audit(data, capsys, "--splits", "train", "test")[0] == 0


def test_bad_data_exits_with_2(data, tmp_path, capsys):
    assert main([str(tmp_path / "nowhere")]) == 2
    assert "no such folder" in capsys.readouterr().err
    assert main([str(data), "--splits", "train", "held_out"]) == 2
    capsys.readouterr()
    whole = (data / "train/CNV/CNV-1-1.jpeg").read_bytes()
    for damaged in (whole[: len(whole) // 2], b"", b"not an image"):
        (data / "train/CNV/CNV-1-1.jpeg").write_bytes(damaged)
        assert main([str(data)]) == 2
        error = capsys.readouterr().err
        assert "CNV-1-1.jpeg: can't be read as an image" in error


def test_unusable_options_exit_with_2(clean, tmp_path, capsys):
    with pytest.raises(SystemExit) as e:
        main([str(clean), "--threshold", "513"])
    assert e.value.code == 2
    assert main([str(clean), "--json", str(tmp_path / "no/folder.json")]) == 2


def test_command_line(data):
    done = subprocess.run(
        [sys.executable, "-m", "training.audit", str(data)],
        cwd=ROOT,
        text=True,
        capture_output=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "scans: 16 in train, 8 in test" in done.stdout


def test_fast_part_decodes_nothing(tmp_path):
    a, b = (Sample(tmp_path / name, "CNV", name) for name in "ab")
    for sample in (a, b):
        sample.path.write_bytes(b"not an image")
    report = leaks({"train": [a], "test": [b]}, threshold=None)
    assert [i.splits for i in report.identical] == [["test", "train"]]
    assert report.near_duplicates is None
    with pytest.raises(DataError, match="can't be read as an image"):
        leaks({"train": [a], "test": [b]})
    with pytest.raises(DataError, match="can't be read"):
        leaks({"train": [Sample(tmp_path / "gone", "CNV", "1")]}, threshold=None)


def test_patients_crossing_reads_no_file():
    one, two = Sample(Path("x"), "CNV", "oct2017:1"), Sample(Path("y"), "DME", "oct2017:2")
    assert patients_crossing({"train": [one, one], "val": [two], "test": []}) == []
    (leak,) = patients_crossing({"train": [one, one], "val": [two], "test": [one]})
    assert (leak.patient, leak.scans) == ("oct2017:1", {"train": 2, "test": 1})


def test_candidates_in_chunks_are_all_pairs_within_the_threshold(monkeypatch):
    monkeypatch.setattr("training.near_duplicates.CHUNK", 7)
    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 256, (20, 2, 64), np.uint8), rng.integers(0, 256, (17, 2, 64), np.uint8)
    limit = 244  # random hashes differ in 256 ± 11 bits
    expected = set()
    for i in range(20):
        for j in range(17):
            straight, flipped = (int(np.unpackbits(a[i, 0] ^ b[j, way]).sum()) for way in (0, 1))
            if min(straight, flipped) <= limit:
                expected.add((i, j, flipped < straight, min(straight, flipped)))
    assert 0 < len(expected) < 340
    assert set(candidates(a, b, limit)) == expected


def test_fingerprint_knows_mirror_images(clean):
    pixels = read_small(clean / "train/CNV/CNV-1-1.jpeg")
    straight, flipped = fingerprint(pixels)
    assert straight.size * 8 == BITS
    assert (fingerprint(mirror(pixels)) == [flipped, straight]).all()


def test_blank_scans_match_nothing():
    blank = np.zeros((128, 128), np.float32)
    assert texture_match(blank, blank) == 0


def test_calibration_reports_every_alteration(clean):
    report = calibrate(oct2017(clean, "train"))
    assert report.startswith("16 scans of 16 patients")
    assert all(name in report for name in ALTERATIONS)
    assert "120 pairs of different patients" in report
    assert ", 0 of them alike" in report or ": 0 near, 0 of them alike" in report

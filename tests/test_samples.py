"""Reading labelled scans: the layouts that fit, and those that don't."""

from pathlib import Path

import pytest

from training.samples import DataError, Sample, digest, duke_dme, healthy_layers, lesions, oct2017, octdl


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(name.encode())


def test_oct2017_layout(tmp_path):
    touch(
        tmp_path,
        "train/CNV/CNV-12-2.jpeg",
        "train/CNV/CNV-12-10.jpeg",
        "train/NORMAL/NORMAL-12-1-b.JPEG",
        "test/DME/DME-7-1.png",
    )
    folder = tmp_path / "train"
    assert oct2017(tmp_path, "train") == [
        Sample(folder / "CNV/CNV-12-10.jpeg", "CNV", "oct2017:12"),
        Sample(folder / "CNV/CNV-12-2.jpeg", "CNV", "oct2017:12"),
        Sample(folder / "NORMAL/NORMAL-12-1-b.JPEG", "NORMAL", "oct2017:12"),
    ]
    assert [s.patient for s in oct2017(tmp_path, "test")] == ["oct2017:7"]


def test_oct2017_ignores_hidden_files_and_other_kinds(tmp_path):
    touch(tmp_path, "train/CNV/CNV-1-1.jpeg", "train/CNV/.DS_Store", "train/CNV/._CNV-1-1.jpeg", "train/CNV/list.txt")
    touch(tmp_path, "train/.DS_Store")
    assert [s.path.name for s in oct2017(tmp_path, "train")] == ["CNV-1-1.jpeg"]


@pytest.mark.parametrize(
    "name", ["DME-1-1.jpeg", "CNV-1.jpeg", "CNV-x-1.jpeg", "cnv-1-1.jpeg", "scan.jpeg", "CNV-1-1 (2).jpeg"]
)
def test_oct2017_refuses_names_that_do_not_fit(tmp_path, name):
    touch(tmp_path, f"train/CNV/{name}")
    with pytest.raises(DataError, match=r"name doesn't fit, expected CNV-PATIENT-N\.jpeg") as e:
        oct2017(tmp_path, "train")
    assert name in str(e.value)


def test_oct2017_refuses_missing_and_empty_folders(tmp_path):
    with pytest.raises(DataError, match="train: no such folder, expected OCT2017's layout"):
        oct2017(tmp_path, "train")
    touch(tmp_path, "train/AMD/AMD-1-1.jpeg")
    with pytest.raises(DataError, match="no scans, expected class folders CNV, DME, DRUSEN, NORMAL"):
        oct2017(tmp_path, "train")


def test_lesions_takes_training_patients(tmp_path):
    rows = "image,patient,split\nlesions/images/a.png,CNV-5,train\nlesions/images/b.png,DME-6,test\n"
    (tmp_path / "lesions.csv").write_text(rows)
    assert lesions(tmp_path / "lesions") == [Sample(tmp_path / "lesions/images/a.png", "CNV", "oct2017:5")]


def test_octdl_takes_the_diseases_it_shares_by_group(tmp_path):
    rows = "file,label,patient,group\no/a.jpg,NO,1,octdl:1\no/b.jpg,DME,2,octdl:1\no/c.jpg,ERM,3,octdl:3\n"
    (tmp_path / "octdl.csv").write_text(rows)
    assert [(s.label, s.patient) for s in octdl(tmp_path / "octdl")] == [("NORMAL", "octdl:1"), ("DME", "octdl:1")]


@pytest.mark.parametrize("reader", [lesions, octdl])
def test_missing_list_is_refused(tmp_path, reader):
    with pytest.raises(DataError, match=r"none\.csv: no such file, expected the list of scans"):
        reader(tmp_path / "none")


def test_layer_sets_split_by_subject(tmp_path):
    touch(tmp_path, "h/images/S01_1.png", "h/images/S08_1.png", "h/images/S02_1.png")
    assert [s.patient for s in healthy_layers(tmp_path / "h")] == ["healthy:S01", "healthy:S02", "healthy:S01"]
    touch(tmp_path, "d/images/S05_11.png", "d/images/S06_1.png")
    assert [(s.patient, s.label) for s in duke_dme(tmp_path / "d")] == [("duke:S05", "DME")]


def test_digest_depends_on_content_and_label_only(tmp_path):
    touch(tmp_path, "a.png", "b.png", "c.png")
    a, b = Sample(tmp_path / "a.png", "DME", "1"), Sample(tmp_path / "b.png", "CNV", "2")
    (tmp_path / "c.png").write_bytes(a.path.read_bytes())
    assert digest([a, b]) == digest([b, Sample(tmp_path / "c.png", "DME", "3")])
    assert digest([a, b]) != digest([a, Sample(b.path, "DME", "2")])
    before = digest([a, b])
    b.path.write_bytes(b"other")
    assert digest([a, b]) != before

"""The audit of a checkpoint finds the scans again that its records name, refuses others, and tells what is shared."""

import json
import re
import shutil
from pathlib import Path

import pytest
from PIL import Image, ImageEnhance
from synthetic import make_oct2017
from synthetic_masks import make_masked_scans
from tiny_checkpoints import tiny_octnet, tiny_unet

from training.audit_checkpoint import audit, main
from training.audited_scans import patient
from training.card_check import problems
from training.masked_scans import SUBJECT, by_subject, image_digests, masked_scans
from training.samples import Sample, digest
from training.split import training_splits
from training.stages import stages_before


@pytest.fixture(scope="module")
def oct2017(tmp_path_factory) -> Path:
    return make_oct2017(tmp_path_factory.mktemp("data") / "oct2017", patients=4, test_patients=1)


@pytest.fixture
def octnet(oct2017, tmp_path) -> Path:
    return tiny_octnet(tmp_path / "octnet", oct2017)


@pytest.fixture
def layers(tmp_path) -> Path:
    return make_masked_scans(tmp_path / "layers")


def run(checkpoint: Path, *data: Path, before: tuple[Path, ...] = ()) -> int:
    more = ["--before", *map(str, before)] if before else []
    return main([str(checkpoint), "--data", *map(str, data), *more])


def recorded(checkpoint: Path) -> dict:
    return json.loads((checkpoint / "metrics.json").read_text())["audit"]


def row(checkpoint: Path, start: str) -> str:
    return next(
        line for line in (checkpoint / "README.md").read_text().split("## Leak audit")[1].splitlines() if start in line
    )


def test_clean_classifier(octnet, oct2017, capsys):
    assert run(octnet, oct2017) == 0
    assert (
        "oct2017-test: 8 scans of 4 patients: 0 shared patients, 0 identical, 0 near duplicates"
        in capsys.readouterr().out
    )
    found = recorded(octnet)
    assert [(s["role"], s["data"]) for s in found["sets"]] == [("training", "oct2017"), ("validation", "oct2017")]
    assert found["scans"] == sum(s["scans"] for s in found["sets"]) == 32
    training = json.loads((octnet / "training.json").read_text())
    assert [s["sha256"] for s in found["sets"]] == [training[side]["sha256"] for side in ("train", "val")]
    assert row(octnet, "| OCT2017, test").endswith("| 8 | 0 | 0 | 0 |")
    assert problems((octnet / "README.md").read_text(), octnet) == []


def test_near_duplicate_of_a_training_scan_is_found_and_shown(oct2017, tmp_path, capsys):
    data = Path(shutil.copytree(oct2017, tmp_path / "oct2017"))
    scan = sorted((data / "train/DRUSEN").iterdir())[0]
    with Image.open(scan) as image:
        ImageEnhance.Brightness(image).enhance(1.1).save(data / "test/CNV/CNV-999-1.jpeg")
    octnet = tiny_octnet(tmp_path / "octnet", data)
    assert run(octnet, data) == 1
    test = recorded(octnet)["tests"]["oct2017-test"]
    assert (test["shared_patients"], test["identical"], test["near_duplicates"]) == (0, 0, 1)
    assert f"trained/DRUSEN/{scan.name} ~ oct2017-test/CNV/CNV-999-1.jpeg" in test["leaks"][0]
    assert row(octnet, "| OCT2017, test").endswith("| 9 | 0 | 0 | 1 |")
    assert test["leaks"][0] in (octnet / "README.md").read_text()
    assert test["leaks"][0] in capsys.readouterr().out


def test_every_kind_of_leak_is_counted_by_test_set(oct2017, tmp_path):
    paths = sorted((oct2017 / "train/CNV").iterdir())
    copy = tmp_path / "copy.jpeg"
    shutil.copy(paths[2], copy)
    trained = [Sample(path, "CNV", f"p{i}") for i, path in enumerate(paths[:4])]
    tests = {"a": [Sample(paths[4], "CNV", "p0"), Sample(copy, "CNV", "other")], "b": [Sample(paths[5], "CNV", "p9")]}
    found = audit(trained, tests)
    counts = {key: [f[k] for k in ("scans", "patients", "shared_patients", "identical")] for key, f in found.items()}
    assert counts == {"a": [2, 2, 1, 1], "b": [1, 1, 0, 0]}
    assert len(found["a"]["leaks"]) == 2 + found["a"]["near_duplicates"]


def test_other_scans_than_the_recorded_ones_are_refused(octnet, oct2017, tmp_path, capsys):
    data = Path(shutil.copytree(oct2017, tmp_path / "oct2017"))
    next((data / "train/CNV").iterdir()).unlink()
    assert run(octnet, data) == 2
    assert "training scans have other hashes than those recorded" in capsys.readouterr().err
    shutil.rmtree(data)
    shutil.copytree(oct2017, data)
    next((data / "test/CNV").iterdir()).unlink()
    assert run(octnet, data) == 2
    assert "oct2017-test scans have another hash than the recorded one" in capsys.readouterr().err
    assert run(octnet, tmp_path) == 2
    assert "expected a folder in OCT2017's layout" in capsys.readouterr().err
    assert "audit" not in json.loads((octnet / "metrics.json").read_text())


def test_audit_of_other_weights_or_before_any_figure_is_refused(octnet, oct2017, capsys):
    (octnet / "config.json").write_text((octnet / "config.json").read_text() + "\n")
    assert run(octnet, oct2017) == 2
    assert "no test set was measured yet" in capsys.readouterr().err


def test_audit_of_another_test_split_is_not_shown(octnet, oct2017):
    assert run(octnet, oct2017) == 0
    path = octnet / "metrics.json"
    metrics = json.loads(path.read_text())
    metrics["audit"]["tests"]["oct2017-test"]["sha256"] = "0" * 64
    path.write_text(json.dumps(metrics))
    from training.card import write_card

    write_card(octnet)
    assert row(octnet, "| OCT2017, test").count("not audited") == 3


def test_clean_segmenter(layers, tmp_path):
    unet = tiny_unet(tmp_path / "unet", layers)
    assert run(unet, layers) == 0
    found = recorded(unet)
    assert [(s["role"], s["data"], s["scans"], s["patients"]) for s in found["sets"]] == [("training", "layers", 6, 3)]
    assert found["tests"]["layers"]["scans"] == 2
    assert found["before"] == []


def test_segmenter_whose_test_scan_was_trained_under_another_name(layers, tmp_path):
    with Image.open(layers / "images/S01_0.png") as image:
        ImageEnhance.Brightness(image).enhance(0.9).save(layers / "images/S04_0.png")
    unet = tiny_unet(tmp_path / "unet", layers)
    assert run(unet, layers) == 1
    assert recorded(unet)["tests"]["layers"]["near_duplicates"] == 1
    (layers / "images/S02_0.png").unlink()
    assert run(unet, layers) == 2


def test_scans_of_earlier_stages_are_audited(layers, oct2017, tmp_path, capsys):
    """An encoder that learned from OCT2017, then a training that saw S04, which is measured on now."""
    encoder, earlier = tmp_path / "encoder/encoder.safetensors", tmp_path / "earlier"
    encoder.parent.mkdir()
    encoder.write_bytes(b"weights")
    splits = training_splits(oct2017, val_fraction=0.1)
    about = {"task": "classes", "seconds": 5.0, "hardware": "cpu", "epochs": 1}
    (encoder.parent / "encoder.json").write_text(
        json.dumps({**about, "train": digest(splits.train), "val": digest(splits.val)})
    )
    tiny_unet(earlier, layers, before=stages_before(encoder))
    training = json.loads((earlier / "training.json").read_text())
    (pretraining,) = training["before"]
    assert (pretraining["what"], pretraining["seconds"]) == ("pretraining of the encoder", 5.0)

    seen, _ = by_subject(masked_scans(layers), ["S03"])
    training["train"] |= {"scans": 6, "subjects": ["S01", "S02", "S04"], "images": image_digests(seen), "sha256": "x"}
    (earlier / "training.json").write_text(json.dumps(training))
    unet = tiny_unet(tmp_path / "unet", layers)
    record = json.loads((unet / "training.json").read_text()) | {"before": stages_before(earlier)}
    (unet / "training.json").write_text(json.dumps(record))  # after the measuring, which would refuse S04
    assert run(unet, layers, oct2017) == 1
    found = recorded(unet)
    assert [s["role"] for s in found["sets"]] == [
        "training",
        "earlier training",
        "training of the encoder",
        "validation of the encoder",
    ]
    assert found["tests"]["layers"]["identical"] == 2
    assert [s["seconds"] for s in found["before"]] == [5.0, 12.3]
    assert "or pretrained its encoder" in (unet / "README.md").read_text()
    assert run(unet, layers) == 2
    assert "expected a folder in OCT2017's layout" in capsys.readouterr().err


def test_older_records_need_the_earlier_weights(layers, oct2017, tmp_path, capsys):
    unet = tiny_unet(tmp_path / "unet", layers)
    earlier = tiny_unet(tmp_path / "earlier", layers)
    (stage,) = stages_before(earlier)
    training = json.loads((unet / "training.json").read_text())
    del training["before"]
    training["recipe"]["encoder"] = f"random, then a first training (sha256 {stage['sha256']})"
    (unet / "training.json").write_text(json.dumps(training))
    assert run(unet, layers) == 2
    assert re.search("not recorded is .* Expected --before", capsys.readouterr().err)
    assert run(unet, layers, before=(oct2017,)) == 2
    assert run(unet, layers, before=(earlier,)) == 0
    assert [s["what"] for s in recorded(unet)["before"]] == ["an earlier training"]


def test_patients_are_named_alike_in_all_sets():
    pattern = re.compile(SUBJECT)
    assert patient(Path("images/DME-12-3.jpg"), "lesions", pattern) == "oct2017:12"
    assert patient(Path("images/CNV-12-3_pseudo.jpeg"), "labelled", pattern) == "oct2017:12"
    assert patient(Path("images/S08_4.png"), "healthy_layers", pattern) == "healthy:S01"
    assert patient(Path("images/S08_4.png"), "duke_dme", pattern) == "duke:S08"
    assert patient(Path("images/scan.png"), "livers", pattern) == "livers:scan"

"""Exported ONNX files answer as their checkpoints, alone and in batches; those that don't aren't left."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from PIL import Image
from synthetic import bscan

from octhub import Classifier, OctNet, Segmenter, ServingConfig, UNet, __version__, export
from octhub.__main__ import main
from octhub.gallery import Example
from octhub.gallery import load as load_gallery
from octhub.hub import DEFAULT_CLASSIFIER, DEFAULT_SEGMENTER
from octhub.onnx_graph import logits_and_gradients, write_onnx
from octhub.onnx_serve import OnnxClassifier, OnnxFileError, OnnxSegmenter
from octhub.predict import served_logits
from octhub.promise import ClassPromise
from octhub.unsure import UnsureRule

CLASSES = ("CNV", "DME", "DRUSEN", "NORMAL")
CLASSIFIER = ServingConfig(CLASSES, (64, 128), (0.2,), (0.2,), temperature=1.7, unsure=UnsureRule(0.2, 1.5))
SEGMENTER = ServingConfig(
    ("ground", "layer", "fluid"), (70, 96), framing="whole", mirror=True, logit_offsets=(0.1, -0.2, 0.3)
)


@pytest.fixture(scope="module")
def octnet() -> OctNet:
    torch.manual_seed(0)
    model = OctNet(channels=(4, 4, 8, 8, 8, 16), hidden=(12, 8), serving=CLASSIFIER, remembered=5)
    model.memory.normal_()
    return lively(model)


@pytest.fixture(scope="module")
def unet() -> UNet:
    torch.manual_seed(0)
    layout = {"encoder": "resnet10t", "decoder_channels": (16, 8, 8, 8, 8)}
    return lively(UNet(num_classes=3, serving=SEGMENTER, **layout))


def lively(model: OctNet | UNet) -> OctNet | UNet:
    """Batch norms with statistics of their own, as in a trained model, so that folding them is not for nothing."""
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            for values in (module.weight, module.running_var):
                torch.nn.init.uniform_(values, 0.5, 1.5)
            torch.nn.init.normal_(module.running_mean, std=0.1)
    return model.eval()


@pytest.fixture(scope="module")
def gallery(tmp_path_factory) -> list[Example]:
    folder = tmp_path_factory.mktemp("gallery")
    examples, rng = [], np.random.default_rng(0)
    for i, label in enumerate(CLASSES[:3]):
        path = folder / f"{i}.png"
        Image.fromarray(bscan(label, rng)).save(path)
        examples.append(Example(path, "", "", "", "", "", "", label=label, segment=ClassPromise("layer")))
    entries = [{"file": e.path.name, "label": e.label, "segment": {"class": "layer"}} for e in examples]
    about = dict.fromkeys(("sha256", "source", "licence", "attribution", "patient", "split"), "")
    (folder / "manifest.json").write_text(json.dumps({"examples": [about | entry for entry in entries]}))
    return examples


@pytest.fixture(scope="module")
def octnet_file(octnet, gallery, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("octnet") / "octnet.onnx"
    agreements = list(export.export(octnet, out, gallery))
    assert len(agreements) == len(gallery) + 1  # all of them in one batch, too
    assert not any(a.problem for a in agreements)
    return out


@pytest.fixture(scope="module")
def unet_file(unet, gallery, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("unet") / "unet.onnx"
    assert not any(a.problem for a in export.export(unet, out, gallery))
    assert list(out.parent.iterdir()) == [out]  # no external data, nothing temporary
    return out


def run(file: Path, batch: torch.Tensor) -> dict[str, np.ndarray]:
    session = onnxruntime.InferenceSession(file)
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, {"scan": batch.numpy()}), strict=True))


@pytest.mark.parametrize("batch", [1, 2, 5])
def test_classifier_file_has_all_of_an_answer(octnet, octnet_file, batch):
    scans = torch.randn(batch, 1, 64, 128, generator=torch.Generator().manual_seed(batch))
    found = run(octnet_file, scans)
    with torch.inference_mode():
        features = octnet.features(scans)
        expected = {"logits": octnet(scans), "features": features, "novelty": octnet.novelty(features)}
    assert {*found} == {*expected, "gradcam"}
    for name, values in expected.items():
        np.testing.assert_allclose(found[name], values, atol=1e-5)
    assert found["gradcam"].shape == (batch, 4, 2, 4)


def test_gradients_are_autograds(octnet):
    features = torch.randn(3, 16, requires_grad=True)
    logits, gradients = logits_and_gradients(octnet.mlp, features)
    torch.testing.assert_close(logits, octnet.mlp(features))
    for c in range(4):
        (expected,) = torch.autograd.grad(octnet.mlp(features)[:, c].sum(), features)
        torch.testing.assert_close(gradients[:, c], expected)


@pytest.mark.parametrize("size", [(70, 96), (64, 64), (33, 101), (1, 1)])
@pytest.mark.parametrize("batch", [1, 3])
def test_segmenter_file_takes_any_batch_and_size(unet, unet_file, batch, size):
    scans = torch.randn(batch, 1, *size, generator=torch.Generator().manual_seed(batch))
    found = run(unet_file, scans)["logits"]
    expected = torch.stack([served_logits(unet, scan, SEGMENTER) for scan in scans])
    np.testing.assert_allclose(found, expected, atol=1e-4)


@pytest.mark.parametrize("heatmap", [False, True, "DRUSEN"])
def test_served_classifier_answers_as_the_models(octnet, octnet_file, gallery, heatmap):
    ours, theirs = Classifier(octnet, "cpu"), OnnxClassifier(octnet_file, threads=1)
    for example in gallery:
        a, b = ours(example.path, heatmap), theirs(example.path, heatmap)
        assert (a.label, a.decision, a.reason, a.heatmap_class) == (b.label, b.decision, b.reason, b.heatmap_class)
        assert a.probabilities == pytest.approx(b.probabilities, abs=1e-5)
        if heatmap:
            np.testing.assert_allclose(a.heatmap, b.heatmap, atol=1e-3)
    with pytest.raises(ValueError, match="heatmap class 'AMD', expected one of CNV"):
        theirs(gallery[0].path, "AMD")


def test_served_segmenter_answers_as_the_models(unet, unet_file, gallery):
    ours, theirs = Segmenter(unet, "cpu"), OnnxSegmenter(unet_file, threads=1)
    for example in gallery:
        a, b = ours(example.path), theirs(example.path)
        assert (a.class_names, a.decision) == (b.class_names, b.decision)
        assert (a.mask != b.mask).mean() < 0.001


def test_classifier_without_memory_and_hidden_layers(gallery, tmp_path):
    plain = OctNet(channels=(4, 4, 8), kernel_sizes=(3, 3, 3), hidden=(), serving=CLASSIFIER).eval()
    assert not any(a.problem for a in export.export(plain, tmp_path / "o.onnx", gallery))
    assert [o.name for o in onnx.load(tmp_path / "o.onnx").graph.output] == ["logits", "features", "gradcam"]


def test_file_is_valid_and_says_what_it_is(octnet_file, unet_file):
    for file, architecture, serving in ((octnet_file, "OctNet", CLASSIFIER), (unet_file, "UNet", SEGMENTER)):
        proto = onnx.load(file)
        onnx.checker.check_model(proto, full_check=True)
        assert [o.version for o in proto.opset_import if not o.domain] == [20]
        said = {p.key: p.value for p in proto.metadata_props}
        assert said["architecture"] == architecture
        assert tuple(json.loads(said["class_names"])) == serving.class_names
        assert ServingConfig(**json.loads(said["serving"])) == serving
        assert (said["octhub"], said["stored"]) == (__version__, "float32")
        assert "Research use only" in said["note"]
        assert not any(t.HasField("data_location") and t.data_location for t in proto.graph.initializer)
        for noted in (b"stack_trace", b"site-packages", b"pkg.torch"):  # the exporter's, with files and lines
            assert noted not in file.read_bytes()
    dims = [d.dim_param or d.dim_value for d in onnx.load(unet_file).graph.output[0].type.tensor_type.shape.dim]
    assert dims == ["batch", 3, "height", "width"]


def test_file_runs_without_octhub_and_torch(unet_file, tmp_path):
    np.save(tmp_path / "scan.npy", np.zeros((2, 1, 70, 96), np.float32))
    code = """
import json, sys
import numpy as np, onnxruntime
session = onnxruntime.InferenceSession(sys.argv[1])
(logits,) = session.run(["logits"], {"scan": np.load(sys.argv[2])})
assert not {"torch", "octhub"} & set(sys.modules)
print(logits.shape, json.loads(session.get_modelmeta().custom_metadata_map["class_names"]))
"""
    done = subprocess.run(
        [sys.executable, "-I", "-c", code, unet_file, tmp_path / "scan.npy"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "(2, 3, 70, 96) ['ground', 'layer', 'fluid']"


def test_float16_halves_the_file_and_little_else(gallery, tmp_path):
    torch.manual_seed(1)
    model = lively(OctNet(serving=CLASSIFIER))
    sizes = {}
    for dtype in ("float32", "float16"):
        out = tmp_path / f"{dtype}.onnx"
        assert not any(a.problem for a in export.export(model, out, gallery, dtype))
        onnx.checker.check_model(onnx.load(out), full_check=True)
        sizes[dtype] = out.stat().st_size
    assert sizes["float16"] < 0.52 * sizes["float32"]


@pytest.fixture
def off_by_a_weight(monkeypatch):
    """An exporter that gets the last layer's bias wrong."""

    def wrong(model, path, dtype="float32"):
        *_, bias = model.parameters()
        with torch.no_grad():
            bias[0] += 0.01
            write_onnx(model, path, dtype)
            bias[0] -= 0.01

    monkeypatch.setattr(export, "write_onnx", wrong)


@pytest.mark.usefixtures("off_by_a_weight")
def test_what_does_not_agree_is_not_left(octnet, gallery, tmp_path):
    out = tmp_path / "new.onnx"
    with pytest.raises(export.DisagreementError, match=r"new\.onnx isn't written: 4 of 4 comparisons"):
        list(export.export(octnet, out, gallery))
    assert not list(tmp_path.iterdir())
    out.write_bytes(b"before")
    with pytest.raises(export.DisagreementError):
        list(export.export(octnet, out, gallery))
    assert [p.read_bytes() for p in tmp_path.iterdir()] == [b"before"]


@pytest.mark.usefixtures("off_by_a_weight")
def test_command_fails_where_it_does_not_agree(octnet, gallery, tmp_path, capsys):
    octnet.save_pretrained(tmp_path / "tiny")
    arguments = ["export", str(tmp_path / "tiny"), "--out", str(tmp_path / "out")]
    assert main([*arguments, "--examples", str(gallery[0].path.parent)]) == 1
    printed = capsys.readouterr()
    assert "FAIL 0.png" in printed.out
    assert "at most 0.001 allowed" in printed.out
    assert "tiny.onnx isn't written" in printed.err
    assert not list((tmp_path / "out").iterdir())


def test_interrupted_export_leaves_nothing(octnet, gallery, tmp_path):
    running = export.export(octnet, tmp_path / "new.onnx", gallery)
    next(running)
    running.close()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("name", "out"), [("any.onnx", "any.onnx"), ("folder", "folder/tiny.onnx")])
def test_command_writes_a_file_or_into_a_folder(octnet, gallery, tmp_path, name, out, capsys):
    octnet.save_pretrained(tmp_path / "tiny")
    arguments = ["--format", "onnx", "--out", str(tmp_path / name), "--examples", str(gallery[0].path.parent)]
    assert main(["export", str(tmp_path / "tiny"), *arguments]) == 0
    printed = capsys.readouterr().out
    assert "ok   2.png" in printed
    assert "opset 20; logits differ by at most" in printed
    served = OnnxClassifier(tmp_path / out)
    assert served.class_names == CLASSES


def test_unusable_arguments_are_named(octnet, unet, gallery, tmp_path, capsys, monkeypatch):
    octnet.save_pretrained(tmp_path / "tiny")
    tiny, out = str(tmp_path / "tiny"), ["--out", str(tmp_path / "out.onnx")]
    assert main(["export", "./nowhere", *out]) == 2
    assert "./nowhere: no such folder" in capsys.readouterr().err
    (tmp_path / "odd").mkdir()
    (tmp_path / "odd/config.json").write_text('{"architecture": "ResNet"}')
    assert main(["export", str(tmp_path / "odd"), *out]) == 2
    assert "names no architecture of OctNet, UNet" in capsys.readouterr().err
    assert main(["export", tiny, *out, "--examples", str(tmp_path)]) == 2
    assert "manifest.json: no such file" in capsys.readouterr().err
    (tmp_path / "file").write_bytes(b"")
    assert main(["export", tiny, "--out", str(tmp_path / "file/out.onnx")]) == 2
    assert "file" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["export", tiny, *out, "--dtype", "int8"])
    assert "invalid choice: 'int8'" in capsys.readouterr().err
    with pytest.raises(export.ExportError, match="no example for a OctNet"):
        list(export.export(octnet, tmp_path / "out.onnx", [replace(gallery[0], label=None)]))
    with pytest.raises(export.ExportError, match="no serving configuration"):
        list(export.export(OctNet().eval(), tmp_path / "out.onnx", gallery))
    monkeypatch.setattr(export, "NEEDED", ("onnx", "no_such_package"))
    assert main(["export", tiny, *out]) == 2
    assert r"no_such_package not installed: `pip install 'octhub[onnx]'`" in capsys.readouterr().err
    assert not (tmp_path / "out.onnx").exists()


def test_files_that_cannot_be_served_are_named(octnet_file, tmp_path):
    with pytest.raises(OnnxFileError, match="of architecture OctNet, expected UNet"):
        OnnxSegmenter(octnet_file)
    (tmp_path / "text.onnx").write_text("no")
    with pytest.raises(OnnxFileError, match=r"text\.onnx"):
        OnnxClassifier(tmp_path / "text.onnx")
    proto = onnx.load(octnet_file)
    del proto.metadata_props[:]
    onnx.save(proto, tmp_path / "bare.onnx")
    with pytest.raises(OnnxFileError, match="no metadata as octhub writes them"):
        OnnxClassifier(tmp_path / "bare.onnx")


@pytest.mark.parametrize("checkpoint", [DEFAULT_CLASSIFIER, DEFAULT_SEGMENTER])
def test_committed_checkpoints_agree_on_the_gallery(root, checkpoint, tmp_path):
    model = export.load(root / checkpoint)
    out = export.place(model, tmp_path)
    agreements = list(export.export(model, out, load_gallery(root / "examples")))
    assert out == tmp_path / f"{Path(checkpoint).name}.onnx"
    assert out.is_file()
    assert max(a.logits for a in agreements) < 1e-4
    said = onnxruntime.InferenceSession(out).get_modelmeta().custom_metadata_map
    assert (said["weights_sha256"], said["source"]) == (model.weights_sha256, checkpoint)

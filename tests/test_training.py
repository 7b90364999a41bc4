"""The training command: learns, resumes exactly after a kill, works in two processes, refuses bad data."""

import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from accelerate.state import AcceleratorState
from safetensors.torch import load_file
from synthetic import make_oct2017

from octhub import Classifier
from training.classify_task import class_weights
from training.evaluate import main as evaluate
from training.loop import FitOptions, make_schedule
from training.samples import CLASS_NAMES, Sample
from training.split import training_splits
from training.train_octnet import main

ROOT = Path(__file__).parent.parent
SMALL = ["--size", "64", "128", "--batch-size", "8", "--workers", "0", "--val-fraction", "0.2", "--cpu"]
EAGER = ["--dropout", "0", "--ema", "0.8", "--augment", "0.3", "--mixup", "0"]


def arguments(data: Path, out: Path, *more: str) -> list[str]:
    return ["--data", str(data), "--out", str(out), *SMALL, *EAGER, *more]


def train(data: Path, out: Path, *more: str) -> int:
    """Train in this process, which spares the import; accelerate holds one configuration a process."""
    AcceleratorState._reset_state(reset_partial_state=True)
    return main(arguments(data, out, *more))


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    return make_oct2017(tmp_path_factory.mktemp("oct2017"), patients=8)


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    """Two epochs on 320 synthetic scans."""
    folder = tmp_path_factory.mktemp("trained")
    data = make_oct2017(folder / "data", patients=50, test_patients=8)
    assert train(data, folder / "out", "--epochs", "2") == 0
    return folder


def test_two_epochs_learn(trained):
    record = json.loads((trained / "out/checkpoint/training.json").read_text())
    assert record["val"]["metrics"]["accuracy"] >= 0.7
    assert record["train"]["counts"] == dict.fromkeys(CLASS_NAMES, 80)
    assert str(trained) not in json.dumps(record)
    assert all((trained / "out" / name).stat().st_size > 5000 for name in ("curves.png", "confusion-val.png"))


def test_trained_checkpoint_serves(trained):
    classifier = Classifier.from_pretrained(trained / "out/checkpoint", device="cpu")
    for label in CLASS_NAMES:
        scans = sorted((trained / f"data/test/{label}").iterdir())
        assert sum(classifier(s).label == label for s in scans) >= len(scans) / 2


def test_evaluate_writes_metrics_and_card(trained, capsys):
    checkpoint = trained / "out/checkpoint"
    assert evaluate([str(checkpoint), "--data", str(trained / "data")]) == 0
    figures = json.loads((checkpoint / "metrics.json").read_text())["evaluations"]["oct2017-test"]
    assert figures["n"] == 64
    assert figures["split"] == "test"
    assert len(figures["split_sha256"]) == 64
    assert len(figures["wrong"]) == round((1 - figures["accuracy"]) * 64)
    assert f"accuracy {figures['accuracy']:.4f}" in capsys.readouterr().out
    card = (checkpoint / "README.md").read_text()
    assert "# out" in card
    assert f"**{100 * figures['accuracy']:.2f} %**" in card
    assert "CNV 80, DME 80, DRUSEN 80, NORMAL 80" in card
    assert "{{" not in card
    assert "healthy eyes" not in card.lower()
    assert (checkpoint / "confusion-oct2017-test.png").is_file()


def test_evaluate_names_what_is_no_checkpoint(tmp_path, data, capsys):
    assert evaluate([str(tmp_path), "--data", str(data)]) == 2
    assert "no training.json" in capsys.readouterr().err


def test_killed_run_resumes_to_the_same_weights(data, tmp_path, capsys):
    more = ("--epochs", "3", "--dropout", "0.5", "--mixup", "0.2", "--workers", "1")
    assert train(data, tmp_path / "whole", *more) == 0
    child = subprocess.Popen(
        [sys.executable, "-m", "training.train_octnet", *arguments(data, tmp_path / "killed", *more)],
        cwd=ROOT,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    for line in child.stdout:
        if line.startswith("epoch 2 "):  # printed before the state of epoch 2 is whole
            child.send_signal(signal.SIGKILL)
            break
    child.wait()
    capsys.readouterr()
    assert train(data, tmp_path / "killed", *more) == 2
    assert "state of an earlier run" in capsys.readouterr().err
    assert train(data, tmp_path / "killed", *more, "--lr", "0.5", "--resume") == 2
    assert "lr 0.002, now 0.5" in capsys.readouterr().err
    assert train(data, tmp_path / "killed", *more, "--resume") == 0
    assert "resumed after epoch" in capsys.readouterr().out
    a, b = (load_file(tmp_path / n / "checkpoint/model.safetensors") for n in ("whole", "killed"))
    assert all(torch.equal(a[k], b[k]) for k in a)
    rows = [json.loads((tmp_path / n / "history.json").read_text()) for n in ("whole", "killed")]
    for row in rows[0] + rows[1]:
        row.pop("seconds")
    assert rows[0] == rows[1]


def test_resume_needs_a_state(data, tmp_path, capsys):
    assert train(data, tmp_path / "new", "--epochs", "1", "--resume") == 2
    assert "no state" in capsys.readouterr().err


def test_two_processes_share_the_work(data, tmp_path):
    # --multi_gpu is accelerate's name for "several processes here"; with the command's --cpu they talk through gloo
    launch = "-m accelerate.commands.launch --multi_gpu --num_processes 2 --num_machines 1 --main_process_port 0"
    launch += " --mixed_precision no --dynamo_backend no -m training.train_octnet"
    argv = [sys.executable, *launch.split(), *arguments(data, tmp_path / "out", "--epochs", "1")]
    done = subprocess.run(argv, cwd=ROOT, text=True, capture_output=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    record = json.loads((tmp_path / "out/checkpoint/training.json").read_text())
    assert record["hardware"].startswith("2 × cpu process")
    assert done.stdout.count("epoch 1 ") == 1
    assert record["val"]["metrics"]["n"] == sum(record["val"]["counts"].values())


@pytest.mark.parametrize(("optimizer", "schedule"), [("sgd", "cosine"), ("rmsprop", "constant"), ("adam", "onecycle")])
def test_optimizers_and_schedules(data, tmp_path, optimizer, schedule):
    more = ("--optimizer", optimizer, "--schedule", schedule, "--lr", "1e-3", "--bf16", "--mixup", "0.2")
    assert train(data, tmp_path / "out", "--epochs", "1", *more) == 0
    assert len(json.loads((tmp_path / "out/history.json").read_text())) == 1


@pytest.mark.parametrize("steps", range(1, 13))
def test_onecycle_takes_any_length(steps):
    weight = torch.zeros(1, requires_grad=True)
    optimizer = torch.optim.SGD([weight], lr=0.1)
    schedule = make_schedule(optimizer, FitOptions(Path("unused"), epochs=steps), 1)
    for _ in range(steps):
        optimizer.step()
        schedule.step()


def test_leaks_of_the_test_split_are_left_out(data):
    def split():
        return training_splits(data, val_fraction=0.2)

    scan, *_, other = sorted((data / "train/CNV").iterdir())
    patient, number = scan.stem.split("-")[1], other.stem.split("-")[1]
    planted = data / "test/CNV" / f"CNV-{patient}-9.jpeg", data / "test/DME" / "DME-9999-1.jpeg"
    assert split().left_out == 0
    shutil.copy(scan, planted[0])  # a patient of the training split
    shutil.copy(other, planted[1])  # the same bytes under another patient's name and another label
    try:
        fewer = split()
    finally:
        for path in planted:
            path.unlink()
    assert fewer.left_out == 3
    assert f"oct2017:{patient}" not in {s.patient for s in fewer.train + fewer.val}
    assert other not in {s.path for s in fewer.train + fewer.val}
    assert f"oct2017:{number}" in {s.patient for s in fewer.train + fewer.val}
    assert not {s.patient for s in fewer.train} & {s.patient for s in fewer.val}


def test_missing_data_is_named(tmp_path, capsys):
    assert train(tmp_path / "nowhere", tmp_path / "out") == 2
    assert "nowhere" in capsys.readouterr().err


def test_too_few_scans_for_a_batch_are_named(data, tmp_path, capsys):
    assert train(data, tmp_path / "out", "--batch-size", "1000") == 2
    assert "expected at least one batch of 1000" in capsys.readouterr().err


def test_damaged_scan_is_named(data, tmp_path, capsys):
    damaged = tmp_path / "damaged"
    shutil.copytree(data, damaged)
    scan = next((damaged / "train/DME").iterdir())
    scan.write_bytes(scan.read_bytes()[:500])
    assert train(damaged, tmp_path / "out") == 2
    assert scan.name in capsys.readouterr().err


def test_class_weights_balance():
    samples = [Sample(Path("x"), label, "p") for label in ["CNV"] * 8 + ["DME"] * 4 + ["DRUSEN"] * 2 + ["NORMAL"] * 2]
    weights = class_weights(samples, CLASS_NAMES)
    # inverse counts 1/8, 1/4, 1/2, 1/2 have mean 11/32
    torch.testing.assert_close(weights, torch.tensor([4, 8, 16, 16]) / 11)
    torch.testing.assert_close(class_weights(samples, CLASS_NAMES, 0), torch.ones(4))

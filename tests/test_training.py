"""The training command: learns, resumes exactly after a kill, works in two processes, refuses bad data."""

import json
import os
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
from training.samples import CLASS_NAMES, Sample
from training.split import training_splits
from training.train_octnet import main

ROOT = Path(__file__).parent.parent
SMALL = ["--size", "64", "128", "--batch-size", "8", "--workers", "0", "--val-fraction", "0.2", "--cpu"]
EAGER = ["--dropout", "0", "--ema", "0.8", "--augment", "0.3", "--mixup", "0"]


def command(data: Path, out: Path, *more: str) -> list[str]:
    return ["-m", "training.train_octnet", "--data", str(data), "--out", str(out), *SMALL, *EAGER, *more]


def run(*argv: str) -> subprocess.CompletedProcess:
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, *argv], cwd=ROOT, env=env, text=True, capture_output=True, timeout=300, check=False
    )


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    return make_oct2017(tmp_path_factory.mktemp("oct2017"), patients=8)


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    """Two epochs on 400 synthetic scans."""
    folder = tmp_path_factory.mktemp("trained")
    data = make_oct2017(folder / "data", patients=50, test_patients=8)
    done = run(*command(data, folder / "out", "--epochs", "2"))
    assert done.returncode == 0, done.stderr
    return folder


def test_two_epochs_learn(trained):
    record = json.loads((trained / "out/checkpoint/training.json").read_text())
    assert record["val"]["metrics"]["accuracy"] >= 0.7
    assert record["train"]["counts"] == dict.fromkeys(CLASS_NAMES, 80)
    assert str(trained) not in json.dumps(record)
    assert all((trained / "out" / name).stat().st_size > 5000 for name in ("curves.png", "confusion-val.png"))


def test_trained_checkpoint_serves(trained):
    classifier = Classifier.from_pretrained(trained / "out/checkpoint", device="cpu")
    scans = sorted((trained / "data/test/CNV").iterdir())
    assert sum(classifier(s).label == "CNV" for s in scans) >= len(scans) // 2


def test_evaluate_writes_metrics_and_card(trained):
    checkpoint = trained / "out/checkpoint"
    done = run("-m", "training.evaluate", str(checkpoint), "--data", str(trained / "data"))
    assert done.returncode == 0, done.stderr
    figures = json.loads((checkpoint / "metrics.json").read_text())["evaluations"]["oct2017-test"]
    assert figures["n"] == 64
    assert figures["split"] == "test"
    assert len(figures["split_sha256"]) == 64
    assert len(figures["wrong"]) == round((1 - figures["accuracy"]) * 64)
    assert f"accuracy {figures['accuracy']:.4f}" in done.stdout
    card = (checkpoint / "README.md").read_text()
    assert f"{figures['accuracy']:.2%}".replace("%", " %") in card
    assert "# out" in card
    assert "{" not in card.replace("{name}", "")
    assert (checkpoint / "confusion-oct2017-test.png").is_file()


def test_killed_run_resumes_to_the_same_weights(data, tmp_path):
    epochs = ("--epochs", "3", "--dropout", "0.5", "--mixup", "0.2", "--workers", "1")
    whole = run(*command(data, tmp_path / "whole", *epochs))
    assert whole.returncode == 0, whole.stderr
    child = subprocess.Popen(
        [sys.executable, *command(data, tmp_path / "killed", *epochs)],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    for line in child.stdout:
        if line.startswith("epoch 2 "):  # printed before the state of epoch 2 is whole
            child.send_signal(signal.SIGKILL)
            break
    child.wait()
    again = run(*command(data, tmp_path / "killed", *epochs))
    assert again.returncode == 2
    assert "state of an earlier run" in again.stderr
    resumed = run(*command(data, tmp_path / "killed", *epochs, "--resume"))
    assert resumed.returncode == 0, resumed.stderr
    assert "resumed after epoch" in resumed.stdout
    a, b = (load_file(tmp_path / n / "checkpoint/model.safetensors") for n in ("whole", "killed"))
    assert all(torch.equal(a[k], b[k]) for k in a)
    rows = [json.loads((tmp_path / n / "history.json").read_text()) for n in ("whole", "killed")]
    for row in rows[0] + rows[1]:
        row.pop("seconds")
    assert rows[0] == rows[1]


def test_two_processes_share_the_work(data, tmp_path):
    # --multi_gpu is accelerate's name for "several processes here"; with the command's --cpu they talk through gloo
    launch = "-m accelerate.commands.launch --multi_gpu --num_processes 2 --num_machines 1 --main_process_port 0"
    launch += " --mixed_precision no --dynamo_backend no"
    done = run(*launch.split(), *command(data, tmp_path / "out", "--epochs", "1"))
    assert done.returncode == 0, done.stderr
    record = json.loads((tmp_path / "out/checkpoint/training.json").read_text())
    assert "2 cpu process" in record["hardware"]
    assert done.stdout.count("epoch 1 ") == 1
    assert record["val"]["metrics"]["n"] == sum(record["val"]["counts"].values())


@pytest.mark.parametrize(
    ("optimizer", "schedule"), [("sgd", "cosine"), ("rmsprop", "constant"), ("adam", "onecycle"), ("adamw", "cosine")]
)
def test_optimizers_and_schedules(data, tmp_path, optimizer, schedule):
    AcceleratorState._reset_state(reset_partial_state=True)  # one process may hold one configuration
    more = (
        "--epochs",
        "1",
        "--optimizer",
        optimizer,
        "--schedule",
        schedule,
        "--lr",
        "1e-3",
        "--bf16",
        "--mixup",
        "0.2",
    )
    assert main(command(data, tmp_path / "out", *more)[2:]) == 0
    history = json.loads((tmp_path / "out/history.json").read_text())
    assert len(history) == 1


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
    assert main(command(tmp_path / "nowhere", tmp_path / "out")[2:]) == 2
    assert "nowhere" in capsys.readouterr().err


def test_class_weights_balance():
    samples = [Sample(Path("x"), label, "p") for label in ["CNV"] * 8 + ["DME"] * 4 + ["DRUSEN"] * 2 + ["NORMAL"] * 2]
    weights = class_weights(samples, CLASS_NAMES)
    # inverse counts 1/8, 1/4, 1/2, 1/2 have mean 11/32
    torch.testing.assert_close(weights, torch.tensor([4, 8, 16, 16]) / 11)
    torch.testing.assert_close(class_weights(samples, CLASS_NAMES, 0), torch.ones(4))

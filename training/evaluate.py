"""Measure a checkpoint: `python -m training.evaluate checkpoints/octnet-oct2017 --data OCT2017_FOLDER`.

Every scan goes through octhub.Classifier, the same door as a user's. The figures are written to the checkpoint's
metrics.json, from which its card is rendered anew.
"""

import argparse
import json
import sys
from pathlib import Path

import numpy as np
from tqdm import tqdm

from octhub.hub import CheckpointError
from octhub.metrics import classification_metrics
from octhub.predict import Classifier
from octhub.scan import ScanError
from octhub.whole_files import write_whole
from training.card import write_card
from training.figures import shown
from training.plots import plot_confusion
from training.samples import DataError, Sample, digest, oct2017, octdl, sha256
from training.stages import read_training

METRICS = "metrics.json"
"""In a checkpoint's folder: every figure that was measured."""


def evaluate(classifier: Classifier, samples: list[Sample], data: str, split: str) -> dict:
    """Metrics of a classifier on labelled scans, with the name of the data and the split's digest."""
    names = classifier.class_names
    probabilities = np.empty((len(samples), len(names)))
    wrong = []
    for i, sample in enumerate(tqdm(samples, f"{data} {split}", unit="scan", leave=False)):
        answer = classifier(sample.path)
        probabilities[i] = list(answer.probabilities.values())
        if answer.label != sample.label:
            wrong.append({"file": sample.path.name, "truth": sample.label, "answer": answer.label})
    targets = np.array([names.index(s.label) for s in samples])
    return {
        "data": data,
        "split": split,
        "split_sha256": digest(samples),
        "patients": len({s.patient for s in samples}),
        **classification_metrics(probabilities, targets, names),
        "wrong": wrong,
    }


def record(checkpoint: Path, key: str, figures: dict) -> None:
    """Put one evaluation into the checkpoint's metrics.json; figures of other weights or settings are dropped."""
    metrics = read_metrics(checkpoint)
    metrics["evaluations"][key] = figures
    write_metrics(checkpoint, metrics)


def record_beside(checkpoint: Path, name: str, found: dict | list) -> None:
    """Put what isn't an evaluation, such as an audit, beside them; the same is dropped."""
    write_metrics(checkpoint, {**read_metrics(checkpoint), name: found})


def read_metrics(checkpoint: Path) -> dict:
    """A checkpoint's metrics.json, if it is of these weights and this configuration, and else an empty one."""
    path = checkpoint / METRICS
    measured = {n: sha256(checkpoint / n) for n in ("model.safetensors", "config.json")}
    metrics = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return metrics if metrics.get("sha256") == measured else {"sha256": measured, "evaluations": {}}


def write_metrics(checkpoint: Path, metrics: dict) -> None:
    write_whole(checkpoint / METRICS, json.dumps(metrics, indent=2) + "\n")


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m training.evaluate", description=__doc__.splitlines()[0])
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--data", type=Path, help="folder in OCT2017's layout")
    parser.add_argument("--split", default="test", help="its split to measure (%(default)s)")
    parser.add_argument("--octdl", type=Path, help="OCTDL's folder: external validation on its DME and NO scans")
    parser.add_argument("--device")
    args = parser.parse_args(argv)
    if not args.data and not args.octdl:
        parser.error("nothing to measure: give --data, --octdl or both")
    try:
        read_training(args.checkpoint)
        jobs = {}
        if args.data:
            jobs[f"oct2017-{args.split}"] = ("OCT2017", args.split, oct2017(args.data, args.split))
        if args.octdl:
            jobs["octdl"] = ("OCTDL (DME and NO)", "all", octdl(args.octdl))
        classifier = Classifier.from_pretrained(args.checkpoint, device=args.device)
    except (DataError, CheckpointError) as e:
        print(f"error: {e}", file=sys.stderr)
        return 2
    for key, (data, split, samples) in jobs.items():
        try:
            figures = evaluate(classifier, samples, data, split)
        except ScanError as e:
            print(f"error: {e}", file=sys.stderr)
            return 2
        record(args.checkpoint, key, figures)
        plot_confusion(
            figures["confusion_matrix"],
            classifier.class_names,
            args.checkpoint / f"confusion-{key}.png",
            f"{data}, {split}",
        )
        low, high = figures["accuracy_interval_95"]
        print(
            f"{key}: accuracy {figures['accuracy']:.4f} (95 % {low:.4f} to {high:.4f}) of {figures['n']} scans, "
            f"macro AUROC {shown(figures['macro_auroc'])}, ECE {shown(figures['expected_calibration_error'])}"
        )
        for name, row in figures["per_class"].items():
            print(f"  {name:8}" + "".join(f" {k} {shown(v)}" for k, v in row.items()))
    write_card(args.checkpoint)
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Measure when not to answer, and set the thresholds:

    python -m training.measure_decision CLASSIFIER --segmenter SEGMENTER --data OCT2017 --extra lesions duke_dme \
        --octdl OCTDL --also healthy_layers --others IMAGES --test

Two questions are asked of an image. Is it an OCT B-scan? The means and the covariance of its statistics are those of
the training scans, the limit is a quantile of the validation patients' and half of OCTDL's. And is the classifier sure?
Its least probability and the largest distance from what it knows are quantiles of the validation patients'. Nothing
is fitted to an image that is no B-scan, nor to a disease that the classifier doesn't know.

The thresholds go into the config.json of both checkpoints, the figures into their decision.json, from which their
cards are rendered anew. Labels, probabilities and masks stay what they are.
"""

import argparse
import json
import sys
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from scipy.special import softmax
from tqdm import tqdm

from octhub import OctNet, UNet, __version__
from octhub.datasets import facts
from octhub.scan import read_scan
from octhub.unsure import UnsureRule
from octhub.whole_files import write_whole
from training.arguments import exit_status
from training.card import write_card
from training.decision_scores import NOVELTY_SCORE, STATISTICS_SCORE, Seen, auroc, candidates, fit_rule, look
from training.evaluate import METRICS, read_metrics, write_metrics
from training.made_up_images import SPOILT, made_up
from training.samples import CLASS_NAMES, SUFFIXES, DataError, Sample, digest, extra, oct2017, octdl_graded, sha256
from training.split import training_splits

DECISION = "decision.json"
"""In a checkpoint's folder: what was measured here."""

MOST_REMEMBERED = 2000
"""Training scans whose features the classifier carries at most, a kilobyte each in half precision."""

BSCAN_QUANTILE, NOVELTY_QUANTILE, PROBABILITY_QUANTILE = 0.99, 0.97, 0.01
"""Of the scans that choose the limits: together they refuse less than 5 %."""

KNOWN, UNKNOWN = ("DME", "NO"), ("ERM", "RAO", "RVO", "VID")
"""OCTDL's labels that the classifier knows, and those that it doesn't; AMD is CNV or drusen."""

OTHERS, OTHERS_DISEASES, SAME_DEVICE = "no_bscan", "other_diseases", "other_diseases_same_device"
"""What the candidates are compared on."""


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m training.measure_decision",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("classifier", type=Path)
    parser.add_argument("--segmenter", type=Path, help="a checkpoint that gets the same rule for B-scans")
    parser.add_argument("--data", type=Path, required=True, help="folder in OCT2017's layout")
    parser.add_argument("--extra", type=Path, nargs="*", default=[], help="more of its training scans")
    parser.add_argument("--octdl", type=Path, required=True, help="OCTDL's folder")
    parser.add_argument("--also", type=Path, nargs="*", default=[], help="more true scans, for the report alone")
    parser.add_argument(
        "--others", type=Path, required=True, help="images that are no B-scans, in a folder for each kind"
    )
    parser.add_argument("--test", action="store_true", help="report on the test patients, too: once, at the end")
    return exit_status(measure, parser.parse_args(argv))


def measure(args: argparse.Namespace) -> None:
    """The whole command."""
    training = json.loads((args.classifier / "training.json").read_text(encoding="utf-8"))
    recipe = training["recipe"]
    splits = training_splits(
        args.data, args.extra, val_fraction=recipe["val_fraction"], use_val=recipe["use_val"], seed=recipe["seed"]
    )
    if digest(splits.val) != training["val"]["sha256"]:
        raise DataError(f"{args.data}: the validation scans aren't those that {args.classifier} was trained beside")
    model = OctNet.from_pretrained(args.classifier)
    if model.serving.class_names != CLASS_NAMES:
        raise DataError(f"{args.classifier}: classes {model.serving.class_names}, expected {CLASS_NAMES}")

    reference = _look(model, splits.train, "training scans")
    val = _look(model, splits.val, "validation scans")
    graded = octdl_graded(args.octdl)
    octdl = _look(model, graded, "OCTDL")
    label, half = np.array([s.label for s in graded]), np.array([chooses(s) for s in graded])
    others = kinds_of(model, args.others)

    model = remember(model, reference.features)
    rule = fit_rule(reference.figures, np.concatenate([reference.figures, octdl.figures[half]]), limit=1.0)
    scores = candidates(reference, np.array([CLASS_NAMES.index(s.label) for s in splits.train]), rule, model)
    distances = scores[STATISTICS_SCORE](val + octdl[half])
    rule = replace(rule, limit=_quantile(distances, BSCAN_QUANTILE))
    unsure = UnsureRule(
        probability=_quantile(_likeliest(val, model), PROBABILITY_QUANTILE, up=False),
        novelty=_quantile(scores[NOVELTY_SCORE](val), NOVELTY_QUANTILE),
    )
    model.set_serving(replace(model.serving, bscan=rule, unsure=unsure))

    known, unknown = np.isin(label, KNOWN), np.isin(label, UNKNOWN)
    strange = [seen for seen, _ in others.values()]
    pairs = {
        OTHERS: (val, sum(strange[1:], strange[0])),
        OTHERS_DISEASES: (val, octdl[unknown]),
        SAME_DEVICE: (octdl[known], octdl[unknown]),
    }
    groups = {
        "OCT2017, validation": (val, patients(splits.val)),
        "OCTDL, DME and normal": (octdl[known], _groups(graded, known)),
        "OCTDL, the half that set no limit": (octdl[~half], _groups(graded, ~half)),
        **{f"OCTDL, {name}": (octdl[label == name], _groups(graded, label == name)) for name in UNKNOWN},
    }
    for folder in args.also:
        samples = extra(folder)
        groups[facts(folder.name)["name"]] = _look(model, samples, folder.name), patients(samples)
    if args.test:
        samples = oct2017(args.data, "test")
        groups["OCT2017, test"] = _look(model, samples, "test scans"), patients(samples)
    spoilt = {n: look(model, (spoil(read_scan(s.path)) for s in splits.val)) for n, spoil in SPOILT.items()}

    bscan_figures = {
        "reference": {"scans": len(reference), "sha256": digest(splits.train)},
        "limits": {
            "scans": len(distances),
            "patients": patients(splits.val) + _groups(graded, half),
            "quantile": BSCAN_QUANTILE,
        },
        "limit": rule.limit,
        "kinds": [
            {
                "kind": kind,
                "images": len(seen),
                "auroc": auroc(distances, scores[STATISTICS_SCORE](seen)),
                "refused": _share(scores[STATISTICS_SCORE](seen) > rule.limit),
                "made_up": made,
            }
            for kind, (seen, made) in others.items()
        ],
        "spoilt": [
            {"what": what, "scans": len(seen), "refused": _share(scores[STATISTICS_SCORE](seen) > rule.limit)}
            for what, seen in spoilt.items()
        ],
    }
    compared = [
        {"score": name, **{key: auroc(score(usual), score(odd)) for key, (usual, odd) in pairs.items()}}
        for name, score in scores.items()
    ]
    refused = [
        {"scans_of": name, "scans": len(seen), "patients": n, **refusals(seen, model)}
        for name, (seen, n) in groups.items()
    ]
    record = {
        "octhub": __version__,
        "bscan": bscan_figures,
        "unsure": {
            "probability": unsure.probability,
            "novelty": unsure.novelty,
            "quantiles": {"probability": PROBABILITY_QUANTILE, "novelty": NOVELTY_QUANTILE},
            "remembered": len(model.memory),
        },
        "counts": {key: {"usual": len(usual), "strange": len(odd)} for key, (usual, odd) in pairs.items()},
        "compared": compared,
        "refused": refused,
    }
    write(args.classifier, model, record)
    if args.segmenter:
        segmenter = UNet.from_pretrained(args.segmenter)
        segmenter.set_serving(replace(segmenter.serving, bscan=rule))
        least = [{k: v for k, v in row.items() if k not in ("unsure", "all")} for row in refused]
        served = [row for row in compared if row["score"] == STATISTICS_SCORE]
        served = [{k: row[k] for k in ("score", OTHERS)} for row in served]
        counts = {OTHERS: record["counts"][OTHERS]}
        about = {"octhub": __version__, "bscan": bscan_figures, "counts": counts, "compared": served, "refused": least}
        write(args.segmenter, segmenter, about)
    print("\n".join(table(record)))


def chooses(sample: Sample) -> bool:
    """Whether an OCTDL scan is of the half, by group, that helps to set the limit for B-scans."""
    return zlib.crc32(sample.patient.encode()) % 2 == 0


def kinds_of(model: OctNet, folder: Path) -> dict[str, tuple[Seen, bool]]:
    """Kind → what is known of its images, and whether they are made up."""
    found = {}
    for kind in sorted(p for p in Path(folder).iterdir() if p.is_dir()):
        files = sorted(p for p in kind.iterdir() if p.suffix.lower() in SUFFIXES)
        if files:
            found[kind.name] = look(model, (read_scan(p) for p in tqdm(files, kind.name, leave=False))), False
    if not found:
        raise DataError(f"{folder}: no images, expected a folder for each kind; see training.other_images")
    return found | {kind: (look(model, images), True) for kind, images in made_up().items()}


def remember(model: OctNet, features: np.ndarray) -> OctNet:
    """The same model with the features of at most MOST_REMEMBERED scans, evenly spaced, as its memory."""
    chosen = features[np.linspace(0, len(features) - 1, min(MOST_REMEMBERED, len(features))).round().astype(int)]
    config = {**model._hub_mixin_config, "serving": model.serving, "remembered": len(chosen)}
    grown = OctNet(**config).eval()
    memory = torch.nn.functional.normalize(torch.from_numpy(chosen), dim=1).half().float()  # as it is stored
    grown.load_state_dict({**model.state_dict(), "memory": memory})
    return grown


def refusals(seen: Seen, model: OctNet) -> dict[str, float]:
    """The shares of scans that are no B-scans to the model, of others that it is unsure about, and of both."""
    serving = model.serving
    no_scan = np.array([serving.bscan.distance(f) > serving.bscan.limit for f in seen.figures])
    novelty = model.novelty(torch.from_numpy(seen.features)).numpy()
    unsure = ~no_scan & ((novelty > serving.unsure.novelty) | (_likeliest(seen, model) < serving.unsure.probability))
    return {"not_bscan": _share(no_scan), "unsure": _share(unsure), "all": _share(no_scan | unsure)}


def patients(samples: Iterable[Sample]) -> int:
    return len({s.patient for s in samples})


def write(checkpoint: Path, model: OctNet | UNet, record: dict) -> None:
    """Save a checkpoint with its new thresholds, keep its other figures, and render its card."""
    metrics, stored = read_metrics(checkpoint), _stored_dtype(checkpoint)
    model.save_pretrained(checkpoint, dtype=stored)
    hashes = {name: sha256(checkpoint / name) for name in metrics["sha256"]}
    write_whole(checkpoint / DECISION, json.dumps({**record, "sha256": hashes}, indent=2) + "\n")
    if (checkpoint / METRICS).is_file():  # they are of labels, probabilities and masks, which have not changed
        metrics["sha256"] = hashes
        write_metrics(checkpoint, metrics)
        write_card(checkpoint)


def table(record: dict) -> Iterator[str]:
    """What is printed: candidates, kinds of images, and what is refused."""
    counts = record["counts"]
    yield "AUROC                               no B-scan  other diseases  other diseases, same device"
    for row in record["compared"]:
        yield f"{row['score']:36} {row[OTHERS]:8.4f}  {row[OTHERS_DISEASES]:14.4f}  {row[SAME_DEVICE]:27.4f}"
    yield "of " + "; ".join(f"{n['strange']} against {n['usual']} scans ({key})" for key, n in counts.items())
    yield ""
    yield f"is it a B-scan? limit {record['bscan']['limit']}    images   AUROC  refused"
    for row in record["bscan"]["kinds"]:
        yield f"{row['kind']:36} {row['images']:6}  {row['auroc']:.4f}  {row['refused']:.1%}"
    for row in record["bscan"]["spoilt"]:
        yield f"validation, {row['what']:24} {row['scans']:6}          {row['refused']:.1%}"
    yield ""
    yield f"{'refused':36}  scans  patients  no B-scan  unsure  together"
    for row in record["refused"]:
        shares = f"{row['not_bscan']:9.1%}  {row['unsure']:6.1%}  {row['all']:8.1%}"
        yield f"{row['scans_of']:36} {row['scans']:6}  {row['patients']:8}  {shares}"


def _look(model: OctNet, samples: list[Sample], what: str) -> Seen:
    return look(model, (read_scan(s.path) for s in tqdm(samples, what, unit="scan", leave=False)))


def _likeliest(seen: Seen, model: OctNet) -> np.ndarray:
    return softmax(seen.logits / model.serving.temperature, axis=1).max(axis=1)


def _groups(samples: list[Sample], which: np.ndarray) -> int:
    return patients(s for s, chosen in zip(samples, which, strict=True) if chosen)


def _quantile(values: np.ndarray, q: float, up: bool = True) -> float:
    """A quantile, rounded to the side on which nothing more is refused."""
    return float((np.ceil if up else np.floor)(np.quantile(values, q) * 1000) / 1000)


def _share(which: np.ndarray) -> float:
    return float(np.mean(which))


def _stored_dtype(checkpoint: Path) -> torch.dtype | None:
    """Half precision if a checkpoint's weights are stored in it, so that it stays as small as it is."""
    from safetensors import safe_open

    with safe_open(checkpoint / "model.safetensors", "pt") as file:
        kinds = {file.get_slice(name).get_dtype() for name in file.keys()}  # noqa: SIM118 - no mapping
    return torch.float16 if "F16" in kinds else None


if __name__ == "__main__":
    sys.exit(main())

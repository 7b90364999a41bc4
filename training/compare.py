"""Train UNet, U-Net++ and DeepLabV3+ alike, and compare them: `python -m training.compare --data FOLDER … --out DIR`.

The same encoder and start, the same scans, crops, augmentation and number of steps, for each seed; nothing is chosen by
a validation, the last averaged weights count. UNet's loss is that of all its score maps, the others' that of the one
output that they have. The test subjects' scans are scored at their own size, as they are and under noise, and the
models' speed is measured in turns. A run that was interrupted goes on where it stopped.
"""

import argparse
import json
import sys
from functools import partial
from pathlib import Path
from statistics import mean

import numpy as np
import torch
from safetensors.torch import load_file
from torch import nn
from tqdm import tqdm

from benchmarks.side_by_side import in_turns
from octhub.metrics import spread
from octhub.predict import Segmenter
from octhub.scan import read_scan
from octhub.whole_files import save_tensors
from training.arguments import exit_status, fit_options, natural, positive, recorded
from training.baselines import MODELS
from training.comparison_report import write_report
from training.corrupt import CORRUPTIONS, corrupt
from training.encoder_start import encoder_start
from training.evaluate_unet import evaluate, second_grader
from training.loop import HISTORY, check_identity, device_name, fit, make_accelerator
from training.mask_dataset import MaskDataset
from training.masked_scans import MaskedScan, masked_digest, masked_scans
from training.samples import DataError
from training.segment_task import SegmentTask
from training.states import last_state
from training.train_unet import MaskedSplits, data_arguments, make_dataset, read_splits, recipe_arguments

WEIGHTS = "model.safetensors"
"""A finished model, in the folder of its run."""


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m training.compare", description=__doc__.splitlines()[0])
    data_arguments(parser.add_argument_group("data"))
    recipe_arguments(parser.add_argument_group("recipe, the same for all"))
    run = parser.add_argument_group("run")
    run.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    run.add_argument("--seeds", type=natural, nargs="+", default=[0, 1, 2])
    run.add_argument("--rounds", type=positive, default=20, help="of the timing, each model once")
    run.add_argument("--out", type=Path, required=True)
    run.add_argument("--bf16", action="store_true", help="bfloat16 autocast while training")
    run.add_argument("--workers", type=natural, default=2, help="processes that load data")
    run.add_argument("--cpu", action="store_true", help="stay on the CPU")
    parser.set_defaults(val=[], val_fraction=0.0, seed=0)  # nobody is held out, and --seeds take turns
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    return exit_status(compare, parse_args(argv))


def compare(args: argparse.Namespace) -> None:
    """The whole comparison; writes comparison.json, the table and the pictures under args.out."""
    splits = read_splits(args)
    if not splits.test:
        raise DataError("no test scans, expected some: give --test or --table")
    tensors, start = encoder_start(args.encoder, args.backbone, 1)
    print(f"encoder start: {start}; {len(splits.train)} scans to train, {len(splits.test)} to test", flush=True)
    dataset = make_dataset(args, splits)
    recipe = {k: v for k, v in recorded(args).items() if k not in ("models", "seeds", "rounds")}
    digests = {side: masked_digest(getattr(splits, side)) for side in ("train", "extra", "second", "test")}
    identity = {**recipe, **digests, "encoder": start}
    runs: dict[str, dict[int, nn.Module]] = {name: {} for name in args.models}
    seconds: dict[str, list[float]] = {name: [] for name in args.models}
    for seed in args.seeds:
        for name in args.models:
            folder = args.out / f"{name.lower().replace('+', 'p')}-{seed}"
            this = {**identity, "model": name, "seed": seed}
            model, history = trained(folder, this, args, dataset, tensors)
            runs[name][seed] = model
            seconds[name].append(sum(row["seconds"] for row in history))

    names, device = splits.class_names, "cpu" if args.cpu else None
    first = {name: next(iter(models.values())) for name, models in runs.items()}
    speed = time_in_turns(first, splits.test[0], args.rounds)
    figures: dict = {
        "recipe": identity,
        "seeds": args.seeds,
        "hardware": device_name(torch.device("cpu")),
        "test": {"subjects": sorted({s.subject for s in splits.test}), "scans": len(splits.test)},
        "human": human_line(args, splits),
        "noise": {kind: {"strengths": s, "unit": unit} for kind, (_, s, unit) in CORRUPTIONS.items()},
        "models": {},
    }
    for name, models in runs.items():
        segmenters = {seed: Segmenter(model, device) for seed, model in models.items()}
        by_seed = {
            seed: evaluate(lambda scan, run=run: run(scan.image).mask, splits.test, names)
            for seed, run in segmenters.items()
        }
        clean = next(iter(by_seed.values()))["miou"]
        figures["models"][name] = {
            "parameters": sum(p.numel() for p in next(iter(models.values())).parameters()),
            "training_seconds": round(mean(seconds[name]), 1),
            "seeds": by_seed,
            **{k: spread([f[k] for f in by_seed.values()]) for k in ("miou", "pixel_accuracy")},
            "iou": {c: spread([f["per_class"][c]["iou"] for f in by_seed.values()]) for c in names},
            "noise": under_noise(next(iter(segmenters.values())), splits, name, clean),
            "speed": speed[name],
        }
    write_report(figures, args.out)


def trained(
    folder: Path, identity: dict, args: argparse.Namespace, dataset: MaskDataset, tensors: dict | None
) -> tuple[nn.Module, list[dict]]:
    """A model after its training, and its history: read from the folder if it's there, else trained, or resumed.

    Raises:
        RunError: the folder holds a model of another recipe or of other data.
    """
    name, seed, serving = identity["model"], identity["seed"], dataset.serving

    def start() -> nn.Module:
        torch.manual_seed(seed)
        model = MODELS[name](len(serving.class_names), args.backbone, serving)
        if tensors:
            model.load_encoder(tensors)
        return model.to(memory_format=torch.channels_last)

    weights = folder / WEIGHTS
    task = SegmentTask(dataset, [], batch_size=args.batch_size, workers=args.workers, balance=args.balance)
    if weights.is_file():
        check_identity(folder, identity)
    else:
        print(f"{name}, seed {seed}", flush=True)
        folder.mkdir(parents=True, exist_ok=True)
        dataset.seed = seed
        resume = last_state(folder) is not None
        run = argparse.Namespace(**{**vars(args), "seed": seed, "out": folder, "resume": resume})
        accelerator = make_accelerator(bf16=args.bf16, cpu=args.cpu, seed=seed)
        last = folder / "last.safetensors"
        fit(
            start(),
            task,
            fit_options(run),
            accelerator,
            keep=lambda best: save_tensors(last, best.state_dict()),
            identity=identity,
        )
        last.rename(weights)
        accelerator.free_memory()
    model = start()  # another than the trained one, whose forward stays wrapped in autocast
    model.load_state_dict(load_file(weights))
    model.serving = task.serving
    return model.eval(), json.loads((folder / HISTORY).read_text())


def human_line(args: argparse.Namespace, splits: MaskedSplits) -> dict | None:
    """The other grader against the first on the test scans; None without another grader."""
    if not args.second_masks:
        return None
    second = masked_scans(args.data, masks=args.second_masks, subject=args.subject)
    return evaluate(second_grader(second, splits.class_names), splits.test, splits.class_names)


def under_noise(segmenter: Segmenter, splits: MaskedSplits, name: str, clean: float) -> dict[str, list[float]]:
    """mIoU by kind of noise, from none (`clean`) to strong."""
    curves = {}
    for kind, (_, strengths, _) in tqdm(CORRUPTIONS.items(), f"{name} under noise", leave=False):
        curves[kind] = [clean]
        for level in range(1, len(strengths) + 1):

            def answer(scan: MaskedScan, kind: str = kind, level: int = level) -> np.ndarray:
                return segmenter(corrupt(read_scan(scan.image), kind, level, scan.image.stem)).mask

            curves[kind].append(evaluate(answer, splits.test, splits.class_names)["miou"])
    return curves


def time_in_turns(models: dict[str, nn.Module], scan: MaskedScan, rounds: int) -> dict[str, dict]:
    """Seconds on the CPU from a scan's pixels to its mask, measured side by side: each round runs every model once, in
    another order than the last.

    Returns:
        by name: seconds (median), quartiles, and ratio: the median over the rounds of the time relative to the first
        model's.
    """
    pixels = read_scan(scan.image)
    segmenters = {name: Segmenter(model, "cpu") for name, model in models.items()}
    turns = in_turns({name: partial(segmenter, pixels) for name, segmenter in segmenters.items()}, rounds)
    return {name: {k: t.as_dict()[k] for k in ("seconds", "quartiles", "ratio")} for name, t in turns.items()}


if __name__ == "__main__":
    sys.exit(main())

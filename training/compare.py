"""Train UNet, U-Net++ and DeepLabV3+ alike, and compare them: `python -m training.compare --data FOLDER … --out DIR`.

The same encoder and start, the same scans, crops, augmentation and number of steps, for each seed; nothing is chosen by
a validation, the last averaged weights count. The test subjects' scans are scored at their own size, as they are and
under noise, and the models' speed is measured in turns. A run that was interrupted goes on where it stopped.
"""

import argparse
import json
import platform
import sys
import time
from dataclasses import replace
from pathlib import Path
from statistics import mean, median, pstdev

import torch
from safetensors.torch import load_file, save_file
from torch import nn
from tqdm import tqdm

from octhub.predict import Segmenter
from octhub.scan import ScanError, read_scan
from training.arguments import fit_options, natural, positive
from training.baselines import MODELS
from training.comparison_report import write_report
from training.corrupt import CORRUPTIONS, corrupt
from training.encoder_start import encoder_start
from training.evaluate_unet import evaluate, second_grader
from training.loop import RunError, device_name, fit, last_state, make_accelerator
from training.mask_dataset import MaskDataset
from training.masked_scans import masked_digest, masked_scans
from training.samples import DataError
from training.segment_task import SegmentTask
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
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    args = parse_args(argv)
    try:
        compare(args)
    except (DataError, ScanError, RunError, FloatingPointError) as e:
        print(f"error: {e}", file=sys.stderr)
        return 2
    return 0


def compare(args: argparse.Namespace) -> None:
    """The whole comparison; writes comparison.json, the table and the pictures under args.out."""
    splits = read_splits(args)
    if not splits.test:
        raise DataError("no test scans, expected some: give --test or --table")
    splits = replace(splits, train=sorted([*splits.train, *splits.val]), val=[])
    tensors, start = encoder_start(args.encoder, args.backbone, 1)
    print(f"encoder start: {start}; {len(splits.train)} scans to train, {len(splits.test)} to test", flush=True)
    dataset = make_dataset(args, splits)
    runs: dict[str, dict[int, nn.Module]] = {name: {} for name in args.models}
    seconds: dict[str, list[float]] = {name: [] for name in args.models}
    for seed in args.seeds:
        for name in args.models:
            folder = args.out / f"{name.lower().replace('+', 'p')}-{seed}"
            model, history = trained(name, seed, folder, args, dataset, tensors)
            runs[name][seed] = model
            seconds[name].append(sum(row["seconds"] for row in history))

    names = splits.class_names
    figures: dict = {"start": start, "hardware": platform.machine(), "threads": torch.get_num_threads()}
    figures["recipe"] = {k: getattr(args, k) for k in ("epochs", "crops", "batch_size", "lr", "size", "crop", "seeds")}
    figures["test"] = {"subjects": sorted({s.subject for s in splits.test}), "sha256": masked_digest(splits.test)}
    figures["human"] = human_line(args, splits)
    figures["noise"] = {kind: {"strengths": s, "unit": unit} for kind, (_, s, unit) in CORRUPTIONS.items()}
    figures["models"] = {}
    for name, models in runs.items():
        segmenters = {seed: Segmenter(model) for seed, model in models.items()}
        by_seed = {
            seed: evaluate(lambda scan, run=run: run(scan.image).mask, splits.test, names)
            for seed, run in segmenters.items()
        }
        figures["models"][name] = {
            "parameters": sum(p.numel() for p in next(iter(models.values())).parameters()),
            "training_seconds": round(mean(seconds[name]), 1),
            "seeds": by_seed,
            **{k: spread([f[k] for f in by_seed.values()]) for k in ("miou", "pixel_accuracy")},
            "iou": {c: spread([f["per_class"][c]["iou"] for f in by_seed.values()]) for c in names},
            "noise": under_noise(next(iter(segmenters.values())), splits, name),
        }
    first = {name: next(iter(models.values())) for name, models in runs.items()}
    for name, row in time_in_turns(first, tuple(args.size), args.rounds).items():
        figures["models"][name]["speed"] = row
    write_report(figures, args.out)


def trained(
    name: str, seed: int, folder: Path, args: argparse.Namespace, dataset: MaskDataset, tensors: dict | None
) -> tuple[nn.Module, list[dict]]:
    """A model after its training, and its history: read from the folder if it's there, else trained, or resumed."""
    torch.manual_seed(seed)
    serving = dataset.serving
    model = MODELS[name](len(serving.class_names), args.backbone, serving)
    if tensors:
        model.load_encoder(tensors)
    model = model.to(memory_format=torch.channels_last)
    weights = folder / WEIGHTS
    if not weights.is_file():
        print(f"{name}, seed {seed}", flush=True)
        folder.mkdir(parents=True, exist_ok=True)
        dataset.seed = seed
        task = SegmentTask(dataset, [], batch_size=args.batch_size, workers=args.workers, balance=args.balance)
        run = argparse.Namespace(
            **{**vars(args), "seed": seed, "out": folder, "resume": last_state(folder) is not None}
        )
        accelerator = make_accelerator(bf16=args.bf16, cpu=args.cpu, seed=seed)
        last = folder / "last.safetensors"
        fit(
            model,
            task,
            fit_options(run),
            accelerator,
            keep=lambda best: save_file({k: v.contiguous() for k, v in best.state_dict().items()}, last),
            identity={"model": name, "encoder": args.encoder if tensors else None, "crops": args.crops},
        )
        print(f"{name}, seed {seed}: done on {device_name(accelerator.device)}", flush=True)
        last.rename(weights)
        accelerator.free_memory()
    model.load_state_dict(load_file(weights))
    return model.eval(), json.loads((folder / "history.json").read_text())


def human_line(args: argparse.Namespace, splits: MaskedSplits) -> dict | None:
    """The other grader against the first on the test scans; None without another grader."""
    if not args.second_masks:
        return None
    second = masked_scans(args.data, masks=args.second_masks, subject=args.subject)
    return evaluate(second_grader(second, splits.class_names), splits.test, splits.class_names)


def under_noise(segmenter: Segmenter, splits: MaskedSplits, name: str) -> dict[str, list[float]]:
    """mIoU by kind of noise, from none to strong."""
    curves = {}
    for kind, (_, strengths, _) in tqdm(CORRUPTIONS.items(), f"{name} under noise", leave=False):
        curves[kind] = [
            evaluate(
                lambda scan, kind=kind, level=level: (
                    segmenter(corrupt(read_scan(scan.image), kind, level, scan.image.stem)).mask
                ),
                splits.test,
                splits.class_names,
            )["miou"]
            for level in range(len(strengths) + 1)
        ]
    return curves


def time_in_turns(models: dict[str, nn.Module], size: tuple[int, int], rounds: int) -> dict[str, dict]:
    """Seconds for one scan of `size`, measured side by side: every round runs each model once.

    Returns:
        by name: seconds (median), quartiles, and ratio: the median over the rounds of the time relative to the first
        model's.
    """
    x = torch.randn(1, 1, *size).contiguous(memory_format=torch.channels_last)
    taken: dict[str, list[float]] = {name: [] for name in models}
    models = {name: model.cpu() for name, model in models.items()}
    for turn in range(rounds + 2):
        for name, model in models.items():
            with torch.inference_mode():
                started = time.perf_counter()
                model(x)
                if turn >= 2:  # the first two warm up
                    taken[name].append(time.perf_counter() - started)
    reference = next(iter(taken.values()))
    quartile = rounds // 4
    return {
        name: {
            "seconds": median(values),
            "quartiles": [sorted(values)[quartile], sorted(values)[-1 - quartile]],
            "ratio": median(a / b for a, b in zip(values, reference, strict=True)),
        }
        for name, values in taken.items()
    }


def spread(values: list[float | None]) -> dict[str, float | None]:
    """Mean and standard deviation over the seeds."""
    defined = [v for v in values if v is not None]
    return {"mean": mean(defined), "sd": pstdev(defined)} if defined else {"mean": None, "sd": None}


if __name__ == "__main__":
    sys.exit(main())

"""Did a checkpoint see its test scans? `python -m training.audit_checkpoint checkpoints/NAME --data FOLDER …`.

Everything that trained it, chose its weights or pretrained its encoder is compared with every test set of its
metrics.json: patients by name, identical files, and near-duplicates (see training.audit). Which scans these are is
taken from the checkpoint's records, and each set's hash has to agree with the recorded one, so that no other scans can
be audited by mistake. The result goes into metrics.json and onto the card. Exit status: 0 clean, 1 leaks, 2 data that
can't be read or isn't what was recorded.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from training.audit import leaks
from training.audited_scans import SampleSet, pictured, test_sets, training_sets
from training.card import write_card
from training.evaluate import read_metrics, record_beside
from training.near_duplicates import SAME_TEXTURE, THRESHOLD
from training.samples import DataError, Sample
from training.stages import WEIGHTS, read_training, recorded_stages, stages_before

TRAINED = "trained"
"""In training.audit's report: all that a checkpoint learned from, whatever its part."""

KINDS = ("shared_patients", "identical", "near_duplicates")
"""Of leaks."""


def audit(trained: Sequence[Sample], tests: Mapping[str, Sequence[Sample]]) -> dict[str, dict]:
    """What each test set shares with the scans that trained: counts of patients, identical files and near-duplicates,
    and every one of them in words."""
    report = leaks({TRAINED: trained, **tests})
    found = {}
    for key, samples in tests.items():
        both = {TRAINED, key}
        shared = (
            [p for p in report.patients if both <= p.scans.keys()],
            [i for i in report.identical if both <= set(i.splits)],
            [n for n in report.near_duplicates or [] if both == {file.split("/")[0] for file in n.files}],
        )
        found[key] = {
            "scans": len(samples),
            "patients": len({s.patient for s in samples}),
            **{kind: len(those) for kind, those in zip(KINDS, shared, strict=True)},
            "leaks": [str(leak) for those in shared for leak in those],
        }
    return found


def earlier_stages(training: dict, given: Sequence[Path]) -> list[dict]:
    """The stages before a checkpoint's training, from its record, or where that doesn't tell, from the earlier
    checkpoints and encoders that are `given`: they have to be the very weights that the record names.

    Raises:
        DataError: a stage isn't known, or something else is given.
    """
    by_hash = {stage["sha256"]: stage for path in given for stage in stages_before(path)}
    stages = []
    for stage in recorded_stages(training):
        if "train" in stage:
            stages.append(stage)
            continue
        named = WEIGHTS.findall(stage["what"])
        if not named or not set(named) <= by_hash.keys():
            raise DataError(
                f"not recorded is {stage['what']}: whose scans did it see? Expected --before with the folders of these "
                "checkpoints and the file of this encoder"
            )
        stages += [by_hash[digest] for digest in named]
    return stages


def result(sets: Sequence[SampleSet], tests: Mapping[str, SampleSet], stages: Sequence[dict]) -> dict:
    """The audit as metrics.json holds it: what was compared, what was found, how, and the stages of the training."""
    trained = {s.path: s for part in sets for s in part.samples}
    found = audit(list(trained.values()), {key: part.samples for key, part in tests.items()})
    return {
        "scans": len(trained),
        "sets": [part.described() for part in sets],
        "tests": {key: {"data": part.data, "sha256": part.sha256, **found[key]} for key, part in tests.items()},
        "bits": THRESHOLD,
        "texture": SAME_TEXTURE,
        "before": [{key: stage[key] for key in ("what", "sha256", "seconds", "hardware")} for stage in stages],
    }


def main(argv: Sequence[str] | None = None) -> int:
    doc = __doc__.split("\n\n")
    parser = argparse.ArgumentParser(prog="python -m training.audit_checkpoint", description=doc[0])
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument(
        "--data", type=Path, nargs="+", required=True, help="folders of all scans that trained it or measure it"
    )
    parser.add_argument(
        "--before",
        type=Path,
        nargs="*",
        default=[],
        help="earlier checkpoints and encoders that its record doesn't tell",
    )
    args = parser.parse_args(argv)
    try:
        training, metrics = read_training(args.checkpoint), read_metrics(args.checkpoint)
        if not metrics["evaluations"]:
            raise DataError(f"{args.checkpoint}: no test set was measured yet, expected training.evaluate's figures")
        stages = earlier_stages(training, args.before)
        folders = [folder.resolve() for folder in args.data]
        sets = training_sets(training, stages, folders)
        tests = test_sets(training, metrics["evaluations"], folders) | pictured(metrics)
        found = result(sets, tests, stages)
    except DataError as e:
        print(f"error: {e}", file=sys.stderr)
        return 2
    record_beside(args.checkpoint, "audit", found)
    for part in sets:
        print(f"{part.role}: {part.data}, {len(part.samples)} scans of {part.patients} patients")
    for key, test in found["tests"].items():
        counts = ", ".join(f"{test[kind]} {kind.replace('_', ' ')}" for kind in KINDS)
        print("\n  ".join([f"{key}: {test['scans']} scans of {test['patients']} patients: {counts}", *test["leaks"]]))
    write_card(args.checkpoint)
    return 1 if any(test["leaks"] for test in found["tests"].values()) else 0


if __name__ == "__main__":
    sys.exit(main())

"""Command line: `python -m octhub classify FILE_OR_FOLDER …`, `… segment FILE_OR_FOLDER … --out DIR`,
`… verify`, `… verify --url URL`, `… export CHECKPOINT --out FILE`."""

import argparse
import csv
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tqdm import tqdm

from octhub import __version__
from octhub.connect import WAKE_SECONDS, RemoteError
from octhub.defaults import DEFAULT_CLASSIFIER, DEFAULT_SEGMENTER
from octhub.errors import CheckpointError, DeviceError
from octhub.whole_files import naming, whole_file

CLASSIFY_WORKERS, SEGMENT_WORKERS = 8, 4
"""Scans that are answered at once, at most: each is in memory, with its network's activations (UNet: 300 MB)."""

BAD_INPUT = 2
"""Exit status when a scan, a checkpoint, an argument or a running app can't be used."""


def main(argv: list[str] | None = None) -> int:
    """Run a command; the exit status is 0, 1 (verify, export: answers disagree) or 2 (bad input, no app at --url)."""
    args = _parser().parse_args(argv)
    try:
        with ExitStack() as args.open:  # ZIPs stay open till the end
            return args.run(args)
    except (CheckpointError, DeviceError, RemoteError) as e:
        print(f"error: {e}", file=sys.stderr)
    except OSError as e:  # the results can't be written
        print(f"error: {e.filename}: {e.strerror}" if e.filename else f"error: {e}", file=sys.stderr)
    return BAD_INPUT


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="octhub", description="Retinal OCT models. For research use only.")
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    classify = commands.add_parser("classify", help="name what each scan shows")
    classify.add_argument("--csv", type=Path, metavar="FILE", help="write the table here, too")
    classify.set_defaults(run=_classify)

    segment = commands.add_parser(
        "segment",
        help="outline and measure the classes in each scan",
        description="""For each scan, write SCAN.labels.png (class ids; colours as its palette) and SCAN.overlay.png
        (the classes over the scan) to DIR. SCAN is the scan's file name with its suffix; folders and ZIPs are mirrored
        below the one that all inputs share. DIR/areas.csv measures every class of every scan.""",
    )
    segment.add_argument("--out", type=Path, metavar="DIR", required=True, help="folder for the results")
    segment.add_argument(
        "--scale",
        nargs=2,
        type=float,
        metavar=("AXIAL", "LATERAL"),
        help="µm per pixel along depth and across the retina; without it, mm² and µm stay empty",
    )
    segment.set_defaults(run=_segment)

    verify = commands.add_parser("verify", help="replay the example gallery and compare with what it promises")
    verify.add_argument("--examples", type=Path, metavar="DIR", help="gallery with a manifest.json")
    verify.add_argument("--record", action="store_true", help="first make this checkpoint's answers the promise")
    verify.add_argument("--url", metavar="URL", help="ask a running app, http(s)://… or a Space's owner/name")
    verify.add_argument(
        "--timeout",
        type=_seconds,
        metavar="SECONDS",
        help=f"with --url: how long the app may take to wake, and to answer ({WAKE_SECONDS:g})",
    )
    verify.set_defaults(run=_verify)

    export = commands.add_parser(
        "export",
        help="write a checkpoint as an ONNX file that answers alike",
        description="""Write one self-contained ONNX file, and compare its answers, by ONNX Runtime, with the
        checkpoint's for every example of the gallery. A file that doesn't agree isn't left. Needs the extra
        octhub[onnx].""",
    )
    export.add_argument("checkpoint", metavar="CHECKPOINT", help="a folder or a Hub repo")
    export.add_argument("--format", choices=["onnx"], default="onnx", help="the only one so far")
    export.add_argument(
        "--out", type=Path, metavar="FOLDER_OR_FILE", required=True, help="a name ending with .onnx is a file"
    )
    export.add_argument(
        "--dtype", choices=["float32", "float16"], default="float32", help="of the stored weights (float32)"
    )
    export.add_argument("--examples", type=Path, metavar="DIR", help="gallery with a manifest.json")
    export.set_defaults(run=_export)

    for command in (classify, segment):
        command.add_argument(
            "paths", nargs="+", type=Path, metavar="FILE_OR_FOLDER", help="folders and ZIPs are searched for images"
        )
    for option, default, command in (
        ("--classifier", DEFAULT_CLASSIFIER, classify),
        ("--segmenter", DEFAULT_SEGMENTER, segment),
    ):
        checkpoint = {"metavar": "FOLDER_OR_REPO", "help": f"checkpoint ({default})"}
        command.add_argument(option, default=default, **checkpoint)
        verify.add_argument(option, **checkpoint)  # None unless given, which it must not be with --url
    for command in (classify, segment, verify):
        command.add_argument("--device", help="cpu, cuda, mps; the best there is by default")
    return parser


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0 < seconds < float("inf"):
        raise ValueError
    return seconds


def _classify(args: argparse.Namespace) -> int:
    from octhub.predict import Classifier
    from octhub.provenance import columns, provenance, read_input
    from octhub.results import classification_columns, classification_row
    from octhub.scan import ScanError
    from octhub.sources import open_scans
    from octhub.workers import in_order, most_workers

    files = list(open_scans(args.paths, args.open))
    if not files:
        print(f"error: no images in {', '.join(map(str, args.paths))}", file=sys.stderr)
        return BAD_INPUT
    classifier = Classifier.from_pretrained(args.classifier, device=args.device)
    many = any(path.is_dir() for path in args.paths) or len(files) > len(args.paths)

    def answer(item):
        file, read = item
        given = None
        try:
            scan, given = read_input(read(), str(file))
            return given, classifier(scan)
        except ScanError as e:
            return given, e

    bad = 0
    with _table(args.csv, classification_columns(classifier.class_names)) as write:
        answers = in_order(answer, files, most_workers(classifier.device, CLASSIFY_WORKERS))
        for (file, _), (given, said) in tqdm(answers, "classify", len(files), unit="scan", disable=not many):
            came_from = columns(provenance(classifier, given))
            if isinstance(said, ScanError):
                bad += 1
                tqdm.write(f"error: {said}", file=sys.stderr)
                write({"file": file, "error": said} | came_from)
                continue
            write({"file": file} | classification_row(said) | came_from)
            likely = f"{said.probabilities[said.label]:.1%}"
            told = [said.reason, f"{said.label} {likely}"] if said.reason else [likely]
            tqdm.write("\t".join([str(file), said.decision, *told]), file=sys.stdout)
    if many or bad:
        print(f"{len(files) - bad} classified, {bad} could not be read", file=sys.stderr)
    return BAD_INPUT if bad else 0


def _segment(args: argparse.Namespace) -> int:
    from octhub.measure import Scale, measure
    from octhub.predict import Segmenter
    from octhub.provenance import columns, provenance, read_input
    from octhub.results import AREAS, COLUMNS, LABELS, area_rows, decided, places, save
    from octhub.scan import ScanError
    from octhub.sources import open_scans
    from octhub.workers import in_order, most_workers

    try:
        scale = None if args.scale is None else Scale(*args.scale)
    except ValueError as e:
        print(f"error: --scale: {e}", file=sys.stderr)
        return BAD_INPUT
    reads = dict(open_scans(args.paths, args.open))
    files = places(reads, args.paths, args.out)
    if not files:
        print(f"error: no images in {', '.join(map(str, args.paths))}", file=sys.stderr)
        return BAD_INPUT
    if args.out.exists() and not args.out.is_dir():
        print(f"error: {args.out}: a file, expected a folder for the results", file=sys.stderr)
        return BAD_INPUT
    segmenter = Segmenter.from_pretrained(args.segmenter, device=args.device)
    args.out.mkdir(parents=True, exist_ok=True)

    def answer(item):
        file, place = item
        given = None
        try:
            scan, given = read_input(reads[file](), str(file))
            found = segmenter(scan)
        except ScanError as e:
            return given, e, []
        save(place, scan, found)
        return given, found, area_rows(measure(found.mask, found.class_names, scale))

    bad = 0
    with _table(args.out / AREAS, COLUMNS) as write:
        answers = in_order(answer, files.items(), most_workers(segmenter.device, SEGMENT_WORKERS))
        bar = tqdm(answers, "segment", len(files), unit="scan", disable=len(files) == 1)
        for (file, place), (given, said, rows) in bar:
            came_from = columns(provenance(segmenter, given))
            if isinstance(said, ScanError):
                bad += 1
                tqdm.write(f"error: {said}", file=sys.stderr)
                write({"file": file, "error": said} | came_from)
                continue
            for row in rows:
                write({"file": file} | decided(said) | came_from | row)
            if said.reason:
                tqdm.write(f"note: {file}: {said.decision}: {said.reason}", file=sys.stderr)
            tqdm.write(f"{file}\t{place}{LABELS}", file=sys.stdout)
    if len(files) > 1 or bad:
        print(f"{len(files) - bad} segmented, {bad} could not be read; see {args.out / AREAS}", file=sys.stderr)
    return BAD_INPUT if bad else 0


@contextmanager
def _table(path: Path | None, columns: list[str]) -> Iterator[Callable[[dict], None]]:
    """A function that appends a row to a new CSV file at once, so that nothing is lost; without a path, to nowhere.

    The file's name ends in ".partial" until the last row: half a table must not look whole.
    """
    if path is None:
        yield lambda row: None
        return
    with whole_file(path, keep=True) as partial:
        with naming(path):
            f = partial.open("w", newline="", encoding="utf-8")
        writer = csv.DictWriter(f, columns)

        def write(row: dict) -> None:
            with naming(path):
                writer.writerow(row)
                f.flush()

        try:
            write(dict(zip(columns, columns, strict=True)))
            yield write
        finally:
            with naming(path):
                f.close()


def _verify(args: argparse.Namespace) -> int:
    from octhub.gallery import EXAMPLES, GalleryError, load, record, replay
    from octhub.predict import Classifier, Segmenter
    from octhub.remote import replay_app

    if problem := _url_problem(args):
        print(f"error: {problem}", file=sys.stderr)
        return BAD_INPUT
    folder = args.examples or EXAMPLES
    failed = set()
    try:
        examples = load(folder)
        if args.url is not None:
            outcomes = replay_app(args.url, examples, WAKE_SECONDS if args.timeout is None else args.timeout, _tell)
        else:
            classifier = segmenter = None
            if any(e.label for e in examples):
                source = DEFAULT_CLASSIFIER if args.classifier is None else args.classifier
                classifier = Classifier.from_pretrained(source, device=args.device)
            if any(e.segment for e in examples):
                source = DEFAULT_SEGMENTER if args.segmenter is None else args.segmenter
                segmenter = Segmenter.from_pretrained(source, device=args.device)
            outcomes = (record if args.record else replay)(classifier, folder, segmenter)
        for outcome in outcomes:
            print(outcome if args.url is None else outcome.timed(), flush=True)
            if not outcome.ok:
                failed.add(outcome.example)
    except GalleryError as e:
        print(f"error: {e}", file=sys.stderr)
        return BAD_INPUT
    where = "" if args.url is None else f" at {args.url}"
    print(f"{len(examples) - len(failed)} of {len(examples)} examples agree with the manifest{where}")
    return 1 if failed else 0


def _export(args: argparse.Namespace) -> int:
    from octhub.export import command

    return command(args)


def _url_problem(args: argparse.Namespace) -> str:
    """What is wrong with --url and the options beside it; empty when nothing is."""
    if args.url is None:
        return "" if args.timeout is None else "--timeout without --url, expected both or none"
    own = [name for name in ("record", "classifier", "segmenter", "device") if getattr(args, name) not in (None, False)]
    return f"--{', --'.join(own)} with --url: the app there has its own models" if own else ""


def _tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())

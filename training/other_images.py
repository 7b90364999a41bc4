"""Images that are no B-scans, out of Python packages: `python -m training.other_images PACKAGES OUT`.

other_images.json lists them by kind: fundus photographs, X-rays, CT and MR, ultrasound, microscopy, photographs, pages
of text, drawings. PACKAGES is a folder of downloaded archives, which

    pip download --no-deps -d PACKAGES scikit-image==0.26.0 pydicom==3.0.2 pydicom-data==1.0.0 mahotas==1.4.19 \
        pyvista==0.49.1
    pip download --no-deps -d PACKAGES --no-binary :all: retinalysis-fundusprep==1.1.0 retinalysis-registration==1.0.0 \
        deid-data==0.0.20 pillow==13.0.0

fetches; the rest lies in packages that are installed. OUT/KIND/NAME.png are written, for training.measure_decision,
which also reads whatever else is put there. The "unseen pictures" were added when the statistics were fixed. The images
keep their packages' licences and are no part of octhub.
"""

import argparse
import gzip
import io
import json
import sys
import tarfile
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pydicom
from PIL import Image
from pydicom.pixels import apply_color_lut

from training.arguments import exit_status
from training.samples import DataError

LISTED = Path(__file__).with_suffix(".json")
"""Kind → the images' paths inside their packages."""


def unpack(packages: Path, out: Path) -> dict[str, int]:
    """Write every listed image; returns how many there are of each kind.

    Raises:
        DataError: one is neither in the archives nor in an installed package.
    """
    members = archived(packages)
    written = {}
    for kind, paths in json.loads(LISTED.read_text(encoding="utf-8")).items():
        (out / kind).mkdir(parents=True, exist_ok=True)
        for path in paths:
            name = Path(path).name
            picture(_read(path, members), name).save(out / kind / f"{name.replace('.', '_')}.png")
        written[kind] = len(paths)
    return written


def archived(packages: Path) -> dict[str, Callable[[], bytes]]:
    """What the wheels and source archives of a folder hold: path → how to read it."""
    members: dict[str, Callable[[], bytes]] = {}
    for archive in sorted(Path(packages).glob("*")):
        if archive.suffix == ".whl":
            wheel = zipfile.ZipFile(archive)
            members |= {name: partial(wheel.read, name) for name in wheel.namelist()}
        elif archive.name.endswith(".tar.gz"):
            with tarfile.open(archive) as source:
                names = [member.name for member in source if member.isfile()]
            members |= {name: partial(_untar, archive, name) for name in names}
    return members


def _untar(archive: Path, name: str) -> bytes:
    with tarfile.open(archive) as source:
        return source.extractfile(name).read()


def _read(path: str, members: dict[str, Callable[[], bytes]]) -> bytes:
    if path in members:
        return members[path]()
    found = next((Path(p) / path for p in sys.path if (Path(p) / path).is_file()), None)
    if found is None:
        raise DataError(f"{path}: in no archive and no installed package; see `python -m training.other_images --help`")
    return found.read_bytes()


def picture(data: bytes, name: str) -> Image.Image:
    """A file's bytes → an 8-bit picture as a viewer would show it; of several frames, the middle one."""
    if name.endswith(".dcm"):
        return _dicom(pydicom.dcmread(io.BytesIO(data), force=True))
    if name.endswith(".ima.gz"):  # matplotlib's MR slice: 256×256 values of two bytes
        return Image.fromarray(_stretched(np.frombuffer(gzip.decompress(data), np.uint16).reshape(256, 256)))
    image = Image.open(io.BytesIO(data))
    if image.mode in ("1", "L", "I;16"):
        return image.convert("L")
    return image.convert("RGBA" if image.has_transparency_data else "RGB")


def _dicom(dataset: pydicom.Dataset) -> Image.Image:
    pixels = dataset.pixel_array
    if pixels.ndim == 4 or (pixels.ndim == 3 and dataset.get("SamplesPerPixel", 1) == 1):
        pixels = pixels[len(pixels) // 2]
    if dataset.PhotometricInterpretation == "PALETTE COLOR":
        pixels = apply_color_lut(pixels, dataset)
    if pixels.dtype != np.uint8:
        pixels = _stretched(pixels)
    return Image.fromarray(255 - pixels if dataset.PhotometricInterpretation == "MONOCHROME1" else pixels)


def _stretched(pixels: np.ndarray) -> np.ndarray:
    """Values of any range → uint8, between the 0.5th and the 99.5th percentile."""
    low, high = np.percentile(pixels, (0.5, 99.5))
    return np.round(255 * np.clip((pixels - low) / max(high - low, 1e-9), 0, 1)).astype(np.uint8)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m training.other_images",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("packages", type=Path, help="folder of downloaded wheels and source archives")
    parser.add_argument("out", type=Path)
    return exit_status(unpack_and_tell, parser.parse_args(argv))


def unpack_and_tell(args: argparse.Namespace) -> None:
    """The whole command."""
    written = unpack(args.packages, args.out)
    print(f"{sum(written.values())} images in {args.out}: " + ", ".join(f"{n} {kind}" for kind, n in written.items()))


if __name__ == "__main__":
    sys.exit(main())

"""Hostile ZIPs by the thousand, from seeds: `case(seed)` is the same upload on every machine."""

import io
import stat
import struct
import warnings
import zipfile
import zlib
from dataclasses import replace
from functools import cache
from random import Random

import hostile_images
import numpy as np
from hostile import ANSWERED, EITHER, NAMES, REFUSED, Case, Make, name_for, noise
from hostile_right import RIGHT, grey
from image_files import encode
from PIL import Image

from octhub.batch import MAX_SCANS
from octhub.safe_path import safe_path

GOOD = {"good.png": noise(Random(0), 40, 50)}
"""A scan that lies beside hostile ones, and is answered all the same."""

PIXELS = {name: values / np.float32(255) for name, values in GOOD.items()}
FILES = {name: encode(Image.fromarray(values), "PNG") for name, values in GOOD.items()}

LOCAL, ENTRY, END = b"PK\3\4", b"PK\1\2", b"PK\5\6"


def packed(*members: tuple[str | zipfile.ZipInfo, bytes], method: int = zipfile.ZIP_DEFLATED, **options) -> bytes:
    """A ZIP of these members, and of the good one."""
    with io.BytesIO() as f:
        with warnings.catch_warnings(), zipfile.ZipFile(f, "w", method, **options) as file:
            warnings.simplefilter("ignore")  # of names that are there twice
            for name, data in (*members, *FILES.items()):
                file.writestr(name, data)
        return f.getvalue()


def entry(name: str, mode: int) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.create_system, info.external_attr = 3, mode << 16
    return info


def patched(data: bytes, at: int, form: str, value: int, magic: bytes = ENTRY) -> bytes:
    """Overwrite a field of the first member's entry in the directory, or of what begins with `magic`."""
    data = bytearray(data)
    struct.pack_into(form, data, data.index(magic) + at, value)
    return bytes(data)


def refused(data: bytes, label: str | None = "a.png") -> Case:
    """A ZIP whose first member is refused and whose good one is answered."""
    members = {label: None} if label else {}
    return Case(data, ANSWERED, members=members | PIXELS)


def scans(random: Random) -> Case:
    """Good scans of all kinds, in folders."""
    kinds = random.choices([kind for kind in RIGHT if kind != "mask"], k=5)
    made = {f"{random.choice('abc')}/{n}.png": RIGHT[kind](random) for n, kind in enumerate(kinds)}
    method = random.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))
    data = packed(*((name, case.data) for name, case in made.items()), method=method)
    return Case(data, ANSWERED, atol=0.02, members={name: case.pixels for name, case in made.items()} | PIXELS)


def hostile_scans(random: Random) -> Case:
    """What hostile_images makes, in a ZIP: good ones are answered, whatever lies beside them."""
    made = {}
    for n in range(6):
        case = None
        while case is None or case.kind in hostile_images.HEAVY:
            case = hostile_images.case(random.getrandbits(32))
        made[f"{n}.png"] = case
    data = packed(*((name, case.data) for name, case in made.items()), method=zipfile.ZIP_STORED)
    if any(case.expect == EITHER or (case.expect == ANSWERED and case.pixels is None) for case in made.values()):
        return Case(data, EITHER)
    found = {name: case.pixels for name, case in made.items()}
    return Case(data, ANSWERED, atol=0.03, members=found | PIXELS)


def traversal(random: Random) -> Case:
    name = random.choice(
        (
            "../a.png",
            "../../../../etc/cron.d/a.png",
            "x/../../a.png",
            "/a.png",
            "//server/share/a.png",
            "\\\\server\\share\\a.png",
            "..\\a.png",
            "C:\\a.png",
            "c:a.png",
            "x/../../../a.png",
            "/dev/shm/a.png",
        )
    )
    return refused(packed((name, FILES["good.png"])), str(safe_path(name)))


def links(random: Random) -> Case:
    kind = random.choice((stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR, stat.S_IFBLK, stat.S_IFSOCK))
    return refused(packed((entry("a.png", kind | 0o777), random.choice((b"/etc/passwd", b"../good.png", b"a.png")))))


def names(random: Random) -> Case:
    """Every label is unlike any other, printable and inside, and every scan is answered under one."""
    made = [(f"{name.replace(chr(0), '')}.png", FILES["good.png"]) for name in random.choices(NAMES, k=12)]
    return Case(packed(*made, method=zipfile.ZIP_STORED), EITHER)


def encrypted(random: Random) -> Case:
    data = packed(("a.png", FILES["good.png"]))
    return refused(patched(data, 8, "<H", random.choice((0x1, 0x41, 0x2000, 0x2001))))


def methods(random: Random) -> Case:
    """Other compressions, real and made up."""
    if random.random() < 0.5:
        info = zipfile.ZipInfo("a.png")
        info.compress_type = random.choice((zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA))
        return refused(packed((info, FILES["good.png"])))
    return refused(
        patched(packed(("a.png", FILES["good.png"])), 10, "<H", random.choice((1, 6, 9, 12, 14, 93, 95, 99)))
    )


@cache
def bomb_of(megabytes: int) -> bytes:
    return packed(("a.png", bytes(megabytes * 1_000_000)))


def bomb(random: Random) -> Case:
    """Members that grow: told by the directory, or hidden from it."""
    data = bomb_of(random.choice((1, 99, 200)))
    form = random.randrange(3)
    if form == 1:  # it lies about the size: no more than that is inflated
        data = patched(data, 24, "<I", random.choice((0, 1000, 100_000)))
    elif form == 2:
        data = patched(data, 20, "<I", random.choice((2**31 - 1, 2**32 - 1)))
        return Case(data, EITHER)
    return refused(data)


def overlapping(random: Random) -> Case:
    """One kernel of zeros, which hundreds of entries name: David Fifield's bomb."""
    kernel = zlib.compress(bytes(500_000))[2:-4]
    start = struct.pack("<4s5H3I2H", LOCAL, 20, 0, 8, 0, 0, 0, len(kernel), 500_000, 5, 0) + b"a.png" + kernel
    fields = 20, 20, 0, 8, 0, 0, 0, len(kernel), 500_000, 5, 0, 0, 0, 0, 0
    count = random.choice((2, 100, 4000))
    directory = b"".join(struct.pack("<4s6H3I5H2I", ENTRY, *fields, 0) + b"a.png" for _ in range(count))
    end = struct.pack("<4s4H2IH", END, 0, 0, count, count, len(directory), len(start), 0)
    return Case(start + directory + end, REFUSED)


def nested(random: Random) -> Case:
    inner = packed(("b.png", FILES["good.png"]))
    for _ in range(random.randrange(3)):
        inner = packed(("inner.zip", inner))
    label = random.choice(("inner.zip", "x.tar.gz", "x.7z", "x.png"))
    return refused(packed((label, inner)), label)


def crowded(random: Random) -> Case:
    """More members than a run, or an archive, may have; or a directory that claims them."""
    form = random.randrange(3)
    if form == 0:
        count = random.choice((MAX_SCANS, MAX_SCANS + 1, 6000))
        return Case(packed(*((f"{n}.png", b"") for n in range(count)), method=zipfile.ZIP_STORED), REFUSED)
    if form == 1:
        directory = struct.pack("<4s6H3I5H2I", ENTRY, *[0] * 16) * random.choice((10_000, 100_000))
        return Case(directory + struct.pack("<4s4H2IH", END, 0, 0, 0xFFFF, 0xFFFF, len(directory), 0, 0), REFUSED)
    data = packed(("a.png", FILES["good.png"]))
    at, form = random.choice(((8, "<H"), (10, "<H"), (12, "<I"), (16, "<I"), (20, "<H")))
    return Case(patched(data, at, form, random.choice((0, 1, 2, 0xFFFF)), END), EITHER)


def empty(random: Random) -> Case:
    """No scans at all."""
    form = random.randrange(4)
    if form == 0:
        return Case(END + bytes(18), REFUSED)
    if form == 1:
        return Case(LOCAL + random.randbytes(random.choice((0, 26, 1000))), REFUSED)
    with io.BytesIO() as f:
        with zipfile.ZipFile(f, "w") as file:
            for name in random.sample(("notes.txt", "x.png.labels.png", "__MACOSX/a.png", ".git/a.png", "folder/"), 3):
                file.writestr(name, b"")
        return Case(f.getvalue(), REFUSED)


def polyglot(random: Random) -> Case:
    """A ZIP after a scan, or with bytes around it; a scan that is called .zip."""
    data = packed(("a.png", FILES["good.png"]))
    form = random.randrange(4)
    if form == 0:
        return Case(FILES["good.png"] + data, ANSWERED, members={"a.png": PIXELS["good.png"]} | PIXELS, name="x.zip")
    if form == 1:
        return Case(FILES["good.png"] + data, ANSWERED, PIXELS["good.png"], name="x.png")
    if form == 2:
        return Case(grey(random).data, REFUSED, name="x.zip")
    with io.BytesIO() as f:
        with zipfile.ZipFile(f, "w") as file:
            file.comment = random.choice((b"<script>alert(1)</script>", END + bytes(18), random.randbytes(60_000)))
            file.writestr("good.png", FILES["good.png"])
        return Case(f.getvalue(), EITHER)


def fields(random: Random) -> Case:
    """Fields of headers, entries or the end that lie."""
    data = packed(("a.png", FILES["good.png"]), ("b/c.png", FILES["good.png"]))
    for _ in range(random.choice((1, 1, 2, 4))):
        magic, size = random.choice(((LOCAL, 30), (ENTRY, 46), (END, 22)))
        at, form = random.randrange(4, size - 3), random.choice(("<H", "<I"))
        limit = 0xFFFF if form == "<H" else 0xFFFFFFFF
        data = patched(data, at, form, random.choice((0, 1, 255, limit // 2, limit, random.randrange(limit))), magic)
    return Case(data, EITHER)


def extras(random: Random) -> Case:
    """Extra fields: ZIP64's with any numbers, Unicode paths, and nonsense."""
    info = zipfile.ZipInfo("a.png")
    kind = random.choice((1, 0x7075, 0x5455, 0x9901, random.randrange(65536)))
    body = random.randbytes(random.choice((0, 4, 8, 16, 24, 28)))
    info.extra = struct.pack("<HH", kind, random.choice((len(body), len(body), 0xFFFF))) + body
    data = packed((info, FILES["good.png"]))
    if random.random() < 0.5:
        data = patched(data, random.choice((20, 24, 42)), "<I", 0xFFFFFFFF)
    return Case(data, EITHER)


def damaged(random: Random) -> Case:
    data = bytearray(
        packed(("a.png", FILES["good.png"]), method=random.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)))
    )
    form = random.randrange(3)
    if form == 0:
        del data[random.randrange(len(data)) :]
    elif form == 1:
        for _ in range(random.choice((1, 2, 8))):
            data[random.randrange(len(data))] ^= 1 << random.randrange(8)
    else:
        at = random.randrange(len(data))
        data[at:at] = random.randbytes(random.choice((1, 100)))
    return Case(bytes(data), EITHER)


MAKES: dict[str, Make] = {
    "scans": scans,
    "hostile scans": hostile_scans,
    "path traversal": traversal,
    "links and devices": links,
    "hostile names": names,
    "encrypted": encrypted,
    "other compressions": methods,
    "bomb": bomb,
    "overlapping": overlapping,
    "archive in archive": nested,
    "crowded": crowded,
    "no scans": empty,
    "polyglot": polyglot,
    "fields": fields,
    "extra fields": extras,
    "damaged": damaged,
}

KINDS = [f"ZIP, {kind}" for kind in MAKES]


def case(seed: int) -> Case:
    """The upload of a seed."""
    random, kind = Random(seed), list(MAKES)[seed % len(MAKES)]
    made = MAKES[kind](random)
    return replace(made, kind=f"ZIP, {kind}", name=made.name or name_for(random, ".zip"))

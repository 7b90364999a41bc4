"""Read the scans in a ZIP: the only door for archives.

Nothing is extracted. A member's name is a label, and its bytes go through memory, one member after the other, to
octhub.scan. What the ZIP's directory claims is checked before a byte is decompressed, and never more is decompressed
than it claims.
"""

import re
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from octhub.results import is_result
from octhub.safe_path import apart, safe_path
from octhub.scan import IMAGE_SUFFIXES, MAX_BYTES, ScanError, why

MAX_MEMBERS = 5000
"""Entries of an archive, with folders and what is passed over: several times the scans of a run (see octhub.batch)."""

MAX_TOTAL = 2_000_000_000
"""Bytes of all scans of an archive, decompressed: two thousand exports of a megapixel in 8 bits."""

MAX_RATIO = 200
"""How many times smaller a scan may have been made. Deflate can't exceed 1032; a BMP of speckle reaches 2, of plain
black with a caption 100."""

MAX_DIRECTORY = 2_000_000
"""Bytes of an archive's directory, of which zipfile makes objects before anyone can count them: 46 bytes an entry, and
names and dates, so that MAX_MEMBERS fit."""

METHODS = {zipfile.ZIP_STORED: "stored", zipfile.ZIP_DEFLATED: "deflated"}
"""Compressions that are accepted. Zipfile can't bound what a block of the others decompresses to."""

ARCHIVES = frozenset((".zip", ".7z", ".rar", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".zst"))
"""Suffixes of archives, which aren't looked into in an archive."""

HEADER = 30
"""Bytes of an entry's own header, without its name (APPNOTE.TXT 6.3.10, section 4.3.7)."""

ENCRYPTED, UTF_8 = 0x1 | 0x40 | 0x2000, 0x800
"""Flags of an entry (section 4.4.4): encrypted, strongly, or its header masked; its name is in UTF-8."""

ABSOLUTE = re.compile(r"[A-Za-z]:")
"""How a path with a drive begins."""

SHOWN = 80
"""Characters of a strange name that a message shows."""

MAGIC = (b"PK\3\4", b"PK\5\6")
"""How a ZIP begins, and an empty one."""


class ArchiveError(ScanError):
    """An archive or a member that can't be used; the message names both, what was found and what was expected."""


def refuse(error: ScanError) -> bytes:
    """Raise why an archive can't be used: what reads its bytes, where those who read scans one by one come to it."""
    raise error


@dataclass(frozen=True)
class Member:
    """A scan in an archive, or what might have been one.

    Attributes:
        label: what messages and tables call it: its path in the archive, made safe, and unlike any other's.
        problem: why it is refused; empty when nothing is wrong as far as the directory says.
    """

    label: PurePosixPath
    problem: str
    info: zipfile.ZipInfo


class Archive:
    """An open ZIP.

    Attributes:
        name: what messages call it.
        members: its scans, in the archive's order, and those that are refused.
        passed_over: labels of what else is in it: other kinds of files, and results of octhub.
    """

    def __init__(self, file: zipfile.ZipFile, name: str):
        self.name, self._file = name, file
        self.members: list[Member] = []
        self.passed_over: list[PurePosixPath] = []
        infos = file.infolist()
        if len(infos) > MAX_MEMBERS:
            raise ArchiveError(f"{name}: a ZIP with {len(infos)} entries, expected at most {MAX_MEMBERS}")
        self._check_apart(infos)
        taken: dict[str, int] = {}
        for info in infos:
            self._sort(info, taken)
        total = sum(m.info.file_size for m in self.members if not m.problem)
        if total > MAX_TOTAL:
            found = f"scans of {total / 1e9:.1f} GB"
            raise ArchiveError(f"{name}: a ZIP with {found}, expected at most {MAX_TOTAL / 1e9:g} GB")

    def read(self, member: Member) -> bytes:
        """A member's bytes, at most MAX_BYTES.

        Raises:
            ArchiveError: it is refused, or damaged.
        """
        if member.problem:
            raise ArchiveError(f"{self.name}: {member.problem}")
        try:
            with self._file.open(member.info) as f:
                data = f.read(member.info.file_size)
                f.read(1)  # at the end its checksum is compared
        except (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError, ValueError) as e:
            # RuntimeError: NotImplementedError, or a password that the directory said nothing of
            raise ArchiveError(f"{self.name}: {member.label} is damaged ({why(e)}), expected a whole file") from e
        if len(data) != member.info.file_size:
            found = f"{len(data)} bytes of {member.label}"
            raise ArchiveError(f"{self.name}: {found}, expected {member.info.file_size} as its directory says")
        return data

    def _check_apart(self, infos: list[zipfile.ZipInfo]) -> None:
        """No two entries may share bytes: a small archive could hold the same large file thousands of times."""
        end = 0
        for info in sorted(infos, key=lambda i: i.header_offset):
            if info.header_offset < end:
                raise ArchiveError(f"{self.name}: a ZIP whose entries overlap, expected each to have its own bytes")
            end = info.header_offset + HEADER + info.compress_size

    def _sort(self, info: zipfile.ZipInfo, taken: dict[str, int]) -> None:
        """Put an entry among the members or what is passed over, or forget it."""
        name = _name_of(info)
        parts = re.split(r"[/\\]", name)
        if not parts[-1] or "__MACOSX" in parts or any(p.startswith(".") and p not in (".", "..") for p in parts):
            return  # folders, and what a Mac or a program keeps for itself
        label = safe_path(name)
        suffix = label.suffix.lower()
        problem = _hostile(info, name, parts)
        if not problem and suffix in ARCHIVES:
            problem = f"{label} is an archive in an archive, expected scans"
        if not problem and (suffix not in IMAGE_SUFFIXES or is_result(Path(label))):
            self.passed_over.append(label)
            return
        label = apart(label, taken)
        self.members.append(Member(label, problem or _unusable(info, label), info))


def is_archive(source: str | Path) -> bool:
    """Whether a file is to be opened as an archive: it begins like a ZIP, or is called one."""
    path = Path(source)
    try:
        if not path.is_file():
            return False
        with path.open("rb") as f:
            return path.suffix.lower() == ".zip" or f.read(4) in MAGIC
    except (OSError, ValueError):
        return False


@contextmanager
def open_archive(source: str | Path | BinaryIO, name: str | None = None) -> Iterator[Archive]:
    """Open a ZIP for a block that reads its members.

    Args:
        source: a path, or a file opened for reading bytes, in which one can seek; it stays open.
        name: what messages call it; by default the file's name.

    Raises:
        ArchiveError: not there, not a ZIP, cut off, more than it may hold, or made to harm.
    """
    name = name or Path(str(getattr(source, "name", source))).name
    with ExitStack() as stack:
        try:
            if not hasattr(source, "read"):
                if not Path(source).is_file():  # to open a pipe would wait for its writer
                    raise ArchiveError(f"{name}: no such file, expected a ZIP of scans")
                source = stack.enter_context(Path(source).open("rb"))
            guard = _Guarded(source, name)
            archive = Archive(stack.enter_context(zipfile.ZipFile(guard)), name)
        except zipfile.BadZipFile as e:
            raise ArchiveError(f"{name}: not a ZIP, or not all of one ({why(e)}), expected a whole ZIP of scans") from e
        except (OSError, RuntimeError, ValueError, OverflowError, struct.error) as e:
            if isinstance(e, ArchiveError):
                raise
            found = getattr(e, "strerror", None) or why(e)
            raise ArchiveError(f"{name}: can't be read ({found}), expected a ZIP of scans") from e
        guard.most = MAX_BYTES
        yield archive


class _Guarded:
    """A file from which no more than `most` bytes can be read at once, be it a directory's claim or a member's."""

    def __init__(self, file: BinaryIO, name: str):
        self._file, self._name, self.most = file, name, MAX_DIRECTORY
        self.seek, self.tell, self.seekable = file.seek, file.tell, file.seekable

    def read(self, size: int = -1) -> bytes:
        data = self._file.read(self.most + 1 if size is None or size < 0 else min(size, self.most + 1))
        if len(data) > self.most:
            found = f"more than {self.most / 1e6:g} MB in one piece"
            raise ArchiveError(f"{self._name}: a ZIP with {found}, expected scans of ordinary sizes and names")
        return data


def _name_of(info: zipfile.ZipInfo) -> str:
    """An entry's name. Macs write UTF-8 without saying so, which zipfile takes for the code page of MS-DOS."""
    if info.flag_bits & UTF_8:
        return info.filename
    try:
        return info.filename.encode("cp437").decode()
    except UnicodeError:
        return info.filename


def _hostile(info: zipfile.ZipInfo, name: str, parts: list[str]) -> str:
    """What is wrong with an entry that no honest program makes; empty when nothing is."""
    shown = repr(name if len(name) <= SHOWN else f"{name[:SHOWN]}…")
    if not parts[0] or ".." in parts or ABSOLUTE.match(name):
        return f"{shown} leads out of the ZIP, expected a path inside it"
    kind = stat.S_IFMT(info.external_attr >> 16)
    if kind == stat.S_IFLNK:
        return f"{shown} is a symbolic link, expected a file"
    return f"{shown} is a device or pipe, expected a file" if kind not in (0, stat.S_IFREG, stat.S_IFDIR) else ""


def _unusable(info: zipfile.ZipInfo, label: PurePosixPath) -> str:
    """Why a scan can't or won't be decompressed; empty when nothing is wrong."""
    if info.flag_bits & ENCRYPTED:
        return f"{label} is encrypted, expected one without a password"
    if info.compress_type not in METHODS:
        method = zipfile.compressor_names.get(info.compress_type, f"method {info.compress_type}")
        return f"{label} is compressed by {method}, expected {' or '.join(METHODS.values())}"
    if info.file_size > MAX_BYTES:
        return f"{label} has {info.file_size / 1e6:.1f} MB, expected at most {MAX_BYTES / 1e6:g} MB"
    if info.file_size > MAX_RATIO * info.compress_size:
        times = f"{info.file_size / max(info.compress_size, 1):.0f} times"
        return f"{label} would grow {times} from {info.compress_size} bytes, expected at most {MAX_RATIO} times"
    return ""

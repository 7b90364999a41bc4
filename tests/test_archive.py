"""ZIPs as people and attackers make them: what comes out, and what each refusal says."""

import io
import os
import stat
import struct
import tracemalloc
import zipfile
from pathlib import PurePosixPath

import numpy as np
import pytest
from PIL import Image

from octhub import read_scan
from octhub.archive import MAX_MEMBERS, MAX_RATIO, ArchiveError, is_archive, open_archive
from octhub.safe_path import LONGEST, apart, safe_path
from octhub.scan import MAX_BYTES

DEFLATED = {"compression": zipfile.ZIP_DEFLATED}


def png(seed: int = 0) -> bytes:
    with io.BytesIO() as f:
        Image.fromarray(np.random.default_rng(seed).integers(0, 256, (40, 50), np.uint8)).save(f, "PNG")
        return f.getvalue()


def packed(members: dict[str | zipfile.ZipInfo, bytes] | list[tuple], **options) -> bytes:
    with io.BytesIO() as f:
        with zipfile.ZipFile(f, "w", **options) as file:
            for name, data in members.items() if isinstance(members, dict) else members:
                file.writestr(name, data)
        return f.getvalue()


def entry(name: str, mode: int = 0) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.create_system, info.external_attr = 3, mode << 16
    return info


def opened(data: bytes, name: str = "scans.zip"):
    return open_archive(io.BytesIO(data), name)


def read_all(data: bytes) -> dict[str, bytes | str]:
    """label → bytes, or what its refusal says."""
    found = {}
    with opened(data) as archive:
        for member in archive.members:
            try:
                found[str(member.label)] = archive.read(member)
            except ArchiveError as e:
                found[str(member.label)] = str(e)
    return found


def refusal(data: bytes) -> str:
    """What is wrong with the archive as a whole."""
    with pytest.raises(ArchiveError) as error, opened(data):
        pytest.fail("it was opened")
    assert str(error.value).startswith("scans.zip: ")
    assert "expected" in str(error.value)
    return str(error.value)


def patched(data: bytes, name: str, at: int, form: str, value: int) -> bytes:
    """Overwrite a field of a member's entry in the directory (APPNOTE.TXT, section 4.3.12)."""
    found = data.rindex(b"PK\1\2", 0, data.rindex(name.encode()))
    return data[: found + at] + struct.pack(form, value) + data[found + at + struct.calcsize(form) :]


class TestGoodOnes:
    @pytest.mark.parametrize("options", [{}, DEFLATED], ids=["stored", "deflated"])
    def test_scans_come_out_as_they_went_in_and_in_their_order(self, options):
        scans = {"z.png": png(1), "left/a.png": png(2), "left/deep/b.PNG": png(3), "a.png": png(4)}
        found = read_all(packed(scans, **options))
        assert found == scans
        assert list(found) == list(scans)

    def test_what_is_no_scan_is_passed_over(self):
        junk = ("notes.txt", "sub/table.csv", "a.png.labels.png", "a.png.overlay.png", "a.png.heatmap.png", "scan")
        gone = ("__MACOSX/._a.png", "__MACOSX/x/a.png", ".hidden.png", ".git/a.png", "folder/", "folder\\", ".DS_Store")
        data = packed(dict.fromkeys((*junk, *gone), b"") | {"a.png": png(), "./b.png": png()})
        with opened(data) as archive:
            assert [str(m.label) for m in archive.members] == ["a.png", "b.png"]
            assert [str(p) for p in archive.passed_over] == list(junk)

    def test_names_are_told_apart(self):
        with pytest.warns(UserWarning, match="Duplicate name"):
            data = packed([("a.png", png(1)), ("a.png", png(2)), ("A.PNG", png(3)), ("b/a.png", png(4))])
        assert read_all(data) == {"a.png": png(1), "a (2).png": png(2), "A (3).PNG": png(3), "b/a.png": png(4)}

    def test_names_of_any_script(self):
        names = ("Auge links/Prüfung.png", "右目/断層.png", "глаз.png")
        data = packed(dict.fromkeys(names, png()))
        assert list(read_all(data)) == list(names)
        mac = data.replace(b"\0\x08", b"\0\0")  # a Mac writes UTF-8 and doesn't say so
        assert mac != data
        assert list(read_all(mac)) == list(names)
        old = (
            packed({"x": b"", "e\x82.png": png()}).replace(b"e\xc2\x82.png", b"e\x82x.png").replace(b"\0\x08", b"\0\0")
        )
        assert "eéx.png" in read_all(old)  # the code page of MS-DOS

    def test_windows_paths(self):
        assert list(read_all(packed({"left\\a.png": png()}))) == ["left/a.png"]

    def test_an_empty_one_has_no_members(self):
        with opened(packed({})) as archive:
            assert not archive.members

    def test_bytes_before_it_do_no_harm(self):
        assert list(read_all(b"#!/bin/sh\n" + packed({"a.png": png()}))) == ["a.png"]

    def test_a_path_is_opened_and_closed(self, tmp_path):
        path = tmp_path / "my scans.zip"
        path.write_bytes(packed({"a.png": png(), "b.png": b"no picture"}))
        with open_archive(path) as archive:
            assert archive.name == "my scans.zip"
            assert np.array_equal(read_scan(archive.read(archive.members[0])), read_scan(png()))
        with pytest.raises(ArchiveError, match=r"my scans\.zip: a\.png is damaged"):
            archive.read(archive.members[0])

    def test_which_files_are_archives(self, tmp_path):
        made = {
            "a.zip": packed({"a": b""}),
            "a.bin": packed({"a": b""}),
            "e.x": packed({}),
            "b.zip": b"",
            "c.png": png(),
        }
        for name, data in made.items():
            (tmp_path / name).write_bytes(data)
        os.mkfifo(tmp_path / "pipe.zip")
        (tmp_path / "folder.zip").mkdir()
        found = {p.name for p in tmp_path.iterdir() if is_archive(p)}
        assert found == {"a.zip", "a.bin", "e.x", "b.zip"}
        assert not is_archive(tmp_path / "missing.zip")
        assert not is_archive("a\0b.zip")


class TestRefusedMembers:
    """One bad member is told, and the others are read."""

    @staticmethod
    def check(data: bytes, label: str, *words: str) -> None:
        found = read_all(data)
        assert found["good.png"] == png()
        said = found[label]
        assert isinstance(said, str)
        assert said.startswith("scans.zip: ")
        assert all(word in said for word in ("expected", *words))

    @pytest.mark.parametrize(
        ("name", "label"),
        [
            ("../../etc/cron.d/a.png", "etc/cron.d/a.png"),
            ("a/../../b.png", "a/b.png"),
            ("/etc/passwd", "etc/passwd"),
            ("\\\\server\\share\\a.png", "server/share/a.png"),
            ("C:\\Windows\\a.png", "C_/Windows/a.png"),
            ("c:a.png", "c_a.png"),
            ("..\\a.png", "a.png"),
        ],
    )
    def test_traversal(self, name, label):
        self.check(packed({name: png(), "good.png": png()}), label, repr(name), "leads out of the ZIP")

    @pytest.mark.parametrize(
        ("kind", "words"), [(stat.S_IFLNK, "a symbolic link"), (stat.S_IFIFO, "a device"), (stat.S_IFCHR, "a device")]
    )
    def test_what_is_no_file(self, kind, words):
        data = packed([(entry("a.png", kind | 0o777), b"/etc/passwd"), ("good.png", png())])
        self.check(data, "a.png", "'a.png'", words)

    @pytest.mark.parametrize("flag", [0x1, 0x41, 0x2000])
    def test_encrypted(self, flag):
        data = packed({"a.png": png(), "good.png": png()})
        self.check(patched(data, "a.png", 8, "<H", flag), "a.png", "a.png is encrypted", "without a password")

    def test_encrypted_and_not_said_in_the_directory(self):
        """Only a member's own header says so."""
        data = packed({"a.png": png(), "good.png": png()})
        self.check(patched(data, "a.png", 8, "<H", 0x20), "a.png", "a.png is damaged", "patched")

    def test_an_archive_in_an_archive(self):
        inner = packed({"a.png": png()})
        for name in ("inner.zip", "inner.tar.gz", "inner.7z"):
            self.check(packed({name: inner, "good.png": png()}), name, f"{name} is an archive in an archive")
        found = read_all(packed({"inner.png": inner}))
        with pytest.raises(ValueError, match=r"inner\.png: a ZIP file, expected a JPEG"):
            read_scan(found["inner.png"], "inner.png")

    def test_a_bomb(self):
        """A gigabyte in a megabyte: refused by what the directory says, before a byte is decompressed."""
        bomb = packed({"a.png": bytes(MAX_BYTES), "good.png": png()}, **DEFLATED)
        self.check(bomb, "a.png", "a.png would grow 1029 times", f"at most {MAX_RATIO} times")
        data = packed({"a.png": png(), "good.png": png()}, **DEFLATED)
        self.check(patched(data, "a.png", 24, "<I", MAX_BYTES + 1), "a.png", "100.0 MB, expected at most 100 MB")
        self.check(patched(data, "a.png", 20, "<I", 0), "a.png", "would grow")

    def test_a_bomb_that_lies_about_its_size(self):
        """What it says is all that is ever decompressed."""
        bomb = packed({"a.png": bytes(50_000_000), "good.png": png()}, **DEFLATED)
        bomb = patched(bomb, "a.png", 24, "<I", 5000)
        tracemalloc.start()
        try:
            self.check(bomb, "a.png", "a.png is damaged (Bad CRC-32")
            assert tracemalloc.get_traced_memory()[1] < 5_000_000
        finally:
            tracemalloc.stop()

    @pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
    def test_other_compressions(self, method):
        data = packed([("good.png", png())], compression=zipfile.ZIP_STORED)
        with io.BytesIO(data) as f:
            with zipfile.ZipFile(f, "a", method) as file:
                file.writestr("a.png", bytes(10**7))
            self.check(f.getvalue(), "a.png", "is compressed by", "expected stored or deflated")

    def test_damaged(self):
        data = packed({"a.png": png(), "good.png": png()})
        at = data.index(b"IDAT")
        self.check(data[:at] + b"XXXX" + data[at + 4 :], "a.png", "a.png is damaged (Bad CRC-32")
        data = packed({"a.png": png(), "good.png": png()}, **DEFLATED)
        at = data.index(b"a.png") + 5
        self.check(data[:at] + b"\xff" * 9 + data[at + 9 :], "a.png", "a.png is damaged")
        self.check(b"PK\3\3" + data[4:], "a.png", "a.png is damaged", "magic")
        self.check(data[:30] + b"b" + data[31:], "a.png", "a.png is damaged", "differ")

    def test_a_message_that_would_hold_the_file_is_short(self):
        """zipfile tells the name in a member's header, of which 64 KB may be pixels."""
        data = packed({"a.png": png(), "good.png": png()})
        at = data.index(b"PK\3\4")
        data = data[: at + 26] + struct.pack("<H", len(png())) + data[at + 28 :]
        self.check(data, "a.png", "a.png is damaged (File name in directory", "…)")
        assert len(read_all(data)["a.png"]) < 500

    def test_more_in_the_directory_than_in_the_file(self):
        data = packed({"good.png": png(), "a.png": png()})
        self.check(patched(data, "a.png", 24, "<I", len(png()) + 100), "a.png", "a.png")


class TestRefusedArchives:
    def test_no_zip_at_all(self):
        for data in (b"", b"PK", b"PK\3\4 and nothing else", png(), bytes(10_000)):
            assert "not a ZIP, or not all of one" in refusal(data)

    def test_cut_off_anywhere(self):
        data = packed({"a.png": png(), "b.png": png()})
        for length in range(0, len(data) - 1, 97):
            assert "not a ZIP, or not all of one" in refusal(data[:length])

    def test_thousands_of_members(self):
        many = packed({f"{n}.png": b"" for n in range(MAX_MEMBERS + 1)})
        assert f"{MAX_MEMBERS + 1} entries, expected at most {MAX_MEMBERS}" in refusal(many)

    def test_so_many_that_they_could_not_be_counted(self):
        """What makes objects of a directory's entries must not get to see all of this one."""
        entry = struct.pack("<4s6H3I5H2I", b"PK\1\2", *[0] * 16)
        directory = entry * 400_000
        end = struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, 0xFFFF, 0xFFFF, len(directory), 0, 0)
        tracemalloc.start()
        try:
            assert "more than 2 MB in one piece" in refusal(directory + end)
            assert tracemalloc.get_traced_memory()[1] < 30_000_000
        finally:
            tracemalloc.stop()

    def test_too_much_altogether(self, monkeypatch):
        monkeypatch.setattr("octhub.archive.MAX_TOTAL", 2 * len(png()) - 1)
        assert "expected at most" in refusal(packed({"a.png": png(), "b.png": png()}))

    def test_members_that_share_bytes(self):
        """As in David Fifield's bomb: one kernel, and a directory that names it again and again."""
        data = packed({"a.png": bytes(10_000), "b.png": png()}, **DEFLATED)
        assert "overlap" in refusal(patched(data, "b.png", 42, "<I", 0))

    def test_directories_that_lie(self):
        data = packed({"a.png": png()})
        end = data.rindex(b"PK\5\6")
        for at, value in ((12, 10**9), (16, 10**9), (12, 1)):
            forged = bytearray(data)
            struct.pack_into("<I", forged, end + at, value)
            refusal(bytes(forged))
        struct.pack_into("<I", forged := bytearray(data), end + 16, 5)  # then it looks for the member elsewhere
        assert "a.png is damaged" in read_all(bytes(forged))["a.png"]

    def test_a_file_that_is_not_there(self, tmp_path):
        os.mkfifo(tmp_path / "pipe")
        for path in (tmp_path / "missing.zip", tmp_path, tmp_path / "pipe"):
            with pytest.raises(ArchiveError, match="no such file"), open_archive(path):
                pass

    def test_errors_of_the_block_stay_what_they_are(self):
        with pytest.raises(OSError, match="disk full"), opened(packed({"a.png": png()})):
            raise OSError("disk full")


class TestSafePath:
    @pytest.mark.parametrize(
        ("name", "path"),
        [
            ("a.png", "a.png"),
            ("left/a.png", "left/a.png"),
            ("../../a.png", "a.png"),
            ("/a//b/./c.png", "a/b/c.png"),
            ("a\\b.png", "a/b.png"),
            ('a<b>:"|?*.png', "a_b______.png"),
            ("a\n\t\0\x1b[31mb.png", "a  [31mb.png"),
            ("a\u202egnp.exe", "agnp.exe"),
            ("zero\u200bwidth.png", "zerowidth.png"),
            ("e\u0301.png", "é.png"),
            ("CON", "_CON"),
            ("nul.png", "_nul.png"),
            ("lpt1/a.png", "_lpt1/a.png"),
            ("console.png", "console.png"),
            ("=cmd|'/C calc'!A0.png", "_=cmd_'/C calc'!A0.png"),
            ("@x.png", "_@x.png"),
            ("-rf", "_-rf"),
            ("trailing. ", "trailing"),
            (" . ", "_"),
            (".hidden", "_.hidden"),
            ("", "_"),
            ("\ud800.png", "_.png"),
            ("/".join("abcdefghijkl"), "e/f/g/h/i/j/k/l"),
        ],
    )
    def test_what_becomes_of_a_name(self, name, path):
        assert str(safe_path(name)) == path

    def test_a_long_name_keeps_its_end(self):
        path = safe_path(f"{'x' * 500}.jpeg")
        assert len(path.name) == LONGEST
        assert path.suffix == ".jpeg"
        assert len(safe_path("x" * 500).name) == LONGEST

    def test_any_name_becomes_a_path_inside(self):
        rng = np.random.default_rng(0)
        letters = [*"ab/\\.:.. \0\n*?", "..", "../", "é", "\u202e", "\ud800", "con", "x" * 90]
        for _ in range(3000):
            path = safe_path("".join(letters[i] for i in rng.integers(0, len(letters), rng.integers(0, 12))))
            assert not path.is_absolute()
            assert path.parts
            assert all(p.isprintable() and not p.startswith(".") and p.strip() == p for p in path.parts)
            assert all(len(p) <= LONGEST + 1 for p in path.parts)
            assert str(path).encode()

    def test_names_that_are_one_file_elsewhere_are_told_apart(self):
        taken = {}
        for name, expected in (("é.png", "é.png"), ("É.png", "É (2).png"), ("e\u0301.PNG", "e\u0301 (3).PNG")):
            path = apart(PurePosixPath(name), taken)
            assert str(path) == expected

    def test_thousands_of_one_name_are_told_apart_at_once(self):
        taken = {}
        paths = [apart(PurePosixPath("a.png"), taken) for _ in range(50_000)]  # hours, if each counted from 1
        assert len(set(paths)) == 50_000
        assert str(paths[-1]) == "a (50000).png"

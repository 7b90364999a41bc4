"""Repos as the Hub keeps them: commits of whole trees, tags, large files apart, and its rules for commits."""

import base64
import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timezone
from fnmatch import fnmatchcase

from hub_cards import card_data, card_problems
from hub_messages import Refused

LFS_SIZE = 10 * 1024**2
"""Bytes; what is larger goes to LFS."""

FILTER = " filter=lfs diff=lfs merge=lfs -text\n"
PATTERNS = """*.7z *.arrow *.bin *.bz2 *.ckpt *.ftz *.gz *.h5 *.joblib *.lfs.* *.mlmodel *.model *.msgpack *.npy *.npz
*.onnx *.ot *.parquet *.pb *.pickle *.pkl *.pt *.pth *.rar *.safetensors saved_model/**/* *.tar.* *.tar *.tflite *.tgz
*.wasm *.xz *.zip *.zst *tfevents*"""
GITATTRIBUTES = "".join(pattern + FILTER for pattern in PATTERNS.split()).encode()
"""What a new repo holds, and nothing else."""


def git_sha1(data: bytes) -> str:
    """A git blob's id."""
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def pointer(data: bytes) -> bytes:
    """What git holds in place of a large file."""
    return f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha256(data)}\nsize {len(data)}\n".encode()


def is_binary(data: bytes) -> bool:
    """The Hub takes binary files by LFS only. The test is git's, of the 512 bytes that clients send in advance."""
    return b"\0" in data[:512]


@dataclass(frozen=True)
class Commit:
    """A whole tree.

    Attributes:
        sha: 40 hex digits.
        files: path → bytes, large files too.
        lfs: the paths of those that are kept in LFS.
    """

    sha: str
    message: str
    files: dict[str, bytes]
    lfs: frozenset[str]
    description: str = ""
    date: str = field(default_factory=lambda: f"{datetime.now(timezone.utc):%Y-%m-%dT%H:%M:%S.%f}"[:-3] + "Z")

    def entry(self, path: str) -> dict:
        """A file as the tree listing has it."""
        data = self.files[path]
        if path not in self.lfs:
            return {"type": "file", "oid": git_sha1(data), "size": len(data), "path": path}
        lfs = {"oid": sha256(data), "size": len(data), "pointerSize": len(pointer(data))}
        return {"type": "file", "oid": git_sha1(pointer(data)), "size": len(data), "lfs": lfs, "path": path}

    def tree(self, folder: str, recursive: bool) -> list[dict]:
        """Files and folders below a folder ("" is the root), or in it."""
        start = f"{folder}/" if folder else ""
        below = sorted(path for path in self.files if path.startswith(start))
        if folder and not below:
            raise Refused(404, f"{folder} does not exist on this revision", "EntryNotFound")
        parts = [path[len(start) :].split("/") for path in below]
        folders = sorted({start + "/".join(p[:n]) for p in parts for n in range(1, len(p)) if recursive or n == 1})
        entries = [{"type": "directory", "oid": git_sha1(path.encode()), "size": 0, "path": path} for path in folders]
        return entries + [self.entry(p) for p in below if recursive or "/" not in p[len(start) :]]

    def tracks(self, path: str) -> bool:
        """Whether .gitattributes sends a file of this name to LFS."""
        lines = self.files.get(".gitattributes", GITATTRIBUTES).decode().splitlines()
        patterns = [line.partition(" filter=lfs")[0] for line in lines if " filter=lfs" in line]
        name = path.rpartition("/")[2]
        return any(fnmatchcase(path if "/" in pattern else name, pattern) for pattern in patterns)

    def wants_lfs(self, path: str, size: int, sample: bytes) -> bool:
        """Whether a new file of this tree must go to LFS."""
        return size > 0 and (self.tracks(path) or size > LFS_SIZE or is_binary(sample))


@dataclass
class Repo:
    """A model, dataset or Space.

    Attributes:
        commits: of the branch main, oldest first.
        tags: name → commit.
        private: there for nobody but the token's owner.
        gated: whether its files are for its owner only, although everybody sees that they are there.
        sdk, hardware, sleep_time: of a Space; hardware is what was asked for.
        stages: what a Space's next runtime answers say; the last one stays.
        objects: SHA-256 → the large files that were uploaded.
    """

    id: str
    kind: str = "model"
    private: bool = False
    gated: bool | str = False
    sdk: str | None = None
    hardware: str | None = None
    sleep_time: int | None = None
    commits: list[Commit] = field(default_factory=list)
    tags: dict[str, str] = field(default_factory=dict)
    objects: dict[str, bytes] = field(default_factory=dict, repr=False)
    stages: list[str] = field(default_factory=lambda: ["NO_APP_FILE"])

    def __post_init__(self):
        self.add("initial commit", {".gitattributes": GITATTRIBUTES})

    @property
    def head(self) -> Commit:
        return self.commits[-1]

    def at(self, revision: str) -> Commit:
        """The commit of a branch, a tag, or a commit's hash or its first digits (7 at least)."""
        sha = self.head.sha if revision in ("main", "refs/heads/main") else self.tags.get(revision, revision)
        for commit in self.commits:
            if commit.sha == sha or (len(sha) >= 7 and commit.sha.startswith(sha)):
                return commit
        raise Refused(404, f"Invalid rev id: {revision}", "RevisionNotFound")

    def add(
        self, message: str, files: dict[str, bytes], lfs: Iterable[str] | None = None, description: str = ""
    ) -> Commit:
        """Commit a whole tree; without `lfs`, the Hub's rules say what of it goes there."""
        if lfs is None:
            rules = Commit("", "", files, frozenset())
            lfs = [path for path, data in files.items() if rules.wants_lfs(path, len(data), data)]
            self.objects |= {sha256(files[path]): files[path] for path in lfs}
        tree = [(path, git_sha1(data)) for path, data in sorted(files.items())]
        parents = [commit.sha for commit in self.commits]
        sha = hashlib.sha1(repr((self.kind, self.id, parents, message, tree)).encode()).hexdigest()
        self.commits.append(Commit(sha, message, dict(files), frozenset(lfs), description))
        if self.kind == "space" and card_data(files.get("README.md", b"")).get("app_file", "app.py") in files:
            self.stages = ["BUILDING", "RUNNING"]
        return self.head

    def change(self, lines: list[dict]) -> Commit:
        """Commit what a client posts, line by line: all of it or nothing."""
        header, files, lfs = {}, dict(self.head.files), set(self.head.lfs)
        for line in lines:
            value = line["value"]
            path = value.get("path", "")
            if {"..", ".git"} & set(path.split("/")) or path.startswith("/"):
                raise Refused(400, f"Invalid path: {path}")
            match line["key"]:
                case "header":
                    header = value
                case "file":
                    files[path] = base64.b64decode(value["content"], validate=True)
                    lfs.discard(path)
                    if len(files[path]) > LFS_SIZE or is_binary(files[path]):
                        what = "binary files" if len(files[path]) <= LFS_SIZE else "files larger than 10 MiB"
                        raise Refused(400, f"Your push was rejected because it contains {what}: {path}")
                case "lfsFile":
                    data = self.objects.get(value["oid"])
                    if data is None or value.get("size", len(data)) != len(data):
                        raise Refused(400, f"An LFS pointer points to a file that does not exist: {path}")
                    if not self.head.tracks(path):
                        files[".gitattributes"] = files.get(".gitattributes", b"") + (path + FILTER).encode()
                    files[path] = data
                    lfs.add(path)
                case "deletedFile" | "deletedFolder" as key:
                    folder = f"{path.rstrip('/')}/" if key == "deletedFolder" else None
                    gone = {p for p in files if (p.startswith(folder) if folder else p == path)}
                    if not gone:
                        raise Refused(404, f"A file with this name doesn't exist: {path}", "EntryNotFound")
                    files = {p: data for p, data in files.items() if p not in gone}
                    lfs -= gone
                case key:
                    raise Refused(400, f"Unknown operation {key}")
        if not header.get("summary"):
            raise Refused(400, "A commit needs a summary")
        if not self.head.sha.startswith(header.get("parentCommit", "")):
            raise Refused(412, "A commit has happened since. Please refresh and try again.")
        if files.get("README.md") != self.head.files.get("README.md") and "README.md" in files:
            errors, _ = card_problems(files["README.md"].decode(errors="replace"), self.kind)
            if errors:
                raise Refused(400, f"Invalid metadata in README.md: {'; '.join(errors)}")
        return self.add(header["summary"], files, lfs, header.get("description", ""))

    def info(self, commit: Commit, blobs: bool) -> dict:
        """What model_info and its like say."""
        card = card_data(commit.files.get("README.md", b""))
        siblings = []
        for path in sorted(commit.files):
            siblings.append({"rfilename": path})
            if blobs:
                entry = commit.entry(path)
                siblings[-1] |= {"size": entry["size"], "blobId": entry["oid"]}
                if lfs := entry.get("lfs"):
                    siblings[-1]["lfs"] = {"sha256": lfs["oid"], "size": lfs["size"], "pointerSize": lfs["pointerSize"]}
        info = {
            "_id": git_sha1(self.id.encode())[:24],
            "id": self.id,
            "author": self.id.partition("/")[0],
            "sha": commit.sha,
            "createdAt": self.commits[0].date,
            "lastModified": self.head.date,
            "private": self.private,
            "gated": self.gated and "manual",
            "disabled": False,
            "likes": 0,
            "tags": card.get("tags") or [],
            "cardData": card,
            "siblings": siblings,
        }
        if self.kind == "space":
            return info | {"sdk": self.sdk, "runtime": self.runtime()}
        return info | {"downloads": 0, **{key: card[key] for key in ("pipeline_tag", "library_name") if key in card}}

    def runtime(self) -> dict:
        """A Space's stage and hardware; it has none while it is built for the first time."""
        current = self.hardware if self.stages[0] == "RUNNING" else None
        hardware = {"current": current, "requested": self.hardware}
        return {"stage": self.stages[0], "hardware": hardware, "gcTimeout": self.sleep_time, "storage": None}

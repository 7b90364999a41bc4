"""What the Hub answers: its HTTP API for repos, commits, large files and downloads, without the sockets."""

import base64
import json
from collections.abc import Callable
from functools import partial
from urllib.parse import parse_qs, quote

from hub_cards import card_problems
from hub_messages import Answer, Refused, Request, file_answer
from hub_repos import Commit, Repo, git_sha1, pointer, sha256

KINDS = {"models": "model", "datasets": "dataset", "spaces": "space"}


class Hub:
    """All repos, and what is answered about them.

    Attributes:
        endpoint: where it is.
        storage: where large files are downloaded from: another origin, as the Hub's is, so that huggingface_hub does
            not follow the redirect in search of a commit, and keeps the token to itself.
        token: the one that is valid; it may write everywhere.
        user: its owner.
    """

    def __init__(self, endpoint: str, storage: str, token: str, user: str):
        self.endpoint, self.storage, self.token, self.user = endpoint, storage, token, user
        self.repos: dict[tuple[str, str], Repo] = {}
        self.announced: set[tuple[str, str, str]] = set()  # (kind, repo, SHA-256) that may be uploaded

    def create(self, repo_id: str, kind: str, private: bool = False) -> Repo:
        """The repo, which is made if it isn't there."""
        return self.repos.setdefault((kind, repo_id), Repo(repo_id, kind, private))

    def route(self, request: Request) -> Callable[[], Answer] | None:
        """What answers a request, or None if the Hub has nothing of the kind."""
        match [request.method, *request.parts]:
            case ["GET", "api", "whoami-v2"]:
                return partial(self._whoami, request)
            case ["POST", "api", "validate-yaml"]:
                return partial(self._validate, request)
            case ["POST", "api", "repos", "create"]:
                return partial(self._create, request)
            case ["DELETE", "api", "repos", "delete"]:
                return partial(self._delete, request)
            case ["GET" | "HEAD", "storage", kinds, owner, name, oid, *_]:
                return partial(self._stored, request, KINDS[kinds], f"{owner}/{name}", oid)
            case ["PUT", "storage", kinds, owner, name, oid]:
                return partial(self._store, request, KINDS[kinds], f"{owner}/{name}", oid)
            case [_, "api", ("models" | "datasets" | "spaces") as kinds, owner, name, *rest]:
                return partial(self._api, request, KINDS[kinds], f"{owner}/{name}", rest)
        kinds, parts = "models", request.parts
        if parts[0] in KINDS:
            kinds, *parts = parts
        match [request.method, *parts]:
            case ["GET" | "HEAD", owner, name, "resolve", revision, *path]:
                return partial(self._resolve, request, KINDS[kinds], f"{owner}/{name}", revision, "/".join(path))
            case ["POST", owner, name, "info", "lfs", "objects", ("batch" | "verify") as step]:
                answer = self._batch if step == "batch" else self._verify
                return partial(answer, request, KINDS[kinds], f"{owner}/{name.removesuffix('.git')}")
        return None

    def _known(self, request: Request) -> bool:
        """Whether the token came with it. Another one is refused even where none is needed, as on the Hub."""
        sent = request.headers.get("Authorization")
        if sent not in (None, f"Bearer {self.token}"):
            raise Refused(401, "Invalid credentials in Authorization header")
        return sent is not None

    def _repo(self, request: Request, kind: str, repo_id: str, write: bool = False) -> Repo:
        """The Hub hides from strangers which repos exist. Its 401 has no code, and huggingface_hub makes one of it, but
        from https only; hence the code here.
        """
        known, repo = self._known(request), self.repos.get((kind, repo_id))
        if not known and (repo is None or repo.private or write):
            raise Refused(401, "Invalid username or password.", "RepoNotFound")
        if repo is None:
            raise Refused(404, "Repository not found", "RepoNotFound")
        return repo

    def _check_gate(self, request: Request, repo: Repo) -> None:
        if repo.gated and not (self._known(request) and repo.id.startswith(f"{self.user}/")):
            status = 403 if self._known(request) else 401
            raise Refused(status, f"Access to {repo.kind} {repo.id} is restricted.", "GatedRepo")

    def _url(self, kind: str, repo_id: str) -> str:
        return f"{self.endpoint}/{'' if kind == 'model' else f'{kind}s/'}{repo_id}"

    def _whoami(self, request: Request) -> Answer:
        if not self._known(request):
            raise Refused(401, "Invalid username or password.")
        token = {"displayName": "test", "role": "write"}
        auth = {"type": "access_token", "accessToken": token}
        return Answer.of({"type": "user", "id": "0" * 24, "name": self.user, "isPro": False, "orgs": [], "auth": auth})

    def _validate(self, request: Request) -> Answer:
        asked = request.json()
        problems = card_problems(asked["content"], asked.get("repoType") or "model")
        errors, warnings = ([{"message": text} for text in texts] for texts in problems)
        if errors:
            raise Refused(400, "Invalid metadata in README.md", errors=errors, warnings=warnings)
        return Answer.of({"errors": [], "warnings": warnings})

    def _create(self, request: Request) -> Answer:
        if not self._known(request):
            raise Refused(401, "Invalid username or password.")
        asked = request.json()
        kind, repo_id = asked.get("type") or "model", f"{asked.get('organization') or self.user}/{asked['name']}"
        url = self._url(kind, repo_id)
        if (kind, repo_id) in self.repos:
            raise Refused(409, f"You already created this {kind} repo", url=url)
        if kind == "space" and not asked.get("sdk"):
            raise Refused(400, '"sdk" is required')
        private = asked.get("private", False) or asked.get("visibility") == "private"
        repo = self.create(repo_id, kind, private)
        if kind == "space":
            repo.sdk, repo.hardware = asked["sdk"], asked.get("hardware") or "cpu-basic"
            repo.sleep_time = asked.get("sleepTimeSeconds")
        return Answer.of({"url": url, "name": repo_id})

    def _delete(self, request: Request) -> Answer:
        asked = request.json()
        kind, repo_id = asked.get("type") or "model", f"{asked.get('organization') or self.user}/{asked['name']}"
        self._repo(request, kind, repo_id, write=True)
        del self.repos[kind, repo_id]
        return Answer.of({})

    def _api(self, request: Request, kind: str, repo_id: str, rest: list[str]) -> Answer:
        """/api/models/owner/name/… and the same for datasets and Spaces."""
        reading = request.method == "GET" or rest[:1] == ["paths-info"]
        repo = self._repo(request, kind, repo_id, write=not reading)
        match [request.method, *rest]:
            case ["GET"] | ["GET", "revision", _]:
                return Answer.of(repo.info(repo.at(rest[1] if rest else "main"), "blobs" in request.query))
            case ["GET", "tree", revision, *folder]:
                recursive = request.query.get("recursive", [""])[0].lower() == "true"
                return Answer.of(repo.at(revision).tree("/".join(folder), recursive))
            case ["POST", "paths-info", revision]:
                entries = repo.at(revision).tree("", recursive=True)
                paths = {path.rstrip("/") for path in parse_qs(request.body.decode())["paths"]}
                return Answer.of([entry for entry in entries if entry["path"] in paths])
            case ["GET", "commits", revision]:
                return Answer.of(self._history(repo, repo.at(revision)))
            case ["GET", "refs"]:
                tags = [{"name": t, "ref": f"refs/tags/{t}", "targetCommit": sha} for t, sha in repo.tags.items()]
                main = {"name": "main", "ref": "refs/heads/main", "targetCommit": repo.head.sha}
                return Answer.of({"branches": [main], "converts": [], "tags": tags, "pullRequests": []})
            case ["POST", "preupload", revision]:
                return Answer.of({"files": [self._mode(repo.at(revision), f) for f in request.json()["files"]]})
            case ["POST", "commit", revision]:
                return self._commit(request, repo, revision)
            case ["POST", "tag", revision]:
                tag, commit = request.json()["tag"], repo.at(revision)
                if tag in repo.tags:
                    raise Refused(409, f"Tag reference exists already: refs/tags/{tag}")
                repo.tags[tag] = commit.sha
                return Answer.of({})
            case ["DELETE", "tag", tag]:
                if repo.tags.pop(tag, None) is None:
                    raise Refused(404, f"Invalid rev id: {tag}", "RevisionNotFound")
                return Answer.of({})
            case ["PUT", "settings"]:
                asked = request.json()
                repo.gated = asked.get("gated", repo.gated)
                if "private" in asked or "visibility" in asked:
                    repo.private = asked.get("private", False) or asked.get("visibility") == "private"
                return Answer.of(asked)
            case ["GET", "auth-check", *write]:
                self._repo(request, kind, repo_id, write=bool(write))
                self._check_gate(request, repo)
                return Answer.of({})
            case ["GET", "runtime"] if kind == "space":
                runtime = repo.runtime()
                repo.stages = repo.stages[1:] or repo.stages
                return Answer.of(runtime)
            case ["POST", "hardware"] if kind == "space":
                asked = request.json()
                repo.hardware, repo.sleep_time = asked["flavor"], asked.get("sleepTimeSeconds", repo.sleep_time)
                return Answer.of(repo.runtime())
        raise Refused(404, "Not found")

    def _history(self, repo: Repo, commit: Commit) -> list[dict]:
        """The newest first."""
        known = repo.commits[: repo.commits.index(commit) + 1]
        authors = [{"user": self.user}]
        return [
            {"id": c.sha, "title": c.message, "message": c.description, "date": c.date, "authors": authors}
            for c in reversed(known)
        ]

    def _mode(self, commit: Commit, file: dict) -> dict:
        """How a file is to be sent; the oid of what is there lets the client leave out what has not changed."""
        path, oid = file["path"], None
        if path in commit.files:
            entry = commit.entry(path)
            oid = entry.get("lfs", entry)["oid"]
        large = commit.wants_lfs(path, file["size"], base64.b64decode(file["sample"]))
        return {"path": path, "uploadMode": "lfs" if large else "regular", "shouldIgnore": False, "oid": oid}

    def _commit(self, request: Request, repo: Repo, revision: str) -> Answer:
        repo.at(revision)
        if revision != "main" or "create_pr" in request.query:
            raise Refused(400, "This server has commits to main only")
        commit = repo.change([json.loads(line) for line in request.body.splitlines() if line])
        url = f"{self._url(repo.kind, repo.id)}/commit/{commit.sha}"
        return Answer.of({"success": True, "commitUrl": url, "commitOid": commit.sha, "hookOutput": ""})

    def _batch(self, request: Request, kind: str, repo_id: str) -> Answer:
        """Git LFS's batch API: where to put the large files that aren't here yet. The address is the permission."""
        repo = self._repo(request, kind, repo_id, write=True)
        objects = []
        for asked in request.json()["objects"]:
            oid = asked["oid"]
            objects.append({"oid": oid, "size": asked["size"]})
            if oid not in repo.objects:
                self.announced.add((kind, repo_id, oid))
                verify = f"{self._url(kind, repo_id)}.git/info/lfs/objects/verify"
                upload = f"{self.storage}/storage/{kind}s/{repo_id}/{oid}"
                objects[-1]["actions"] = {"upload": {"href": upload}, "verify": {"href": verify}}
        return Answer.of({"transfer": "basic", "objects": objects})

    def _store(self, request: Request, kind: str, repo_id: str, oid: str) -> Answer:
        if (kind, repo_id, oid) not in self.announced:
            raise Refused(403, "This upload was not announced")
        if sha256(request.body) != oid:
            raise Refused(400, "The content has another SHA-256 than announced")
        self.repos[kind, repo_id].objects[oid] = request.body
        return Answer(note=f" {len(request.body)} bytes")

    def _verify(self, request: Request, kind: str, repo_id: str) -> Answer:
        repo, asked = self._repo(request, kind, repo_id, write=True), request.json()
        if len(repo.objects.get(asked["oid"], b"")) != asked["size"]:
            raise Refused(404, "This large file was not uploaded")
        return Answer.of({})

    def _resolve(self, request: Request, kind: str, repo_id: str, revision: str, path: str) -> Answer:
        repo = self._repo(request, kind, repo_id)
        self._check_gate(request, repo)
        commit = repo.at(revision)
        headers = {"X-Repo-Commit": commit.sha}
        if path not in commit.files:
            return Answer.refusal(Refused(404, "Entry not found", "EntryNotFound"), headers)
        data = commit.files[path]
        if path not in commit.lfs:
            return file_answer(request, data, {**headers, "ETag": f'"{git_sha1(data)}"'})
        headers |= {
            "ETag": f'"{git_sha1(pointer(data))}"',
            "X-Linked-Etag": f'"{sha256(data)}"',
            "X-Linked-Size": str(len(data)),
            "Location": f"{self.storage}/storage/{kind}s/{repo_id}/{sha256(data)}/{quote(path)}",
        }
        return Answer(302, headers=headers)

    def _stored(self, request: Request, kind: str, repo_id: str, oid: str) -> Answer:
        """A large file. The address is the permission; who sends a token as well is turned away, as by S3."""
        if request.headers.get("Authorization"):
            raise Refused(400, "Only one auth mechanism allowed")
        repo = self.repos.get((kind, repo_id))
        if repo is None or oid not in repo.objects:
            raise Refused(404, "Not found")
        return file_answer(request, repo.objects[oid], {"ETag": f'"{oid}"'})

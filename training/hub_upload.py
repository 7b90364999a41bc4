"""Make a Hub repo hold exactly these files, in one commit; see first what that would change."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field

from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi
from huggingface_hub.errors import RepositoryNotFoundError
from huggingface_hub.utils.sha import git_hash

HUBS_OWN = ".gitattributes"
"""The Hub's own file in every repo, which says what is stored as large files."""


@dataclass(frozen=True)
class Change:
    """What would become of one file: `state` is new, changed, same or gone."""

    path: str
    state: str
    size: int = 0
    sha256: str = ""

    def __str__(self) -> str:
        return f"{self.state:8} {self.size:>11,}  {self.sha256[:16]:16}  {self.path}"


@dataclass(frozen=True)
class Plan:
    """What making a repo hold some files comes down to.

    Attributes:
        head: the newest commit there; None if there is no such repo yet, or nobody may see it.
        tags: tag → commit.
    """

    repo_id: str
    kind: str
    files: Mapping[str, bytes]
    changes: list[Change]
    head: str | None
    tags: dict[str, str] = field(default_factory=dict)

    @property
    def todo(self) -> list[Change]:
        return [c for c in self.changes if c.state != "same"]


def plan(api: HfApi, repo_id: str, kind: str, files: Mapping[str, bytes]) -> Plan:
    """Compare files with what a repo holds now.

    Args:
        kind: "model" or "space".
        files: path in the repo → content.

    Raises:
        HfHubHTTPError and its like: the Hub can't be asked.
    """
    try:
        info = api.repo_info(repo_id, repo_type=kind, files_metadata=True)
    except RepositoryNotFoundError:
        return unseen(repo_id, kind, files)
    there = {s.rfilename: s.lfs.sha256 if s.lfs else s.blob_id for s in info.siblings or []}
    changes = []
    for path, content in sorted(files.items()):
        sha256 = hashlib.sha256(content).hexdigest()
        same = there.get(path) in (sha256, git_hash(content))
        state = "same" if same else "changed" if path in there else "new"
        changes.append(Change(path, state, len(content), sha256))
    changes += [Change(path, "gone") for path in sorted(there.keys() - files.keys() - {HUBS_OWN})]
    refs = api.list_repo_refs(repo_id, repo_type=kind)
    return Plan(repo_id, kind, files, changes, info.sha, {t.name: t.target_commit for t in refs.tags})


def unseen(repo_id: str, kind: str, files: Mapping[str, bytes]) -> Plan:
    """The plan for a repo that isn't there, or can't be looked at."""
    changes = [Change(p, "new", len(c), hashlib.sha256(c).hexdigest()) for p, c in sorted(files.items())]
    return Plan(repo_id, kind, files, changes, None)


def carry_out(api: HfApi, plan: Plan, message: str) -> str:
    """Make the repo hold the files, all in one commit on top of the one that the plan saw; the newest commit then.

    Raises:
        HfHubHTTPError and its like: the Hub refused, or broke off; the repo holds what it held before.
    """
    if not plan.todo and plan.head:
        return plan.head
    operations = [
        CommitOperationDelete(c.path) if c.state == "gone" else CommitOperationAdd(c.path, plan.files[c.path])
        for c in plan.todo
    ]
    commit = api.create_commit(
        plan.repo_id, operations, commit_message=message, repo_type=plan.kind, parent_commit=plan.head
    )
    return commit.oid

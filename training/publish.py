"""Publish a checkpoint to a Hub repo, or the demo to a Space; without --yes, show what that would do.

    python -m training.publish checkpoints/NAME OWNER/NAME [--yes]
    python -m training.publish space OWNER/NAME [--yes]

The token is the one of `hf auth login`, or HF_TOKEN.
"""

import argparse
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import HfApi, SpaceHardware, get_token
from huggingface_hub.constants import CONFIG_NAME, SAFETENSORS_SINGLE_FILE
from huggingface_hub.errors import (
    HfHubHTTPError,
    HFValidationError,
    HTTPError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.utils import validate_repo_id

from octhub import __version__
from octhub.hub import DEFAULT_CLASSIFIER, DEFAULT_SEGMENTER
from octhub.served import RECORDS
from training import hub_upload, release_check
from training.card import render_card
from training.hub_upload import Plan
from training.space_files import PinnedModel, space_files

SPACE = "space"
"""In place of a checkpoint's folder."""

TAG = f"v{__version__}"


class PublishError(ValueError):
    """Something that must not, or can't, be published; the message says why."""


@dataclass(frozen=True)
class Release:
    """What is to be published: the files of one repo, and what to show of them.

    Attributes:
        kind: "model" or "space".
        tag: of the commit that holds them; None for none.
        text: the rendered README.md.
        problems: what keeps it from being published.
        hardware: what a Space asks for.
    """

    repo_id: str
    kind: str
    files: dict[str, bytes]
    tag: str | None
    problems: list[str]
    hardware: str | None = None

    @property
    def text(self) -> str:
        return self.files.get("README.md", b"").decode()


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    doc = __doc__.split("\n\n")
    parser = argparse.ArgumentParser(
        prog="python -m training.publish",
        description=doc[0],
        epilog=doc[2].strip(),
    )
    parser.add_argument("what", metavar="CHECKPOINT", help=f"a checkpoint's folder, or the word {SPACE}")
    parser.add_argument("repo_id", metavar="OWNER/NAME", type=repo_id, help="where to on the Hub")
    parser.add_argument("--yes", action="store_true", help="do it; without, only show what would be done")
    parser.add_argument("--private", action="store_true", help="if the repo is new, let nobody else see it")
    parser.add_argument(
        "--tag", type=tag, default=TAG, help="version of a checkpoint (%(default)s); a published one never changes"
    )
    parser.add_argument(
        "--space", type=repo_id, metavar="OWNER/NAME", help="a checkpoint: the Space that its card links"
    )
    group = parser.add_argument_group(f"of the {SPACE}")
    for name, default in (("classifier", DEFAULT_CLASSIFIER), ("segmenter", DEFAULT_SEGMENTER)):
        group.add_argument(
            f"--{name}",
            metavar="OWNER/NAME[@REVISION]",
            help=f"its {name}, published before (by default OWNER/{Path(default).name}@{TAG})",
        )
    group.add_argument(
        "--hardware",
        default=SpaceHardware.ZERO_A10G.value,
        choices=[h.value for h in SpaceHardware],
        metavar="HARDWARE",
        help="what it asks for (%(default)s); one of %(choices)s",
    )
    return parser.parse_args(argv)


def tag(text: str) -> str:
    """A version's name, for argparse."""
    if not re.fullmatch(r"[A-Za-z0-9][\w.+-]*", text, re.ASCII) or text.endswith(".lock") or ".." in text:
        raise argparse.ArgumentTypeError(
            f"{text!r}, expected letters, digits, and . _ + - between them, such as v1.2.0"
        )
    return text


def repo_id(text: str) -> str:
    """OWNER/NAME, for argparse."""
    try:
        validate_repo_id(text)
    except HFValidationError as e:
        raise argparse.ArgumentTypeError(str(e)) from e
    if text.count("/") != 1:
        raise argparse.ArgumentTypeError(f"{text!r}, expected OWNER/NAME")
    return text


def main(argv: list[str] | None = None) -> int:
    args = parse_args(argv)
    try:
        return publish(args)
    except (HfHubHTTPError, HTTPError, OSError, ValueError, RuntimeError, subprocess.CalledProcessError) as e:
        print(f"error: {_words(e)}", file=sys.stderr)
        return 2


def publish(args: argparse.Namespace) -> int:
    """Check, show, and with --yes upload; the exit status.

    Raises:
        PublishError: it's not fit, or the Hub holds something else under this tag.
        HfHubHTTPError, HTTPError, OSError: the Hub refused or broke off; it serves what it served before.
    """
    api = HfApi()
    release = space_release(api, args) if args.what == SPACE else checkpoint_release(args)
    plan = look(api, release, must=args.yes)
    show(release, plan)
    problems = release.problems + tag_problems(release, plan)
    if problems:
        raise PublishError(f"{args.what} is not fit to be published:\n" + "\n".join(f"  - {p}" for p in problems))
    if not args.yes:
        print(f"\nNothing was uploaded. --yes does it{as_whom(api)}.")
        return 0
    if get_token() is None:
        raise PublishError("no token: run `hf auth login`, or set HF_TOKEN to one that may write")
    print(f"\nPublishing{as_whom(api)}.")
    carry_out(api, release, plan, args)
    return 0


def checkpoint_release(args: argparse.Namespace) -> Release:
    """A checkpoint's folder as the Hub will hold it: the card names the repo it is in.

    Raises:
        PublishError: no such folder, or not a checkpoint's.
    """
    folder = Path(args.what)
    problems = release_check.problems(folder)
    if not folder.is_dir() or not (folder / "config.json").is_file():
        raise PublishError(f"{folder}: no checkpoint's folder, expected one with config.json (or the word {SPACE})")
    files = {p.name: p.read_bytes() for p in sorted(folder.iterdir()) if p.is_file()}
    if not problems:
        files["README.md"] = str(render_card(folder, repo_id=args.repo_id, space_id=args.space)).encode()
    return Release(args.repo_id, "model", files, args.tag, problems)


def space_release(api: HfApi, args: argparse.Namespace) -> Release:
    """The demo's files, with the published models' newest commits of the tag written into them.

    Raises:
        PublishError: a model isn't published yet.
    """
    owner = args.repo_id.split("/")[0]
    pins = {}
    for name, default in (("classifier", DEFAULT_CLASSIFIER), ("segmenter", DEFAULT_SEGMENTER)):
        source = getattr(args, name) or f"{owner}/{Path(default).name}@{TAG}"
        pins[name] = pin(api, source, f"python -m training.publish {default} {source.partition('@')[0]} --yes")
    return Release(args.repo_id, SPACE, space_files(**pins, space_id=args.repo_id), None, [], args.hardware)


def pin(api: HfApi, source: str, command: str) -> PinnedModel:
    """The commit that a model's revision is at now.

    Raises:
        PublishError: no such model or revision.
    """
    repo, _, revision = source.partition("@")
    try:
        info = api.model_info(repo, revision=revision or None)
    except (RepositoryNotFoundError, RevisionNotFoundError) as e:
        raise PublishError(f"{source} is not on the Hub; publish it first: {command}") from e
    if info.private or info.gated:
        raise PublishError(f"{source} is private or gated, and a Space has no token to load it with")
    files = {s.rfilename for s in info.siblings or []}
    if missing := {CONFIG_NAME, SAFETENSORS_SINGLE_FILE} - files:
        raise PublishError(f"{source} has no {' and no '.join(sorted(missing))}, expected a checkpoint")
    return PinnedModel(repo, info.sha, tuple(name for name in RECORDS if name in files))


def look(api: HfApi, release: Release, must: bool) -> Plan:
    """What publishing would change; where the Hub can't be asked and needn't be (`must`), everything counts as new."""
    try:
        return hub_upload.plan(api, release.repo_id, release.kind, release.files)
    except (HfHubHTTPError, HTTPError, OSError) as e:
        if must:
            raise
        print(f"The Hub can't be asked what it holds now ({_words(e)}): shown as if nothing were there.\n")
        return hub_upload.unseen(release.repo_id, release.kind, release.files)


def show(release: Release, plan: Plan) -> None:
    """Print the README, the files with sizes and hashes, and what becomes of them."""
    print(release.text.rstrip())
    print("\n" + "-" * 80)
    where = f"{release.kind} {release.repo_id}"
    print(f"{where}, now at {plan.head}" if plan.head else f"{where}, not there yet", end="\n\n")
    print(f"{'':8} {'bytes':>11}  {'sha256':16}  file")
    for change in plan.changes:
        print(change)
    total = sum(c.size for c in plan.changes)
    print(f"\n{len(release.files)} files, {total:,} bytes; {len(plan.todo)} to change, in one commit")
    if release.tag:
        state = f"is at {plan.tags[release.tag]}" if release.tag in plan.tags else "is new"
        print(f"tag {release.tag} {state}")
    if release.hardware:
        print(f"hardware: {release.hardware}")


def tag_problems(release: Release, plan: Plan) -> list[str]:
    """A version that is published stays what it is."""
    there = plan.tags.get(release.tag) if release.tag else None
    if there is None or (there == plan.head and not plan.todo):
        return []
    return [f"tag {release.tag} is published already ({there}) and isn't what would be there; give another --tag"]


def carry_out(api: HfApi, release: Release, plan: Plan, args: argparse.Namespace) -> None:
    """Create the repo if need be, commit, tag, ask for hardware; what is so already is left alone."""
    if plan.head is None:
        sdk = "gradio" if release.kind == SPACE else None
        api.create_repo(
            plan.repo_id, repo_type=release.kind, private=args.private or None, space_sdk=sdk, exist_ok=True
        )
    message = f"octhub {release.tag or TAG}"
    commit = hub_upload.carry_out(api, plan, message)
    print(f"{'already there' if commit == plan.head else 'committed'}: {commit}")
    if release.tag and release.tag not in plan.tags:
        api.create_tag(plan.repo_id, tag=release.tag, revision=commit, repo_type=release.kind)
        print(f"tagged {release.tag}")
    if release.hardware:
        ask_for_hardware(api, release.repo_id, release.hardware)
    folder = "spaces/" if release.kind == SPACE else ""
    print(f"{api.endpoint}/{folder}{release.repo_id}")


def ask_for_hardware(api: HfApi, space: str, hardware: str) -> None:
    """Ask for a Space's hardware, unless it has it or asked before; where it is refused, the Space runs on a CPU."""
    try:
        runtime = api.get_space_runtime(space)
        if hardware == (runtime.requested_hardware or runtime.hardware):
            print(f"hardware {hardware}: asked for before")
            return
        api.request_space_hardware(space, SpaceHardware(hardware))
    except (HfHubHTTPError, HTTPError, OSError) as e:
        print(f"warning: hardware {hardware} was refused, so the Space runs on a CPU: {_words(e)}", file=sys.stderr)
        return
    print(f"hardware {hardware}: asked for")


def as_whom(api: HfApi) -> str:
    """ " as NAME" of the token, if there is one and the Hub knows it."""
    return _quietly(lambda: f" as {api.whoami()['name']}") if get_token() else ""


def _quietly(ask: Callable[[], str]) -> str:
    try:
        return ask()
    except (HfHubHTTPError, HTTPError, OSError, KeyError):
        return ""


def _words(error: Exception) -> str:
    """An error's own words, without the token."""
    text = str(error).strip() or type(error).__name__
    if (token := get_token()) and token in text:
        text = text.replace(token, "hf_…")
    if isinstance(error, HfHubHTTPError):
        text = " ".join(text.split())
    return text


if __name__ == "__main__":
    sys.exit(main())

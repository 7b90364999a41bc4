"""The Space's README.md: settings in front, which the Hub reads, and a page that says what this is."""

from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import SpaceCard, SpaceCardData, SpaceHardware
from huggingface_hub.constants import CONFIG_NAME, SAFETENSORS_SINGLE_FILE
from huggingface_hub.utils import HFValidationError, validate_repo_id

from octhub.download import SHA1, HubSource
from octhub.gallery import Example, load

TEMPLATE = Path(__file__).with_name("space-readme.md.j2")

APP = "app.py"

MAX_DESCRIPTION = 60
"""The Hub refuses a longer short_description."""


@dataclass(frozen=True)
class PinnedModel:
    """A checkpoint on the Hub at one commit, so that the Space goes on saying what it was tested to say.

    Attributes:
        records: those of octhub.served.RECORDS that the repo has at this commit; the Space's About tab reads them.

    Raises:
        ValueError: no "owner/name", or a revision that may move, such as a branch or a short hash.
    """

    repo_id: str
    revision: str
    records: tuple[str, ...] = ()

    def __post_init__(self):
        try:
            validate_repo_id(self.repo_id)
        except HFValidationError as e:
            raise ValueError(f"{self.repo_id}: not a Hub repo 'owner/name'") from e
        if "/" not in self.repo_id:
            raise ValueError(f"{self.repo_id}: a Hub repo without an owner, expected 'owner/name'")
        if not SHA1.fullmatch(self.revision):
            raise ValueError(f"{self.repo_id}: revision {self.revision!r}, expected a commit's 40 hexadecimal digits")

    @property
    def source(self) -> str:
        """As `from_pretrained` takes it: "owner/name@revision"."""
        return str(HubSource(self.repo_id, self.revision))

    @property
    def preload(self) -> str:
        """A line of preload_from_hub: what the app reads, which the Space's builder puts into the Hub cache.

        The builder fails for a file that the repo hasn't got.
        """
        files = CONFIG_NAME, SAFETENSORS_SINGLE_FILE, *self.records
        return f"{self.repo_id} {','.join(files)} {self.revision}"


def space_card(classifier: PinnedModel, segmenter: PinnedModel, root: Path, space_id: str | None = None) -> SpaceCard:
    """README.md of the Space. Its settings are those of the repository's own README.md, and what only a Space needs.

    Args:
        root: a clone of the repository.
        space_id: the Space's "owner/name", for the example of a call.

    Raises:
        ValueError: the Hub would refuse the settings, or build something else than the requirements say.
    """
    settings = SpaceCard.load(root / "README.md").data.to_dict()
    check(settings, (root / "requirements.txt").read_text(encoding="utf-8"))
    beyond = {
        "models": sorted({classifier.repo_id, segmenter.repo_id}),
        "preload_from_hub": [classifier.preload, segmenter.preload],
        "suggested_hardware": SpaceHardware.ZERO_A10G.value,
    }
    return SpaceCard.from_template(
        SpaceCardData(**{**settings, **beyond}),
        template_path=str(TEMPLATE),
        title=settings["title"],
        models={"Classifier": classifier, "Segmenter": segmenter},
        credits=credits(load(root / "examples")),
        space_id=space_id or "OWNER/NAME",
    )


def check(settings: dict, requirements: str) -> None:
    """Raise ValueError if the Hub would refuse these settings, or install another Gradio than the requirements pin."""
    problems = [f"no {key}" for key in ("title", "license", "python_version") if not settings.get(key)]
    for key, expected in (("sdk", "gradio"), ("app_file", APP)):
        if settings.get(key) != expected:
            problems.append(f"{key} is {settings.get(key)!r}, expected {expected!r}")
    pin = f"gradio=={settings.get('sdk_version')}"
    if pin not in requirements.split():
        problems.append(f"sdk_version is {settings.get('sdk_version')!r}, but requirements.txt has no {pin}")
    length = len(settings.get("short_description", ""))
    if not 0 < length <= MAX_DESCRIPTION:
        problems.append(f"short_description has {length} characters, expected 1 to {MAX_DESCRIPTION}")
    if problems:
        raise ValueError(f"README.md's front matter: {'; '.join(problems)}")


def credits(examples: list[Example]) -> list[tuple[str, str, str, list[str]]]:
    """(source, licence, attribution, files) of the example scans, each origin once."""
    origins: dict[tuple[str, str, str], list[str]] = {}
    for e in examples:
        origins.setdefault((e.source, e.licence, e.attribution), []).append(e.path.name)
    return [(*origin, names) for origin, names in origins.items()]

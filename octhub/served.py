"""What an app can say of the models that it serves: where they came from, which bytes they are, and their records."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from huggingface_hub.constants import CONFIG_NAME, SAFETENSORS_SINGLE_FILE

from octhub import __version__
from octhub.hub import CheckpointMixin
from octhub.origin import Origin
from octhub.serving import ServingConfig

RECORDS = ("metrics.json", "training.json", "comparison.json", "decision.json")
"""What training and evaluation leave beside config.json and the weights, as far as there was one. A Space's builder
fetches them, too (training/space_card.py)."""

METRICS, TRAINING, COMPARISON, DECISION = RECORDS

NOTICE = "For research and teaching only. Not a medical device."


@dataclass(frozen=True)
class Served:
    """A model, and what is known of it.

    Attributes:
        name: of the folder or the Hub repo, without its owner.
        architecture: the class's name.
        parameters: how many numbers were learned.
        origin: None for a model that was made in this process.
        sha256: of weights and configuration, by file name.
        records: name → what the JSON file holds, of RECORDS.
        absent: name → why there is no such record.
    """

    name: str
    architecture: str
    parameters: int
    serving: ServingConfig
    origin: Origin | None = None
    sha256: Mapping[str, str] = field(default_factory=dict)
    records: Mapping[str, dict] = field(default_factory=dict)
    absent: Mapping[str, str] = field(default_factory=dict)

    @property
    def source(self) -> str:
        return self.name if self.origin is None else str(self.origin)

    @property
    def page(self) -> str | None:
        """The address of what is served, on the Hub."""
        if self.origin is None or self.origin.repo is None:
            return None
        return f"https://huggingface.co/{self.origin.repo.repo_id}/tree/{self.origin.commit}"

    def facts(self) -> dict[str, object]:
        """For programs."""
        return {
            "architecture": self.architecture,
            "source": self.source,
            "revision": None if self.origin is None else self.origin.commit,
            "weights_sha256": self.sha256.get(SAFETENSORS_SINGLE_FILE),
            "config_sha256": self.sha256.get(CONFIG_NAME),
            "parameters": self.parameters,
            "class_names": list(self.serving.class_names),
        }


def served(model: CheckpointMixin) -> Served:
    """Look a model up. Never raises for what is wrong with its records: `absent` says it."""
    parameters = sum(p.numel() for p in model.parameters())
    about = {"architecture": type(model).__name__, "parameters": parameters, "serving": model.serving}
    origin = model.origin
    if origin is None:
        return Served("unnamed", **about, absent=dict.fromkeys(RECORDS, "the model was loaded from nowhere"))
    name = str(origin).partition("@")[0].split("/")[-1]
    hashes = origin.sha256()
    paths, absent = origin.find(RECORDS)
    records = {}
    for file, path in paths.items():
        try:
            records[file] = _object(json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError) as e:  # also what isn't UTF-8, and what isn't JSON
            absent[file] = f"damaged: {e}"
    for file in (METRICS, DECISION):
        if file in records and not _is_of(records[file], hashes):
            del records[file]
            absent[file] = "of other weights or another configuration than what is served, or it doesn't say of which"
    return Served(name, **about, origin=origin, sha256=hashes, records=records, absent=absent)


def app_facts(models: Mapping[str, Served]) -> dict[str, object]:
    """For programs, monitoring among them: octhub's version and each model's facts, by what it is there for."""
    return {"octhub": __version__, "models": {role: m.facts() for role, m in models.items()}, "notice": NOTICE}


def _is_of(record: dict, hashes: Mapping[str, str]) -> bool:
    """Whether figures are of the very files that are served."""
    measured = record.get("sha256")
    return isinstance(measured, dict) and hashes.items() <= measured.items()


def _object(value: object) -> dict:
    if not isinstance(value, dict):
        raise ValueError(f"holds a {type(value).__name__}, expected an object")
    return value

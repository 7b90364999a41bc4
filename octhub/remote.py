"""A running octhub app, asked through its API as any of its users would, with the answers that models give here."""

import concurrent.futures
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from octhub.connect import RemoteError, connect
from octhub.gallery import Example, Outcome, judge
from octhub.mask import read_mask
from octhub.predict import Classification, Segmentation

if TYPE_CHECKING:
    from gradio_client import Client

CLASSIFY, SEGMENT = "/classify", "/segment"
"""The app's endpoints (see classify_tab.py and segment_tab.py)."""

MIOU_EXACT = 1e-6
"""How far an app's mIoU may be from that of the mask it hands out: it is computed in the same way."""


def replay_app(
    address: str, examples: Sequence[Example], timeout: float, tell: Callable[[str], None]
) -> Iterator[Outcome]:
    """Ask the app at an address for every example, and compare with what they promise, as the answers come.

    Args:
        address, timeout, tell: see octhub.connect.connect; the timeout is that of each answer, too.

    Raises:
        RemoteError: no app, or not octhub's.
    """
    with connect(address, timeout, tell) as client:
        app = RemoteApp(client, timeout)
        app.check([CLASSIFY] * any(e.label for e in examples) + [SEGMENT] * any(e.segment for e in examples))
        yield from judge(examples, lambda e: app.classify(e.path), lambda e: app.segment(e.path, e.mask))


class AnswerError(ValueError):
    """What an app said in place of an answer, or why its answer can't be believed."""


@dataclass(frozen=True)
class RemoteApp:
    """An octhub app.

    Attributes:
        client: connected to it.
        timeout: seconds until an answer must be there; a Space may have to wait for a GPU.
    """

    client: "Client"
    timeout: float

    def check(self, endpoints: Sequence[str]) -> None:
        """Raises RemoteError: the app lacks one of the endpoints."""
        found = self.client.view_api(return_format="dict", print_info=False)["named_endpoints"]
        if missing := [e for e in endpoints if e not in found]:
            raise RemoteError(f"{self.client.src}: no endpoint {' and '.join(missing)}, expected octhub's app")

    def classify(self, scan: Path) -> Classification:
        """What the app says of a scan's file. Raises AnswerError."""
        said = self._ask(CLASSIFY, scan)
        try:
            facts, *_ = said
            probabilities = {n: float(p) for n, p in facts["probabilities"].items()}
            return Classification(str(facts["label"]), probabilities, **_decided(facts))
        except (KeyError, TypeError, ValueError, AttributeError) as e:
            raise _strange(CLASSIFY, e) from e

    def segment(self, scan: Path, mask: Path | None = None) -> Segmentation:
        """The class ids that the app hands out for a scan's file, by their names in its table of areas.

        Args:
            mask: an expert's; with it the app scores its answer.

        Raises:
            AnswerError: no answer, or one whose figures contradict the ids.
        """
        said = self._ask(SEGMENT, scan, *([] if mask is None else [mask]))
        try:
            facts, labels, *_ = said
            names = tuple(row["name"] for row in facts["areas"])
            answer = Segmentation(read_mask(labels, None, names), names, **_decided(facts))
            problem = _contradiction(answer, facts, mask)
        except (KeyError, TypeError, ValueError) as e:
            raise _strange(SEGMENT, e) from e
        if problem:
            raise AnswerError(problem)
        return answer

    def _ask(self, endpoint: str, *files: Path) -> Any:
        from gradio_client import handle_file
        from gradio_client.exceptions import AppError

        try:
            job = self.client.submit(*map(handle_file, map(str, files)), api_name=endpoint)
            return job.result(self.timeout)
        except AppError as e:
            raise AnswerError(f"refused: {' '.join(str(e).split())}") from e
        except concurrent.futures.TimeoutError as e:
            job.cancel()
            raise AnswerError(f"no answer within {self.timeout:g} s") from e
        except Exception as e:  # whatever the way there and back may bring; the next request may get through
            raise AnswerError(f"no answer: {type(e).__name__} {' '.join(str(e).split())}") from e


def _decided(facts: dict[str, Any]) -> dict[str, str]:
    """What the app decided, and why; nothing from an app that is older than decisions."""
    return {key: str(facts[key]) for key in ("decision", "reason")} if "decision" in facts else {}


def _strange(endpoint: str, error: Exception) -> AnswerError:
    return AnswerError(f"{endpoint} answered what octhub would not: {type(error).__name__} {error}")


def _contradiction(answer: Segmentation, facts: dict[str, Any], mask: Path | None) -> str:
    """What an app says of its own answer and isn't so; empty when all is."""
    for id, row in enumerate(facts["areas"]):
        pixels = int((answer.mask == id).sum())
        if row["pixels"] != pixels:
            return f"the app says {row['name']} {row['pixels']} px, its label PNG has {pixels}"
    if mask is None:
        return ""
    said, miou = facts["scores"]["miou"], answer.score(mask).miou
    if said is None or abs(said - miou) > MIOU_EXACT:
        return f"the app says mIoU {said}, its label PNG gives {miou:.4f}"
    return ""

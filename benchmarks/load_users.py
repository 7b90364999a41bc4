"""Users of the app, each with scans of their own, who ask as people do and check every answer."""

import asyncio
import random
import re
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from math import isnan

import httpx
import numpy as np

from benchmarks.load_answers import Answer, classified, page_classified, page_segmented, segmented
from benchmarks.load_client import App, Busy, Lost, Refused, Visitor
from benchmarks.load_scans import BROKEN, Expected, Questions
from octhub.heat_share import heat_inside
from octhub.render import grey

TURNS = 5
"""Questions of a visit; then somebody else opens the page, and Gradio makes another session."""

PATIENCE = 600
"""Seconds until an answer that hasn't come counts as lost."""

WAIT = (1, 3)
"""Seconds after which somebody who was told that the app is busy asks again: sooner than it says, as people do."""

BAD = "broken.png"

KINDS = {
    "page classify": 30,
    "page segment": 15,
    "classify": 20,
    "segment": 15,
    "example": 10,
    "bad file": 5,
    "about": 5,
}
"""What is asked, by the page's events or the API's endpoints, and how often of 100 times."""


@dataclass
class Tally:
    """What came of the questions.

    Attributes:
        seconds: of each answer, by what was asked.
        busy: how many times the app said that it has too much to do.
        errors: what was said in place of an answer, or that none came.
        mixed: what was wrong with an answer.
        bits: a digest of each answer, by kind and scan: the same scan's has to be the same, whoever asks meanwhile.
        other_bits: what was answered in other bits than before.
    """

    seconds: dict[str, list[float]] = field(default_factory=dict)
    busy: int = 0
    errors: Counter[str] = field(default_factory=Counter)
    mixed: list[str] = field(default_factory=list)
    bits: dict[tuple[str, str], str] = field(default_factory=dict)
    other_bits: list[str] = field(default_factory=list)

    @property
    def times(self) -> list[float]:
        """Seconds of all answers."""
        return [t for those in self.seconds.values() for t in those]

    def keep(self, kind: str, name: str, answer: Answer) -> None:
        if self.bits.setdefault((kind, name), answer.bits()) != answer.bits():
            self.other_bits.append(f"{kind} {name}")


@dataclass
class User:
    """Somebody with scans of their own.

    Attributes:
        number: who, which decides what they ask.
        tally: shared by all users of a round.
        enough: says whether to stop, before each question.
        told: called after each answer.
    """

    number: int
    questions: Questions
    app: App
    http: httpx.AsyncClient
    tally: Tally
    enough: Callable[[], bool]
    told: Callable[[], None] = lambda: None

    async def run(self) -> None:
        """Ask until it is enough."""
        dice, asked = random.Random(self.number), 0
        while not self.enough():
            if asked % TURNS == 0:
                self.visitor = Visitor(self.http, self.app)
            asked += 1
            (kind,) = dice.choices(list(KINDS), KINDS.values())
            await self.ask(kind, dice.choice(self.questions.scans[self.number]), dice)

    async def ask(self, kind: str, scan: Expected, dice: random.Random) -> None:
        """One question, with what came of it in the tally."""
        ask = getattr(self, kind.replace(" ", "_"))
        begun = time.perf_counter()
        try:
            problem = await asyncio.wait_for(ask(scan, dice), PATIENCE)
        except Busy:
            self.tally.busy += 1
            return await asyncio.sleep(dice.uniform(*WAIT))
        except (Refused, Lost, TimeoutError, httpx.HTTPError) as e:
            self.tally.errors[f"{kind}: {type(e).__name__} {e}"] += 1
            return None
        except (ValueError, KeyError, TypeError, OSError) as e:  # an answer that isn't made like one
            problem = f"{kind} {scan.name}: {type(e).__name__} {e}"
        if problem:
            self.tally.mixed.append(problem)
        self.tally.seconds.setdefault(kind, []).append(time.perf_counter() - begun)
        self.told()

    async def page_classify(self, scan: Expected, _) -> str:
        """Choose a file in the Classify tab; the page then asks for the heat within the retina, too."""
        file = await self.visitor.upload(scan.name, scan.data)
        shown = await self.visitor.do(self.app.page_event("upload", "classify-viewer"), file)
        answer = page_classified(shown["classify-viewer"])
        self.tally.keep("page classify", scan.name, answer)
        return classified(answer, scan) or await self._heat(scan, shown["classify-heat"])

    async def _heat(self, scan: Expected, shown: object) -> str:
        """The page asks for the outlines, unless it has this scan's from earlier in the visit."""
        if "…" in str(shown):
            shown = (await self.visitor.do(self.app.page_event("change", "classify-heat")))["classify-heat"]
        found = re.search(r"<b>(\d+)%</b>", str(shown))
        mask = scan.segmentation
        right = heat_inside(grey(scan.classification.heatmap), mask.mask, mask.class_names)
        if isnan(right) or (found and abs(int(found[1]) / 100 - right) <= 0.01):
            return ""
        return f"{scan.name}: heat within the retina {found and found[1]} %, expected {right:.0%}"

    async def page_segment(self, scan: Expected, _) -> str:
        """Choose a file in the Segment tab."""
        file = await self.visitor.upload(scan.name, scan.data)
        shown = await self.visitor.do(self.app.page_event("upload", "segment-viewer"), file)
        answer = page_segmented(shown["segment-areas"]["value"])
        self.tally.keep("page segment", scan.name, answer)
        return segmented(answer, scan)

    async def classify(self, scan: Expected, _) -> str:
        """The API's /classify."""
        file = await self.visitor.upload(scan.name, scan.data)
        facts, picture = await self.visitor.call("classify", [file, "likeliest", 60])
        answer = Answer(facts, {"overlay": await self.visitor.file(picture)})
        self.tally.keep("classify", scan.name, answer)
        return classified(answer, scan)

    async def segment(self, scan: Expected, _) -> str:
        """The API's /segment."""
        file = await self.visitor.upload(scan.name, scan.data)
        facts, labels, overlay, _table = await self.visitor.call("segment", [file, None, None, None])
        pictures = {"labels": await self.visitor.file(labels), "overlay": await self.visitor.file(overlay)}
        answer = Answer(facts, pictures)
        self.tally.keep("segment", scan.name, answer)
        return segmented(answer, scan)

    async def example(self, _, dice: random.Random) -> str:
        """Click an example in the Classify tab."""
        index, right = dice.choice(list(self.questions.examples.items()))
        event = self.app.page_event("select", "classify-viewer")
        shown = await self.visitor.do(event, data={"index": index, "value": None, "selected": True})
        return classified(page_classified(shown["classify-viewer"]), right)

    async def bad_file(self, *_) -> str:
        """Send what is no picture."""
        file = await self.visitor.upload(BAD, BROKEN)
        try:
            await self.visitor.call("classify", [file, "likeliest", 60])
        except Refused as e:
            expected = BAD + self.questions.refusal
            return "" if expected in str(e) else f"the bad file: {e}, expected {expected}"
        return "the bad file was classified"

    async def about(self, *_) -> str:
        """Ask what is served, as monitoring does."""
        models = (await self.visitor.about())["models"]
        weights = {role: facts["weights_sha256"] for role, facts in models.items()}
        return "" if weights == self.questions.weights else f"/about: weights {weights}"


async def together(users: list[User]) -> float:
    """All users at once, until each has enough: the seconds that it took."""
    begun = time.perf_counter()
    await asyncio.gather(*(user.run() for user in users))
    return time.perf_counter() - begun


async def alone(user: User, scans: list[Expected]) -> None:
    """Ask for these scans once more, one after another, to compare bits with what came while others asked."""
    user.visitor = Visitor(user.http, user.app)
    for scan in scans:
        for kind in ("page classify", "page segment", "classify", "segment"):
            await user.ask(kind, scan, random.Random(0))


def percentile(times: list[float], q: float) -> float:
    """Seconds; NaN without any."""
    return float(np.percentile(times, q)) if times else float("nan")

"""Many users at once, each with scans of their own: the app gives nobody another's answer, and the same bits as alone.

benchmarks/load.py does this for minutes and with 50 users; here a few questions of 8 users must do.
"""

import asyncio
import json
import os
import platform
import random
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import httpx
import numpy as np
import pytest
from own_loop import run

from benchmarks import load
from benchmarks.load_answers import Answer, classified, segmented
from benchmarks.load_client import App, Lost
from benchmarks.load_memory import Curve, Peak, resident, slope, watched
from benchmarks.load_scans import questions
from benchmarks.load_users import KINDS, Tally, User, Visitor, alone, percentile, together
from octhub.mask_render import mask_overlay
from octhub.mask_viewer import MASK_OPACITY
from octhub.render import overlay
from octhub.viewer import OPACITY, png_bytes

USERS = 8


@pytest.fixture(scope="module")
def asked(classifier, segmenter):
    """Two scans for each of the users, and the right answers."""
    return questions(USERS, 2, classifier, segmenter)


def answers_to(scan) -> tuple[Answer, Answer]:
    """What an app that works says of a scan: its classification and its segmentation."""
    provenance = {"input": {"file": scan.name, "sha256": scan.sha256}}
    seen, outlined = scan.classification, scan.segmentation
    facts = {"label": seen.label, "decision": seen.decision, "probabilities": seen.probabilities}
    picture = overlay(scan.scan, seen.heatmap, OPACITY / 100)
    layers = mask_overlay(scan.scan, outlined.mask, outlined.class_names, MASK_OPACITY / 100)
    areas = {"areas": scan.areas, "provenance": provenance}
    return (
        Answer(facts | {"provenance": provenance}, {"overlay": png_bytes(picture)}),
        Answer(areas, {"labels": png_bytes(outlined.mask), "overlay": png_bytes(layers)}),
    )


class TestTheGenerator:
    def test_no_two_scans_are_the_same(self, asked, classifier, segmenter):
        scans = [scan for scans in asked.scans for scan in scans]
        assert len({scan.sha256 for scan in scans}) == len({scan.name for scan in scans}) == 2 * USERS
        again = questions(1, 2, classifier, segmenter, examples=1)
        assert [s.sha256 for s in again.scans[0]] == [s.sha256 for s in asked.scans[0]]  # the same in every run

    def test_right_answers_are_right(self, asked):
        for scan in asked.scans[0]:
            seen, outlined = answers_to(scan)
            assert (classified(seen, scan), segmented(outlined, scan)) == ("", "")
            assert seen.bits() != outlined.bits()

    def test_anothers_answer_is_found_out(self, asked):
        (mine, _), (other, _) = asked.scans[:2]
        for check, answer in zip((classified, segmented), answers_to(other), strict=True):
            assert f"the answer is of {other.name}" in check(answer, mine)
            mixed = replace(answer, facts=answer.facts | {"provenance": {"input": {"file": "", "sha256": mine.sha256}}})
            assert mine.name in check(mixed, mine)  # by what it says and shows, whatever it says it is of

    def test_one_wrong_picture_or_figure_is_found_out(self, asked):
        scan, other = asked.scans[0]
        seen, outlined = answers_to(scan)
        pictures = answers_to(other)[0].pictures
        assert "another picture" in classified(replace(seen, pictures=pictures), scan)
        wrong = seen.facts | {"probabilities": dict.fromkeys(seen.facts["probabilities"], 0.25)}
        assert "expected" in classified(replace(seen, facts=wrong), scan)
        areas = [dict(row, pixels=row["pixels"] + 1) for row in scan.areas]
        assert "table of areas" in segmented(replace(outlined, facts=outlined.facts | {"areas": areas}), scan)
        mask = np.roll(scan.segmentation.mask, 40, 0)
        assert "labels are others" in segmented(replace(outlined, pictures={"labels": png_bytes(mask)}), scan)

    def test_percentiles_and_slopes(self):
        assert percentile([1, 2, 3], 50) == 2
        assert np.isnan(percentile([], 50))
        assert slope([0, 250, 500], [100, 101, 102]) == pytest.approx(4)
        with pytest.raises(ValueError, match="looks"):
            slope([0], [1])
        assert load.options(["--users", "1", "2"]).users == [1, 2]

    def test_memory_is_that_of_the_whole_tree(self):
        import subprocess

        hungry = "import sys; kept = b'x' * 50_000_000; print(len(kept), flush=True); sys.stdin.read()"
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        with subprocess.Popen([sys.executable, "-c", hungry], **pipes) as child:
            child.stdout.readline()
            curve = Curve()
            curve.look(0, child.pid)
            assert curve.mb[0] > 45
            assert resident(os.getpid()) > curve.mb[0]  # a parent has its children's, too
            child.stdin.close()

        async def look() -> Peak:
            async with watched(os.getpid(), 0.01) as peak:
                await asyncio.sleep(0.05)
            async with watched(None) as unknown:
                assert unknown.mb is None
            return peak

        assert run(look()).mb > 20


async def ask(url: str, asked, each: int) -> Tally:
    """`each` questions of every user at once, and then each scan once more, alone."""
    async with httpx.AsyncClient(timeout=120, trust_env=False) as http:
        app, tally = await App.at(url, http), Tally()
        crowd = []
        for number in range(USERS):
            left = iter(range(each))
            crowd.append(User(number, asked, app, http, tally, lambda left=left: next(left, None) is None))
        await together(crowd)
        assert len(tally.times) + tally.busy == USERS * each
        await alone(crowd[0], [scan for scan, _ in asked.scans[:3]])
    return tally


def test_eight_users_at_once_get_their_own_answers(server, asked):
    tally = run(ask(server.url, asked, 3))
    assert not tally.errors
    assert not tally.mixed
    assert not tally.other_bits  # heatmaps, outlines and figures: with others about, and alone


def test_each_kind_of_question_works(server, asked):
    async def every() -> Tally:
        async with httpx.AsyncClient(timeout=120, trust_env=False) as http:
            user = User(0, asked, await App.at(server.url, http), http, Tally(), lambda: True)
            user.visitor = Visitor(http, user.app)
            for kind in KINDS:
                await user.ask(kind, asked.scans[0][0], random.Random(0))
            with pytest.raises(LookupError, match="no event wave"):
                user.app.page_event("wave", "classify-viewer")
            with pytest.raises(Lost, match="HTTP 500"):
                await user.visitor.call("nothing", [])
        return user.tally

    tally = run(every())
    assert (tally.errors.total(), tally.mixed, tally.busy) == (0, [], 0)
    assert {*tally.seconds} == {*KINDS}


def test_the_command_measures_and_fails_when_memory_grows(server, asked, monkeypatch, capsys):
    monkeypatch.setattr(load, "WARM_UP", 1)
    monkeypatch.setattr(load, "EVERY", 2)
    monkeypatch.setattr(load, "CHECKED_ALONE", 1)
    args = load.options(["--users", "2", "--seconds", "0.1", "--requests", "5", "--growth=-1e9"])
    figures = run(load.measure(server.url, os.getpid(), asked, args))
    assert figures["rounds"][0]["answered"] >= 2
    assert figures["memory"]["requests"] == [0, 2, 4, 5]
    (problem,) = figures["problems"]
    assert problem.startswith("memory grows by")
    assert json.loads(json.dumps(figures)) == figures
    assert "| users | answered |" in capsys.readouterr().out


def test_grad_cam_gives_the_same_bits_in_many_threads(classifier, asked):
    scans = [scan for scan, _ in asked.scans]

    def heatmap(pixels: np.ndarray) -> np.ndarray:
        return classifier(pixels, heatmap=True).heatmap

    with ThreadPoolExecutor(USERS) as pool:
        found = list(pool.map(heatmap, [scan.scan for scan in scans]))
    for at_once, scan in zip(found, scans, strict=True):
        assert at_once.tobytes() == scan.classification.heatmap.tobytes()  # as it was when nobody else asked


def test_all_threads_share_two_heaps(app):
    app()
    assert sys.modules["heap"].few_arenas() == (platform.libc_ver()[0] == "glibc")

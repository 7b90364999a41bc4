"""What happens when more people ask than the server can answer: they are told so, and nothing else breaks."""

import sys
import threading
import time
from types import SimpleNamespace

import httpx
import pytest
from app_fixtures import upload
from browser import Watch

from benchmarks.running_app import free_port
from octhub import Classifier

API = "/gradio_api"


class Held(Classifier):
    """A Classifier that answers while its gate is open, unless it is broken."""

    gate: threading.Event
    broken = False

    def __call__(self, *args, **kwargs):
        self.gate.wait(600)
        if self.broken:
            raise RuntimeError("out of order")
        return super().__call__(*args, **kwargs)


@pytest.fixture
def held(app, classifier, monkeypatch, tmp_path):
    """The app in this process, with a model that waits for `gate`: its `url`, `queue`, `waiting` and so on."""
    import gradio

    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "uploads"))
    module, model = app(), Held(classifier.model)
    monkeypatch.setattr(gradio.state_holder, "SessionState", module.visits.Visit)
    monkeypatch.setattr(gradio.route_utils, "SessionState", module.visits.Visit)
    model.gate = threading.Event()
    demo, port = module.build_demo(model), free_port()
    module.launch(demo, prevent_thread_lock=True, quiet=True, server_name="127.0.0.1", server_port=port)
    url = f"http://127.0.0.1:{port}"
    with httpx.Client(base_url=url + API, timeout=60, trust_env=False) as http:
        yield SimpleNamespace(
            url=url, http=http, gate=model.gate, model=model, demo=demo, queue=demo._queue, module=module
        )
    model.gate.set()
    demo.close()


def add(held, path) -> dict:
    (there,) = held.http.post("/upload", files={"files": (path.name, path.read_bytes())}).json()
    return {"path": there, "meta": {"_type": "gradio.FileData"}}


def ask(held, file, endpoint: str = "classify") -> httpx.Response:
    data = {"classify": [file, "likeliest", 60], "many": [[file], True, False, None, None]}
    return held.http.post(f"/call/{endpoint}", json={"data": data[endpoint]})


def join(held, file, session: str) -> httpx.Response:
    """Ask as a page does."""
    (index,) = [i for i, f in held.demo.fns.items() if f.api_name == "classify"]
    question = {"fn_index": index, "data": [file, "likeliest", 60], "session_hash": session}
    return held.http.post("/queue/join", json=question)


def until(true, patience: float = 30) -> None:
    deadline = time.monotonic() + patience
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def fill(held, file, endpoint: str = "classify") -> list[str]:
    """Ask until there are no places left: the events of those that wait or are at work."""
    events = [ask(held, file, endpoint).json()["event_id"]]
    group = {"classify": "model"}.get(endpoint, endpoint)
    until(lambda: held.queue.event_queue_per_concurrency_id[group].current_concurrency == 1)
    while (answer := ask(held, file, endpoint)).status_code == 200:
        events.append(answer.json()["event_id"])
    assert answer.status_code == 503
    return events


def answer(held, event: str, endpoint: str = "classify") -> str:
    return held.http.get(f"/call/{endpoint}/{event}").text


def test_a_full_line_says_busy_and_recovers(held, scans):
    from gradio_client import Client, handle_file
    from gradio_client.utils import QueueError

    file = add(held, scans["scan.png"])
    events = fill(held, file)
    places = sys.modules["waiting_room"].LINES["model"].places
    assert len(events) == places + 1
    refused = ask(held, file)
    assert refused.json() == {
        "detail": f"The server is busy: {places} scans are waiting. Please try again in a minute."
    }
    assert refused.headers["retry-after"] == "60"
    assert join(held, file, "refused").status_code == 503
    assert "refused" not in held.demo.state_holder  # who isn't let in costs no memory
    client = Client(held.url, verbose=False)
    with pytest.raises(QueueError, match="Queue is full"):
        client.predict(handle_file(scans["scan.png"]), api_name="/classify")
    assert client.predict(api_name="/about")["octhub"]  # monitoring waits in no line
    assert held.http.post("/run/about", json={"data": []}).json()["data"][0]["octhub"]
    assert ask(held, file, "many").status_code == 200  # nor does a run wait in that of the scans
    held.gate.set()
    assert all("event: complete" in answer(held, event) for event in events)
    assert client.predict(handle_file(scans["scan.png"]), api_name="/classify")[0]["label"]


def test_runs_that_wait_keep_nobody_from_a_scan(held, scans):
    file = add(held, scans["scan.png"])
    events = fill(held, file, "many")
    assert len(events) == sys.modules["waiting_room"].LINES["many"].places + 1
    assert "runs are waiting" in ask(held, file, "many").json()["detail"]
    assert ask(held, file).status_code == 200


def test_one_visitor_cannot_have_all_places(held, scans):
    file = add(held, scans["scan.png"])
    codes = [join(held, file, "eager").status_code for _ in range(20)]
    assert codes.count(200) <= sys.modules["waiting_room"].LINES["model"].share + 1  # and the one at work
    assert codes[-1] == 503
    assert join(held, file, "another").status_code == 200
    assert "of yours are waiting" in join(held, file, "eager").json()["detail"]


def test_one_page_cannot_have_all_runs(app):
    app()
    lines = sys.modules["waiting_room"].LINES.values()
    assert all(0 < line.share < line.places for line in lines)


def test_nobody_gets_past_the_line(held, scans):
    file = add(held, scans["scan.png"])
    assert held.http.post("/run/classify", json={"data": [file, "likeliest", 60]}).status_code == 404


def test_who_goes_away_leaves_the_line(held, scans):
    file = add(held, scans["scan.png"])
    fill(held, file)
    waiting = held.queue.event_queue_per_concurrency_id["model"].queue
    before, event = len(waiting), waiting[3]
    with held.http.stream("GET", f"/call/classify/{event._id}") as stream:
        next(stream.iter_raw(1))  # it listens; then it is gone
    until(lambda: len(waiting) < before)
    assert event not in waiting


def test_answers_that_nobody_fetches_are_forgotten(held, scans, monkeypatch):
    file, room = add(held, scans["scan.png"]), sys.modules["waiting_room"]
    held.gate.set()
    monkeypatch.setattr(room, "UNFETCHED", 2)
    events = [ask(held, file).json()["event_id"] for _ in range(5)]
    until(lambda: not held.queue.event_ids_to_events)
    held.queue.tidy()
    assert [event in held.queue.pending_messages_per_session for event in events] == [False] * 3 + [True] * 2
    assert "event: complete" in answer(held, events[-1])
    monkeypatch.setattr(room, "KEEP_SECONDS", 0)
    monkeypatch.setattr(room, "TIDY_SECONDS", 0)
    held.queue.tidy()
    assert not held.queue.pending_messages_per_session
    assert not held.queue.pending_event_ids_session
    assert not held.queue._ended
    assert not [s for s in events if s in held.demo.state_holder]  # a program's question has no session


def test_the_page_says_so_and_asks_again_by_itself(held, scans, browser, classifier):
    file = add(held, scans["scan.png"])
    events = fill(held, file)
    page = browser.new_page()
    page.watch = Watch(page, held.url)
    page.goto(held.url)
    page.locator("html[data-octhub=ready]").wait_for(state="attached")
    page.locator(".scan-file:visible input[type=file]").wait_for(state="attached")
    upload(page, scans["scan.png"])
    notice = page.locator(".busy")
    notice.get_by_text("The server is busy: 32 scans are waiting. This page asks again by itself.").wait_for()
    assert page.locator(".scan-file").get_by_text("scan").count()  # the scan is still there
    page.locator(".examples button.thumbnail-item").nth(0).click()  # and this comes after it
    held.gate.set()
    assert all("event: complete" in answer(held, event) for event in events)
    page.locator("#classify-viewer figcaption b", has_text="cnv-1.jpeg").wait_for()
    assert not notice.is_visible()

    held.gate.clear()
    fill(held, file)
    page.locator(".examples button.thumbnail-item").nth(1).click()
    notice.get_by_role("button", name="Don’t wait").click()
    page.locator(".toast-body", has_text="busy").wait_for()
    assert page.locator("#classify-viewer figcaption b", has_text="cnv-1.jpeg").count()  # what was there is still
    held.gate.set()
    page.locator(".examples button.thumbnail-item").nth(1).click()
    page.locator("#classify-viewer figcaption b", has_text="cnv-2.jpeg").wait_for()
    assert not [p for p in page.watch.problems if "503" not in p]  # the browser itself notes those
    page.close()


def test_a_run_that_finds_no_place_leaves_the_files_where_they_are(held, scans, browser):
    fill(held, add(held, scans["scan.png"]), "many")
    page = browser.new_page()
    page.goto(held.url)
    page.locator("html[data-octhub=ready]").wait_for(state="attached")
    page.get_by_role("tab", name="Many scans").click()
    page.locator(".many-files input[type=file]").wait_for(state="attached")
    page.locator(".many-files input[type=file]").set_input_files(scans["plain.bmp"])
    page.locator(".many-files .file-preview").get_by_text("plain").last.wait_for()
    run = page.get_by_role("button", name="Run", exact=True)
    run.click()
    page.locator(".busy").get_by_text("8 runs are waiting").wait_for()
    page.get_by_role("button", name="Don’t wait").click()
    page.locator("#many-status [role=alert]", has_text="Not run").wait_for()
    run.wait_for()
    assert page.locator(".many-files .file-preview").get_by_text("plain").count()
    held.model.broken = True  # and so it is after a run that failed, which says so itself
    held.gate.set()
    until(lambda: not held.queue.event_queue_per_concurrency_id["many"].queue)
    run.click()
    page.locator("#many-status [role=alert]", has_text="The run failed").wait_for()
    run.wait_for()
    assert page.locator("#many-status", has_text="The run failed").count()
    page.close()

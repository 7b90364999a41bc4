"""What the server remembers of a visit: states, and nothing else."""

import asyncio
import sys
import tracemalloc
from types import SimpleNamespace

import pytest
from own_loop import run


@pytest.fixture
def demo(app, classifier):
    return app().build_demo(classifier)


def test_a_visit_is_light_and_keeps_nothing_that_was_shown(demo):
    from gradio.state_holder import SessionState

    Visit = sys.modules["visits"].Visit

    def size(kind) -> float:
        tracemalloc.start()
        made = [kind(demo) for _ in range(20)]
        taken = tracemalloc.get_traced_memory()[0] / len(made)
        tracemalloc.stop()
        return taken

    assert size(Visit) < size(SessionState) / 5
    visit, (viewer,) = Visit(demo), [b for b in demo.blocks.values() if b.elem_id == "classify-viewer"]
    visit._update_value_in_config(viewer._id, "somebody's scan")
    visit._update_config(viewer._id)
    assert not list(visit.components)  # what Gradio's deep links would write to the disk


def test_states_work_as_ever(demo):
    from gradio.components import State

    visit = sys.modules["visits"].Visit(demo)
    state = next(b for b in demo.blocks.values() if isinstance(b, State))
    assert state._id in visit.blocks_config.blocks
    visit[state._id] = "kept"
    assert visit[state._id] == "kept"
    assert [value for _, value, _ in visit.state_components] == ["kept"]


def test_installed_sessions_are_gradios(app):
    import gradio

    app()
    visits = sys.modules["visits"]
    visits.install()
    assert gradio.state_holder.SessionState is gradio.route_utils.SessionState is visits.Visit


def test_progress_of_uploads_is_forgotten_when_they_are_over(app):
    from gradio.route_utils import FileUploadProgress

    app()
    uploads = FileUploadProgress()

    async def upload():
        for name in ("over", "going on"):
            uploads.append(name, "scan.png", b"x")
        uploads.set_done("over")
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(uploads.is_tracked("never there"), 0.01)

    run(upload())
    sys.modules["visits"].forget_progress(uploads)
    assert [*uploads._signals] == [*uploads._statuses] == ["going on"]


def test_what_fails_once_does_not_end_the_forgetting(app, monkeypatch, caplog):
    app()
    visits = sys.modules["visits"]
    monkeypatch.setattr(sys.modules["tabs"], "SWEEP_SECONDS", 0.01)
    tried = []

    def fail(*args):
        tried.append(args)
        raise FileNotFoundError("gone while it was looked at")

    for step in ("forget", "forget_progress", "sweep"):
        monkeypatch.setattr(visits, step, fail)
    queue = SimpleNamespace(tidy=fail)
    server = SimpleNamespace(state_holder=None, uploaded_file_dir="x", get_blocks=lambda: SimpleNamespace(_queue=queue))

    async def some_rounds() -> None:
        async with visits.forgetful(server):
            while len(tried) < 9:
                await asyncio.sleep(0.01)

    run(asyncio.wait_for(some_rounds(), 20))
    assert "could not forget" in caplog.text

"""The demo's queue: how many questions may wait, what those who find it full are told, and what it keeps afterwards.

Gradio's own (6.31) counts everything that waits as one, so that some runs over many scans would turn all visitors away
for hours; refuses monitoring, too, when it is full; and keeps answers that nobody fetched, with the visitor's scan in
them, for as long as fewer than 2,000 others come.
"""

import time
from collections import OrderedDict
from dataclasses import dataclass

from fastapi import HTTPException, status
from gradio import Blocks
from gradio.queueing import Event, Queue

from tabs import BATCH, KEEP_SECONDS, MODEL


@dataclass(frozen=True)
class Line:
    """A group's waiting line.

    Attributes:
        places: how many may wait; they are counted without the one at work.
        what: they are called.
        when: to try again, in words.
        seconds: and in seconds.
        share: places that one page, or one program, can have: there are always some for others.
    """

    places: int
    what: str
    when: str
    seconds: int
    share: int


LINES = {
    MODEL["concurrency_id"]: Line(32, "scans", "in a minute", 60, 16),
    BATCH["concurrency_id"]: Line(8, "runs", "in a few minutes", 300, 2),
}
"""By concurrency id. A scan takes about a second on two cores, and so a full line a minute; a run takes up to 25."""

OTHERS = Line(32, "questions", "in a minute", 60, 16)
"""For whatever runs no model, each in a line of its own."""

ASSISTANT = "mcp"
"""What Gradio's client says it is when it asks for an assistant. All assistants share it, and so its session."""

UNFETCHED = 64
"""Sessions whose answers wait to be fetched, at most; whoever asks listens for the answer, as a rule."""

TIDY_SECONDS = 60
"""After which what is left of a session whose answers were all fetched is forgotten."""

LOOKS = 0.01, 0.1
"""Seconds from one look for somebody who waits to the next, and for progress to tell. Gradio's 0.001 and 0.01 take 4 %
of a core from an idle server."""


class WaitingRoom(Queue):
    """Gradio's queue with a limit for each group, and without a memory."""

    def __init__(self, blocks: Blocks):
        """Args: blocks: what it is the queue of."""
        before = blocks._queue
        super().__init__(
            live_updates=before.live_updates,
            concurrency_count=before.max_thread_count,
            update_intervals=before.update_intervals,
            max_size=None,
            blocks=blocks,
            default_concurrency_limit=before.default_concurrency_limit,
        )
        self.ANALYTICS_MAX_EVENTS = 0
        self.sleep_when_free, self.progress_update_sleep_when_free = LOOKS
        self._ended: OrderedDict[str, float] = OrderedDict()  # session → when its last event ended; oldest first

    async def push(self, body, request, username):
        """Let a question in. Raises HTTPException (503), with the reason, where its line is full."""
        fn = self.blocks.fns.get(body.fn_index)
        if fn is not None:
            for_assistant = request is not None and request.headers.get("x-gradio-user") == ASSISTANT
            self._admit(fn.concurrency_id, None if for_assistant else body.session_hash)
        return await super().push(body, request, username)

    def _admit(self, group: str, session: str | None) -> None:
        line = LINES.get(group, OTHERS)
        waiting = (
            self.event_queue_per_concurrency_id[group].queue if group in self.event_queue_per_concurrency_id else []
        )
        if len(waiting) >= line.places:
            problem = f"The server is busy: {len(waiting)} {line.what} are waiting. Please try again {line.when}."
        elif session and sum(event.session_hash == session for event in waiting) >= line.share:
            problem = f"{line.share} {line.what} of yours are waiting already. Please wait for their answers."
        else:
            return
        raise HTTPException(status.HTTP_503_SERVICE_UNAVAILABLE, problem, headers={"Retry-After": str(line.seconds)})

    async def process_events(self, events: list[Event], batch, begin_time, fn) -> None:
        await super().process_events(events, batch, begin_time, fn)
        for event in events:
            if event.session_hash == event._id:  # a program's that asked without a session: it can't come back to it
                self.blocks.state_holder.session_data.pop(event.session_hash, None)
                self.blocks.state_holder.time_last_used.pop(event.session_hash, None)
            self._ended[event.session_hash] = time.monotonic()
            self._ended.move_to_end(event.session_hash)
        self.tidy()

    def tidy(self) -> None:
        """Drop what is left of sessions: those whose answers were fetched, and those whose answers nobody wants."""
        now = time.monotonic()
        live = {event.session_hash for event in self.event_ids_to_events.values()}
        unfetched = 0
        for session, ended in reversed(list(self._ended.items())):  # newest first
            messages = self.pending_messages_per_session.get(session)
            left = messages is not None and not messages.empty()
            unfetched += left
            keep = KEEP_SECONDS if left or self.pending_event_ids_session.get(session) else TIDY_SECONDS
            if session not in live and (now - ended > keep or unfetched > UNFETCHED):
                self.forget(session)

    def forget(self, session: str) -> None:
        self.pending_messages_per_session.pop(session, None)
        self.pending_event_ids_session.pop(session, None)
        self._ended.pop(session, None)

    def compute_analytics_summary(self, records):
        """Nothing: Gradio would make a table of the last 10,000 questions after each one, with who asked."""
        return self.cached_event_analytics_summary

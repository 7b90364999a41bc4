"""What a visitor of the demo's Classify tab can do, and what the page shows then."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import gradio as gr
import numpy as np

from deep_link import links_to
from octhub import Classification, Classifier, ScanError, Segmenter, read_scan
from octhub.gallery import Example
from octhub.heat_share import heat_inside, share_html
from octhub.provenance import Input, provenance, read_input
from octhub.render import grey, heat_layer
from octhub.tables import doubt_html, link_html, record_json
from octhub.viewer import copy_link_html, heat_key, message_html, stem, viewer_html
from segment_case import Packed
from tabs import on_gpu, remembering

LIKELIEST = "likeliest"
"""The heatmap's class that stands for whichever class the model finds likeliest."""

FOOT = '<p class="key">The heatmap will show where the network looked.</p>'
"""What stands under the viewer before there is a heatmap."""


@dataclass(frozen=True)
class Seen:
    """What tells how much of a heatmap lies within the retina.

    Attributes:
        path: the scan's file.
        heat: its heatmap in 256 levels; None without a scan.
        mask: the segmenter's class ids; None until it has outlined the scan.
    """

    path: str = ""
    heat: Packed | None = None
    mask: Packed | None = None


class Desk:
    """What a visitor can do: each method is an event's, and gives what the page shows then.

    `source` is (path, note) of the scan on show, or None.
    """

    def __init__(self, classifier: Classifier, examples: Sequence[Example], segmenter: Segmenter | None):
        self.classifier, self.examples, self.segmenter = classifier, examples, segmenter
        # On an accelerator outlining takes hundredths of a second, and coming back to it takes longer; on a CPU it
        # takes longer than everything else, so there it comes after the answer.
        self.at_once = segmenter is not None and segmenter.device.type != "cpu"

        def classify(scan: np.ndarray, heatmap_class: str) -> Classification:
            return classifier(scan, heatmap=True if heatmap_class == LIKELIEST else heatmap_class)

        def outline(scan: np.ndarray) -> np.ndarray:
            return segmenter(scan).mask

        def both(scan: np.ndarray, heatmap_class: str) -> tuple[Classification, np.ndarray]:
            return classify(scan, heatmap_class), outline(scan)

        self._links = links_to("classify", examples)
        self.run = on_gpu(classify)
        self._run, self._outline, self._both = (
            remembering(run, examples) for run in (self.run, on_gpu(outline), on_gpu(both))
        )

    def show(self, source: tuple[str, str] | None, heatmap_class: str, seen: Seen):
        """The viewer, any doubt, the probabilities, the way on and the heat within the retina, or what is wrong; and
        what tells the last."""
        hidden = (
            gr.HTML(visible=False),
            gr.Label(visible=False),
            gr.Button(visible=False),
            gr.HTML(visible=False),
            Seen(),
        )
        if source is None:
            return empty_html(), *hidden
        path, note = source
        name = Path(path).name
        if not os.path.exists(path):
            text = "It was deleted from the server, as all uploads are. Please add it again."
            return message_html(f"{name} is no longer here", text, "alert", FOOT), *hidden
        try:
            scan, given = read_input(path, name)
        except ScanError as e:
            return message_html("This scan can't be used", str(e), "alert", FOOT), *hidden
        mask = seen.mask if seen.path == path else None
        if self.at_once and mask is None:
            answer, ids = self._both(path, scan, heatmap_class)
            mask = Packed.of(ids)
        else:
            answer = self._run(path, scan, heatmap_class)
        about = f"Grad-CAM heatmap: evidence for {answer.heatmap_class}"
        key = heat_key(answer.heatmap_class, bool(answer.heatmap.any()))
        file = f"{stem(name)}-octhub.json"
        record = link_html("Record (JSON)", file, record_json(facts_of(answer, self.classifier, given)))
        links = record + copy_link_html(self._links.get(path, ""))
        view = viewer_html(scan, heat_layer(answer.heatmap), about=about, name=name, note=note, key=key, links=links)
        seen = Seen(path, Packed.of(grey(answer.heatmap)), mask)
        notice = doubt_html(answer.decision, answer.reason)
        shown = gr.HTML(notice, visible=bool(notice)), gr.Label(answer.probabilities, visible=True)
        return view, *shown, gr.Button(visible=True), self.share(seen), seen

    def share(self, seen: Seen):
        """How much of the heat lies within the retina, as far as it is known."""
        if self.segmenter is None:
            return gr.HTML(visible=False)
        heat = seen.heat.ids()
        known = seen.mask is not None or not heat.any()
        mask = seen.mask.ids() if seen.mask else np.zeros_like(heat)
        html = share_html(heat_inside(heat, mask, self.segmenter.class_names) if known else None)
        return gr.HTML(html, visible=bool(html))

    def find_retina(self, seen: Seen):
        """Outline the scan on show, if that is still to be done."""
        if seen.heat is None or seen.mask is not None or not os.path.exists(seen.path):
            return gr.skip(), gr.skip()
        seen = replace(seen, mask=Packed.of(self._outline(seen.path, read_scan(seen.path))))
        return self.share(seen), seen

    def add_scan(self, path: str | None, heatmap_class: str, seen: Seen):
        source = None if path is None else (str(path), "")
        return None, source, *self.show(source, heatmap_class, seen)  # None empties the drop zone for the next scan

    def add_example(self, heatmap_class: str, seen: Seen, event: gr.SelectData):
        return self.open(self.examples[event.index], heatmap_class, seen)

    def open(self, chosen: Example, heatmap_class: str, seen: Seen):
        note = f"graded {chosen.label} in the data set, {chosen.origin}"
        return self.take((str(chosen.path), note), heatmap_class, seen)

    def take(self, source: tuple[str, str] | None, heatmap_class: str, seen: Seen):
        return source, *self.show(source, heatmap_class, seen)


def empty_html() -> str:
    """The viewer before there is a scan."""
    return message_html("No scan yet", "Pick an example, or add a scan of your own.", foot=FOOT)


def facts_of(answer: Classification, classifier: Classifier, given: Input) -> dict:
    """An answer and what it came from as JSON, for the API and to save."""
    named = {key: getattr(answer, key) for key in ("label", "decision", "reason", "probabilities", "heatmap_class")}
    return {**named, "provenance": provenance(classifier, given)}

"""The ZIP that a batch ends in: tables, pictures and a record. Pictures go into it as they are made."""

import csv
import io
import zipfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from octhub.batch import Answer
from octhub.measure import Scale
from octhub.predict import Classification, Classifier, Segmentation, Segmenter
from octhub.provenance import about, columns, model_facts, provenance
from octhub.results import (
    AREAS,
    CLASSIFICATION,
    COLUMNS,
    area_rows,
    classification_columns,
    classification_row,
    decided,
    heatmap_picture,
    segmentation_pictures,
)
from octhub.tables import record_json
from octhub.whole_files import naming

RECORD = "record.json"
"""All answers, and what they came from."""

TABLES = (CLASSIFICATION, AREAS, RECORD)
"""What lies beside the pictures, so that no picture may be called so."""


class ResultZip:
    """Writes the ZIP; a context manager. At its end the tables are added, of what was told till then.

    It holds the text of the tables, but no picture. If the context fails, or the disk is full, the ZIP is deleted: half
    of one must not look whole.
    """

    def __init__(
        self, path: Path, classifier: Classifier | None, segmenter: Segmenter | None, scale: Scale | None = None
    ):
        """Args: classifier, segmenter: those that answer; scale: the size of the scans' pixels, if known."""
        self._classifier, self._segmenter = classifier, segmenter
        self._answers: list[dict[str, Any]] = []
        self._record = {
            **about(),
            "classifier": classifier and model_facts(classifier),
            "segmenter": segmenter and model_facts(segmenter),
            "scale": scale and {"axial_um": scale.axial, "lateral_um": scale.lateral},
        }
        self._labels = _Table(classification_columns(classifier.class_names)) if classifier else None
        self._areas = _Table(COLUMNS) if segmenter else None
        self._path = path
        self._zip = zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED)

    def __enter__(self) -> "ResultZip":
        return self

    def __exit__(self, kind: type[BaseException] | None, *exception) -> None:
        whole = False
        try:
            with naming(self._path), self._zip:
                if kind is None:
                    for name, table in ((CLASSIFICATION, self._labels), (AREAS, self._areas)):
                        if table is not None:
                            self._zip.writestr(name, table.text())
                    self._zip.writestr(RECORD, record_json({**self._record, "scans": self._answers}))
            whole = kind is None
        except OSError:
            if kind is None:  # else the first failure is the one to tell
                raise
        finally:
            if not whole:
                self._path.unlink(missing_ok=True)

    def keep(
        self, name: str, scan: np.ndarray, classification: Classification | None, segmentation: Segmentation | None
    ) -> None:
        """Add the pictures of one scan, (H, W) float in [0, 1]; the name is an Item's."""
        pictures = [] if classification is None else [heatmap_picture(scan, classification)]
        for ending, png in [*pictures, *(() if segmentation is None else segmentation_pictures(scan, segmentation))]:
            with naming(self._path):
                self._zip.writestr(f"{name}{ending}", png, zipfile.ZIP_STORED)  # a PNG is compressed already

    def tell(self, answer: Answer) -> None:
        """Add what one scan gets in the tables."""
        said: dict[str, Any] = {"file": answer.name, "input": answer.given and asdict(answer.given)}
        if answer.error:
            said["error"] = answer.error
        if answer.classification is not None:
            found = asdict(answer.classification)
            said |= {key: value for key, value in found.items() if value is not None}
        if answer.areas:
            said["outlines"] = decided(answer)
            said["areas"] = [asdict(m) for m in answer.areas]
        self._answers.append(said)
        for table, model in ((self._labels, self._classifier), (self._areas, self._segmenter)):
            if table is None:
                continue
            both = {"file": answer.name} | columns(provenance(model, answer.given))
            if answer.error:
                table.add(both | {"error": answer.error})
            elif model is self._classifier:
                table.add(both | classification_row(answer.classification))
            else:
                for row in area_rows(answer.areas):
                    table.add(both | decided(answer) | row)


class _Table:
    """A CSV file in memory."""

    def __init__(self, columns: list[str]):
        self._text = io.StringIO(newline="")
        self._writer = csv.DictWriter(self._text, columns)
        self._writer.writeheader()

    def add(self, row: dict[str, Any]) -> None:
        self._writer.writerow(row)

    def text(self) -> str:
        return self._text.getvalue()

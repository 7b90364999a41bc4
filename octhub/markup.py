"""Pieces of HTML for the demo's pages: numbers as words, tables, and notes. Everything is escaped unless it is Html."""

from collections.abc import Sequence
from html import escape

from octhub.tables import NONE


class Html(str):
    """Text that is HTML already."""

    __slots__ = ()


def html(value: object) -> str:
    """A value as HTML: Html as it is, None as a dash, everything else escaped."""
    return value if isinstance(value, Html) else NONE if value is None else escape(str(value))


def percent(share: float | None, digits: int = 2) -> str:
    """0.9967 → "99.67 %", which no line's end parts."""
    return NONE if share is None else f"{100 * share:.{digits}f}\N{NO-BREAK SPACE}%"


def decimal(value: float | None, digits: int = 3) -> str:
    return NONE if value is None else f"{value:.{digits}f}"


def count(n: int | None) -> str:
    """1763124 → "1,763,124"."""
    return NONE if n is None else f"{n:,}"


def listed(names: Sequence[str], last: str = "and") -> str:
    """ "a, b and c"."""
    *first, end = names
    return f" {last} ".join(filter(None, [", ".join(first), end]))


def table(
    caption: str, heads: Sequence[object], rows: Sequence[Sequence[object]], *, text: int = 1, wide: bool = False
) -> Html:
    """A table whose first column heads its rows.

    Args:
        text: how many columns, from the left, hold words; figures are set flush right.
        wide: on a narrow screen it is scrolled, rather than squeezed.
    """
    kinds = ['class="word"' if i < text else "" for i in range(len(heads))]
    head = "".join(f'<th scope="col" {k}>{html(h)}</th>' for h, k in zip(heads, kinds, strict=True))
    body = "".join(
        f'<tr><th scope="row" class="word">{html(first)}</th>'
        + "".join(f"<td {k}>{html(cell)}</td>" for cell, k in zip(rest, kinds[1:], strict=True))
        + "</tr>"
        for first, *rest in rows
    )
    kind = 'class="wide"' if wide else ""
    return Html(
        f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(caption)}"><table {kind}>'
        f"<caption>{escape(caption)}</caption><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def paragraph(text: object, kind: str = "") -> Html:
    return Html(f'<p class="{kind}">{html(text)}</p>' if kind else f"<p>{html(text)}</p>")


def bullets(items: Sequence[object]) -> Html:
    return Html(f"<ul>{''.join(f'<li>{html(item)}</li>' for item in items)}</ul>")


def code(text: str) -> Html:
    return Html(f'<pre tabindex="0"><code>{escape(text.strip())}</code></pre>')


def link(url: str, text: str) -> Html:
    """To another site, in another tab: a scan on show would be gone."""
    return Html(f'<a href="{escape(url)}" target="_blank" rel="noopener">{escape(text)}</a>')


def key_figures(figures: Sequence[tuple[str, str, str]]) -> Html:
    """(what, figure, remark) of a few figures, in large type."""
    items = "".join(
        f"<div><dt>{escape(what)}</dt><dd><b>{escape(figure)}</b> <span>{escape(remark)}</span></dd></div>"
        for what, figure, remark in figures
    )
    return Html(f'<dl class="keys">{items}</dl>')

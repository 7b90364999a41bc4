"""Figures as people read them."""


def shown(figure: float | None) -> str:
    """A figure for people; a dash for one that the scans don't define."""
    return "–" if figure is None else f"{figure:.4f}".rstrip("0").rstrip(".")

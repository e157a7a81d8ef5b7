"""Figures that a run measures, printed at its end."""

FIGURES: list[str] = []


def note(figure: str) -> None:
    """Have a line printed at the end of the run."""
    FIGURES.append(figure)

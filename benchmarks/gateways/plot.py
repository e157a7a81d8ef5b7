"""Throughput at every point, as one picture: a panel for each series."""

from collections.abc import Sequence
from pathlib import Path
from statistics import median

import matplotlib

matplotlib.use("Agg")

from matplotlib import pyplot

INK, QUIET = "#1f4e79", "#666666"


def draw(points: Sequence[tuple[str, str, Sequence[float]]], path: Path) -> None:
    """Write a PNG. Each point is its series, its label, and requests per second of each round: the dot is
    the median, the line through it runs from the least to the most."""
    series = list(dict.fromkeys(name for name, _, _ in points))
    figure, panels = pyplot.subplots(1, len(series), figsize=(3.6 * len(series), 3.2), sharey=True)
    for panel, name in zip(panels, series, strict=True):
        own = [(label, rates) for other, label, rates in points if other == name]
        middles = [median(rates) for _, rates in own]
        places = range(len(own))
        panel.vlines(places, [min(r) for _, r in own], [max(r) for _, r in own], color=INK, linewidth=1.5)
        panel.plot(places, middles, "o", color=INK, markersize=6)
        for place, middle in zip(places, middles, strict=True):
            panel.annotate(
                f"{middle / middles[0]:.2f}×",
                (place, middle),
                xytext=(0, 8),
                textcoords="offset points",
                ha="center",
                fontsize=8,
                color=QUIET,
            )
        panel.set_title(name, fontsize=10)
        panel.set_xticks(
            places,
            [label.replace(" beside ", "\nbeside\n").replace(", ", "\n") for label, _ in own],
            fontsize=8,
        )
        panel.set_xlim(-0.5, len(own) - 0.5)
        panel.spines[["top", "right"]].set_visible(False)
    panels[0].set_ylim(0, 1.15 * max(max(rates) for _, _, rates in points))
    panels[0].set_ylabel("requests per second", fontsize=9)
    figure.tight_layout()
    figure.savefig(path, dpi=160)
    pyplot.close(figure)


def _in_lines(label: str) -> str:
    """Not wider than its place."""
    return label.replace(" beside ", "\nbeside\n").replace(", ", "\n")

"""The page of a comparison: tables, a plot a metric, and players that show every method's frames side by side, in step.

In: a `ScoreTable` and the files of the drawn frames. Out: one HTML file that needs no network and no other file.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from adapt.comparison.scores import LANES, Metric
from adapt.comparison.table import ScoreTable, estimate
from adapt.reports.page import Report

PLOTS_A_ROW = 3
PLOT_WIDTH_INCHES = 4.2
PLOT_DPI = 90
#: Where the best is, for metrics that have such a place.
BEST = {"one": 1.0, "zero": 0.0}
#: Bytes of videos and sounds that a page holds at most: browsers open larger ones slowly, or not at all.
MOST_BYTES = 100 << 20
OURS_COLOUR, OTHER_COLOUR, PERSON_COLOUR = "#c2571a", "#30506e", "#b5bcc4"


@dataclass(frozen=True)
class ComparedClip:
    """One clip in one lane, for a player: frame times, sound, and each method's drawn frames."""

    clip: str
    person: str
    lane: int
    seconds: list[float]
    videos: Mapping[str, Path]
    sound: Path | None

    def files(self) -> list[Path]:
        """What its player holds."""
        return [*self.videos.values(), *([self.sound] if self.sound is not None else [])]


def write_report(
    path: Path,
    table: ScoreTable,
    clips: Sequence[ComparedClip],
    ours: str,
    controls: Sequence[str],
    facts: Sequence[str],
    problems: Sequence[str],
) -> None:
    """Write the page.

    Args:
        path: of the page.
        table: the scores.
        clips: what to show.
        ours: the method that the others are compared with.
        controls: methods that are no rivals.
        facts: sentences on what was compared.
        problems: what was left out.
    """
    report = Report("Comparison")
    for sentence in facts:
        report.text(sentence)
    shown = shown_clips(clips)
    if len(shown) < len(clips):
        report.text(
            f"{len(shown)} of {len(clips)} players are in this page, so that it can be opened; every drawn video is in "
            "cache/cells beside it."
        )
    report.section("Left out")
    for problem in problems or ["nothing"]:
        report.text(problem)
    for lane in table.lanes:
        report.section(f"Lane {lane}: {LANES[lane]}")
        report.table(*table.rows(lane))
        header, pairs = table.pairs(lane, ours, controls)
        if pairs and len(header) > 1:
            report.text("Nearer to the best than (paired over people; positive: ahead):")
            report.table(header, pairs)
        report.figure(plots(table, lane, ours), "a dot a person; mean and interval over people")
        for clip in shown:
            if clip.lane == lane:
                videos = {name: file.read_bytes() for name, file in clip.videos.items()}
                sound = clip.sound.read_bytes() if clip.sound is not None else None
                report.player(videos, clip.seconds, folded=f"{clip.clip} ({clip.person})", sound=sound)
    report.write(path)


def shown_clips(clips: Sequence[ComparedClip]) -> list[ComparedClip]:
    """Clips whose players a page can hold: all, or every so many of each lane."""
    sizes = [sum(file.stat().st_size for file in clip.files()) for clip in clips]
    every = -(-sum(sizes) // MOST_BYTES)
    while True:
        chosen: list[int] = []
        for lane in sorted({clip.lane for clip in clips}):
            chosen += [number for number, clip in enumerate(clips) if clip.lane == lane][:: max(every, 1)]
        if sum(sizes[number] for number in chosen) <= MOST_BYTES or every > len(clips):
            return [clips[number] for number in sorted(chosen)]
        every += 1


def plots(table: ScoreTable, lane: int, ours: str) -> Figure:
    """One plot a metric of a lane."""
    metrics, methods = table.metrics(lane), table.methods(lane)
    columns = min(PLOTS_A_ROW, max(len(metrics), 1))
    rows = -(-max(len(metrics), 1) // columns)
    figure = Figure((PLOT_WIDTH_INCHES * columns, (0.28 * len(methods) + 0.9) * rows), PLOT_DPI, layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False, sharey=True)
    for place, axes in enumerate(grid.flat):
        if place < len(metrics):
            _plot(axes, table, lane, metrics[place], ours)
        else:
            axes.set_visible(False)
    return figure


def _plot(axes: Axes, table: ScoreTable, lane: int, metric: Metric, ours: str) -> None:
    methods = table.methods(lane)
    for row, method in enumerate(methods):
        values = list(table.people(lane, method, metric).values())
        if not values:
            continue
        spread = np.linspace(-0.18, 0.18, len(values)) if len(values) > 1 else np.zeros(1)
        axes.plot(values, row + spread, "o", color=PERSON_COLOUR, markersize=3)
        summary = estimate(values)
        colour = OURS_COLOUR if method == ours else OTHER_COLOUR
        axes.plot([summary.low, summary.high], [row, row], "-", color=colour, linewidth=2)
        axes.plot([summary.mean], [row], "D", color=colour, markersize=5)
    if metric.best in BEST:
        axes.axvline(BEST[metric.best], color="#3a8a4d", linewidth=0.8, linestyle="--")
    axes.set_yticks(range(len(methods)), methods, fontsize=8)
    axes.set_ylim(len(methods) - 0.5, -0.5)
    axes.tick_params(axis="x", labelsize=8)
    axes.set_title(metric.label, fontsize=9)

"""Tables of a comparison: means over people, bootstrap intervals, and how adapt stands to each other method, paired.

In: the lines of `scores.jsonl`. Every person weighs the same, however many clips; intervals come from drawing people
again (percentile bootstrap, Efron 1979). Methods are compared on the people that both were drawn for.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from adapt.comparison.scores import LANES, METRICS, Metric

BOOTSTRAP_ROUNDS = 2000
LEVEL = 0.95
#: Metrics by which methods are compared in pairs.
HEADLINE = ("mouth_squeezenet", "mouth_texture", "ccc", "silence_leak")


@dataclass(frozen=True)
class Estimate:
    """A mean over people with its interval."""

    mean: float
    low: float
    high: float
    people: int

    def words(self, digits: int) -> str:
        """As the tables print it."""
        text = f"{self.mean:.{digits}f}"
        return text if self.people < 2 else f"{text} [{self.low:.{digits}f}, {self.high:.{digits}f}]"


def estimate(values: Sequence[float], seed: int = 0) -> Estimate:
    """Mean over people and its bootstrap interval."""
    array = np.asarray(values, float)
    random = np.random.default_rng(seed)
    rounds = array[random.integers(len(array), size=(BOOTSTRAP_ROUNDS, len(array)))].mean(1)
    low, high = np.quantile(rounds, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Estimate(float(array.mean()), float(low), float(high), len(array))


class ScoreTable:
    """Scores of a comparison, by lane, method, metric and person.

    Args:
        lines: of `scores.jsonl`: each has "lane", "method", "person" and "scores".
        order: methods, in the order of the rows.
    """

    def __init__(self, lines: Sequence[dict[str, Any]], order: Sequence[str]) -> None:
        values: dict[tuple[int, str, str], dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
        for line in lines:
            for key, value in line["scores"].items():
                values[line["lane"], line["method"], key][line["person"]].append(value)
        self._people = {
            cell: {person: float(np.mean(scores)) for person, scores in people.items()}
            for cell, people in values.items()
        }
        scored = {(line["lane"], line["method"]) for line in lines}
        self.lanes = [lane for lane in LANES if any(lane == scored_lane for scored_lane, _ in scored)]
        self._methods = {lane: [name for name in order if (lane, name) in scored] for lane in self.lanes}

    def methods(self, lane: int) -> list[str]:
        """Methods with scores in a lane."""
        return self._methods[lane]

    def people(self, lane: int, method: str, metric: Metric) -> dict[str, float]:
        """A person's mean over clips, by person."""
        return self._people.get((lane, method, metric.key), {})

    def metrics(self, lane: int) -> list[Metric]:
        """Metrics that say something in a lane and were measured."""
        return [
            metric
            for metric in METRICS
            if lane in metric.lanes and any(self.people(lane, method, metric) for method in self.methods(lane))
        ]

    def rows(self, lane: int) -> tuple[list[str], list[list[str]]]:
        """Header and rows of a lane's table."""
        metrics = self.metrics(lane)
        rows = []
        for method in self.methods(lane):
            cells = [self.people(lane, method, metric) for metric in metrics]
            words = [
                estimate(list(cell.values())).words(metric.digits) if cell else "—"
                for cell, metric in zip(cells, metrics, strict=True)
            ]
            rows.append([method, str(max(map(len, cells), default=0)), *words])
        return ["method", "people", *(metric.label for metric in metrics)], rows

    def pairs(self, lane: int, ours: str, controls: Sequence[str]) -> tuple[list[str], list[list[str]]]:
        """How much nearer to the best one method is than each other, paired over people; positive is better."""
        metrics = [metric for metric in self.metrics(lane) if metric.key in HEADLINE]
        rows = []
        for other in self.methods(lane):
            if other == ours or other in controls or ours not in self.methods(lane):
                continue
            cells = []
            for metric in metrics:
                mine, theirs = self.people(lane, ours, metric), self.people(lane, other, metric)
                gains = [metric.loss(theirs[person]) - metric.loss(mine[person]) for person in mine if person in theirs]
                ahead = f"; ahead for {np.mean(np.array(gains) > 0):.0%}" if gains else ""
                cells.append(f"{estimate(gains).words(3)}{ahead}" if gains else "—")
            rows.append([f"{ours} against {other}", *cells])
        return ["", *(metric.label for metric in metrics)], rows

    def markdown(self, ours: str, controls: Sequence[str], facts: Sequence[str]) -> str:
        """`table.md`: every lane's table and pairs, and sentences of facts."""
        text = [*facts, ""]
        for lane in self.lanes:
            text += [f"## Lane {lane}: {LANES[lane]}", "", *_markdown_table(*self.rows(lane)), ""]
            header, rows = self.pairs(lane, ours, controls)
            if rows and len(header) > 1:
                text += ["Nearer to the best than (paired over people; positive: ahead):", ""]
                text += [*_markdown_table(header, rows), ""]
        return "\n".join(text)


def _markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    lines = [header, ["---"] * len(header), *rows]
    return ["| " + " | ".join(str(cell).replace("|", "\\|") for cell in line) + " |" for line in lines]

"""`adapt compare`: how good adapt is beside other ways to draw a mouth, on frames that none of them saw.

In: footage of people. Each is split into enrollment and held-out frames; every method gets the first and the second
with the mouth erased (`adapt.baselines.contract`), in up to four lanes. Out, in one folder: `scores.jsonl` (a line a
clip, lane and method), `frames.jsonl` (a line a frame), `table.md`, `report.html`, and `cache/`, from which a run that
was stopped goes on. What could not be done is named in table and report, and the rest is done.
"""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from adapt.baselines.contract import ADAPT, METHODS, REAL, WAV2LIP, CompareMethod
from adapt.baselines.external import outside_method
from adapt.baselines.renderer import RendererMethods
from adapt.baselines.wav2lip import wav2lip_method
from adapt.cache import Cache, write_lines
from adapt.comparison.cells import CompareError, Comparison, Problem, Runner
from adapt.comparison.options import CompareOptions
from adapt.comparison.report import write_report
from adapt.comparison.scores import SHIFTS
from adapt.comparison.split import (
    GAP_SECONDS,
    SHORT,
    Split,
    Take,
    find_takes,
    group_takes,
    make_split,
    open_take,
)
from adapt.output import refuse_existing
from adapt.progress import SILENT, Progress
from prior.renderer.prior import load_renderer_prior
from render.errors import AdaptError, ConfigError, StoreError
from render.store import write_json, write_text

CONFIG, SCORES, FRAMES, TABLE, REPORT = "config.json", "scores.jsonl", "frames.jsonl", "table.md", "report.html"


def compare(
    footage: Sequence[str | Path],
    out: str | Path,
    options: CompareOptions = CompareOptions(),
    *,
    settings: dict[str, Any] | None = None,
    progress: Progress = SILENT,
) -> Comparison:
    """Compare methods on footage and write the folder `out`; what was kept there by an earlier run is used.

    Args:
        footage: video files, or folders of them (with index.csv: file, person, speech).
        out: folder for tables, report and cache.
        options: what is compared, and how.
        settings: what config.json keeps as the settings; default the options.
        progress: where bars and notes go.

    Raises:
        ConfigError: an unknown method.
        OutputError: `out` holds something else.
        CompareError: nothing could be compared.
    """
    out = Path(out)
    is_ours = not out.exists() or not any(out.iterdir()) or (out / CONFIG).is_file()
    refuse_existing(out, True, "comparison", is_ours)
    cache = Cache(out / "cache")
    prior = load_renderer_prior(options.prior)
    comparison = Comparison()
    comparison.methods.update(
        chosen_methods(options, RendererMethods(cache, options.fit_steps, prior), comparison.problems)
    )
    runner = Runner(cache, comparison, prior, options.sound)
    if settings is None:
        settings = {"footage": [str(file) for file in footage], **_plain(options)}
    write_json(out / CONFIG, settings)  # from here on it is a comparison's folder, which a second run goes on with
    without: list[Problem] = []
    comparison.splits.extend(find_splits(footage, options, cache, without, progress))
    if not comparison.splits:
        raise CompareError(f"nothing to compare: {'; '.join(map(str, without))}")
    comparison.problems.extend(without)
    cells = len(comparison.splits) * len(options.lanes) * len(comparison.methods)
    with progress.stage("compare", cells) as advance:
        for split in comparison.splits:
            for _ in runner.run(split, options.lanes):
                advance(1)
    borrow_articulation(comparison.lines)
    for problem in comparison.problems:
        progress.note(f"left out: {problem}")
    write_results(out, comparison, options)
    return comparison


def _plain(options: CompareOptions) -> dict[str, Any]:
    """Options as JSON-able values."""
    return {key: str(value) if isinstance(value, Path) else value for key, value in asdict(options).items()}


def chosen_methods(
    options: CompareOptions, renderer_methods: RendererMethods, problems: list[Problem]
) -> dict[str, CompareMethod]:
    """The methods of the settings, in the order of the tables; one without its weights becomes a problem."""
    by_name = {REAL: CompareMethod(REAL, _real, {}), **renderer_methods.methods()}
    wanted = METHODS if options.methods is None else options.methods
    chosen = {}
    for name in map(method_named, wanted):
        try:
            chosen[name] = wav2lip_method() if name == WAV2LIP else by_name[name]
        except StoreError as error:
            problems.append(Problem(str(error), method=name))
    for entry in options.commands:
        method = outside_method(entry, options.method_minutes)
        if method.name in METHODS or method.name in chosen:
            raise ConfigError(f"--method {method.name}: there is a method of this name")
        chosen[method.name] = method
    return chosen


def method_named(word: str) -> str:
    """The method that a word means: its name, with or without spaces, or how one name alone begins.

    Raises:
        ConfigError: there is none, or several begin so.
    """

    def plain(name: str) -> str:
        return "".join(letter for letter in name.lower() if letter.isalnum())

    begun = [name for name in METHODS if plain(name).startswith(plain(word))]
    same = [name for name in begun if plain(name) == plain(word)]
    found = same or begun
    if not plain(word) or len(found) != 1:
        raise ConfigError(f"--methods {word}: known are {', '.join(METHODS)}; add others with --method")
    return found[0]


def _real(*_: Any) -> torch.Tensor:
    raise AssertionError("the real frames are withheld from methods; the comparison scores them itself")


def find_splits(
    footage: Sequence[str | Path], options: CompareOptions, cache: Cache, problems: list[Problem], progress: Progress
) -> list[Split]:
    """Track the footage and split it; files that cannot be used become problems."""
    takes: list[Take] = []
    files = find_takes([str(file) for file in footage])
    for path, person, speech in progress.over("tracks", files, len(files)):
        try:
            takes.append(open_take(path, person, speech, cache, options.tracks, options.progressive))
        except AdaptError as error:
            problems.append(Problem(str(error), path.stem))
    splits = []
    for group in group_takes(takes, options.split):
        try:
            splits.append(make_split(group, options.enrollment, options.held_out, options.split))
        except AdaptError as error:
            problems.append(Problem(str(error), group[0].footage.path.stem))
    return splits


def borrow_articulation(lines: list[dict[str, Any]]) -> None:
    """Add to each leak in silence the same method's articulation in speech; alone a leak says nothing."""
    spoken = {
        (line["clip"], line["method"]): line["scores"]["articulation"]
        for lane in (3, 2)
        for line in lines
        if line["lane"] == lane and "articulation" in line["scores"]
    }
    for line in lines:
        if line["lane"] == 4 and (line["clip"], line["method"]) in spoken:
            line["scores"]["articulation"] = spoken[line["clip"], line["method"]]


def write_results(out: Path, comparison: Comparison, options: CompareOptions) -> None:
    """Write scores, tables and report."""
    write_lines(out / SCORES, comparison.lines)
    write_lines(out / FRAMES, comparison.frames)
    table = comparison.table()
    facts = facts_of(comparison, options)
    text = table.markdown(ADAPT, (REAL,), facts)
    left_out = "".join(f"- {problem}\n" for problem in comparison.problems)
    write_text(out / TABLE, text + (f"\n## Left out\n\n{left_out}" if left_out else ""))
    problems = [str(problem) for problem in comparison.problems]
    write_report(out / REPORT, table, comparison.clips, ADAPT, (REAL,), facts, problems)


def facts_of(comparison: Comparison, options: CompareOptions) -> list[str]:
    """What was compared, in sentences."""
    people = {split.person for split in comparison.splits}
    by_take = sum(split.way == "take" for split in comparison.splits)
    short = sum(split.is_short for split in comparison.splits)
    gap = f"a gap of at least {GAP_SECONDS:g} s" + (
        f" ({short} short: {SHORT[0]:g} s and a gap of {SHORT[1]:g} s)" if short else ""
    )
    sentences = [
        f"{len(people)} people, {len(comparison.splits)} clips; {options.enrollment:g} s of enrollment, "
        f"at most {options.held_out:g} s held out.",
        f"Held out from another take: {by_take} clips; from the same one after {gap}: "
        f"{len(comparison.splits) - by_take}.",
        "Means over people, each weighing the same; in brackets the 95 % bootstrap interval over people.",
        "SN: SqueezeNet feature distance, comparable with no paper. Opening: as MediaPipe's face mesh sees it.",
    ]
    return [*sentences, *sync_facts(comparison.lines), *learning_facts(comparison.lines)]


def sync_facts(lines: Sequence[dict[str, Any]]) -> list[str]:
    """How far sync lags can be trusted on these clips; empty where none were measured."""
    shares = [line["scores"]["sync_shifts_found"] for line in lines if "sync_shifts_found" in line["scores"]]
    if not shares:
        return []
    return [
        f"Sync lags are found by adapt's own network, which is far from sure: of known shifts of the real videos' own "
        f"sound by {SHIFTS[-2]} and {SHIFTS[-1]} frames of 1/25 s it finds {np.mean(shares):.0%} within one frame "
        f"({len(shares)} clips of these lengths); read them beside the real video's row, which has its own sound."
    ]


def learning_facts(lines: Sequence[dict[str, Any]]) -> list[str]:
    """How the methods learnt: steps, processor time, and where a fit fell back to the prior."""
    sentences = []
    learnt: dict[str, dict[str, dict[str, Any]]] = {}
    for line in lines:
        if line["learnt"]:
            learnt.setdefault(line["method"], {})[line["clip"]] = line["learnt"]
    for method, clips in learnt.items():
        steps, seconds = (np.mean([facts[name] for facts in clips.values()]) for name in ("steps", "processor_seconds"))
        kept = sum(facts.get("adapted") is False for facts in clips.values())
        fell = f"; kept the unadapted prior for {kept} of {len(clips)}" if kept else ""
        sentences.append(f"{method}: {steps:.0f} steps, {seconds:.0f} s of processor time on average{fell}.")
    return sentences

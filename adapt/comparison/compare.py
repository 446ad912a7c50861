"""`adapt compare`: how good adapt is beside other ways to draw a mouth, on frames that none of them saw.

In: footage of people. Each is split into enrollment and held-out frames; every method gets the first and the second
with the mouth erased (`adapt.baselines.contract`), in up to four lanes. Out, in one folder: `scores.jsonl` (a line a
clip, lane and method), `frames.jsonl` (a line a frame), `table.md`, `report.html`, and `cache/`, from which a run that
was stopped goes on. What could not be done is named in table and report, and the rest is done.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from adapt.baselines.contract import ADAPT, METHODS, REAL, WAV2LIP, CompareMethod
from adapt.baselines.external import outside_method
from adapt.baselines.renderer import RendererMethods
from adapt.baselines.wav2lip import wav2lip_method
from adapt.cache import Cache, write_lines, write_text
from adapt.commands.flags import CompareConfig
from adapt.comparison.cells import CompareError, Comparison, Problem, Runner
from adapt.comparison.report import write_report
from adapt.comparison.scores import LANES, SHIFTS
from adapt.comparison.split import (
    GAP_SECONDS,
    LEAST_SECONDS,
    SHORT,
    WAYS,
    Split,
    Take,
    find_takes,
    group_takes,
    make_split,
    open_take,
)
from adapt.config import write_config
from adapt.progress import SILENT, Progress
from prior.renderer.prior import load_renderer_prior
from render.errors import AdaptError, ConfigError, OutputError, StoreError

CONFIG, SCORES, FRAMES, TABLE, REPORT = "config.json", "scores.jsonl", "frames.jsonl", "table.md", "report.html"
ALL = "all"


def compare(config: CompareConfig, progress: Progress = SILENT) -> Comparison:
    """Compare methods on footage and write the folder `config.out`.

    Raises:
        ConfigError: a setting says nothing that is known.
        OutputError: `config.out` holds something else.
        CompareError: nothing could be compared.
    """
    if not config.footage:
        raise ConfigError("missing: footage (adapt compare FOOTAGE… -o FOLDER)")
    lanes = chosen_lanes(config.lanes)
    least = {"enrollment": LEAST_SECONDS, "held_out": LEAST_SECONDS, "fit_steps": 1, "method_minutes": 1 / 60}
    for name, value in least.items():
        if getattr(config, name) < value:
            raise ConfigError(f"--{name.replace('_', '-')} {getattr(config, name):g}: at least {value:.2g}")
    if config.split not in WAYS:
        raise ConfigError(f"--split {config.split}: choose one of {', '.join(WAYS)}")
    out = Path(config.out)
    if out.exists() and any(out.iterdir()) and not (out / CONFIG).is_file():
        raise OutputError(f"{out}: holds something else than a comparison; choose another folder")
    cache = Cache(out / "cache")
    found = Comparison()
    prior = load_renderer_prior(None if config.prior is None else Path(config.prior))
    found.methods = chosen_methods(config, RendererMethods(cache, config.fit_steps, prior), found.problems)
    runner = Runner(cache, found, prior, config.sound)
    write_config(config, out / CONFIG)  # from here on it is a comparison's folder, which a second run goes on with
    without: list[Problem] = []
    found.splits = find_splits(config, cache, without, progress)
    if not found.splits:
        raise CompareError(f"nothing to compare: {'; '.join(map(str, without))}")
    found.problems += without
    with progress.stage("compare", len(found.splits) * len(lanes) * len(found.methods)) as advance:
        for split in found.splits:
            for _ in runner.run(split, lanes):
                advance(1)
    borrow_articulation(found.lines)
    for problem in found.problems:
        progress.note(f"left out: {problem}")
    write_results(out, found, config)
    return found


def chosen_lanes(words: str) -> list[int]:
    """Lanes of a setting such as "1,4"."""
    chosen = [int(word) for word in words.split(",") if word.strip().isdigit()]
    if not chosen or set(chosen) - set(LANES) or len(chosen) != len(words.split(",")):
        raise ConfigError(f"--lanes {words}: numbers from 1 to {max(LANES)} with commas between")
    return sorted(set(chosen))


def chosen_methods(config: CompareConfig, own: RendererMethods, problems: list[Problem]) -> dict[str, CompareMethod]:
    """The methods of the settings, in the order of the tables; what cannot be had is a problem."""
    known = {REAL: CompareMethod(REAL, _real, {}), **own.methods()}
    wanted = list(METHODS) if config.methods == ALL else [word.strip() for word in config.methods.split(",")]
    chosen = {}
    for name in wanted:
        if name not in METHODS:
            raise ConfigError(f"--methods {name}: known are {', '.join(METHODS)}; add others with --method")
        try:
            chosen[name] = wav2lip_method() if name == WAV2LIP else known[name]
        except StoreError as error:
            problems.append(Problem(str(error), method=name))
    for entry in config.method:
        method = outside_method(entry, config.method_minutes)
        if method.name in METHODS or method.name in chosen:
            raise ConfigError(f"--method {method.name}: there is a method of this name")
        chosen[method.name] = method
    return chosen


def _real(*_: Any) -> torch.Tensor:
    raise AssertionError("the real frames are withheld from methods; the comparison scores them itself")


def find_splits(config: CompareConfig, cache: Cache, problems: list[Problem], progress: Progress) -> list[Split]:
    """Track the footage and split it; what cannot be used is a problem."""
    takes: list[Take] = []
    files = find_takes(config.footage)
    prepared = None if config.tracks is None else Path(config.tracks)
    for path, person, speech in progress.over("tracks", files, len(files)):
        try:
            takes.append(open_take(path, person, speech, cache, prepared))
        except AdaptError as error:
            problems.append(Problem(str(error), path.stem))
    splits = []
    for group in group_takes(takes, config.split):
        try:
            splits.append(make_split(group, config.enrollment, config.held_out, config.split))
        except AdaptError as error:
            problems.append(Problem(str(error), group[0].footage.path.stem))
    return splits


def borrow_articulation(lines: list[dict[str, Any]]) -> None:
    """Put beside every leak in silence how much the same method moves when there is speech: alone it says nothing."""
    spoken = {
        (line["clip"], line["method"]): line["scores"]["articulation"]
        for lane in (3, 2)
        for line in lines
        if line["lane"] == lane and "articulation" in line["scores"]
    }
    for line in lines:
        if line["lane"] == 4 and (line["clip"], line["method"]) in spoken:
            line["scores"]["articulation"] = spoken[line["clip"], line["method"]]


def write_results(out: Path, found: Comparison, config: CompareConfig) -> None:
    """Write what was found."""
    write_lines(out / SCORES, found.lines)
    write_lines(out / FRAMES, found.frames)
    table = found.table()
    facts = facts_of(found, config)
    text = table.markdown(ADAPT, (REAL,), facts)
    left_out = "".join(f"- {problem}\n" for problem in found.problems)
    write_text(out / TABLE, text + (f"\n## Left out\n\n{left_out}" if left_out else ""))
    problems = [str(problem) for problem in found.problems]
    write_report(out / REPORT, table, found.clips, ADAPT, (REAL,), facts, problems)


def facts_of(found: Comparison, config: CompareConfig) -> list[str]:
    """What a table is of, in sentences."""
    people = {split.person for split in found.splits}
    by_take = sum(split.way == "take" for split in found.splits)
    short = sum(split.is_short for split in found.splits)
    gap = f"a gap of at least {GAP_SECONDS:g} s" + (
        f" ({short} short: {SHORT[0]:g} s and a gap of {SHORT[1]:g} s)" if short else ""
    )
    sentences = [
        f"{len(people)} people, {len(found.splits)} clips; {config.enrollment:g} s of enrollment, "
        f"at most {config.held_out:g} s held out.",
        f"Held out from another take: {by_take} clips; from the same one after {gap}: {len(found.splits) - by_take}.",
        "Means over people, each weighing the same; in brackets the 95 % bootstrap interval over people.",
        "SN: SqueezeNet feature distance, comparable with no paper. Opening: as MediaPipe's face mesh sees it.",
    ]
    return [*sentences, *sync_facts(found.lines), *learning_facts(found.lines)]


def sync_facts(lines: Sequence[dict[str, Any]]) -> list[str]:
    """How far sync lags can be trusted on these clips; empty where none were measured."""
    found = [line["scores"]["sync_shifts_found"] for line in lines if "sync_shifts_found" in line["scores"]]
    if not found:
        return []
    return [
        f"Sync lags are found by adapt's own network, which is far from sure: of known shifts of the real videos' own "
        f"sound by {SHIFTS[-2]} and {SHIFTS[-1]} frames of 1/25 s it finds {np.mean(found):.0%} within one frame "
        f"({len(found)} clips of these lengths); read them beside the real video's row, which has its own sound."
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

import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from adapt.baselines.contract import METHODS, WAV2LIP, make_query
from adapt.baselines.renderer import RendererMethods
from adapt.commands.compare import main, options_of
from adapt.commands.flags import CompareConfig
from adapt.comparison.cells import CompareError, Comparison
from adapt.comparison.compare import compare
from adapt.progress import SILENT
from render.errors import ConfigError, OutputError
from render.video.reader import Footage
from tests.heads import TAKE_FPS, film_takes
from tests.media import make_clip

COPY = "import shutil, sys; shutil.copy(sys.argv[1], sys.argv[2])"
SOUND = str(Path(__file__).parents[2] / "examples" / "sentence.flac")
COPIED, CRASHED = "erased, as given", "crashes"


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> CompareConfig:
    folder = tmp_path_factory.mktemp("compare")
    return CompareConfig(
        [str(film_takes(folder / "takes"))],
        str(folder / "out"),
        method=[
            f"{COPIED}='{sys.executable}' -c '{COPY}' {{query}} {{output}}",
            f"{CRASHED}='{sys.executable}' -c 'raise SystemExit(\"no such model\")' {{output}}",
        ],
        enrollment=1.0,
        held_out=0.5,
        lanes="1",
        sound=SOUND,
        fit_steps=1,
    )


@pytest.fixture(scope="module")
def found(config: CompareConfig) -> Comparison:
    return compared(config)


def compared(config: CompareConfig) -> Comparison:
    return compare(config.footage, config.out, options_of(config))


def beside(config: CompareConfig, folder: Path, **changes: object) -> CompareConfig:
    """The settings with changes, for a folder of its own that holds what the first run kept."""
    shutil.copytree(Path(config.out) / "cache", folder / "cache")
    shutil.copy(Path(config.out) / "config.json", folder)
    return replace(config, out=str(folder), **changes)  # type: ignore[arg-type]


def lines_of(found: Comparison) -> dict[tuple[int, str], dict]:
    return {(line["lane"], line["method"]): line for line in found.lines}


def test_every_method_is_scored(found: Comparison) -> None:
    lines = lines_of(found)
    assert set(lines) == {(1, method) for method in found.methods if method != CRASHED}
    assert {*METHODS, COPIED, CRASHED} - set(found.methods) <= {WAV2LIP}
    assert {line["person"] for line in found.lines} == {"ada"}
    assert {line["split"] for line in found.lines} == {"take"}
    assert lines[1, "adapt"]["learnt"]["steps"] == 1 and lines[1, "scratch"]["learnt"]["steps"] >= 1
    assert len(found.frames) == 13 * len(found.lines)


def test_the_real_row_is_perfect(found: Comparison) -> None:
    scores = lines_of(found)[1, "real"]["scores"]
    for name in ("mouth_texture", "mouth_ssim", "mouth_flicker", "opening", "ccc", "seam"):
        assert scores[name] == pytest.approx(1, abs=1e-3), name
    assert scores["outside_error"] == 0
    # At the source's own resolution a crop has lost a little; an erased mouth nearly all.
    assert 0.5 < scores["native_texture"] < 1.1
    assert lines_of(found)[1, COPIED]["scores"]["native_texture"] < 0.5 * scores["native_texture"]


def test_lanes_without_the_real_motion(config: CompareConfig, found: Comparison, tmp_path: Path) -> None:
    other = lines_of(compared(beside(config, tmp_path, lanes="2,3,4", methods="real,prior", method=[])))
    assert set(other) == {(lane, method) for lane in (2, 3, 4) for method in ("real", "prior")}
    assert other[2, "real"]["scores"]["ccc"] == pytest.approx(1, abs=1e-3)
    assert other[2, "prior"]["scores"]["ccc"] < 0.9
    assert "ccc" not in other[3, "prior"]["scores"] and other[3, "prior"]["scores"]["mouth_texture"] > 0.2
    # Silence: the prior's mouth rests; how much it moves in speech stands beside it, from the lanes with sound.
    assert other[4, "prior"]["scores"]["silence_leak"] < 0.3
    assert other[4, "prior"]["scores"]["articulation"] == other[2, "prior"]["scores"]["articulation"]


def test_own_methods_leave_what_is_not_erased_alone(found: Comparison) -> None:
    for method in (name for name in METHODS if name in found.methods):
        assert lines_of(found)[1, method]["scores"]["outside_error"] == 0, method
    # 8-bit video: rounding alone.
    assert lines_of(found)[1, COPIED]["scores"]["outside_error"] < 0.5
    assert lines_of(found)[1, COPIED]["scores"]["mouth_texture"] < 0.5


def test_what_fails_is_named_and_the_rest_goes_on(config: CompareConfig, found: Comparison) -> None:
    problems = [str(problem) for problem in found.problems]
    assert sum("crashes: exit status 1: no such model" in problem for problem in problems) == 1
    assert sum("damaged" in problem for problem in problems) == 1
    table = (Path(config.out) / "table.md").read_text(encoding="utf-8")
    page = (Path(config.out) / "report.html").read_text(encoding="utf-8")
    for text in (table, page):
        assert "no such model" in text and "damaged" in text
    with pytest.raises(CompareError, match="left out, the first"):
        main(replace(config, strict=True), SILENT)


def test_where_nothing_can_be_read_only_that_is_said(config: CompareConfig, tmp_path: Path) -> None:
    damaged = tmp_path / "damaged.mp4"
    damaged.write_bytes(b"no video")
    alone = replace(config, footage=[str(damaged)], out=str(tmp_path / "out"))
    for _ in ("first", "again"):
        with pytest.raises(CompareError, match=r"^nothing to compare: damaged: .*damaged\.mp4: not a video"):
            main(alone, SILENT)


def test_a_second_run_reads_what_the_first_kept(
    config: CompareConfig, found: Comparison, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = []
    monkeypatch.setattr(RendererMethods, "drawn", lambda self, name, *_: drawn.append(name))
    table = (Path(config.out) / "table.md").read_bytes()
    again = compared(config)
    assert not drawn and again.lines == found.lines
    assert (Path(config.out) / "table.md").read_bytes() == table
    # More frames, other cells: they are drawn, and what the stand-in gives is refused by name.
    other = compared(beside(config, tmp_path, held_out=0.6, methods="real,prior", method=[]))
    assert drawn == ["prior"]
    assert [line["method"] for line in other.lines] == ["real"]


def test_a_stopped_run_goes_on(
    config: CompareConfig, found: Comparison, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = beside(config, tmp_path, methods="real,frozen mouth,nearest mouth", method=[], held_out=0.6)

    def stop(*_: object) -> torch.Tensor:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(RendererMethods, "nearest", stop)
        with pytest.raises(KeyboardInterrupt):
            compared(config)
    assert not (tmp_path / "table.md").exists()
    monkeypatch.setattr(RendererMethods, "frozen", stop)  # kept: not asked again
    assert [line["method"] for line in compared(config).lines] == ["real", "frozen mouth", "nearest mouth"]


def test_a_query_holds_nothing_of_what_is_withheld(found: Comparison) -> None:
    """Two truths that differ in the mouth alone give the same query, bit by bit."""
    track = found.splits[0].held_out.track
    random = torch.Generator().manual_seed(0)
    crops = torch.rand(len(track), 3, 256, 256, generator=random)
    erased = torch.zeros(len(track), 1, 256, 256)
    erased[:, :, 100:220, 60:200] = 1
    other = torch.where(erased > 0, 1 - crops, crops)
    one = make_query(track, crops, erased, None, None)
    two = make_query(track.with_motion(track.lower_expression + 1), other, erased, None, None)
    assert torch.equal(one.crops, two.crops)
    for name, value in vars(one.track).items():
        assert torch.equal(value, getattr(two.track, name)) if isinstance(value, torch.Tensor) else True, name
    assert not one.track.lower_expression.any() and one.track.source == {}


def test_a_method_without_its_weights_is_named(
    config: CompareConfig, found: Comparison, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ADAPT_WAV2LIP", str(tmp_path / "wav2lip.pth"))
    config = beside(config, tmp_path, methods="real,wav2lip", method=[])
    problems = [str(problem) for problem in compared(config).problems]
    assert sum(problem.startswith("wav2lip: ") and "no such Wav2Lip weights" in problem for problem in problems) == 1


def test_takes_in_interlaced_carriage_are_read_as_frames_where_they_are_said_to_be(
    config: CompareConfig, tmp_path: Path
) -> None:
    takes = tmp_path / "takes"
    takes.mkdir()
    for number in (0, 1):
        footage = Footage(Path(config.footage[0]) / f"take {number}.mp4")
        pictures, options = [frame.rgb for frame in footage.frames()], {"preset": "ultrafast", "x264-params": "tff=1"}
        make_clip(takes / f"{number}.mp4", pictures=pictures, rate=TAKE_FPS, options=options)
    (takes / "index.csv").write_text("file,person,speech\n0.mp4,ada,no\n1.mp4,ada,no\n", encoding="utf-8")
    flagged = replace(config, footage=[str(takes)], methods="real", method=[], out=str(tmp_path / "flagged"))
    with pytest.raises(CompareError, match=r"^nothing to compare: 0: .*interlaced .*--progressive"):
        main(flagged, SILENT)
    found = compared(replace(flagged, progressive=True, out=str(tmp_path / "progressive")))
    (line,) = found.lines
    assert line["method"] == "real" and line["scores"]["ccc"] == pytest.approx(1, abs=1e-3)
    assert not [problem for problem in found.problems if problem.clip]


def test_settings_that_say_nothing_known_are_refused(config: CompareConfig, tmp_path: Path) -> None:
    for change in ({"lanes": "0"}, {"lanes": "1;2"}, {"split": "person"}, {"methods": "magic"}, {"method": ["x=cp a"]}):
        with pytest.raises(ConfigError):
            compared(replace(config, out=str(tmp_path / "none"), **change))
    for name in ("enrollment", "held_out", "fit_steps", "method_minutes"):
        with pytest.raises(ConfigError, match=f"--{name.replace('_', '-')} 0: at least"):
            compared(replace(config, out=str(tmp_path / "none"), **{name: 0}))
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("mine")
    with pytest.raises(OutputError, match="exists already and is no comparison"):
        compared(replace(config, out=str(tmp_path / "mine")))


def test_lines_are_json(config: CompareConfig, found: Comparison) -> None:
    for name, held in (("scores.jsonl", found.lines), ("frames.jsonl", found.frames)):
        text = (Path(config.out) / name).read_text(encoding="utf-8")
        assert [json.loads(line) for line in text.splitlines()] == held

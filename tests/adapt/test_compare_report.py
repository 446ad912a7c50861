import json
import shutil
import subprocess
import time
import warnings
from pathlib import Path
from urllib.request import urlopen

import numpy as np
import pytest

from adapt.comparison.report import ComparedClip, plots, shown_clips, write_report
from adapt.comparison.table import ScoreTable, estimate
from adapt.reports.clip import encode_clip
from prior.speech.sound import SAMPLE_RATE, write_audio

METHODS = ("real", "adapt", "prior")
TIMES = [index / 25 for index in range(25)]
#: Unfolds the first player, plays it, pauses, steps to frame 20, folds it; the title tells what was seen.
PROBE = """<script>addEventListener('load', async () => {
  const wait = seconds => new Promise(done => setTimeout(done, 1000 * seconds));
  const fold = document.querySelector('details'), player = fold.querySelector('.player');
  const videos = [...player.querySelectorAll('video')], log = [videos.filter(v => v.src).length];
  fold.open = true; await wait(1); log.push(videos.filter(v => v.readyState > 1).length);
  const loaded = document.querySelectorAll('video[src]').length; log.push(loaded);
  player.querySelector('.play').click();
  const moved = () => videos.every(v => v.currentTime > 0.05);
  for (let tries = 0; tries < 200 && !moved(); tries++) await wait(0.05);
  log.push(moved() ? 'played' : 'stood'); if (!videos[0].paused) player.querySelector('.play').click(); await wait(0.1);
  log.push(videos.filter(v => v.paused).length);
  const seek = player.querySelector('input'); seek.value = 20; seek.oninput(); await wait(0.5);
  log.push(player.dataset.frame, videos.map(v => v.currentTime.toFixed(2)).join('/'));
  fold.open = false; await wait(0.2); log.push(videos.filter(v => v.src).length);
  document.title = 'done ' + log.join(' ');
});</script></body>"""


def score_lines() -> list[dict]:
    """Three people; adapt is nearer to the best than the prior for two of them."""
    lines = []
    for number, distance in enumerate((1.0, 1.2, 2.1)):
        for method, value in (("real", 0.0), ("adapt", distance), ("prior", 2.0)):
            scores = {"mouth_squeezenet": value, "mouth_texture": 1 - value / 10, "ccc": 0.5}
            lines.append({"lane": 1, "method": method, "person": f"P{number}", "clip": f"c{number}", "scores": scores})
    return lines


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    videos = {}
    for number, method in enumerate(METHODS):
        frames = [np.full((64, 64, 3), 60 * number + 2 * index, np.uint8) for index in range(len(TIMES))]
        videos[method] = folder / f"{method}.mp4"
        videos[method].write_bytes(encode_clip(frames, TIMES))
    write_audio(np.sin(np.arange(SAMPLE_RATE) / 8).astype(np.float32), folder / "tone.ogg")
    clips = [ComparedClip(f"c{number}", f"P{number}", 1, TIMES, videos, folder / "tone.ogg") for number in range(3)]
    table = ScoreTable(score_lines(), METHODS)
    write_report(folder / "report.html", table, clips, "adapt", ("real",), ["3 <people>"], ["c9: unreadable"])
    return folder / "report.html"


def test_table_weighs_people_and_compares_in_pairs() -> None:
    table = ScoreTable([*score_lines(), {**score_lines()[1], "clip": "c0 again"}], METHODS)
    header, rows = table.rows(1)
    assert header[:3] == ["method", "people", "mouth SN ↓"]
    assert [row[0] for row in rows] == list(METHODS) and {row[1] for row in rows} == {"3"}
    assert rows[1][2].startswith("1.433 [")
    _, pairs = table.pairs(1, "adapt", ("real",))
    assert [pair[0] for pair in pairs] == ["adapt against prior"]
    assert pairs[0][1].startswith("0.567 [") and pairs[0][1].endswith("ahead for 67%")
    text = table.markdown("adapt", ("real",), ["Three people."])
    assert "## Lane 1" in text and "| prior | 3 | 2.000 [2.000, 2.000] |" in text


def test_interval_holds_the_mean_and_shrinks_with_people() -> None:
    few, many = (estimate([4.0, 6.0] * count) for count in (3, 30))
    assert few.low < few.mean == 5 < few.high and many.low < 5 < many.high
    assert many.high - many.low < 0.5 * (few.high - few.low)
    assert estimate([2.5]).words(1) == "2.5"


def test_every_metric_has_a_plot() -> None:
    table = ScoreTable(score_lines(), METHODS)
    shown = [axes.get_title() for axes in plots(table, 1, "adapt").axes if axes.get_visible()]
    assert shown == [metric.label for metric in table.metrics(1)]


def test_page_is_one_escaped_file_without_network(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert "http://" not in text and "https://" not in text
    assert "3 &lt;people&gt;" in text and "c9: unreadable" in text
    assert text.count("<details>") == 3 and text.count("<audio") == 3
    assert text.count("data:image/png;base64,iVBORw0KGgo") == 1


def test_players_unfold_play_and_seek_in_a_browser(page: Path, tmp_path: Path) -> None:
    browser = shutil.which("chromium")
    if browser is None:
        warnings.warn("no chromium: reports are not tested in a browser", stacklevel=1)
        pytest.skip("no chromium")
    probe = tmp_path / "probe.html"
    probe.write_text(page.read_text(encoding="utf-8").replace("</body>", PROBE), encoding="utf-8")
    profile = tmp_path / "profile"
    command = [browser, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--remote-debugging-port=0"]
    command += ["--disable-background-networking", "--disable-component-update", "--disable-sync"]
    command += [f"--user-data-dir={profile}", probe.as_uri()]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as running:
        try:
            assert title_of_page(profile) == "done 0 3 3 played 3 20 0.82/0.82/0.82 0"
        finally:
            running.terminate()


def title_of_page(profile: Path, seconds: float = 90) -> str:
    """The title that the probe gives its page, asked for on the browser's loopback port; videos play in real time."""
    port, title = profile / "DevToolsActivePort", ""
    for _ in range(round(seconds / 0.2)):
        time.sleep(0.2)
        if port.is_file() and port.read_text().count("\n"):
            address = f"http://127.0.0.1:{port.read_text().splitlines()[0]}/json/list"
            with urlopen(address, timeout=10) as answer:
                title = next((page["title"] for page in json.load(answer) if page["type"] == "page"), "")
            if title.startswith("done"):
                break
    return title


def test_a_large_comparison_is_a_page_that_can_be_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    video = tmp_path / "drawn.mp4"
    video.write_bytes(bytes(10_000))
    clips = [
        ComparedClip(f"c{number}", f"P{number}", lane, TIMES, {method: video for method in METHODS}, None)
        for number in range(500)
        for lane in (1, 2)
    ]
    monkeypatch.setattr("adapt.comparison.report.MOST_BYTES", 1_500_000)
    shown = shown_clips(clips)
    assert 40 <= len(shown) <= 50 and [sum(clip.lane == lane for clip in shown) for lane in (1, 2)] == [25, 25]
    assert shown == sorted(shown, key=clips.index) and shown[-1].clip > "c450"
    write_report(tmp_path / "report.html", ScoreTable(score_lines(), METHODS), clips, "adapt", ("real",), [], [])
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "50 of 1000 players are in this page" in text
    assert text.count('<div class="player"') == 25 and len(text) < 3_000_000  # there is no lane 2 in the table
    monkeypatch.undo()
    assert shown_clips(clips) == clips

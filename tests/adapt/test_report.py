import io
import shutil
import subprocess
import tracemalloc

import av
import numpy as np
import pytest

from adapt.reports.clip import encode_clip
from adapt.reports.page import Report


def clip(colour, times):
    frames = [np.full((64, 96, 3), colour, np.uint8) + np.uint8(8 * index) for index in range(len(times))]
    return encode_clip(frames, times)


def test_clip_keeps_frame_times():
    times = [1.0, 1.04, 1.12, 1.5]
    with av.open(io.BytesIO(clip(20, times))) as container:
        shown = [float(frame.pts * frame.time_base) for frame in container.decode(video=0)]
    np.testing.assert_allclose(shown, np.array(times) - 1.0, atol=1e-4)


def page(tmp_path):
    times = [index / 25 for index in range(10)]
    report = Report("A & B <dub>")
    report.section("Clip")
    report.player(
        {"source": clip(20, times), "dubbed": clip(90, times)},
        times,
        ["dubbed"] * 5 + ["passed through"] * 5,
        [(7, "00:00:00.280 worst")],
    )
    report.facts({"name": "<script>alert(1)</script>", "psnr": 31.25})
    report.write(tmp_path / "report.html")
    return tmp_path / "report.html"


def test_page_is_escaped_and_needs_no_network(tmp_path):
    text = page(tmp_path).read_text(encoding="utf-8")
    assert "<script>alert(1)" not in text
    assert "A &amp; B &lt;dub&gt;" in text
    assert "http://" not in text and "https://" not in text
    assert '<td class="number">31.250</td>' in text


@pytest.mark.skipif(shutil.which("chromium") is None, reason="no chromium")
def test_page_steps_and_seeks_in_a_browser(tmp_path):
    """After a click on `frame ▶` twice and on a moment's link, the players stand at those frames."""
    path = page(tmp_path)
    probe = """<script>addEventListener('load', () => setTimeout(() => {
      const p = document.querySelector('.player'), log = [];
      p.querySelector('.next').click(); log.push(p.dataset.frame);
      setTimeout(() => { p.querySelector('.next').click(); log.push(p.dataset.frame);
        document.querySelector('[data-seek]').click(); log.push(p.dataset.frame);
        setTimeout(() => { log.push([...p.querySelectorAll('video')].map(v => v.currentTime.toFixed(2)).join('/'));
          document.title = 'done ' + log.join(' '); }, 600); }, 600);
    }, 300));</script></body>"""
    path.write_text(path.read_text(encoding="utf-8").replace("</body>", probe), encoding="utf-8")
    command = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--dump-dom"]
    command += ["--disable-background-networking", "--disable-component-update", "--disable-sync"]
    command += [f"--user-data-dir={tmp_path / 'profile'}", "--virtual-time-budget=6000", path.as_uri()]
    out = subprocess.run(command, capture_output=True, text=True, timeout=120).stdout
    assert "<title>done 1 2 7 0.30/0.30</title>" in out


def test_writing_a_page_does_not_copy_it(tmp_path):
    report = Report("Large")
    for _ in range(40):
        report.player({"drawn": bytes(1 << 20)}, [0.0])
    tracemalloc.start()
    report.write(tmp_path / "report.html")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (tmp_path / "report.html").stat().st_size > 40 << 20 and peak < 8 << 20

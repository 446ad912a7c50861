"""Self-contained HTML reports: one file, no network, with players that step several videos frame by frame in step.

A report is a list of sections. Videos, images and data are embedded; text is escaped. The page needs no library.
"""

import base64
import html
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from render.store import write_atomic

#: Per-frame status of a dub → colour of the strip.
STATUS_COLOURS = {
    "dubbed": "#3a8a4d",
    "passed through": "#9aa0a6",
    "low confidence": "#d9a300",
    "occluded": "#c2571a",
}


_STYLE = """
body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:76rem;padding:0 1rem;color:#1b1b1b;background:#fff}
h1{font-size:1.5rem}h2{font-size:1.1rem;margin-top:2rem;border-bottom:1px solid #ddd}
table{border-collapse:collapse}td,th{padding:.2rem .7rem;text-align:left;border-bottom:1px solid #eee;vertical-align:top}
td.number{text-align:right;font-variant-numeric:tabular-nums}img{max-width:100%}
.videos{display:grid;gap:.5rem;grid-template-columns:repeat(auto-fit,minmax(14rem,1fr))}.videos figure{margin:0}.videos video{width:100%;background:#000}
details{margin:.3rem 0}summary{cursor:pointer}.wide{overflow-x:auto;font-size:.85rem}
figcaption{font-size:.85rem;color:#555}canvas{width:100%;height:18px;cursor:pointer}input[type=range]{width:100%}
.legend span{display:inline-block;margin-right:1rem;font-size:.85rem}.legend i{display:inline-block;width:.8em;height:.8em}
"""


_SCRIPT = """
for (const player of document.querySelectorAll('.player')) {
  const videos = [...player.querySelectorAll('video')], data = JSON.parse(player.dataset.frames);
  const sound = player.querySelector('audio'), media = sound ? [...videos, sound] : videos, fold = player.closest('details');
  const seek = player.querySelector('input'), time = player.querySelector('.time'), strip = player.querySelector('canvas');
  const at = data.times, last = at.length - 1, lead = videos[0];
  const frame = () => { let i = 0; while (i < last && at[i + 1] <= lead.currentTime + 1e-4) i++; return i; };
  const show = i => { i = Math.max(0, Math.min(last, i));
    const t = i < last ? (at[i] + at[i + 1]) / 2 : at[i] + 1e-3; media.forEach(v => { v.pause(); v.currentTime = t; });
    label(i); };
  const label = i => { seek.value = i; player.dataset.frame = i;
    time.textContent = 'frame ' + i + '  ' + at[i].toFixed(3) + ' s' + (data.status.length ? '  ' + data.status[i] : ''); };
  seek.max = last; seek.oninput = () => show(+seek.value);
  player.querySelector('.back').onclick = () => show(frame() - 1);
  player.querySelector('.next').onclick = () => show(frame() + 1);
  player.querySelector('.play').onclick = () => { if (lead.paused) { const t = lead.ended ? 0 : lead.currentTime;
    media.forEach(v => { v.currentTime = t; }); media.forEach(v => v.play()); } else media.forEach(v => v.pause()); };
  lead.ontimeupdate = () => { if (lead.paused) return; label(frame());
    videos.forEach(v => { if (Math.abs(v.currentTime - lead.currentTime) > 0.08) v.currentTime = lead.currentTime; }); };
  lead.onended = () => media.forEach(v => v.pause());
  // A page may hold more videos than a browser keeps open: those of a folded player are loaded while it is unfolded.
  if (fold) fold.addEventListener('toggle', () => media.forEach(v => {
    if (fold.open) v.src = v.dataset.src; else { v.pause(); v.removeAttribute('src'); v.load(); } }));
  document.querySelectorAll('[data-seek="' + player.id + '"]').forEach(a => a.onclick = e => {
    e.preventDefault(); if (fold) fold.open = true; show(+a.dataset.index); player.scrollIntoView(); });
  if (strip) { strip.width = at.length; strip.height = 1; const ink = strip.getContext('2d');
    data.status.forEach((s, i) => { ink.fillStyle = data.colours[s] || '#000'; ink.fillRect(i, 0, 1, 1); });
    strip.onclick = e => show(Math.floor(e.offsetX / strip.clientWidth * at.length)); }
  label(0);
}
"""


def _data_uri(data: bytes, media_type: str) -> str:
    return f"data:{media_type};base64,{base64.b64encode(data).decode()}"


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f'<td class="number">{value:.3f}</td>'
    if isinstance(value, int) and not isinstance(value, bool):
        return f'<td class="number">{value}</td>'
    return f"<td>{html.escape('' if value is None else str(value))}</td>"


class Report:
    """A report under construction; sections appear in the order they are added."""

    def __init__(self, title: str) -> None:
        self.title = title
        self._parts: list[str] = []
        self._players = 0

    def section(self, heading: str) -> None:
        """Start a section."""
        self._parts.append(f"<h2>{html.escape(heading)}</h2>")

    def text(self, text: str) -> None:
        """A paragraph."""
        self._parts.append(f"<p>{html.escape(text)}</p>")

    def facts(self, facts: Mapping[str, Any]) -> None:
        """A two-column table."""
        self.table(["", ""], [(key, value) for key, value in facts.items()])

    def table(self, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
        """A table; numbers are right-aligned."""
        head = "".join(f"<th>{html.escape(name)}</th>" for name in header)
        body = "".join(f"<tr>{''.join(_cell(value) for value in row)}</tr>" for row in rows)
        self._parts.append(f'<div class="wide"><table><tr>{head}</tr>{body}</table></div>')

    def image(self, data: bytes, caption: str, media_type: str = "image/jpeg") -> None:
        """An embedded image."""
        text = html.escape(caption)
        self._parts.append(
            f'<figure><img src="{_data_uri(data, media_type)}" alt="{text}"><figcaption>{text}</figcaption></figure>'
        )

    def figure(self, figure: Figure, caption: str) -> None:
        """An embedded plot."""
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png")
        self.image(buffer.getvalue(), caption, "image/png")

    def player(
        self,
        clips: Mapping[str, bytes],
        timestamps: Sequence[float],
        status: Sequence[str] = (),
        moments: Sequence[tuple[int, str]] = (),
        folded: str | None = None,
        sound: bytes | None = None,
    ) -> None:
        """Videos side by side that play and step together.

        Args:
            clips: label → mp4 file as made by `encode_clip`, equal frame times.
            timestamps: seconds of the frames; shown from 0.
            status: per frame, a key of `STATUS_COLOURS`; drawn as a strip.
            moments: (frame, text) links that seek the player.
            folded: what is seen until the player is unfolded; None: it is not folded.
            sound: Ogg file that is heard with the videos, from time 0.
        """
        self._players += 1
        name = f"player{self._players}"
        source = "src" if folded is None else "data-src"
        figures = "".join(
            f'<figure><video muted playsinline preload="auto" {source}="{_data_uri(data, "video/mp4")}"></video>'
            f"<figcaption>{html.escape(label)}</figcaption></figure>"
            for label, data in clips.items()
        )
        if sound is not None:
            figures += f'<audio preload="auto" {source}="{_data_uri(sound, "audio/ogg")}"></audio>'
        start = timestamps[0] if len(timestamps) else 0.0
        data = {
            "times": [round(float(time) - float(start), 6) for time in timestamps],
            "status": list(status),
            "colours": STATUS_COLOURS,
        }
        legend = "".join(
            f'<span><i style="background:{colour}"></i> {html.escape(text)}</span>'
            for text, colour in STATUS_COLOURS.items()
            if text in status
        )
        strip = f'<canvas></canvas><div class="legend">{legend}</div>' if status else ""
        links = "".join(
            f'<li><a href="#" data-seek="{name}" data-index="{frame}">{html.escape(text)}</a></li>'
            for frame, text in moments
        )
        player = (
            f'<div class="player" id="{name}" data-frames="{html.escape(json.dumps(data), quote=True)}">'
            f'<div class="videos">{figures}</div><input type="range" min="0" value="0">{strip}'
            '<button class="play">play / pause</button> <button class="back">◀ frame</button> '
            f'<button class="next">frame ▶</button> <span class="time"></span><ul>{links}</ul></div>'
        )
        if folded is not None:
            player = f"<details><summary>{html.escape(folded)}</summary>{player}</details>"
        self._parts.append(player)

    def write(self, path: Path) -> None:
        """Write the page, atomically."""
        title = html.escape(self.title)
        page = (
            f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
            f"<style>{_STYLE}</style></head><body><h1>{title}</h1>{''.join(self._parts)}"
            f"<script>{_SCRIPT}</script></body></html>"
        )

        def write(temporary: Path) -> None:
            temporary.write_text(page, encoding="utf-8")

        write_atomic(path, write)

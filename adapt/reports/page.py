"""Self-contained HTML reports: one file, no network, with players that step several videos frame by frame in step.

A report is a list of sections. Videos, images and data are embedded; text is escaped. The page needs no library.
"""

import base64
import html
import io
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from render.store import write_atomic
from render.text import printable

_STYLE, _SCRIPT = (Path(__file__).with_name(name) for name in ("page.css", "page.js"))


def _data_uri(data: bytes, media_type: str) -> str:
    return f"data:{media_type};base64,{base64.b64encode(data).decode()}"


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f'<td class="number">{value:.3f}</td>'
    if isinstance(value, int) and not isinstance(value, bool):
        return f'<td class="number">{value}</td>'
    return f"<td>{html.escape('' if value is None else str(value))}</td>"


class Report:
    """A report under construction; sections appear in the order they are added.

    Args:
        title: of the page.
        strip_colours: word for what a frame is → CSS colour, for the strips of players.
    """

    def __init__(self, title: str, strip_colours: Mapping[str, str] | None = None) -> None:
        self.title = title
        self.strip_colours = dict(strip_colours or {})
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
            status: per frame, a key of `strip_colours`; drawn as a strip.
            moments: (frame, text) links that play half a second on either side of a frame.
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
            "colours": self.strip_colours,
        }
        legend = "".join(
            f'<span><i style="background:{colour}"></i> {html.escape(text)}</span>'
            for text, colour in self.strip_colours.items()
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
        """Write the page, atomically; what it holds is not copied together for that."""

        def write(temporary: Path) -> None:
            with temporary.open("wb") as file:
                for part in self._page():
                    file.write(printable(part).encode())

        write_atomic(path, write)

    def _page(self) -> Iterator[str]:
        title = html.escape(self.title)
        yield f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        yield f"<style>{_STYLE.read_text(encoding='utf-8')}</style></head><body><h1>{title}</h1>"
        yield from self._parts
        yield f"<script>{_SCRIPT.read_text(encoding='utf-8')}</script></body></html>"

"""Looking at a track: its mesh, uv grid, crop and confidence drawn over the video.

In: footage and a track of it. Out: frames, uint8 [H, W, 3], or a video file of them. Skin is drawn by region; the crop
is shown in a corner with the uv grid on it.
"""

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import torch

from adapt.progress import Progress
from render.drawing.crop import cut_crop
from render.drawing.gbuffer import gbuffer
from render.head.camera import invert_affine, transform_pixels
from render.head.face_model import REGIONS, FaceModel
from render.head.track import Track
from render.store import write_atomic
from render.video.reader import Footage

#: Colour of each region's edges, rgb; a region that is not named is not drawn.
COLOURS = {
    "skin_upper": (140, 140, 255),
    "skin_lower": (255, 120, 120),
    "lips": (255, 40, 40),
    "skirt": (150, 150, 150),
}
GRID_LINES = 24
TIME_BASE = Fraction(1, 90_000)


def draw_frame(rgb: np.ndarray, model: FaceModel, track: Track, frame: int) -> np.ndarray:
    """One frame with the track drawn on it; a frame without the face says so."""
    picture = np.ascontiguousarray(rgb.copy())
    confidence = float(track.confidence[frame])
    line = max(1, round(min(picture.shape[:2]) / 720))
    if confidence > 0:
        rows = torch.tensor([frame])
        points = track.image_vertices(model, rows)[0].numpy()
        for region, colour in COLOURS.items():
            corners = points[model.faces[model.face_region == REGIONS.index(region)].long()]
            cv2.polylines(picture, list((corners * 8).round().astype(np.int32)), True, colour, line, cv2.LINE_AA, 3)
        size = track.crop_size
        square = torch.tensor([[0, 0], [size, 0], [size, size], [0, size]], dtype=torch.float64)
        border = transform_pixels(invert_affine(track.crop_from_image[frame]), square).numpy()
        cv2.polylines(picture, [border.round().astype(np.int32)], True, (255, 220, 0), line, cv2.LINE_AA)
        inset = uv_grid(cut_crop(rgb, track.crop_from_image[frame].numpy(), size), model, track, rows)
        side = max(16, min(picture.shape[:2]) // 3)
        picture[-side:, :side] = cv2.resize(inset, (side, side), interpolation=cv2.INTER_AREA)
    text = f"{frame}  confidence {confidence:.2f}" if confidence > 0 else f"{frame}  no face"
    cv2.putText(picture, text, (8, 20 * line), cv2.FONT_HERSHEY_SIMPLEX, 0.55 * line, (255, 255, 0), line, cv2.LINE_AA)
    return picture


def uv_grid(crop: np.ndarray, model: FaceModel, track: Track, rows: torch.Tensor) -> np.ndarray:
    """A crop, uint8 [H, W, 3], with lines of equal u (red) and v (green) where the lower face and mouth are."""
    buffer = gbuffer(model, track.clip_vertices(model, rows).contiguous(), len(crop))
    uv = buffer.uv[0].numpy() * GRID_LINES
    lines = np.abs(uv - np.round(uv)) < 0.08
    inside = buffer.lower_face[0, 0].numpy() > 0
    drawn = crop.copy()
    drawn[lines[..., 0] & inside] = (255, 60, 60)
    drawn[lines[..., 1] & inside] = (60, 255, 60)
    return drawn


def drawn_frames(footage: Footage, model: FaceModel, track: Track) -> Iterator[tuple[np.ndarray, float]]:
    """Every frame drawn, with its timestamp in seconds."""
    for frame in footage.frames():
        yield draw_frame(frame.rgb, model, track, frame.index), frame.timestamp


def write_overlay(footage: Footage, model: FaceModel, track: Track, path: Path, progress: Progress) -> None:
    """Write the drawn frames as an H.264 mp4 file with the footage's own times."""

    def write(temporary: Path) -> None:
        with av.open(str(temporary), "w", format="mp4") as container:
            stream = container.add_stream("libx264", rate=25, options={"crf": "20", "preset": "veryfast"})
            stream.width, stream.height = footage.width // 2 * 2, footage.height // 2 * 2
            stream.pix_fmt = "yuv420p"
            stream.time_base = stream.codec_context.time_base = TIME_BASE
            for rgb, timestamp in progress.over("overlay", drawn_frames(footage, model, track), len(track)):
                even = np.ascontiguousarray(rgb[: stream.height, : stream.width])
                picture = av.VideoFrame.from_ndarray(even, format="rgb24")
                picture.pts = round((timestamp - footage.start) / TIME_BASE)
                picture.time_base = TIME_BASE
                container.mux(stream.encode(picture))
            container.mux(stream.encode(None))

    write_atomic(path, write)

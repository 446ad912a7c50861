"""The lip reader of renderer pretraining, on mouths that are drawn by code: a dark opening between two lips."""

import torch

from prior.face.model import load_face_model
from prior.face.points import LIP_PAIRS
from prior.renderer.bank_choice import opening_and_width
from prior.renderer.lip_reader import (
    LEAST_GAP,
    PICTURE_PX,
    POINTS,
    LipReader,
    Mouths,
    misread,
    read_mouths,
    teach_reading,
)
from prior.renderer.mouth_pictures import cut_out, mouth_corners
from render.drawing.gbuffer import gbuffer

MODEL = load_face_model()
SIZE = (160, 192)
LIP_PX, HALF_WIDTH_PX = 9, 30


def mouths(gaps_px: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Crops [N, 3, *SIZE] of mouths open by so many px, and masks [N, 1, *SIZE] of the lips and what is between."""
    y = torch.arange(SIZE[0])[:, None] - 80.0
    x = torch.arange(SIZE[1])[None] - 96.0
    half = gaps_px[:, None, None] / 2
    lips = ((y.abs() < half + LIP_PX) & (x.abs() < HALF_WIDTH_PX)).float()
    inside = ((y.abs() < half) & (x.abs() < HALF_WIDTH_PX)).float()
    skin = torch.tensor([0.8, 0.6, 0.5])[:, None, None]
    lip, dark = torch.tensor([0.7, 0.3, 0.3])[:, None, None], torch.tensor([0.1, 0.05, 0.05])[:, None, None]
    rgb = skin + lips[:, None] * (lip - skin)
    return rgb + inside[:, None] * (dark - rgb), lips[:, None]


def taught() -> LipReader:
    """A reader that learnt these mouths; points lie where the lips end."""
    torch.manual_seed(0)
    gaps = torch.linspace(0, 24, 200)
    rgb, masks = mouths(gaps)
    aside = torch.randint(-8, 9, (len(gaps), 1))
    rgb = torch.stack([one.roll(int(by), -1) for one, by in zip(rgb, aside, strict=True)])
    large = (PICTURE_PX[0] + 12, PICTURE_PX[1] + 12)
    pictures = (cut_out(rgb, mouth_corners(masks, large), large) * 255).round().to(torch.uint8)
    across = torch.linspace(-HALF_WIDTH_PX, HALF_WIDTH_PX, len(POINTS)) + aside
    down = torch.where(torch.arange(len(POINTS)) % 2 == 0, -1.0, 1.0) * (gaps[:, None] / 2 + LIP_PX)
    points = torch.stack([across, down], -1)
    log_gaps = (gaps[:, None] / 80 + LEAST_GAP).log().expand(-1, len(LIP_PAIRS))
    reader = LipReader(8)
    error = teach_reading(reader, Mouths(pictures, points, log_gaps), 250, torch.Generator().manual_seed(0))
    assert error < 0.6
    return reader


def test_a_closed_mouth_reads_differently_and_a_softer_one_hardly():
    reader = taught()
    real, mask = mouths(torch.tensor([5.0]))
    closed, _ = mouths(torch.tensor([0.0]))
    soft = torch.nn.functional.avg_pool2d(real, 3, 1, 1, count_include_pad=False)
    shapes = [float(misread(reader, real, other, mask)) for other in (real, soft, closed)]
    assert shapes[0] == 0 and shapes[2] > 3 * shapes[1] and shapes[2] > 0.4
    # That difference says where to go: opening the closed mouth lessens it.
    drawn = closed.clone().requires_grad_(True)
    misread(reader, real, drawn, mask).sum().backward()
    between = real[:, :1] < 0.2
    assert float((drawn.grad * between).sum()) > 0, "darker between the lips"


def test_what_is_read_lies_where_the_lips_are(talking_clip):
    track = talking_clip[1].with_crop_size(256)
    frames = torch.arange(0, 20, 4)
    vertices = track.clip_vertices(MODEL, frames)
    mouth = gbuffer(MODEL, vertices).mouth
    found = read_mouths(mouth.expand(-1, 3, -1, -1), vertices, mouth)
    height, width = found.pictures.shape[-2:]
    places = (found.points + torch.tensor([width / 2, height / 2])).floor().long()
    row = torch.arange(len(frames))[:, None]
    lips = torch.nn.functional.max_pool2d(found.pictures[:, :1].float(), 5, 1, 2)
    assert bool((lips[row, 0, places[..., 1], places[..., 0]] > 0).all()), "the white of the mask is the mouth"
    gaps = (found.gaps.exp() - LEAST_GAP)[:, :3].mean(1)
    openings = opening_and_width(MODEL, track.lower_expression[frames])[:, 0]
    assert float((gaps - openings.abs()).abs().max()) < 0.03, "seen from the front a gap is the head's own"

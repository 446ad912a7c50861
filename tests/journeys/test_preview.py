"""`adapt preview` on the synthetic actor, with an untrained prior."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from adapt.commands.flags import PreviewConfig
from adapt.commands.preview import main
from adapt.dubbing.preview import choose_frames
from adapt.progress import SILENT
from adapt.reports.contact_sheet import HEADER_PX, MARGIN_PX
from prior.face.model import load_face_model
from prior.renderer.prior import RendererPrior, extreme_expressions
from render.errors import FootageError, OutputError
from render.head.track import Track


@pytest.fixture
def untrained(talking_clip: tuple[Path, Track], monkeypatch: pytest.MonkeyPatch) -> None:
    model = load_face_model()
    torch.manual_seed(0)
    prior = RendererPrior(model, {"widths": [8, 8, 8, 8, 8]})
    prior.erasing_expressions.copy_(extreme_expressions(model, talking_clip[1].lower_expression))
    prior.facts = {"sha256": "0"}
    monkeypatch.setattr("adapt.dubbing.preview.load_renderer_prior", lambda: prior.eval().requires_grad_(False))


def test_preview_writes_a_grid_and_refuses_to_overwrite(talking_clip, untrained, tmp_path):
    out = tmp_path / "grid é.png"
    config = PreviewConfig(actor="prior", video=str(talking_clip[0]), out=str(out), at=[0.4, 1.2], jaw=[0.0, 1.0])
    main(config, SILENT)
    picture = cv2.imdecode(np.frombuffer(out.read_bytes(), "uint8"), cv2.IMREAD_COLOR)
    assert picture.shape[:2] == (HEADER_PX + 2 * (256 + HEADER_PX), 4 * (256 + MARGIN_PX) + MARGIN_PX)
    cells = [picture[HEADER_PX : HEADER_PX + 256, 4 + i * 260 : 260 + i * 260].astype(int) for i in range(4)]
    top = slice(0, 40)  # above the lower face nothing changes
    assert all(abs(cell[top] - cells[0][top]).max() == 0 for cell in cells)
    assert abs(cells[3] - cells[2]).max() > 20, "an open jaw is not a closed one"
    with pytest.raises(OutputError, match="--overwrite"):
        main(config, SILENT)


def test_frames_are_the_nearest_in_time_or_span_the_opening(talking_clip):
    track = talking_clip[1]
    assert choose_frames(track, [0.41, 0.0], 1.6).tolist() == [10, 0]
    opening = track.lower_expression[choose_frames(track, [], 1.6), 0]
    assert opening[0] == track.lower_expression[:, 0].min() and opening[-1] == track.lower_expression[:, 0].max()
    with pytest.raises(FootageError, match="1.60 s"):
        choose_frames(track, [7.0], 1.6)
    assert choose_frames(track, [7.0], 8.0).tolist() == [len(track) - 1]  # held until then

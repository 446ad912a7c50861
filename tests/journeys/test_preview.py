"""`adapt preview` on the synthetic actor, with an untrained prior; and with a sound, as frames will be in the dub."""

import wave
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

import adapt
from adapt.commands.flags import PreviewConfig
from adapt.commands.preview import main
from adapt.dubbing.preview import PREVIEW_PX, choose_frames
from adapt.progress import SILENT
from adapt.reports.contact_sheet import HEADER_PX, MARGIN_PX
from adapt.tracking.kept import track_footage
from prior.face.model import load_face_model
from prior.renderer.prior import RendererPrior, extreme_expressions
from render.drawing.crop import cut_crop
from render.errors import ConfigError, FootageError, OutputError
from render.head.track import Track
from render.video.reader import Footage


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


def test_a_picture_is_of_the_kind_that_its_name_says(talking_clip, untrained, tmp_path, capfd):
    for name, start in (("grid.JPG", b"\xff\xd8\xff"), ("grid.png", b"\x89PNG")):
        main(PreviewConfig("prior", str(talking_clip[0]), out=str(tmp_path / name), at=[0.4], jaw=[0.0]), SILENT)
        assert (tmp_path / name).read_bytes().startswith(start)
    assert "WARN" not in capfd.readouterr().err
    with pytest.raises(ConfigError, match=r"ends in \.png, \.jpg or \.jpeg"):
        main(PreviewConfig("prior", str(talking_clip[0]), out=str(tmp_path / "grid.mp4")), SILENT)


def test_frames_are_the_nearest_in_time_or_span_the_opening(talking_clip):
    track = talking_clip[1]
    assert choose_frames(track, [0.41, 0.0], 1.6).tolist() == [10, 0]
    opening = track.lower_expression[choose_frames(track, [], 1.6), 0]
    assert opening[0] == track.lower_expression[:, 0].min() and opening[-1] == track.lower_expression[:, 0].max()
    with pytest.raises(FootageError, match="1.60 s"):
        choose_frames(track, [7.0], 1.6)
    assert choose_frames(track, [7.0], 8.0).tolist() == [len(track) - 1]  # held until then


@pytest.fixture
def voice(tmp_path):
    """0.6 s of noise, loudest from 0.2 s to 0.3 s and hardly heard in the last third."""
    samples = np.random.default_rng(0).normal(0, 0.05, 9_600)
    samples[3_200:4_800] *= 8
    samples[6_400:] *= 0.01
    with wave.open(str(tmp_path / "voice.wav"), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16_000)
        file.writeframes((samples.clip(-1, 1) * 32_767).astype("<i2").tobytes())
    return tmp_path / "voice.wav"


def test_frames_of_a_dub_are_shown_as_they_will_be(talking_clip, ada, voice, tmp_path):
    ada.save(tmp_path / "ada.actor")
    options = adapt.DubOptions(part=(0.8, 1.4), on_mismatch="trim", codec="ffv1")
    driver = adapt.Sound(voice)
    shown = adapt.preview_dub(tmp_path / "ada.actor", talking_clip[0], driver, options=options)
    assert shown.names[:3] == ["loudest", "quietest", "turned furthest"] and shown.columns == ["real", "dubbed"]
    assert shown.frames[0] in (25, 26, 27) and shown.frames[1] >= 29, "the part begins with frame 20"
    assert "sound -8 dB" in shown.told[0] or "sound -9 dB" in shown.told[0]
    assert all("% of the new mouth" in line and "cm apart" in line for line in shown.told)
    dubbed = adapt.dub(talking_clip[0], [adapt.Request(driver, tmp_path / "ada.actor")], tmp_path / "out", options)
    assert shown.pictures.shape == (len(shown.frames), 2, PREVIEW_PX, PREVIEW_PX, 3)
    # The part with what lies around it is all of the take.
    track = track_footage(Footage(talking_clip[0]), None, "").with_crop_size(PREVIEW_PX)
    written = Footage(dubbed.video)
    for number, (real, new) in zip(shown.frames, shown.pictures, strict=True):
        (frame,) = written.frames(number, number + 1)
        weight = float(dubbed.redrawn.handovers[0].weight[number])
        assert (np.abs(new.astype(int) - real).max() > 3) == (weight > 0), "the mouth is new where it is said to be"
        assert np.array_equal(new, cut_crop(frame.preview, track.crop_from_image[number].numpy(), PREVIEW_PX))


def test_with_a_sound_a_bundle_is_needed(talking_clip, voice, tmp_path):
    config = PreviewConfig(actor="prior", video=str(talking_clip[0]), audio=str(voice), out=str(tmp_path / "x.png"))
    with pytest.raises(ConfigError, match="bundle in place of `prior`"):
        main(config, SILENT)

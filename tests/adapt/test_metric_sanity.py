"""What each metric does when a known thing is wrong with the picture, and that it stays put when something else is.

Two synthetic actors say a sentence once as "real" video and again with one fault at a time; scores are means over the
two. Faults of motion (late, still, too wide, another moment's mouth) are rendered, so that pose and light are right;
faults of picture (blur, grain, coding, trembling) are put on the true crops, inside the erased area only.
"""

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean

import av
import cv2
import numpy as np
import pytest
import skimage.data
import torch
from kornia.filters import gaussian_blur2d

from adapt.metrics.mouth import (
    closure_times,
    closures,
    landmark_distance,
    opening_ratio,
    opening_speed,
    silence_leak,
)
from adapt.metrics.mouth_meter import MouthMeter
from adapt.metrics.perceptual import perceptual_metrics
from adapt.metrics.picture import (
    SSIM_WINDOW,
    concordance,
    flicker_ratio,
    mouth_box_mask,
    native_texture_ratio,
    outside_error,
    psnr,
    rectangle_of,
    seam_ratio,
    ssim,
    texture_ratio,
)
from adapt.metrics.temporal import RealFlow, warping_ratio
from adapt.synthetic.actor import PORTRAIT, SyntheticActor, cut_out
from prior.face.points import LIPS_OUTER, opening
from prior.speech import phonemes
from render.drawing.crop import cut_crop
from render.drawing.erasure import erased_mask
from render.head.track import Track

SENTENCE = Path(__file__).parents[2] / "examples" / "sentence.json"
#: Frames of a scene, and those that its pictures are judged by: what the mouth does takes more of them.
FRAMES, PICTURES = 75, slice(20, 50)
START_SECONDS = 0.2
#: The portraits' size, and the square in their middle that is filmed: there a head is as large as in its crop.
SIZE, FILMED = 512, 290
#: What is left of red, green and blue on the lips, and of light behind them.
LIPS, INSIDE = (0.7, 0.45, 0.45), 0.5


def sentence() -> tuple[list[tuple[str, float]], np.ndarray]:
    """Classes and end times of the committed sentence's phones, and its labels."""
    phones = json.loads(SENTENCE.read_text("utf-8"))["phones"]
    starts = [0.0, *(end for _, end in phones)]
    timed, segments = [], []
    for start, (phone, end) in zip(starts, phones, strict=False):
        classes = phonemes.classes_of_arpabet(phone)
        segments.append((start, end, classes))
        for number, label in enumerate(classes):
            timed.append((phonemes.CLASSES[label], start + (end - start) * (number + 1) / len(classes)))
    return timed, phonemes.label_rows(segments, starts[-1])


@dataclass(frozen=True)
class Scene:
    """The real video of the actor and a way to render others; T frames."""

    actor: SyntheticActor
    track: Track
    real: torch.Tensor
    erased: torch.Tensor
    labels: np.ndarray
    seconds: torch.Tensor
    meter: MouthMeter

    @property
    def part(self) -> tuple[slice, slice, slice, slice]:
        """Index of what metrics of pictures look at: `PICTURES`, around the erased area."""
        _, rows, columns = rectangle_of(self.erased, margin_px=6)
        return PICTURES, slice(None), rows, columns

    def drawn(self, lower: torch.Tensor) -> torch.Tensor:
        """Crops with another lower expression [T, E] inside the erased area."""
        return self.inside(render(self.actor, self.track.with_motion(lower), self.track.crop_from_image))

    def inside(self, crops: torch.Tensor) -> torch.Tensor:
        """The real crops, with these inside the erased area."""
        return torch.where(self.erased > 0, crops, self.real)


def render(actor: SyntheticActor, take: Track, crop_from_image: torch.Tensor) -> torch.Tensor:
    crops = [
        cut_crop(frame, matrix.numpy(), 256) for frame, matrix in zip(actor.frames(take), crop_from_image, strict=True)
    ]
    return torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2).float() / 255


def portraits() -> tuple[np.ndarray, np.ndarray]:
    """The public-domain portrait, and a second head made of it: mirrored, narrower, with darker skin."""
    portrait = skimage.data.astronaut()[PORTRAIT]
    narrow = cv2.resize(portrait[:, ::-1], (SIZE - 36, SIZE)) * (0.95, 0.88, 0.82)
    return cv2.resize(portrait, (SIZE, SIZE)), np.pad(narrow, ((0, 0), (18, 18), (0, 0)), "edge").astype(np.uint8)


def head(portrait: np.ndarray) -> SyntheticActor:
    """A portrait made movable, filmed from as near as its crop shows it, with lips darker than the skin.

    The portrait's own lips are nearly of one colour with it: compression takes away the line between them, and the
    detector guesses. It reads people's lips right there.
    """
    actor = cut_out(portrait)
    lips = np.zeros((SIZE, SIZE), np.float32)
    cv2.fillPoly(lips, [actor.pixels[list(LIPS_OUTER)].round().int().numpy()], 1.0)
    paint = torch.from_numpy(cv2.GaussianBlur(lips, (0, 0), 1.5)) * (1 - torch.tensor(LIPS)[:, None, None])
    canvas = actor.canvas.clone()
    canvas[0, :3, :SIZE] *= 1 - paint
    canvas[0, :3, SIZE:] *= INSIDE
    edge = (SIZE - FILMED) / 2
    image_from_filmed = torch.tensor([[1, 0, edge], [0, 1, edge], [0, 0, 1]], dtype=torch.float64)
    crop_from_filmed = actor.pose.crop_from_image @ image_from_filmed
    pose = replace(actor.pose, width=FILMED, height=FILMED, crop_from_image=crop_from_filmed)
    return replace(actor, canvas=canvas, pose=pose)


def filmed(portrait: np.ndarray, seed: int) -> Scene:
    actor = head(portrait)
    seconds = START_SECONDS + torch.arange(FRAMES, dtype=torch.float64) / 25
    phones, labels = sentence()
    track = actor.perform(actor.speak(phones, seconds), seconds, seed).with_crop_size(256)
    real = render(actor, track, track.crop_from_image)
    rest = actor.rest
    extremes = torch.stack(
        [rest, rest + 0.4 * actor.steps[0], rest + 0.1 * actor.steps[1], rest - 0.15 * actor.steps[1]]
    )
    rows = torch.arange(FRAMES).repeat_interleave(4)
    vertices = track.clip_vertices(actor.model, rows, extremes.repeat(FRAMES, 1)).unflatten(0, (FRAMES, 4))
    return Scene(actor, track, real, erased_mask(actor.model, vertices), labels, seconds, MouthMeter())


@pytest.fixture(scope="module")
def scenes() -> list[Scene]:
    first, second = portraits()
    return [filmed(first, seed=0), filmed(second, seed=1)]


def still(scene: Scene) -> torch.Tensor:
    return scene.actor.rest.expand(FRAMES, -1)


def late(scene: Scene, frames: int) -> torch.Tensor:
    return scene.track.lower_expression[(torch.arange(FRAMES) - frames).clamp(min=0)]


def widened(scene: Scene) -> torch.Tensor:
    return scene.actor.rest + 1.5 * (scene.track.lower_expression - scene.actor.rest)


def shuffled(scene: Scene) -> torch.Tensor:
    return scene.track.lower_expression[torch.randperm(FRAMES, generator=torch.Generator().manual_seed(2))]


def someone_else(scene: Scene) -> torch.Tensor:
    """The right motion with another's colours and softer features."""
    canvas = scene.actor.canvas.clone()
    tint = torch.tensor([0.65, 0.9, 1.35])[:, None, None]
    canvas[:, :3] = (gaussian_blur2d(canvas[:, :3], (9, 9), (2.0, 2.0)) * tint).clamp(max=1)
    other = replace(scene.actor, canvas=canvas)
    return scene.inside(render(other, scene.track, scene.track.crop_from_image))


def trembling(crops: torch.Tensor) -> torch.Tensor:
    return torch.stack([crop.roll(index % 2, -1).roll(index // 2 % 2, -2) for index, crop in enumerate(crops)])


def coded(crops: torch.Tensor, quality: int, folder: Path) -> torch.Tensor:
    """Through x264 at a constant rate factor, 4:4:4 so that only the quality counts."""
    path = folder / f"{quality}.mp4"
    with av.open(str(path), "w") as output:
        stream = output.add_stream("libx264", rate=25, options={"crf": str(quality), "preset": "fast", "threads": "1"})
        stream.width = stream.height = crops.shape[-1]
        stream.pix_fmt = "yuv444p"
        for crop in (crops * 255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy():
            output.mux(stream.encode(av.VideoFrame.from_ndarray(crop, format="rgb24")))
        output.mux(stream.encode(None))
    with av.open(str(path)) as source:
        frames = [frame.to_ndarray(format="rgb24") for frame in source.decode(video=0)]
    return torch.from_numpy(np.stack(frames)).permute(0, 3, 1, 2).float() / 255


def measured(scene: Scene, drawn: torch.Tensor, flow: RealFlow, real_landmarks: torch.Tensor) -> dict[str, float]:
    """Every metric of drawn crops [T, 3, H, W] in the mouth box, or over the erased area where it belongs there."""
    landmarks = scene.meter.landmarks(drawn)
    shown, wanted = opening(landmarks), opening(real_landmarks)
    speech = torch.from_numpy(scene.labels[(scene.seconds * phonemes.LABEL_RATE).long().numpy()] != phonemes.SILENCE)
    unit = float(opening_speed(wanted, scene.seconds)[speech[1:] & speech[:-1]].mean())
    shut = closures(shown, wanted, scene.seconds, closure_times(scene.labels))
    assert shut is not None and shut.count >= 3
    outside = outside_error(*(x[PICTURES] for x in (drawn, scene.real, scene.erased))).mean()
    part = scene.part
    mask, erased, drawn, real = (x[part] for x in (mouth_box_mask(drawn), scene.erased, drawn, scene.real))
    # What lies farther from the mouth box than a metric's window reaches costs time and counts for nothing.
    near = rectangle_of(mask, margin_px=SSIM_WINDOW // 2)
    boxed = drawn[near], real[near], mask[near]
    found = {
        "psnr": psnr(*boxed).mean(),
        "ssim": ssim(*boxed).mean(),
        "texture": texture_ratio(*boxed).mean(),
        "seam": seam_ratio(drawn, real, erased).mean(),
        "outside": outside,
        "flicker": flicker_ratio(*boxed, scene.seconds[PICTURES]),
        "warping": warping_ratio(drawn, real, flow, mask),
        "opening": opening_ratio(shown, wanted),
        "ccc": concordance(shown, wanted),
        "lips": landmark_distance(landmarks, real_landmarks)[1].mean(),
        "open at p b m": shut.depth,
        "articulation": silence_leak(shown, unit, scene.seconds, speech).articulation,
    }
    for name, distance in perceptual_metrics().distances.items():
        found[name] = distance(drawn[1::4], real[1::4], mask[1::4]).mean()
    return {name: float(value) for name, value in found.items()}


def faults(scene: Scene, folder: Path) -> Iterator[tuple[str, torch.Tensor]]:
    """Crops by fault."""
    real, noise = scene.real, torch.Generator().manual_seed(0)
    yield "real", real
    for frames in (1, 2, 5):
        yield f"late {frames}", scene.drawn(late(scene, frames))
    yield "frozen", scene.drawn(still(scene))
    yield "shuffled", scene.drawn(shuffled(scene))
    yield "wide", scene.drawn(widened(scene))
    yield "someone else", someone_else(scene)
    yield "blur", scene.inside(gaussian_blur2d(real, (15, 15), (2.5, 2.5)))
    yield "grain", scene.inside((real + 0.03 * torch.randn(real.shape, generator=noise)).clamp(0, 1))
    yield "brighter", scene.inside(real + 0.06)
    yield "trembling", scene.inside(trembling(real))
    for quality in (18, 28, 35):
        yield f"crf {quality}", scene.inside(coded(real, quality, folder))


@pytest.fixture(scope="module")
def table(scenes: list[Scene], tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, float]]:
    """Scores by fault, means over the actors."""
    folder = tmp_path_factory.mktemp("coded")
    found: dict[str, list[dict[str, float]]] = {}
    for scene in scenes:
        flow, landmarks = RealFlow(scene.real[scene.part], scene.seconds[PICTURES]), scene.meter.landmarks(scene.real)
        for name, picture in faults(scene, folder):
            found.setdefault(name, []).append(measured(scene, picture, flow, landmarks))
    return {fault: {name: mean(row[name] for row in rows) for name in rows[0]} for fault, rows in found.items()}


#: What a metric may say where nothing of its kind is wrong.
STEADY = {
    **{"texture": (0.9, 1.1), "seam": (0.93, 1.07), "flicker": (0.9, 1.1), "warping": (0.9, 1.1), "outside": (0, 0)},
    **{"opening": (0.9, 1.1), "ccc": (0.95, 1.0), "lips": (0, 0.013), "open at p b m": (-0.05, 0.06)},
    **{"articulation": (0.9, 1.1), "psnr": (36, 60), "ssim": (0.95, 1), "squeezenet": (0, 0.3)},
}
ANY = (-math.inf, math.inf)
#: What each fault does: the metrics that it must move and where to. Those not named here must stay `STEADY`; `ANY`
#: stands where a fault shows in a metric without being of its kind. A late, shuffled or wider mouth is no less steady,
#: yet it leaves the real video's flow: warping error is for lane 1 alone. Differences in px (PSNR, SSIM) fall for
#: everything, most for a change of brightness that nobody minds: a diagnosis, no result.
PIXELS = {"psnr": (20, 36), "ssim": (0.8, 0.96), "squeezenet": (0.3, 3.0)}
MOTION = {**PIXELS, "warping": ANY}
FAULTS: dict[str, dict[str, tuple[float, float]]] = {
    "real": {},
    "late 1": {**MOTION, "ccc": (0.3, 0.55), "lips": (0.02, 0.06)},
    "late 2": {**MOTION, "ccc": (-0.3, 0.2), "lips": (0.03, 0.07)},
    "late 5": {**MOTION, "ccc": (0, 0.5), "lips": (0.02, 0.07)},
    "frozen": {
        **{**MOTION, "ccc": (-0.05, 0.05), "lips": (0.03, 0.07), "flicker": (0, 0.4), "texture": (0.6, 0.9)},
        **{"opening": (0, 0.15), "articulation": (0, 0.1)},
    },
    "shuffled": {
        **{**MOTION, "ccc": (-0.4, 0.3), "lips": (0.03, 0.07), "flicker": (1.2, 2)},
        **{"articulation": (1.2, 2), "open at p b m": (0.06, 0.5)},
    },
    "wide": {
        **{**MOTION, "opening": (1.4, 1.6), "ccc": (0.7, 0.93), "lips": ANY, "articulation": (1.4, 1.6)},
        **{"texture": (0.9, 1.25), "flicker": (1.2, 1.7)},
    },
    "someone else": {
        **{"psnr": (10, 25), "ssim": (0.7, 0.9), "squeezenet": (2, 5), "texture": (0.6, 0.9), "seam": (1.4, 2.5)},
        **{"flicker": ANY, "lips": ANY, "ccc": (0.95, 1), "open at p b m": (-0.05, 0.1)},
    },
    "blur": {
        **{**PIXELS, "texture": (0.2, 0.5), "flicker": (0.6, 0.9), "warping": (0.4, 0.8)},
        **{"seam": (0.9, 1), "opening": (0.9, 1)},
    },
    "grain": {**PIXELS, "ssim": (0.6, 0.8), "texture": (1.3, 2), "flicker": (1.5, 3), "warping": (1.5, 3), "seam": ANY},
    "brighter": {"psnr": (23, 26), "seam": (1.3, 1.8)},
    "trembling": {"psnr": (30, 40), "squeezenet": ANY, "flicker": (1.15, 1.6), "warping": (1.3, 2)},
    "crf 18": {"psnr": (38, 42)},
    "crf 28": {"psnr": (34, 37), "ssim": (0.93, 0.97), "squeezenet": (0.4, 1)},
    "crf 35": {
        **{"psnr": (30, 34), "ssim": (0.88, 0.94), "squeezenet": (0.8, 1.8), "texture": (0.8, 0.93)},
        **{"flicker": (0.8, 0.92), "articulation": (0.8, 1), "open at p b m": (-0.05, 0.1)},
    },
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_moves_its_own_metrics_and_no_others(table: dict[str, dict[str, float]], fault: str):
    wanted = STEADY | FAULTS[fault]
    off = {name: value for name, value in table[fault].items() if not wanted[name][0] <= value <= wanted[name][1]}
    assert not off, f"{fault}: {off}, wanted { ({name: wanted[name] for name in off}) }"


def test_nothing_wrong_scores_perfectly(table: dict[str, dict[str, float]]):
    perfect = {"psnr": 60, "outside": 0, "lips": 0, "squeezenet": 0}
    for name, value in table["real"].items():
        if name != "open at p b m":
            assert value == pytest.approx(perfect.get(name, 1), abs=1e-5), name


def test_the_more_wrong_the_worse(table: dict[str, dict[str, float]]):
    for order in (("real", "crf 18", "crf 28", "crf 35"), ("crf 35", "blur"), ("late 1", "late 2")):
        for better, worse in zip(order, order[1:], strict=False):
            assert table[better]["psnr"] > table[worse]["psnr"]
            assert table[better]["texture"] > table[worse]["texture"] or "late" in worse
            if "squeezenet" in table["real"]:
                assert table[better]["squeezenet"] < table[worse]["squeezenet"]


def test_the_seam_counts_a_step_only_where_it_is(scenes: list[Scene]):
    scene = scenes[0]
    spot = torch.zeros_like(scene.erased)
    spot[..., 120:140, 120:140] = 1
    inside = torch.where(spot > 0, scene.real + 0.2, scene.real)
    assert seam_ratio(inside, scene.real, scene.erased).tolist() == pytest.approx([1.0] * FRAMES, abs=1e-5)
    assert float(seam_ratio(inside, scene.real, spot).mean()) > 2
    assert float(outside_error(inside, scene.real, 1 - scene.erased).max()) > 0


def test_texture_at_native_resolution_sees_what_a_small_crop_loses():
    random = torch.Generator().manual_seed(0)
    grain = torch.rand(1, 3, 512, 512, generator=random)
    frame = (grain[0].permute(1, 2, 0) * 255).round().to(torch.uint8).numpy()
    half = torch.tensor([[[0.5, 0, 0], [0, 0.5, 0]]], dtype=torch.float64)
    small = torch.nn.functional.avg_pool2d(grain, 2)
    assert float(native_texture_ratio(small, [frame], half)) < 0.4
    same = torch.tensor([[[1.0, 0, -128], [0, 1.0, -128]]], dtype=torch.float64)
    assert float(native_texture_ratio(grain[..., 128:384, 128:384], [frame], same)) == pytest.approx(1, abs=0.01)
    far = torch.tensor([[[1.0, 0, 600], [0, 1.0, 600]]], dtype=torch.float64)
    assert math.isnan(float(native_texture_ratio(small, [frame], far)))


def test_silence_leak_needs_both_its_numbers():
    seconds = torch.arange(100, dtype=torch.float64) / 25
    speech = torch.arange(100) < 50
    moving = 0.1 + 0.1 * torch.sin(torch.arange(100.0))
    real = torch.where(speech, moving, 0.1)
    unit = float(opening_speed(real, seconds)[:49].mean())
    right, leaking, frozen = (silence_leak(mouth, unit, seconds, speech) for mouth in (real, moving, 0 * moving))
    assert right.leak == 0 and right.articulation == pytest.approx(1)
    assert leaking.leak == pytest.approx(1, abs=0.05) and leaking.articulation == pytest.approx(1)
    assert frozen.leak == 0 and frozen.articulation == 0
    assert math.isnan(silence_leak(real, unit, seconds, torch.ones(100, dtype=torch.bool)).leak)


def test_closures_are_judged_by_the_real_range():
    seconds = torch.arange(50, dtype=torch.float64) / 25
    real = 0.1 + 0.1 * torch.cos(torch.arange(50) * 2 * math.pi / 10)  # closed at 0.2 s, 0.6 s, …
    phones = [(0.18, 0.22), (0.58, 0.62), (9.0, 9.1)]
    found = closures(real, real, seconds, phones)
    assert found is not None and (found.count, found.closed) == (2, 1.0) and abs(found.depth) < 0.05
    half = closures(real.clamp(min=0.1), real, seconds, phones)
    assert half is not None and half.depth == pytest.approx(0.5, abs=0.02) and half.closed == 0
    assert closures(real, real, seconds, [(9.0, 9.1)]) is None
    assert math.isnan(opening_ratio(real, torch.zeros(50)))

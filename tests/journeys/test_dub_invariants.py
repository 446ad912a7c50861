"""What a dub may not touch, on every kind of footage. Tracks are the truth that the clip was rendered from."""

from dataclasses import replace
from fractions import Fraction

import av
import cv2
import numpy as np
import pytest
import torch

from adapt.dubbing.options import DubOptions
from adapt.dubbing.part import Part
from adapt.dubbing.redraw import redraw
from render.compositing.occlusion import LOOK_PX, Occlusion
from render.compositing.region import REGIONS
from render.errors import OutputError
from render.head.camera import rotation_matrix
from render.splicing.joins import SpliceError
from render.video.encoder import FORMATS
from render.video.encoding import DeliveredSound
from render.video.reader import Footage
from render.video.writer import VideoWriter
from tests.media import Sound, make_clip, make_sound, packets

FRAMES = 6
KINDS = {
    "23.976": {"rate": Fraction(24000, 1001)},
    "29.97, 4:2:2": {"rate": Fraction(30000, 1001), "pix_fmt": "yuv422p"},
    "variable rate": {"times": [0, 1001, 2002, 5005, 6006, 9009], "time_base": Fraction(1, 24000)},
    "turned by 90": {"rotation": 90},
    "turned by 180": {"rotation": 180},
    "turned by 270": {"rotation": 270},
    "10 bit": {"pix_fmt": "yuv420p10le"},
    "odd size": {"codec": "ffv1", "pix_fmt": "yuv444p", "odd": True},
    "pixels of 2:1": {"coded": (160, 320), "context": {"sample_aspect_ratio": Fraction(2)}},
    "pixels of 1:2, turned by 90": {
        "coded": (160, 320),
        "context": {"sample_aspect_ratio": Fraction(1, 2)},
        "rotation": 90,
    },
}


@pytest.fixture(scope="module")
def pictures(talking_clip):
    return [frame.rgb for frame in Footage(talking_clip[0]).frames(0, 24)]


def rows_of(track, rows):
    """The same track with other frames: rows [N] of it."""
    rows = torch.as_tensor(rows)
    tensors = {name: value for name, value in vars(track).items() if isinstance(value, torch.Tensor)}
    values = {name: value[rows] for name, value in tensors.items() if name != "shape"}
    times = torch.arange(len(rows), dtype=torch.float64) / 25
    return replace(track, **{**values, "timestamps": times})


def part_of(bundle, track):
    return Part(bundle, track, track.lower_expression.roll(3, 0), torch.ones(len(track), dtype=torch.bool))


def decoded(path):
    footage = Footage(path)
    return [frame.planes for frame in footage.frames()], list(footage.pts * footage.time_base)


def lossless(source, parts, output, **options):
    """Dub into FFV1; returns what is read back of source and result, and the patches of each frame."""
    patches = {}
    options = DubOptions(codec="ffv1", **options)
    result = redraw(
        Footage(source), parts, output, options, watch=lambda frame, own, _: patches.update({frame.index: own})
    )
    before, times = decoded(source)
    after, new_times = decoded(output)
    assert times == new_times
    return before, after, patches, result


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_but_the_mouth_changes(kind, talking_clip, ada, pictures, tmp_path):
    take, settings = rows_of(talking_clip[1], range(FRAMES)), dict(KINDS[kind])
    odd, coded = settings.pop("odd", False), settings.pop("coded", None)
    frames = [picture[: 320 - odd, : 320 - odd] for picture in pictures[:FRAMES]]
    frames = [cv2.resize(frame, coded, interpolation=cv2.INTER_AREA) if coded else frame for frame in frames]
    make_clip(tmp_path / "in.mp4", pictures=frames, **settings)
    take = replace(take, width=320 - odd, height=320 - odd)
    before, after, patches, _ = lossless(tmp_path / "in.mp4", [part_of(ada, take)], tmp_path / "out.mp4")
    footage = Footage(tmp_path / "in.mp4")
    assert Footage(tmp_path / "out.mp4").sample_aspect == footage.sample_aspect
    for index, (old, new) in enumerate(zip(before, after, strict=True)):
        assert old[0].dtype == new[0].dtype and [plane.shape for plane in old] == [plane.shape for plane in new]
        changed = footage.orientation.upright(old[0] != new[0])
        rows = np.flatnonzero(changed.any(1))
        crop_y = patches[index][0].crop_from_image[1, 1] * rows + patches[index][0].crop_from_image[1, 2]
        columns = np.flatnonzero(changed.any(0)) * footage.width / changed.shape[1]
        assert 0.5 < np.ptp(columns) / np.ptp(rows) < 1.6, "a mouth and chin have the shape of theirs"
        assert 40 < crop_y.min() and crop_y.max() < 256, "only the lower face changes"


def test_batches_of_16_and_64_and_the_same_seed_give_the_same_frames(talking_clip, ada, pictures, tmp_path):
    make_clip(tmp_path / "in.mp4", pictures=pictures)
    part = part_of(ada, rows_of(talking_clip[1], range(24)))
    _, small, *_ = lossless(tmp_path / "in.mp4", [part], tmp_path / "16.mp4", grain=True, seed=1, batch=16)
    _, large, *_ = lossless(tmp_path / "in.mp4", [part], tmp_path / "64.mp4", grain=True, seed=1, batch=64)
    assert all(np.array_equal(x, y) for a, b in zip(small, large, strict=True) for x, y in zip(a, b, strict=True))


def beside(track, shift_px):
    """The track of the same person in a picture of twice the width, `shift_px` from where the left half has it."""
    offset_cm = (shift_px - track.width / 2) * track.translation[:, 2] / track.focal_px
    move = torch.eye(3, dtype=torch.float64)
    move[0, 2] = -shift_px
    crop = torch.cat([track.crop_from_image, torch.tensor([[[0.0, 0.0, 1.0]]]).expand(len(track), 1, 3)], 1) @ move
    translation = track.translation + torch.stack([offset_cm, 0 * offset_cm, 0 * offset_cm], -1)
    return replace(track, width=2 * track.width, translation=translation, crop_from_image=crop[:, :2])


def test_another_person_is_not_touched_and_two_are_dubbed_in_one_pass(talking_clip, ada, pictures, tmp_path):
    take = rows_of(talking_clip[1], range(FRAMES))
    double = [np.concatenate([picture, picture], 1) for picture in pictures[:FRAMES]]
    make_clip(tmp_path / "in.mp4", pictures=double)
    left, right = (part_of(ada, beside(take, shift)) for shift in (0, 320))
    before, after, *_ = lossless(tmp_path / "in.mp4", [left], tmp_path / "one.mp4")
    for old, new in zip(before, after, strict=True):
        assert np.array_equal(old[0][:, 320:], new[0][:, 320:]) and (old[0][:, :320] != new[0][:, :320]).any()
    before, both, *_ = lossless(tmp_path / "in.mp4", [left, right], tmp_path / "both.mp4")
    for new, old, one in zip(both, before, after, strict=True):
        assert np.array_equal(new[0][:, :320], one[0][:, :320]) and (new[0][:, 320:] != old[0][:, 320:]).any()


def test_cuts_and_faceless_frames(talking_clip, ada, pictures, tmp_path):
    """A shot without a face between two with one: it passes through, and no ramp leads to or over the cut."""
    rows = [0, 1, 2, 3, 3, 3, 12, 13, 14, 15]
    take = rows_of(talking_clip[1], rows)
    shot = torch.tensor([0] * 4 + [1] * 2 + [2] * 4, dtype=torch.int32)
    take = replace(take, shot=shot, confidence=(shot != 1).float())
    noise = np.random.default_rng(0).integers(0, 255, (320, 320, 3)).astype(np.uint8)
    make_clip(tmp_path / "in.mp4", pictures=[noise if shot[i] == 1 else pictures[r] for i, r in enumerate(rows)])
    before, after, patches, result = lossless(tmp_path / "in.mp4", [part_of(ada, take)], tmp_path / "out.mp4")
    assert result.status == ["dubbed"] * 4 + ["no face"] * 2 + ["dubbed"] * 4
    assert result.weights[0].tolist() == [1.0] * 4 + [0.0] * 2 + [1.0] * 4
    for index in (4, 5):
        assert all(np.array_equal(x, y) for x, y in zip(before[index], after[index], strict=True))


def test_a_hand_over_the_mouth_passes_through_and_is_listed(talking_clip, ada, pictures, tmp_path):
    take = rows_of(talking_clip[1], range(12))
    covered = [picture.copy() for picture in pictures[:12]]
    crop = take.crop_from_image[0].numpy() / (take.crop_size / 256)
    centre = np.linalg.inv(crop[:, :2]) @ (np.array([128, 130]) - crop[:, 2])
    x, y = centre.round().astype(int)
    for picture in covered[4:]:
        picture[y - 40 : y + 40, x - 60 : x + 60] = picture[y - 60, x - 50]
    make_clip(tmp_path / "in.mp4", pictures=covered)
    before, after, _, result = lossless(tmp_path / "in.mp4", [part_of(ada, take)], tmp_path / "out.mp4")
    assert result.status[:4] == ["partly dubbed"] * 4 and result.status[4:] == ["occluded"] * 8
    (handover,) = result.handovers
    assert handover.reason == ["occluded"] * 12 and 0 < float(handover.motion[0]) < 1 == float(handover.weight[0])
    assert 0 < float(result.weights[0, 2]) < 1, "the mouth is handed over before the hand"
    assert np.array_equal(before[6][0], after[6][0])


def test_a_smaller_region_changes_less_and_inside_the_larger(talking_clip, ada, pictures, tmp_path):
    make_clip(tmp_path / "in.mp4", pictures=pictures[:2])
    part = part_of(ada, rows_of(talking_clip[1], range(2)))
    mattes = {}
    for region in REGIONS:
        *_, patches, _ = lossless(tmp_path / "in.mp4", [part], tmp_path / f"{region}.mp4", region=region)
        mattes[region] = patches[0][0].matte > 0
    sizes = [mattes[region].sum() for region in ("lips", "mouth", "lower-face")]
    assert 0 < sizes[0] < 0.75 * sizes[1] and sizes[1] < 0.9 * sizes[2]
    assert not (mattes["lips"] & ~mattes["mouth"]).any() and not (mattes["mouth"] & ~mattes["lower-face"]).any()


def test_delivered_sound_is_copied_packet_by_packet(talking_clip, ada, pictures, tmp_path):
    make_clip(tmp_path / "in.mp4", pictures=pictures[:2], sounds=[Sound(seconds=0.1)])
    voice = make_sound(tmp_path / "voice.m4a", Sound(seconds=0.1, layout="mono"))
    part = part_of(ada, rows_of(talking_clip[1], range(2)))
    redraw(Footage(tmp_path / "in.mp4"), [part], tmp_path / "own.mp4")
    redraw(Footage(tmp_path / "in.mp4"), [part], tmp_path / "voice.mp4", sound=DeliveredSound([voice]))
    assert packets(tmp_path / "own.mp4") == packets(tmp_path / "in.mp4")
    assert packets(tmp_path / "voice.mp4") == packets(voice)


def test_a_full_disk_is_told_and_leaves_nothing(talking_clip, ada, pictures, tmp_path):
    resource = pytest.importorskip("resource")
    make_clip(tmp_path / "in.mp4", pictures=pictures)
    part = part_of(ada, rows_of(talking_clip[1], range(24)))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, before[1]))
    try:
        with pytest.raises(OutputError, match=r"out\.mp4"):
            redraw(Footage(tmp_path / "in.mp4"), [part], tmp_path / "out.mp4", DubOptions(codec="ffv1"))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert [path.name for path in tmp_path.iterdir()] == ["in.mp4"]


def test_beyond_the_fitted_pose_the_source_stays(talking_clip, ada, pictures, tmp_path):
    take = rows_of(talking_clip[1], range(2))
    yaw = float(rotation_matrix(take.rotation)[0, 0, 2])
    far = replace(ada, pose_range={"yaw": [np.rad2deg(yaw) - 60, np.rad2deg(yaw) - 40], "pitch": [-90, 90]})
    make_clip(tmp_path / "in.mp4", pictures=pictures[:2])
    with pytest.raises(Exception, match="turned beyond the fitted range"):
        redraw(Footage(tmp_path / "in.mp4"), [part_of(far, take)], tmp_path / "out.mp4")


def test_stereo_samples_without_named_speakers_are_delivered_in_mp4(talking_clip, ada, pictures, tmp_path):
    make_clip(tmp_path / "in.mp4", pictures=pictures[:2])
    voice = make_sound(tmp_path / "voice.wav", Sound("pcm_s16le", seconds=0.1))
    part = part_of(ada, rows_of(talking_clip[1], range(2)))
    result = redraw(Footage(tmp_path / "in.mp4"), [part], tmp_path / "out.mp4", sound=DeliveredSound([voice]))
    assert packets(tmp_path / "out.mp4") and "encoded anew as aac" in " ".join(result.notes)


def test_what_is_not_drawn_into_is_copied_or_where_that_goes_wrong_encoded(
    talking_clip, ada, pictures, tmp_path, monkeypatch
):
    options = {"preset": "ultrafast", "crf": "18", "g": "8", "sc_threshold": "0"}
    footage = Footage(make_clip(tmp_path / "in.mp4", pictures=pictures, options=options, sounds=[Sound()]))
    whole = part_of(ada, rows_of(talking_clip[1], range(24)))
    part, seen = replace(whole, driven=(torch.arange(24) >= 9) & (torch.arange(24) < 16)), []
    result = redraw(footage, [part], tmp_path / "out.mp4", watch=lambda frame, *_: seen.append(frame.index))
    assert result.weights[0].nonzero()[:, 0].tolist() == list(range(9, 16)) and result.copied == [(0, 9), (16, 24)]
    assert seen == list(range(24)), "a report shows what is copied, too"
    with av.open(str(tmp_path / "in.mp4")) as source, av.open(str(tmp_path / "out.mp4")) as dubbed:
        before, after = ([bytes(packet) for packet in one.demux(video=0) if packet.size] for one in (source, dubbed))
    assert [old == new for old, new in zip(before, after, strict=True)] == [True] * 9 + [False] * 7 + [True] * 8
    assert [index for index, share in enumerate(result.changed) if share] == list(range(9, 16))

    def refuse(*_):
        raise SpliceError("frame 11 is not the source's")

    monkeypatch.setattr("render.splicing.spliced_writer.refuse_wrong_joins", refuse)
    seen.clear()
    again = redraw(footage, [part], tmp_path / "new.mp4", watch=lambda frame, *_: seen.append(frame.index))
    assert again.copied == () and "no frame is copied" in again.notes[0] and "frame 11 is not" in again.notes[0]
    assert seen == list(range(24)) and (again.changed, again.status) == (result.changed, result.status)
    assert Footage(tmp_path / "new.mp4").frame_count == 24
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.mp4", "new.mp4", "out.mp4"]


def test_in_front_is_what_lies_over_the_new_mouth(talking_clip, ada, pictures, tmp_path, monkeypatch):
    beside, over = np.zeros((2, LOOK_PX, LOOK_PX), bool)
    beside[:, :4] = over[30:, :40] = True
    masks = {1: np.packbits(beside).tobytes(), 2: np.packbits(over).tobytes()}
    found = Occlusion(torch.zeros(4, dtype=torch.bool), masks)
    monkeypatch.setattr("adapt.dubbing.redraw.find_occlusions", lambda *_: [found])
    make_clip(tmp_path / "in.mp4", pictures=pictures[:4])
    *_, result = lossless(tmp_path / "in.mp4", [part_of(ada, rows_of(talking_clip[1], range(4)))], tmp_path / "o.mp4")
    assert result.in_front == [2] and result.changed[2] < 0.8 * result.changed[1]


@pytest.mark.parametrize("suffix", FORMATS)
def test_the_same_frames_are_encoded_to_the_same_bytes(suffix, pictures, tmp_path):
    make_clip(tmp_path / "in.mp4", pictures=pictures, sounds=[Sound()])
    written = set()
    for number in range(4):
        with VideoWriter(Footage(tmp_path / "in.mp4"), tmp_path / f"{number}{suffix}") as writer:
            for frame in writer.footage.frames():
                writer.write(frame, frame.planes)
        written.add((tmp_path / f"{number}{suffix}").read_bytes())
    assert len(written) == 1

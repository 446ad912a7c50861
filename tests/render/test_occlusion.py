from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch

from adapt.fitting.covered_frames import clear_frames
from prior.face.model import load_face_model
from prior.face.points import LIPS_OUTER
from render.compositing.occlusion import LOOK_PX, OccluderSeeker, lasting
from render.drawing.crop import cut_crop
from render.drawing.gbuffer import gbuffer
from render.video.reader import Footage

FRAMES = 8


@pytest.fixture(scope="module")
def seen(talking_clip, ada):
    """A seeker's arguments, and the small crops of some frames."""
    path, take = talking_clip
    small = take.with_crop_size(LOOK_PX)
    crops = [
        cut_crop(frame.preview, small.crop_from_image[frame.index].numpy(), LOOK_PX)
        for frame in Footage(path).frames(0, FRAMES)
    ]
    return (load_face_model(), ada.texture, take), np.stack(crops)


def microphone(crop):
    """A dark ball before the chin, and where it is."""
    y, x = np.mgrid[:LOOK_PX, :LOOK_PX]
    ball = (x - 36) ** 2 + (y - 46) ** 2 < 81
    return np.where(ball[..., None], np.uint8(30), crop), ball


def hand(crop):
    """The cheek's own colour, with the shadows between fingers, over the mouth."""
    y, x = np.mgrid[:LOOK_PX, :LOOK_PX]
    cheek = np.median(crop[14:22, 14:22].reshape(-1, 3), 0)
    shade = (0.95 - 0.15 * (y % 7 == 0))[..., None]
    there = (np.abs(y - 32) < 10) & (np.abs(x - 32) < 18)
    return np.where(there[..., None], (cheek * shade).astype(np.uint8), crop), there


def occlusion_of(arguments, crops, cover, covered):
    seeker = OccluderSeeker(*arguments)
    for frame, crop in enumerate(crops):
        seeker.look(frame, cover(crop)[0] if frame in covered else crop)
    return seeker.occlusion()


def test_a_face_with_nothing_in_front_is_clear(seen):
    found = occlusion_of(*seen, microphone, ())
    assert not found.masks and not found.hidden.any()


def test_a_microphone_before_the_chin_is_found_where_it_is(seen):
    found = occlusion_of(*seen, microphone, (3, 4, 5))
    assert set(found.masks) == {3, 4, 5}
    ball = microphone(seen[1][0])[1]
    for frame in (3, 4, 5):
        mask = found.mask(frame)
        assert (mask & ball).sum() > 0.6 * ball[:50].sum()
        assert (mask & cv2.dilate(ball.astype(np.uint8), np.ones((15, 15))).astype(bool)).sum() == mask.sum()


def test_a_hand_of_the_skins_own_colour_hides_the_mouth(seen):
    found = occlusion_of(*seen, hand, (2, 3, 4, 5))
    assert found.hidden.nonzero().flatten().tolist() == [2, 3, 4, 5]


def test_what_is_there_for_one_frame_only_is_no_occluder(seen):
    found = occlusion_of(*seen, hand, (4,))
    assert not found.hidden.any()


def test_hidden_stretches_close_but_not_over_a_cut():
    hidden = torch.tensor([1, 1, 0, 0, 1, 1, 0, 0, 1, 1], dtype=torch.bool)
    times = torch.arange(10) / 25
    shot = torch.tensor([0, 0, 0, 0, 0, 0, 0, 1, 1, 1])
    unknown = torch.zeros(10, dtype=torch.bool)
    assert lasting(hidden, unknown, shot, times).int().tolist() == [1, 1, 1, 1, 1, 1, 0, 0, 1, 1]
    alone = torch.tensor([0, 1, 0], dtype=torch.bool)
    beside = torch.tensor([0, 0, 1], dtype=torch.bool)
    assert lasting(alone, beside, shot[:3], times[:3]).any()
    assert not lasting(alone, beside, torch.tensor([0, 0, 1]), times[:3]).any()


def test_frames_a_second_apart_need_no_neighbour_to_confirm_them(seen):
    (model, texture, take), crops = seen
    slow = replace(take, timestamps=torch.arange(len(take), dtype=torch.float64))
    found = occlusion_of((model, texture, slow), crops, hand, (4,))
    assert found.hidden.nonzero().flatten().tolist() == [4]
    found = occlusion_of((model, texture, slow), crops, microphone, (4,))
    assert set(found.masks) == {4}


def disc(take, frame, across, radius_px):
    """The outline of a head of so many px, whose middle lies `across` mouth widths to the right of the mouth's."""
    points = take.image_vertices(load_face_model(), torch.tensor([frame]))[0, list(LIPS_OUTER)].numpy()
    angle = np.linspace(0, 2 * np.pi, 24)
    middle = points.mean(0) + [across * np.ptp(points[:, 0]), 0]
    return middle + radius_px * np.stack([np.cos(angle), np.sin(angle)], -1)


def test_a_head_in_front_of_the_mouth_hides_it_and_beside_it_stays_on_top(seen):
    (model, texture, take), crops = seen
    width = float(np.ptp(take.image_vertices(model, torch.tensor([2]))[0, list(LIPS_OUTER), 0].numpy()))
    heads = {2: disc(take, 2, 0.5, width)[None], 5: disc(take, 5, 1.6, width)[None], 7: disc(take, 7, 90, width)[None]}
    seeker = OccluderSeeker(model, texture, take, heads)
    for frame, crop in enumerate(crops):
        seeker.look(frame, crop)
    found = seeker.occlusion()
    assert found.hidden.nonzero().flatten().tolist() == [2]
    assert set(found.masks) == {2, 5}
    small = take.with_crop_size(LOOK_PX).crop_from_image[5].numpy()
    y, x = np.argwhere(found.mask(5)).mean(0)
    rim = (disc(take, 5, 1.6, width) @ small[:, :2].T + small[:, 2]).clip(0, LOOK_PX - 1)
    assert rim[:, 0].min() < x < rim[:, 0].max() and rim[:, 1].min() < y < rim[:, 1].max()


def test_what_differs_just_beyond_the_outline_of_a_head_is_the_heads(seen):
    (model, texture, take), crops = seen
    width = float(np.ptp(take.image_vertices(model, torch.tensor([2]))[0, list(LIPS_OUTER), 0].numpy()))
    small = take.with_crop_size(LOOK_PX).crop_from_image
    outline = {frame: disc(take, frame, 1.5, width)[None] for frame in (2, 5)}
    painted = [
        disc(take, frame, 1.5, 1.2 * width) @ small[frame].numpy()[:, :2].T + small[frame].numpy()[:, 2]
        for frame in (2, 5)
    ]
    seeker = OccluderSeeker(model, texture, take, outline)
    blue = crops.copy()
    cv2.fillPoly(blue[2], [np.rint(painted[0]).astype(np.int32)], (40, 60, 160))
    for frame, crop in enumerate(blue):
        seeker.look(frame, crop)
    found = seeker.occlusion()
    rings = []
    for frame, corners in zip((2, 5), painted, strict=True):
        whole, inner = np.zeros((2, LOOK_PX, LOOK_PX), np.uint8)
        cv2.fillPoly(whole, [np.rint(corners).astype(np.int32)], 1)
        middle = corners.mean(0)
        cv2.fillPoly(inner, [np.rint(middle + (corners - middle) / 1.2).astype(np.int32)], 1)
        face = gbuffer(
            model, take.with_crop_size(LOOK_PX).clip_vertices(model, torch.tensor([frame])), LOOK_PX
        ).lower_face
        ring = (whole > 0) & (inner == 0) & (face[0, 0].numpy() > 0)
        assert ring.sum() > 20 and found.mask(frame)[inner > 0].all()
        rings.append(float(found.mask(frame)[ring].mean()))
    assert rings[0] > 0.9 and rings[1] < 0.2, rings  # corners are rounded


def test_enrollment_keeps_the_clear_frames(seen):
    (model, _, take), crops = seen
    covered = np.stack([microphone(crop)[0] if row in (1, 2) else crop for row, crop in enumerate(crops)])
    pictures = torch.from_numpy(covered).permute(0, 3, 1, 2)
    clear = clear_frames(model, take.with_crop_size(LOOK_PX), torch.arange(FRAMES), pictures)
    assert (~clear).nonzero().flatten().tolist() == [1, 2]

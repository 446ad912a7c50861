import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import adapt.cast.members as members_module
from adapt.benchmarks.cast import Piece, evaluate_two_faces, read_clips, right_shots, write_reel
from adapt.cast.analyse import Analysis, analyse, choose_person
from adapt.cast.appearance import BIAS, HAIR_WEIGHT, PATTERN_WEIGHT, SKIN_WEIGHT, UNSEEN_DISTANCE, likenesses
from adapt.cast.faces import Face
from adapt.cast.mediapipe_backend import MediaPipeBackend
from adapt.cast.members import Run, gather_cast
from adapt.cast.suitability import check_footage
from render.errors import TrackingError
from render.video.reader import Footage
from tests.heads import portrait
from tests.media import make_clip


@pytest.fixture(scope="module")
def backend() -> MediaPipeBackend:
    return MediaPipeBackend()


def run(shot: int, start: int, count: int, look: int, box: tuple[float, ...] = (0, 0, 50, 50), rate: int = 25) -> Run:
    """A run whose appearance is one of a few clearly different ones."""
    result = Run(shot)
    result.frames.extend(range(start, start + count))
    result.times.extend(frame / rate for frame in range(start, start + count))
    result.seconds.extend([1 / rate] * count)
    result.confidence.extend([1.0] * count)
    for _ in range(count):
        result.boxes.extend(box)
    rng = np.random.default_rng(look)
    appearance = result.appearance
    appearance._count = appearance._hair_count = 1
    shares = rng.dirichlet(np.full(59, 0.3), 98)
    appearance._patterns += np.sqrt(shares).ravel().astype(np.float32)
    appearance._skin += np.sqrt(rng.dirichlet(np.full(256, 0.02))).astype(np.float32)
    appearance._hair += np.sqrt(rng.dirichlet(np.full(256, 0.02))).astype(np.float32)
    return result


def members(runs: list[Run]) -> list[list[int]]:
    return [[runs.index(found) for found in member.runs] for member in gather_cast(runs)]


def test_runs_of_one_person_join_and_are_numbered_by_screen_time() -> None:
    runs = [run(0, 0, 10, look=1), run(1, 10, 30, look=2), run(2, 40, 10, look=1), run(3, 50, 40, look=3)]
    assert members(runs) == [[3], [1], [0, 2]]
    assert [member.number for member in gather_cast(runs)] == [1, 2, 3]
    assert [member.frame_count for member in gather_cast(runs)] == [40, 30, 20]


def test_two_faces_in_one_frame_are_two_people_however_alike() -> None:
    runs = [run(0, 0, 10, look=1), run(0, 5, 10, look=1, box=(60, 0, 110, 50)), run(1, 20, 30, look=2)]
    assert sorted(map(sorted, members(runs))) == [[0], [1], [2]]


def test_the_likeness_of_all_pairs_is_that_of_each_pair() -> None:
    runs = [run(0, 0, 10, look=look) for look in (1, 2, 3, 1, 4)]
    runs[2].appearance._hair_count = 0  # out of the picture
    appearances = [one.appearance for one in runs]
    found = likenesses(appearances)
    for a, first in enumerate(appearances):
        for b, second in enumerate(appearances):
            unseen = first.hair is None or second.hair is None
            hair = UNSEEN_DISTANCE if unseen else np.linalg.norm(first.hair - second.hair)  # type: ignore[operator]
            wanted = BIAS + PATTERN_WEIGHT * np.square(first.patterns - second.patterns).sum()
            wanted += SKIN_WEIGHT * np.linalg.norm(first.skin - second.skin) + HAIR_WEIGHT * hair
            assert found[a, b] == pytest.approx(wanted, abs=1e-3)
    assert np.array_equal(found, found.T)


def test_a_film_of_a_thousand_runs_is_gathered_in_seconds() -> None:
    people = [run(0, 0, 1, look).appearance for look in range(7)]
    runs = []
    for shot in range(1000):
        one = run(shot, 30 * shot, 30, look=0)
        one.appearance = people[shot % 7]
        runs.append(one)
    begun = time.process_time()
    assert sorted(len(member.runs) for member in gather_cast(runs)) == [142] + [143] * 6
    assert time.process_time() - begun < 10  # half a million pairs, one by one, take 40 s


def test_no_runs_no_cast_and_short_doubtful_ones_are_left_out() -> None:
    assert gather_cast([]) == ()
    doubtful = run(0, 0, 5, look=1)
    doubtful.confidence[:] = type(doubtful.confidence)("f", [0.7] * 5)
    assert gather_cast([doubtful]) == ()


@pytest.mark.parametrize(("rate", "count", "is_one"), [(25, 24, False), (25, 25, True), (240, 60, False), (5, 5, True)])
def test_how_long_a_doubtful_face_has_to_be_seen_is_a_second_at_any_rate(rate: int, count: int, is_one: bool) -> None:
    doubtful = run(0, 0, count, look=1, rate=rate)
    doubtful.confidence[:] = type(doubtful.confidence)("f", [0.7] * count)
    assert len(gather_cast([doubtful])) == is_one


@pytest.mark.parametrize("rate", [5, 25, 240])
def test_a_face_is_resumed_within_two_seconds_at_any_rate(rate: int) -> None:
    def gap(seconds: float) -> float:
        first = run(0, 0, rate, look=1, rate=rate)
        return members_module._bonus(first, run(0, rate - 1 + round(seconds * rate), rate, look=1, rate=rate))

    assert gap(2.0) == members_module.RESUMED_BONUS and gap(2.2) == 0


@pytest.fixture(scope="module")
def analysis(backend: MediaPipeBackend, tmp_path_factory: pytest.TempPathFactory) -> Analysis:
    """Portrait, black frames, portrait smaller: one person in two of three shots."""
    near, far = portrait(150, size=(320, 240), at=(160, 120)), portrait(70, size=(320, 240), at=(120, 130))
    pictures = [near] * 8 + [np.zeros_like(near)] * 6 + [far] * 7
    path = tmp_path_factory.mktemp("cast") / "reel.mp4"
    make_clip(path, frames=len(pictures), size=(320, 240), pictures=pictures)
    return analyse(Footage(path), backend)


def test_one_person_over_two_shots(analysis: Analysis) -> None:
    assert [(shot.start, shot.stop) for shot in analysis.shots] == [(0, 8), (8, 14), (14, 21)]
    assert analysis.shot_of_frame().tolist() == [0] * 8 + [1] * 6 + [2] * 7
    (member,) = analysis.cast
    assert member.frame_count == 15 and [found.shot for found in member.runs] == [0, 2]


def test_landmarks_are_nan_where_the_face_is_absent(analysis: Analysis) -> None:
    landmarks, confidence = analysis.landmarks(1)
    assert landmarks.shape == (21, 478, 3) and landmarks.dtype == np.float32
    assert np.isnan(landmarks[8:14]).all() and not np.isnan(landmarks[:8]).any() and not np.isnan(landmarks[14:]).any()
    assert (confidence[8:14] == 0).all() and (confidence[:8] > 0.9).all()
    part, sure = analysis.landmarks(1, 5, 16)
    assert np.array_equal(part, landmarks[5:16], equal_nan=True) and np.array_equal(sure, confidence[5:16])


def test_the_skin_of_a_still_face_stays_and_is_not_followed_over_a_cut(analysis: Analysis) -> None:
    flow = analysis.flow(1)
    assert flow.shape == (21, len(analysis.layout.rigid), 2)
    assert np.isnan(flow[[0, *range(8, 15)]]).all()
    known = flow[[*range(1, 8), *range(15, 21)]]
    assert np.isfinite(known).mean() > 0.8 and np.nanquantile(np.abs(known), 0.95) < 0.1
    assert np.array_equal(analysis.flow(1, 5, 16), flow[5:16], equal_nan=True)


def test_a_face_proves_itself_and_what_is_none_does_not(backend: MediaPipeBackend) -> None:
    for height, upside_down in ((200, False), (40, False), (150, True)):
        picture = portrait(height, size=(320, 240), at=(160, 120))
        picture = np.ascontiguousarray(picture[::-1, ::-1]) if upside_down else picture
        (face,) = backend.detect(picture, small=True)
        assert backend.proves(picture, face)
        wall = np.random.default_rng(0).integers(90, 110, picture.shape).astype(np.uint8)
        assert not backend.proves(wall, face)
        aside = replace(face, landmarks=face.landmarks + np.float32([0.4 * face.height, 0, 0]))
        assert not backend.proves(picture, aside), "a mesh beside the face is none"


class Doubting(MediaPipeBackend):
    """Takes nothing in the right half of the picture for a face."""

    def proves(self, rgb: np.ndarray, face: Face) -> bool:
        return bool(face.box[0] < rgb.shape[1] / 2) and super().proves(rgb, face)


def test_what_does_not_prove_itself_is_listed_apart_and_blocks_nothing(tmp_path: Path) -> None:
    left, right = (portrait(120, size=(240, 200), at=(110, 100)) for _ in range(2))
    make_clip(tmp_path / "both.mp4", size=(480, 200), pictures=[np.concatenate([left, right[:, ::-1]], 1)] * 12)
    footage = Footage(tmp_path / "both.mp4")
    plain, doubting = analyse(footage), analyse(footage, Doubting())
    assert len(plain.cast) == 2 and not plain.unproven
    (member,), (thing,) = doubting.cast, doubting.unproven
    assert member.frame_count == 12 and member.runs[0].box(0)[0] < 240 < thing.box(0)[0]
    assert choose_person(doubting, None, "") == 1
    findings, _ = check_footage(footage, backend=Doubting())
    assert len(findings.cast) == 1 and "not a person: something at 3" in "\n".join(findings.lines())


def test_a_face_is_asked_ever_more_rarely_and_may_be_hidden_for_a_while() -> None:
    run, looks = Run(0), []
    for frame in range(1000):
        run.frames.append(frame)
        if run.is_look_due:
            run.looks += 1
            looks.append(frame)
    assert looks[:4] == [0, 1, 4, 6] and len(looks) < 20 and looks[-1] > 500
    run.proofs = len(looks) // 3 + 1
    assert run.is_proven and not replace(run, proofs=1).is_proven and Run(0).is_proven


def test_an_unknown_person_is_refused(analysis: Analysis) -> None:
    with pytest.raises(TrackingError, match="no person 3 .people are 1 to 1.*adapt check"):
        analysis.landmarks(3)


@pytest.mark.footage
def test_real_people_are_told_apart(footage_dir: Path, backend: MediaPipeBackend, tmp_path: Path) -> None:
    clips = {clip.person: clip for clip in read_clips(footage_dir / "dev") if clip.path.stem.endswith("_1")}
    people = ("P001", "P003", "P017", "P039")
    pieces = [Piece(clips[person], start) for start in (0.0, 1.0) for person in people]
    path = tmp_path / "reel.mp4"
    starts = write_reel(path, pieces)
    analysis = analyse(Footage(path), backend)
    assert [shot.start for shot in analysis.shots] == starts[:-1]
    assert len(analysis.cast) == 4 and all(right_shots(analysis, pieces, starts))


@pytest.mark.footage
def test_small_second_faces_are_found(footage_dir: Path, backend: MediaPipeBackend) -> None:
    result = evaluate_two_faces(read_clips(footage_dir / "dev"), 40, pairs=3, seed=1, backend=backend)
    assert result["pictures"] >= 9 and result["both_found"] >= 0.85

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

import adapt.commands.prepare
from adapt.commands.flags import PrepareConfig, TrackConfig
from adapt.commands.track import main as track_main
from adapt.preparation.index import find_clips, read_index
from adapt.preparation.prepare import choose_crops
from adapt.progress import SILENT, Bar, Silent
from adapt.tracking.track import track, track_person
from prior.cache.landmarks import load_all
from prior.cache.prepared import FACTS_NAME, prepared_clips
from prior.speech.sound import read_waveform, write_audio
from render.drawing.crop import cut_crop
from render.errors import ConfigError, FootageError, OutputError, TrackingError
from render.head.track import Track
from render.video.reader import Footage
from tests.media import make_clip


def prepare(footage, out, **settings):
    adapt.commands.prepare.main(
        PrepareConfig(footage=[str(path) for path in footage], out=str(out), **settings), SILENT
    )


def contents(folder):
    return {path.relative_to(folder): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_prepare_writes_what_training_reads_and_goes_on_where_it_was_stopped(talking_clip, tmp_path, monkeypatch):
    path, _ = talking_clip
    prepare([path], tmp_path / "whole", crops_per_person=30)
    (clip,) = prepared_clips(tmp_path / "whole")
    rows = clip.frames()
    assert clip.person == path.stem and len(rows) >= 20 and clip.track.crop_size == 256
    footage = Footage(path)
    for frame in footage.frames():
        if frame.index == int(rows[3]):
            wanted = cut_crop(frame.rgb, clip.track.crop_from_image[frame.index].numpy(), 256).astype(float)
            error = np.square(clip.crop(frame.index) - wanted).mean()
            assert 10 * np.log10(255**2 / error) > 34
    assert clip.facts["source_px_per_crop_px"] > 0 and clip.facts["has_sound"] is False

    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("adapt.preparation.prepare.write_crops", killed)
        with pytest.raises(KeyboardInterrupt):
            prepare([path], tmp_path / "again", crops_per_person=30)
    assert not (tmp_path / "again" / path.stem / FACTS_NAME).exists()
    (tmp_path / "again" / path.stem / ".crops.mp4.part").write_bytes(b"killed without a chance to clean up")
    prepare([path], tmp_path / "again", crops_per_person=30)
    assert contents(tmp_path / "again") == contents(tmp_path / "whole")

    def not_again(*_):
        raise AssertionError("was done already")

    monkeypatch.setattr("adapt.preparation.prepare.analyse", not_again)
    prepare([path], tmp_path / "whole", crops_per_person=30)


def test_sound_is_stored_in_the_same_bytes_every_time(tmp_path):
    waveform = np.sin(np.arange(16000) * 0.1).astype(np.float32)
    for name in ("a.ogg", "b.ogg"):
        write_audio(waveform, tmp_path / name)
    assert (tmp_path / "a.ogg").read_bytes() == (tmp_path / "b.ogg").read_bytes()
    assert len(read_waveform(tmp_path / "a.ogg")) == pytest.approx(16000, abs=400)


def test_landmarks_stage_and_footage_without_a_face(talking_clip, tmp_path):
    make_clip(tmp_path / "empty.mp4", frames=6)
    notes = []
    progress = Silent()
    progress.note = notes.append
    config = PrepareConfig(
        footage=[str(talking_clip[0]), str(tmp_path / "empty.mp4")], out=str(tmp_path / "c"), stage="landmarks"
    )
    adapt.commands.prepare.main(config, progress)
    (landmarks,) = load_all(tmp_path / "c")
    assert landmarks.points.shape == (40, 468, 3) and landmarks.confidence.min() > 0.5
    assert any("empty.mp4" in note for note in notes)
    with pytest.raises(FootageError, match="no clip could be prepared"):
        adapt.commands.prepare.main(
            replace(config, footage=[str(tmp_path / "empty.mp4"), str(tmp_path / "gone.mp4")]), progress
        )
    assert any("gone.mp4: no such file" in note for note in notes)
    held = (tmp_path / "c" / talking_clip[0].stem / "facts.json").read_bytes()
    (tmp_path / "other").mkdir()
    other = make_clip(tmp_path / "other" / talking_clip[0].name, frames=6)
    for footage, stage, message in (
        (other, "landmarks", "another clip of this name"),
        (talking_clip[0], "full", "stage"),
    ):
        with pytest.raises(FootageError):
            adapt.commands.prepare.main(replace(config, footage=[str(footage)], stage=stage), progress)
        assert message in notes[-2]
    assert (tmp_path / "c" / talking_clip[0].stem / "facts.json").read_bytes() == held


def test_an_index_is_read_once_however_many_clips_it_is_of(tmp_path, monkeypatch):
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        rows = [f"{folder} {number}.mp4,{folder},yes" for number in range(40)]
        (tmp_path / folder / "index.csv").write_text("\n".join(["file,person,speech", *rows]), encoding="utf-8")
        for number in range(40):
            (tmp_path / folder / f"{folder} {number}.mp4").touch()
    opened = []
    monkeypatch.setattr(
        "adapt.preparation.index.read_index", lambda folder: opened.append(folder) or read_index(folder)
    )
    clips = find_clips([str(tmp_path / "one"), str(tmp_path / "two")], 100)
    assert len(clips) == 80 and {clip.person for clip in clips} == {"one", "two"} and len(opened) == 2


def test_people_and_speech_come_from_the_index(tmp_path):
    for name in ("a_1.mp4", "a_2.mp4", "b.mp4"):
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "index.csv").write_text("file,person,speech\na_1.mp4,A,yes\na_2.mp4,A,no\n", encoding="utf-8")
    clips = {clip.path.name: clip for clip in find_clips([str(tmp_path)], 100)}
    assert clips["a_1.mp4"].person == clips["a_2.mp4"].person == "A" and clips["b.mp4"].person == "b"
    assert [clips[name].speech for name in ("a_1.mp4", "a_2.mp4", "b.mp4")] == [True, False, None]
    assert clips["a_1.mp4"].crops == 50 and clips["b.mp4"].crops == 100
    with pytest.raises(ConfigError, match="several clips"):
        find_clips([str(tmp_path), str(tmp_path / "b.mp4")], 100)
    (tmp_path / "index.csv").write_text("file,person\na_1.mp4,Zoé\na_2.mp4,\n", encoding="utf-8-sig")
    assert [clip.person for clip in find_clips([str(tmp_path)], 100)] == ["Zoé", "a_2", "b"]
    (tmp_path / "index.csv").write_text("file,person\na_1.mp4,Zoé\n", encoding="latin-1")
    with pytest.raises(ConfigError, match="index.csv: is not UTF-8"):
        find_clips([str(tmp_path)], 100)
    (tmp_path / "index.csv").write_text('file,person\na_1.mp4,"' + "A" * 200_000, encoding="utf-8")
    with pytest.raises(ConfigError, match="index.csv: is no table .*every quotation mark closed"):
        find_clips([str(tmp_path)], 85)
    (tmp_path / "index.csv").write_text("file;person\na_1.mp4;A\n", encoding="utf-8")
    with pytest.raises(ConfigError, match="index.csv: has no column `file`"):
        find_clips([str(tmp_path)], 100)


def test_crops_are_runs_of_sure_neighbours_in_one_shot(talking_clip):
    track = talking_clip[1]
    track.confidence[10:14] = 0
    shot = track.shot.clone()
    shot[30:] = 1
    rows = torch.tensor(choose_crops(Track(**{**vars(track), "shot": shot}), 20))
    track.confidence[10:14] = 1
    assert not torch.isin(torch.arange(10, 14), rows).any() and 5 <= len(rows) <= 20
    for row in rows:
        run = [r for r in rows.tolist() if abs(r - int(row)) < 5 and shot[r] == shot[row]]
        assert len(run) >= 5


def test_track_command_writes_a_track_a_person_and_an_overlay(talking_clip, tracked, tmp_path, monkeypatch, capsys):
    path, _ = talking_clip
    config = TrackConfig(video=str(path), out=str(tmp_path / "tracks"), overlay=True)
    track_main(config, SILENT)
    written = Track.load(tmp_path / "tracks" / "1.track.safetensors")
    footage = Footage(path)
    assert len(written) == footage.frame_count and written.source["file"] == path.name
    assert torch.equal(written.lower_expression, tracked.lower_expression)
    assert Footage(tmp_path / "tracks" / "1.overlay.mp4").frame_count == len(written)
    assert json.loads((tmp_path / "tracks" / "track.json").read_text(encoding="utf-8"))["overlay"] is True
    with pytest.raises(OutputError, match="--overwrite"):
        track_main(config, SILENT)
    found = track_person

    def first_cannot(analysis, number):
        if number == 1:
            raise TrackingError("too few")
        return found(analysis, number)

    monkeypatch.setattr("adapt.tracking.track.track_person", first_cannot)
    monkeypatch.setattr("adapt.tracking.track.everyone", lambda analysis: [1])
    with pytest.raises(TrackingError, match="not tracked, for the reasons above: 1"):
        track_main(TrackConfig(video=str(path), out=str(tmp_path / "tracks"), overwrite=True), Bar())
    names = ["1.overlay.mp4", "1.track.safetensors", "track.json"]
    assert sorted(entry.name for entry in (tmp_path / "tracks").iterdir()) == names, "nothing is lost for nothing new"
    assert "1.track.safetensors is of an earlier run" in capsys.readouterr().out
    with pytest.raises(TrackingError, match="no person 7"):
        track_main(TrackConfig(video=str(path), out=str(tmp_path / "other"), person=7), SILENT)


@pytest.mark.parametrize(
    ("person", "left"),
    [
        (None, ["1.track.safetensors", "my talk.overlay.mp4"]),
        (1, ["1.track.safetensors", "2.overlay.mp4", "2.track.safetensors", "my talk.overlay.mp4"]),
        ("interrupted", ["1.track.safetensors", "2.overlay.mp4", "2.track.safetensors", "my talk.overlay.mp4"]),
    ],
)
def test_overwriting_tracks_replaces_file_by_file(talking_clip, tmp_path, monkeypatch, person, left):
    """Only what is of numbers that the new cast has not goes, and only once the new tracks are there."""
    for name in ("1.track.safetensors", "2.track.safetensors", "2.overlay.mp4", "my talk.overlay.mp4"):
        (tmp_path / name).write_text("old")

    def tracked(analysis, number):
        if person == "interrupted":
            raise KeyboardInterrupt
        return talking_clip[1]

    monkeypatch.setattr("adapt.tracking.track.track_person", tracked)
    if person == "interrupted":
        with pytest.raises(KeyboardInterrupt):
            track(talking_clip[0], out=tmp_path, overwrite=True)
    else:
        track(talking_clip[0], person, out=tmp_path, overwrite=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == left
    assert ((tmp_path / "1.track.safetensors").read_bytes() == b"old") == (person == "interrupted")


def test_track_from_python_writes_only_where_it_is_told_to(talking_clip, tmp_path):
    path, _ = talking_clip
    tracked = track(path, 1)
    assert list(tracked.tracks) == [1] and tracked.files == {} and tracked.left_out == {}
    kept = track(Footage(path), out=tmp_path)
    assert kept.files == {1: tmp_path / "1.track.safetensors"} and list(tmp_path.iterdir()) == [kept.files[1]]
    assert torch.equal(Track.load(kept.files[1]).lower_expression, tracked.tracks[1].lower_expression)
    with pytest.raises(ValueError, match="needs 'out'"):
        track(path, overlay=True)

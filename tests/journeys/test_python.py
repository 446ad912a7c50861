"""The way of a take from Python, without a command: what comes back, what can be watched, and how it is stopped."""

import json
from contextlib import contextmanager
from dataclasses import FrozenInstanceError, fields, replace
from pathlib import Path

import pytest
import torch

import adapt
from prior.motion.model import WEIGHTS as MOTION_MODEL
from render.store import file_sha256

SENTENCE = Path(__file__).parents[2] / "examples" / "sentence.flac"
#: Ten frames of the take; what drives them is longer.
SHORT = adapt.DubOptions(part=(0.4, 0.8), on_mismatch="trim", quality="draft")


class Watch:
    """A progress of one's own: it inherits nothing, and keeps what it is told."""

    def __init__(self):
        self.done, self.totals, self.notes = {}, {}, []

    @contextmanager
    def stage(self, name, total=None):
        self.totals[name] = self.totals.get(name, 0) + (total or 0)
        self.done.setdefault(name, 0)

        def advance(count):
            self.done[name] += count

        yield advance

    def over(self, name, items, total=None):
        with self.stage(name, total) as advance:
            for item in items:
                yield item
                advance(1)

    def note(self, text):
        self.notes.append(text)

    def say(self, text):
        raise AssertionError("only commands print results")

    def result(self, value):
        raise AssertionError("only commands print results")


class Stopping(adapt.Silent):
    """Asks for the end when a stage of a name begins, or when something is told."""

    def __init__(self, moment):
        super().__init__()
        self.moment = moment

    def stage(self, name, total=None):
        if name == self.moment:
            self.cancel()
        return super().stage(name, total)

    def note(self, text):
        if self.moment == "note":
            self.cancel()


@pytest.fixture(scope="module")
def actor(ada, tmp_path_factory):
    path = tmp_path_factory.mktemp("actor") / "ada.actor"
    ada.save(path)
    return path


def test_from_a_take_to_a_dub_without_a_command(talking_clip, tracked, tmp_path):
    path, _ = talking_clip
    watch = Watch()
    findings = adapt.check(path, progress=watch)
    assert [member.number for member in findings.cast] == [1] and findings.facts["frames"] == 40
    tracks = adapt.track(path, progress=watch)
    assert torch.equal(tracks.tracks[1].lower_expression, tracked.lower_expression)
    consent = {"who": "Ada", "scope": "tests"}
    options = adapt.FitOptions(steps=1, consent=adapt.Consent(consent))
    fitted = adapt.fit([path], "Ada", options, tracks=[tracks.tracks[1]], progress=watch)
    bundle = adapt.save_fitted(fitted, tmp_path / "ada.actor", progress=watch)
    assert bundle.facts.scores is not None
    assert torch.equal(adapt.ActorBundle.load(tmp_path / "ada.actor").texture, bundle.texture.half().float())
    request = adapt.Request(adapt.OwnMotion(), tmp_path / "ada.actor")
    dubbed = adapt.dub(path, [request], tmp_path / "dubbed", SHORT, progress=watch)
    assert dubbed.folder == tmp_path / "dubbed" and dubbed.video.parent == dubbed.folder and dubbed.video.is_file()
    # In 0.4 s the mouth is handed over and back: no frame has all of the new motion.
    assert dubbed.redrawn.status.count("partly dubbed") == dubbed.quality["status"]["partly dubbed"] >= 8
    assert float(dubbed.redrawn.weights.max()) == 1
    grid = adapt.preview(tmp_path / "ada.actor", path, at=[0.4, 1.2], jaws=[1.0], progress=watch)
    assert grid.frames == [10, 30] and grid.pictures.shape == (2, len(grid.columns), 256, 256, 3)
    known = [adapt.inspect(place) for place in (tmp_path / "ada.actor", dubbed.folder, dubbed.video)]
    assert [one.kind for one in known] == ["actor bundle", "dub", "video"]
    assert known[0].facts["consent"] == consent and known[1].facts["actors"][0]["consent"] == bundle.consent
    assert known[2].facts["run"]["output"]["file"] == dubbed.video.name
    diagnosis = adapt.doctor()
    assert not diagnosis.missing
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["ada.actor", "dubbed"]
    for result in (findings, tracks, fitted, bundle, dubbed, dubbed.redrawn, grid, *known, diagnosis):
        with pytest.raises(FrozenInstanceError):
            setattr(result, fields(result)[0].name, None)
    assert {"faces", "tracking", "crops", "fit", "report", "look", "dub"} <= set(watch.done)
    assert watch.done == watch.totals and watch.done["fit"] == 1 and watch.done["dub"] == 40


@pytest.mark.parametrize("kind", ["video", "track"])
def test_a_run_says_what_drove_it_and_by_which_model(kind, talking_clip, tracked, actor, tmp_path):
    path, file = talking_clip[0], tmp_path / "1.track.safetensors"
    tracked.save(file)
    driver = adapt.Video(path) if kind == "video" else adapt.TrackFile(file)
    dubbed = adapt.dub(path, [adapt.Request(driver, actor)], tmp_path / "dubbed", SHORT)
    run = json.loads((dubbed.folder / "run.json").read_text(encoding="utf-8"))
    source = path if kind == "video" else file
    assert run["drivers"] == [{"kind": kind, "file": source.name, "sha256": file_sha256(source)}]
    assert run["motion_model_sha256"] == file_sha256(MOTION_MODEL)
    assert run["delivered_sounds"] == [] and run["source"]["sha256"] == file_sha256(path)


@pytest.mark.parametrize("moment", ["faces", "note", "dub"])
def test_a_dub_that_is_cancelled_leaves_nothing(moment, talking_clip, actor, tmp_path):
    request = adapt.Request(adapt.Sound(SENTENCE), actor)
    with pytest.raises(adapt.Cancelled):
        anew = replace(SHORT, keep_found=False)
        adapt.dub(talking_clip[0], [request], tmp_path / "dubbed", anew, progress=Stopping(moment))
    assert not list(tmp_path.iterdir())

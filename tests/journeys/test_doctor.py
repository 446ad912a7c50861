import json

import pytest
import torch

from adapt.actor.bundle import ActorBundle, FitFacts
from adapt.cli import main
from adapt.commands.flags import DubConfig
from adapt.config import handed_on
from adapt.dubbing.provenance import inspect
from adapt.installation import doctor
from prior import shipped
from render.errors import FootageError, StoreError
from render.store import write_json
from tests.media import make_clip


def test_doctor_says_ok_or_how_to_fix():
    findings = {finding.subject: finding for finding in doctor().findings}
    assert findings["torch"].state == "ok"
    assert findings["codec ffv1"].state == "ok"
    for finding in findings.values():
        assert finding.state in ("ok", "optional", "missing")
        assert finding.state == "ok" or finding.detail


def test_the_manifest_lists_every_shipped_file_as_it_is():
    weights = shipped.shipped_weights()
    assert {entry.path.name for entry in weights.values()} == {
        path.name for path in shipped.FOLDER.glob("*.safetensors")
    }
    for entry in weights.values():
        entry.verify()


def test_damaged_weights_are_named_with_hash_and_remedy(tmp_path, monkeypatch, capsys):
    weights = tmp_path / "face_model.safetensors"
    weights.write_bytes(b"good")
    monkeypatch.setattr(shipped, "FOLDER", tmp_path)
    monkeypatch.setattr(shipped, "MANIFEST", tmp_path / "manifest.json")
    shipped.main()
    entry = shipped.shipped_weights()["face_model"]
    assert entry.verify() == weights
    weights.write_bytes(b"bad")
    with pytest.raises(StoreError, match="damaged .*expected [0-9a-f]{64}.*git checkout"):
        entry.verify()
    weights.unlink()
    with pytest.raises(StoreError, match="missing .*expected sha256 [0-9a-f]{64}"):
        entry.verify()
    with pytest.raises(SystemExit) as stopped:
        main(["doctor"])
    assert stopped.value.code == 1
    assert "weights face_model" in capsys.readouterr().err


def test_inspect_an_actor(tmp_path, capsys):
    bundle = ActorBundle("Ada", torch.zeros(16, 4, 4), {}, {}, "a" * 64, [], {"yaw": [0.0, 1.0]}, FitFacts(steps=7))
    bundle.save(tmp_path / "ada.actor")
    facts = inspect(tmp_path / "ada.actor").facts
    assert facts["consent"] == "consent: not recorded"
    with pytest.raises(SystemExit) as stopped:
        main(["inspect", str(tmp_path / "ada.actor"), "--json"])
    assert stopped.value.code == 0
    assert json.loads(capsys.readouterr().out)["facts"]["steps"] == 7
    with pytest.raises(StoreError, match="neither an actor bundle"):
        inspect(tmp_path)


def test_inspect_prints_what_people_read_and_gives_machines_all(tmp_path, capsys):
    settings = {**handed_on(DubConfig("shot.mp4", out="out", mouth=1.2)), "audio": "v.wav"}
    run = {
        "statement": "altered video",
        "prior_sha256": "a" * 64,
        "source": {"file": "shot.mp4", "sha256": "b" * 64},
        "actors": [{"name": "Ada", "consent": "Ada, film", "actor_sha256": None, "cues": []}],
        "computed_on": {"processor": "AVX2"},
        "settings": settings,
        "output": {"file": "shot.dubbed.mp4", "sha256": "c" * 64},
    }
    write_json(tmp_path / "run.json", run)
    with pytest.raises(SystemExit):
        main(["inspect", str(tmp_path)])
    assert capsys.readouterr().out.splitlines() == [
        "kind: dub",
        "statement: altered video",
        "source:",
        "  file: shot.mp4",
        "actors:",
        "  name: Ada",
        "  consent: Ada, film",
        "  cues: none",
        "settings:",
        "  video: shot.mp4",
        "  audio: v.wav",
        "  out: out",
        "  mouth: 1.2",
        "output:",
        "  file: shot.dubbed.mp4",
        "hashes, and settings that are as they are by default: --json",
    ]
    with pytest.raises(SystemExit):
        main(["inspect", str(tmp_path), "--json"])
    assert json.loads(capsys.readouterr().out)["settings"] == settings


def test_inspect_a_video_beside_a_run_that_is_not_ours(tmp_path):
    path = make_clip(tmp_path / "shot.mp4", frames=3)
    for text in ('{"output": "somewhere"}', "[1, 2]", "{"):
        (tmp_path / "run.json").write_text(text)
        assert "run" not in inspect(path).facts
    with pytest.raises(FootageError, match="gone.mp4: no such file"):
        inspect(tmp_path / "gone.mp4")


def test_what_the_system_refuses_is_one_line(tmp_path, capsys):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(SystemExit) as stopped:
        main(["check", str(make_clip(tmp_path / "shot.mp4", frames=3)), "-o", str(tmp_path / "file" / "checked")])
    assert stopped.value.code == 1
    assert (
        capsys.readouterr()
        .err.splitlines()[-1]
        .endswith("/file/checked/check.json: cannot be written (Not a directory); choose another place with --out")
    )

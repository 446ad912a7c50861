import json
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest
import torch

from adapt.actor.bundle import FACTS, TENSORS, ActorBundle, FitFacts, FitScores
from adapt.actor.consent import NO_CONSENT, Consent, read_consent
from render.errors import OutputError, StoreError, StoreVersionError


def bundle():
    return ActorBundle(
        name="Ada",
        texture=torch.randn(16, 8, 8).half().float(),
        delta={"net.weight": torch.randn(3, 2).half().float()},
        style={"rest": torch.zeros(12)},
        prior_sha256="a" * 64,
        sources=[{"file": "é.mp4", "sha256": "b" * 64, "person": 1, "seconds": 4.0}],
        pose_range={"yaw": [-9.0, 4.0], "pitch": [-3.0, 2.0]},
        facts=FitFacts(
            seconds=3.96, steps=400, held_out_loss={"unadapted": 0.2, "adapted": 0.1}, never_seen=["no closed lips"]
        ),
    )


def test_round_trip(tmp_path):
    original = bundle()
    (tmp_path / "sheet.jpg").write_bytes(b"jpeg")
    original.save(tmp_path / "ada.actor", {"sheet.jpg": tmp_path / "sheet.jpg"})
    loaded = ActorBundle.load(tmp_path / "ada.actor", "a" * 64)
    torch.testing.assert_close(loaded.texture, original.texture)
    torch.testing.assert_close(loaded.delta, original.delta)
    torch.testing.assert_close(loaded.style, original.style)
    assert (loaded.name, loaded.sources, loaded.facts) == (original.name, original.sources, original.facts)
    assert loaded.consent == NO_CONSENT
    assert (
        replace(loaded, facts=FitFacts(consent=Consent({"who": "Ada", "scope": "film"}))).consent
        == "who: Ada; scope: film"
    )
    assert sorted(p.name for p in tmp_path.iterdir()) == ["ada.actor"]


def test_how_it_was_fitted_comes_back_as_it_was(tmp_path):
    consent = Consent({"who": "Ada", "scope": "film", "expiry": "2027-12-31"})
    facts = FitFacts(steps=3, adapted=True, consent=consent, terms="research", scores=FitScores(20.5, 21.25))
    replace(bundle(), facts=facts).save(tmp_path / "ada.actor")
    assert ActorBundle.load(tmp_path / "ada.actor").facts == facts
    stored = json.loads((tmp_path / "ada.actor" / FACTS).read_text())["facts"]
    assert stored["scores"] == {
        "unadapted: PSNR over the erased area, dB": 20.5,
        "adapted: PSNR over the erased area, dB": 21.25,
    }
    assert stored["consent"]["expiry"] == "2027-12-31"
    with pytest.raises(StoreError, match="damaged"):
        FitFacts.of({"stepz": 3}, "actor.json")


def test_refuses_to_replace_anything_that_is_no_bundle(tmp_path):
    bundle().save(tmp_path / "ada.actor")
    with pytest.raises(OutputError, match="exists already"):
        bundle().save(tmp_path / "ada.actor")
    bundle().save(tmp_path / "ada.actor", overwrite=True)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "keep.txt").write_text("dear")
    with pytest.raises(OutputError, match="exists already"):
        bundle().save(tmp_path / "mine", overwrite=True)
    assert (tmp_path / "mine" / "keep.txt").read_text() == "dear"


def test_a_replacement_that_fails_leaves_the_old_bundle(tmp_path, monkeypatch):
    path = tmp_path / "ada.actor"
    bundle().save(path)
    before = (path / FACTS).read_bytes()
    rename = Path.rename

    def interrupted(self, target):
        if self.suffix == ".part":
            raise KeyboardInterrupt
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", interrupted)
    with pytest.raises(KeyboardInterrupt):
        replace(bundle(), name="Bea").save(path, overwrite=True)
    assert (path / FACTS).read_bytes() == before and [entry.name for entry in tmp_path.iterdir()] == ["ada.actor"]
    monkeypatch.undo()
    replace(bundle(), name="Bea").save(path, overwrite=True)
    assert ActorBundle.load(path).name == "Bea" and [entry.name for entry in tmp_path.iterdir()] == ["ada.actor"]


def test_damaged_newer_or_foreign_bundles_are_refused_by_name(tmp_path):
    path = tmp_path / "ada.actor"
    with pytest.raises(StoreError, match="no such folder"):
        ActorBundle.load(path)
    with pytest.raises(StoreError, match="not an actor bundle"):
        ActorBundle.load(tmp_path)
    bundle().save(path)
    with pytest.raises(StoreError, match="fitted on renderer prior aaaaaaaaaaaa, the one at hand is cccccccccccc"):
        ActorBundle.load(path, "c" * 64)
    data = bytearray((path / TENSORS).read_bytes())
    data[-5] ^= 1
    (path / TENSORS).write_bytes(data)
    with pytest.raises(StoreError, match="damaged"):
        ActorBundle.load(path)
    facts = json.loads((path / FACTS).read_text())
    (path / FACTS).write_text(json.dumps({**facts, "format_version": 99}))
    with pytest.raises(StoreVersionError, match="version 99"):
        ActorBundle.load(path)
    (path / FACTS).write_text(json.dumps({"fikes" if key == "files" else key: value for key, value in facts.items()}))
    with pytest.raises(StoreError, match="damaged .entries fikes, files"):
        ActorBundle.load(path)
    (path / FACTS).write_text(json.dumps({**facts, "pose_range": {"yaw": [-9.0, 5.0], "pitch": [-3.0, 2.0]}}))
    with pytest.raises(StoreError, match="damaged .sha256 differs"):
        ActorBundle.load(path)
    unicode = {**facts, "name": "\ud800"}
    unicode["facts_sha256"] = None
    for text in ("{", "[" * 100_000, json.dumps(unicode), json.dumps({**facts, "name": float("nan")})):
        (path / FACTS).write_text(text)
        with pytest.raises(StoreError, match="damaged .*cannot be read as JSON"):
            ActorBundle.load(path)


def test_consent_record(tmp_path):
    file = tmp_path / "consent.json"
    file.write_text('{"who": "Ada", "scope": "film", "expiry": "2030-06-30", "reference": 7}')
    consent = read_consent(file)
    assert consent.entries == {"who": "Ada", "scope": "film", "expiry": "2030-06-30", "reference": "7"}
    assert consent.is_valid_on(date(2030, 6, 30)) and not consent.is_valid_on(date(2030, 7, 1))
    with pytest.raises(StoreError, match="no date"):
        Consent({"who": "Ada", "scope": "film", "expiry": "soon"}).is_valid_on(date(2030, 1, 1))
    file.write_text('{"who": "Ada"}')
    with pytest.raises(StoreError, match="lacks scope"):
        read_consent(file)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_a_consent_record_of_any_editor_is_read(tmp_path, encoding):
    file = tmp_path / "consent.json"
    file.write_bytes('{"who": "Zoë",\r\n "scope": "film"}\r\n'.encode(encoding))
    assert read_consent(file).entries == {"who": "Zoë", "scope": "film"}


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (None, "no such file"),
        ('{"who": "Zoë", "scope": "film"}'.encode("latin-1"), "save it as UTF-8"),
        (b"[" * 100_000, "cannot be read as JSON"),
        (b"[1]", "lacks who, scope"),
        (b'{"who": "Ada", "scope": "film", "expiry": "31.12.2027"}', "consent.json: consent record: expiry"),
    ],
)
def test_other_consent_records_are_one_line(tmp_path, data, message):
    file = tmp_path / "consent.json"
    if data is not None:
        file.write_bytes(data)
    with pytest.raises(StoreError, match=message) as refused:
        read_consent(file)
    assert len(str(refused.value).splitlines()) == 1


def test_a_consent_that_has_expired_is_said_and_refused():
    past = Consent({"who": "Ada", "scope": "film", "expiry": "2020-01-31"})
    with pytest.raises(StoreError, match="ada.actor: the consent of Ada expired on 2020-01-31; .* pass --anyway"):
        past.refuse_expired("ada.actor")
    assert past.refuse_expired("ada.actor", anyway=True) == "ada.actor: the consent of Ada expired on 2020-01-31"
    assert Consent({"who": "Ada", "scope": "film"}).refuse_expired("ada.actor") is None
    told = replace(bundle(), facts=FitFacts(consent=past)).consent
    assert told == "who: Ada; scope: film; expiry: 2020-01-31 (expired)"

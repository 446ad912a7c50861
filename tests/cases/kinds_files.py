"""Files and processes: names, folders, modes, signals, two runs at once; nothing of the user's is lost."""

import json
import os
import shutil
from dataclasses import replace

import torch

from adapt.actor.bundle import ActorBundle
from adapt.actor.consent import Consent
from adapt.output import work_folder
from render.head.track import Track
from tests.cases.case import Bench, case


@case("names", "a name in an old code page")
def a_name_in_an_old_code_page(bench: Bench) -> str:
    shot = bench.folder / os.fsdecode(b"caf\xe9.mp4")
    shutil.copy(bench.shared / "talking.mp4", shot)
    outcome = bench.dub(shot, "--drive", "source")
    assert outcome.code == 0, outcome
    assert (bench.folder / "out" / os.fsdecode(b"caf\xe9.dubbed.mp4")).is_file()
    run = json.loads((bench.folder / "out" / "run.json").read_text(encoding="utf-8"))
    assert run["output"]["file"] == "caf\ufffd.dubbed.mp4"
    inspected = bench.adapt("inspect", bench.folder / "out")
    assert inspected.code == 0 and "caf\ufffd.mp4" in inspected.out, inspected
    return "dubbed, and named with a replacement in run.json"


@case("names", "a name near the longest")
def a_name_near_the_longest(bench: Bench) -> str:
    shot = bench.folder / f"{'幕' * 82}.mp4"
    shutil.copy(bench.shared / "talking.mp4", shot)
    outcome = bench.dub(shot, "--drive", "source")
    assert outcome.code == 0, outcome
    assert (bench.folder / "out" / f"{'幕' * 66}.dubbed.mp4").is_file()
    return "dubbed under a shorter name"


@case("two runs", "a second dub to the same folder")
def a_second_dub_to_the_same_folder(bench: Bench) -> str:
    with work_folder(bench.folder / "out"):
        outcome = bench.dub(bench.shared / "talking.mp4", "--drive", "source")
    assert outcome.is_refusal and "another run is writing it" in outcome.line, outcome
    assert not (bench.folder / "out").exists()
    return outcome.line


@case("two runs", "a second fit of the same bundle")
def a_second_fit_of_the_same_bundle(bench: Bench) -> str:
    with work_folder(bench.folder / "ada.actor", ".fit"):
        outcome = bench.adapt("fit", bench.shared / "talking.mp4", "-o", "ada.actor", "--steps", "1")
    assert outcome.is_refusal and "another run is writing it" in outcome.line, outcome
    return outcome.line


@case("consent", "a bundle whose consent has expired")
def a_bundle_whose_consent_has_expired(bench: Bench) -> str:
    ada = ActorBundle.load(bench.shared / "ada.actor")
    past = Consent({"who": "Ada", "scope": "film", "expiry": "2020-01-31"})
    replace(ada, facts=replace(ada.facts, consent=past)).save(bench.folder / "past.actor")
    words = ("dub", bench.shared / "talking.mp4", "--actor", "past.actor", "--drive", "source", "--draft", "-o", "out")
    refused = bench.adapt(*words)
    assert refused.is_refusal and "expired on 2020-01-31" in refused.line and "--anyway" in refused.line, refused
    assert "expired" in bench.adapt("inspect", "past.actor").out
    allowed = bench.adapt(*words, "--anyway")
    assert allowed.code == 0, allowed
    assert "expired on 2020-01-31" in (bench.folder / "out" / "report.html").read_text(encoding="utf-8")
    return refused.line


@case("consent", "records of Windows editors")
def records_of_windows_editors(bench: Bench) -> str:
    record = '{"who": "Zoë", "scope": "film",\r\n "expiry": "2020-01-31"}\r\n'
    for encoding in ("utf-8-sig", "utf-16"):
        (bench.folder / "consent.json").write_bytes(record.encode(encoding))
        outcome = bench.adapt("fit", bench.shared / "talking.mp4", "-o", "a.actor", "--consent", "consent.json")
        assert outcome.is_refusal and "consent of Zoë expired" in outcome.line, outcome
    return "read, and refused for what they say"


@case("damage", "a foreign track that is to drive")
def a_foreign_track_that_is_to_drive(bench: Bench) -> str:
    track = Track.load(bench.shared / "talking.track.safetensors")
    replace(track, rotation=torch.full_like(track.rotation, float("nan"))).save(bench.folder / "nan.safetensors")
    outcome = bench.dub(bench.shared / "talking.mp4", "--drive", "nan.safetensors")
    assert outcome.is_refusal and "rotation holds values that are no numbers" in outcome.line, outcome
    assert not (bench.folder / "out").exists()
    return outcome.line

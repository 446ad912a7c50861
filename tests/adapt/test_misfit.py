import json
from dataclasses import replace
from hashlib import sha256

import pytest
import torch

from adapt.actor.bundle import FACTS, KIND_VERSION, TENSORS, ActorBundle
from adapt.actor.misfit import refuse_misfit
from adapt.motion.sources import TrackFile
from prior.face.model import load_face_model
from prior.motion.model import KIND as MOTION_KIND
from prior.motion.model import KIND_VERSION as MOTION_VERSION
from prior.motion.model import load_motion_model
from prior.renderer.prior import load_renderer_prior
from render.drawing.detail import DETAIL_SIZE, Detail
from render.drawing.gbuffer import TEXTURE_SIZE
from render.drawing.look import BANK_FRAMES, Bank
from render.errors import StoreError
from render.store import file_sha256, save_tensors

SIDE, COEFFICIENTS = TEXTURE_SIZE, load_face_model().lower_basis.shape[0]
BANK = Bank(
    torch.zeros(1, BANK_FRAMES, 3, SIDE, SIDE),
    torch.ones(1, BANK_FRAMES, 1, SIDE, SIDE),
    torch.zeros(1, BANK_FRAMES, COEFFICIENTS),
    torch.zeros(1, BANK_FRAMES, 2),
).stored()
STYLE = {name: torch.ones(COEFFICIENTS) for name in ("closed", "mean", "spread")} | {"frames": torch.tensor(30.0)}
DETAIL = Detail(torch.zeros(1, BANK_FRAMES, DETAIL_SIZE, DETAIL_SIZE), 2.0).stored()


@pytest.fixture(scope="module")
def prior():
    return load_renderer_prior()


def test_a_fitted_bundle_fits(ada, prior, tmp_path):
    refuse_misfit(ada, ada.save(tmp_path / "ada.actor"), prior)
    path = replace(ada, bank=BANK, detail=DETAIL).save(tmp_path / "other.actor")
    refuse_misfit(ActorBundle.load(path), path, prior)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"texture": torch.zeros(3, 1, 1)}, r"texture is float32 \[3, 1, 1\], expected float32 \[16, "),
        ({"delta": {"foreign.left": torch.zeros(2, 2)}}, "tensors missing or unknown: .*delta.foreign.left"),
        ({"style": {"rest": torch.zeros(16)}}, "tensors missing or unknown: style.closed"),
        ({"appearance": {"patterns": torch.zeros(3), "skin": torch.zeros(256)}}, "appearance.patterns is"),
        ({"bank": {}}, "tensors missing or unknown: bank.colours"),
        ({"bank": {**BANK, "seen": torch.ones(2, 1, 4, 4).byte()}}, r"bank.seen is uint8 \[2, 1, 4, 4\], exp"),
        ({"bank": {**BANK, "turn": torch.zeros(8, 3)}}, r"bank.turn is float32 \[8, 3\], expected float32 \[8, 2\]"),
        ({"bank": {**BANK, "colours": BANK["colours"] / 255}}, "bank.colours is float32 .*, expected uint8"),
        ({"bank": {**BANK, "colours": BANK["colours"][:0]}}, r"bank.colours is uint8 \[0, 3, 256, 256\], expected"),
        (
            {"bank": {name: value.repeat_interleave(13, 0) for name, value in BANK.items()}},
            r"bank.colours is uint8 \[104,",
        ),
        ({"bank": {**BANK, "expression": BANK["expression"] + 1e30}}, "bank.expression holds values that are not betw"),
        ({"bank": {**BANK, "turn": BANK["turn"] - 7}}, "bank.turn holds values that are not between -6.28"),
        ({"texture": torch.full((16, SIDE, SIDE), 6e4)}, "texture holds values that are not between -100 and 100"),
        ({"style": {**STYLE, "spread": -STYLE["spread"]}}, "style.spread holds values that are not between 0 and 100"),
        ({"detail": {"scale": torch.tensor(2.0)}}, "safetensors: detail: 0, 1, 2, 3, 4, 5, 6, 7 missing or unknown"),
        ({"detail": {**DETAIL, "scale": torch.tensor(0.0)}}, "safetensors: detail: its scale is that of no footage"),
        ({"detail": {**DETAIL, "7": torch.zeros(0).byte()}}, "safetensors: detail: its maps cannot be read"),
    ],
)
def test_a_foreign_bundle_is_refused_by_name(ada, prior, tmp_path, changed, message):
    path = replace(ada, **changed).save(tmp_path / "foreign.actor")
    with pytest.raises(StoreError, match=message) as refused:
        refuse_misfit(ActorBundle.load(path), path, prior)
    assert str(path) in str(refused.value) and len(str(refused.value).splitlines()) == 1


def test_values_that_are_no_numbers_are_refused(ada, tmp_path):
    path = replace(ada, texture=torch.full_like(ada.texture, float("nan"))).save(tmp_path / "nan.actor")
    with pytest.raises(StoreError, match="texture holds values that are no numbers"):
        ActorBundle.load(path)


def rewrite(path, **changed):
    """Change entries of actor.json, and its hash with them, as anyone can."""
    facts = {**json.loads((path / FACTS).read_text(encoding="utf-8")), **changed}
    facts = {key: value for key, value in facts.items() if key != "facts_sha256" and value is not ...}
    own = sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
    (path / FACTS).write_text(json.dumps({**facts, "facts_sha256": own}), encoding="utf-8")


@pytest.mark.parametrize(
    "changed",
    [
        {"files": []},
        {"files": {}},
        {"files": {TENSORS: 0, "../../secret": "0"}},
        {"pose_range": "x"},
        {"pose_range": {"yaw": ["a", 1], "pitch": [0, 1]}},
        {"name": 7},
        {"sources": 7},
        {"sources": [7]},
        {"facts": None},
        {"facts": {"scores": 7}},
        {"facts": {"consent": 7}},
    ],
)
def test_entries_of_another_kind_are_one_line(ada, tmp_path, changed):
    path = ada.save(tmp_path / "ada.actor")
    rewrite(path, **changed)
    with pytest.raises(StoreError) as refused:
        ActorBundle.load(path)
    assert len(str(refused.value).splitlines()) == 1 and str(path) in str(refused.value)


@pytest.mark.parametrize("text", ["[" * 100_000, "[1]", "7", '{"a": 1}', ""])
def test_other_json_is_no_bundle(ada, tmp_path, text):
    path = ada.save(tmp_path / "ada.actor")
    (path / FACTS).write_text(text)
    with pytest.raises(StoreError, match="damaged"):
        ActorBundle.load(path)


def test_tensors_that_are_missing_are_named(ada, tmp_path):
    path = ada.save(tmp_path / "ada.actor")
    save_tensors(path / TENSORS, "adapt-actor", KIND_VERSION, {"style.closed": torch.zeros(16)}, {})
    rewrite(path, files={TENSORS: file_sha256(path / TENSORS)})
    with pytest.raises(StoreError, match="has no texture"):
        ActorBundle.load(path)


def test_a_track_of_another_face_model_does_not_drive(talking_clip, tmp_path):
    _, take = talking_clip
    path = tmp_path / "other.safetensors"
    replace(take, lower_expression=take.lower_expression[:, :5].contiguous()).save(path)
    with pytest.raises(StoreError, match="of another face model"):
        TrackFile(path).track_for(load_face_model())
    take.save(path)
    assert len(TrackFile(path).track_for(load_face_model())) == len(take)


def test_a_motion_model_of_other_parts_is_one_line(tmp_path):
    path = tmp_path / "motion.safetensors"
    for facts in ({}, {"config": 7}, {"config": {"colour": 7}}, {"config": {}}):
        save_tensors(path, MOTION_KIND, MOTION_VERSION, {"a": torch.zeros(2)}, facts)
        with pytest.raises(StoreError, match="not the weights of such a network") as refused:
            load_motion_model(path)
        assert len(str(refused.value).splitlines()) == 1

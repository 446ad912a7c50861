import torch

from adapt.actor.bundle import ActorBundle
from adapt.cast.resemblance import log_odds


def test_descriptions_of_one_person_are_alike(ada):
    assert log_odds(ada.appearance, ada.appearance) > 5
    flipped = {name: value.flip(0) for name, value in ada.appearance.items()}
    assert log_odds(ada.appearance, flipped) < -1.5


def test_a_bundle_keeps_what_the_actor_looks_like(ada, tmp_path):
    ada.save(tmp_path / "ada.actor")
    kept = ActorBundle.load(tmp_path / "ada.actor").appearance
    assert torch.allclose(kept["patterns"], ada.appearance["patterns"], atol=1e-3)

import json

import pytest
import torch

from adapt.actor.bundle import TENSORS, ActorBundle
from adapt.dubbing.options import DubOptions
from adapt.dubbing.session import Session
from adapt.fitting.cache import cache_folder, cached_fit
from render.video.reader import Footage
from tests.media import make_clip


class Fits:
    """Makes bundles and counts them."""

    def __init__(self):
        self.count = 0
        self.told = []

    def make(self, checkpoint):
        self.count += 1
        return ActorBundle("Ada", torch.full((16, 4, 4), float(self.count)), {}, {}, "prior", [], {})

    def get(self, folder, **key):
        return cached_fit(key, "prior", self.make, self.told.append, folder)


def test_the_same_fit_is_made_once(tmp_path):
    fits = Fits()
    first = fits.get(tmp_path, footage="a", person=1, steps=10)
    again = fits.get(tmp_path, footage="a", person=1, steps=10)
    assert fits.count == 1 and torch.equal(first.texture, again.texture)
    assert "fitted before" in fits.told[-1] and str(tmp_path) not in fits.told[-1]
    for other in ({"footage": "b"}, {"person": 2}, {"steps": 11}):
        fits.get(tmp_path, **{"footage": "a", "person": 1, "steps": 10, **other})
    assert fits.count == 4


def test_another_way_of_fitting_fits_again(tmp_path, monkeypatch):
    fits = Fits()
    fits.get(tmp_path, footage="a")
    monkeypatch.setattr("adapt.fitting.cache.code_sha256", lambda *modules: "another")
    fits.get(tmp_path, footage="a")
    assert fits.count == 2


def test_a_damaged_fit_is_made_again(tmp_path):
    fits = Fits()
    fits.get(tmp_path, footage="a")
    stored = next(tmp_path.iterdir()) / TENSORS
    stored.write_bytes(stored.read_bytes()[:-1])
    assert float(fits.get(tmp_path, footage="a").texture[0, 0, 0]) == 2
    assert "damaged" in fits.told[-1]
    assert float(fits.get(tmp_path, footage="a").texture[0, 0, 0]) == 2


def test_a_cache_that_cannot_be_written_costs_a_sentence_only(tmp_path):
    (tmp_path / "file").write_text("no folder")
    fits = Fits()
    assert fits.get(tmp_path / "file" / "fits", footage="a").name == "Ada"
    assert "not kept" in fits.told[-1]


def test_a_full_disk_costs_a_sentence_only(tmp_path):
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, before[1]))
    fits = Fits()
    try:
        assert fits.get(tmp_path, footage="a").name == "Ada"
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert "not kept" in fits.told[-1] and "make room" in fits.told[-1]
    assert not list(tmp_path.iterdir())


def test_the_cache_is_the_users(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "adapt" / "fits"


def test_a_fit_that_is_not_to_be_kept_is_not_and_is_the_same(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    fits = Fits()
    once = cached_fit({"footage": "a"}, "prior", fits.make, fits.told.append, is_kept=False)
    assert not list(tmp_path.iterdir()) and not fits.told
    kept = cached_fit({"footage": "a"}, "prior", fits.make, fits.told.append)
    assert fits.count == 2 and once.texture.dtype == kept.texture.dtype


def test_the_users_cache_is_private(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    (tmp_path / "adapt").mkdir(mode=0o755)
    Fits().get(None, footage="a")
    assert (tmp_path / "adapt").stat().st_mode & 0o777 == 0o700 and len(list(cache_folder().iterdir())) == 1


def test_who_has_no_home_gets_a_fit_all_the_same(monkeypatch):
    def nowhere():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr("pathlib.Path.home", nowhere)
    fits = Fits()
    assert fits.get(None, footage="a").name == "Ada"
    assert "there is no home folder; say with --fit-cache where" in fits.told[-1]


def test_what_cannot_be_kept_is_rounded_as_what_is(tmp_path):
    (tmp_path / "file").write_text("no folder")
    fits = Fits()
    odd = ActorBundle("Ada", torch.full((16, 4, 4), 1 / 3), {}, {}, "prior", [], {})
    first = cached_fit({}, "prior", lambda _: odd, fits.told.append, tmp_path / "file" / "fits")
    second = cached_fit({}, "prior", lambda _: odd, fits.told.append, tmp_path / "fits")
    assert torch.equal(first.texture, second.texture) and not torch.equal(first.texture, odd.texture)


def test_what_it_is_computed_on_is_part_of_the_key(tmp_path, monkeypatch):
    keys = []
    monkeypatch.setattr("adapt.dubbing.session.cached_fit", lambda key, *_: keys.append(key))
    footage = Footage(make_clip(tmp_path / "shot.mp4", frames=2))
    threads = torch.get_num_threads()
    try:
        for device, number in (("cpu", 1), ("cpu", 2), ("cuda", 1), ("cpu", 1)):
            torch.set_num_threads(number)
            Session(footage, DubOptions(device=device))._fitted(None, 1)
    finally:
        torch.set_num_threads(threads)
    names = [json.dumps(key, sort_keys=True) for key in keys]
    assert len(set(names)) == 3 and names[0] == names[3]
    assert (keys[2]["device"], keys[1]["threads"]) == ("cuda", 2) and keys[0]["cpu"]

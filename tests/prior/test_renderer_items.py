"""Training data of the renderer from a cache made of the synthetic actor."""

import numpy as np
import pytest
import torch

from prior.face.model import load_face_model
from prior.training.renderer_items import BatchStream, RendererDataset, spread_out
from render.errors import StoreError

MODEL = load_face_model()


def test_items_depend_on_seed_and_index_only(prepared_cache):
    erased = torch.zeros(4, MODEL.lower_basis.shape[0])
    dataset, again = (RendererDataset(prepared_cache, MODEL, erased, targets=2, seed=3) for _ in range(2))
    assert dataset.people == ["A", "B"]
    dataset[7]
    assert torch.equal(dataset[1].crops, again[1].crops) and torch.equal(dataset[1].opening, again[1].opening)
    assert not torch.equal(dataset[1].crops, dataset[2].crops)
    item = dataset[1]
    assert item.crops.shape == (2, 3, 256, 256) and item.erasing_vertices.shape[:2] == (2, 4)
    assert bool((item.opening.diff() >= 0).all()), "bins are closed, half open, open"
    streams = [iter(BatchStream(dataset, 1, 0, rank, 2)) for rank in (0, 1)]
    assert torch.equal(next(streams[1]).crops[0], dataset[1].crops), "ranks share the items out"
    with pytest.raises(StoreError, match="adapt prepare"):
        RendererDataset(prepared_cache, MODEL, erased, people=["nobody"])


def test_workers_share_the_batches_out_and_no_batch_comes_twice(prepared_cache):
    dataset = RendererDataset(prepared_cache, MODEL, torch.zeros(1, MODEL.lower_basis.shape[0]), targets=2)
    dataset.decode()
    assert all("_crops" in vars(clip) for clips in dataset.clips.values() for clip, _ in clips)
    alone, shared = (
        iter(torch.utils.data.DataLoader(BatchStream(dataset, 2, 3), None, num_workers=workers)) for workers in (0, 2)
    )
    for _ in range(5):
        own, other = next(alone), next(shared)
        assert torch.equal(own.crops, other.crops) and torch.equal(own.window, other.window)


def test_targets_are_neighbours(prepared_cache):
    dataset = RendererDataset(prepared_cache, MODEL, torch.zeros(1, MODEL.lower_basis.shape[0]), targets=3)
    random = np.random.default_rng(0)
    clip, frames = dataset.clips["A"][0]
    sparse = frames[torch.tensor([0, 1, 2, 10, 11, 12, 30, 31, 32])]
    chosen = {tuple(dataset._targets(clip, sparse, random).tolist()) for _ in range(40)}
    assert chosen == {(0, 1, 2), (10, 11, 12), (30, 31, 32)}


def test_enrollment_stays_apart_from_targets(prepared_cache):
    dataset = RendererDataset(prepared_cache, MODEL, torch.zeros(1, MODEL.lower_basis.shape[0]), targets=3)
    random = np.random.default_rng(0)
    clip, frames = dataset.clips["A"][0]
    part = dataset._part(clip, frames, random)
    assert 6 <= len(part) <= len(frames) // 2 + 1 and bool((part.diff() == 1).all())


def test_chosen_frames_differ_and_of_like_ones_the_favoured_one_is_taken():
    corners = torch.tensor([[0.0, 0], [4, 0], [0, 4], [4, 4]]).repeat_interleave(3, 0)
    favour = torch.tensor([1.0, 3, 2]).repeat(4)
    rows = spread_out(corners, favour, 4)
    assert sorted(int(row) // 3 for row in rows) == [0, 1, 2, 3], "one of each kind"
    assert all(int(row) % 3 == 1 for row in rows), "the favoured one of each"
    assert len(spread_out(corners[:2], favour[:2], 8)) == 2

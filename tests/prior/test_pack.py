"""Packs of a prepared cache: what they hold, and that a training reads the same from them."""

import shutil
from dataclasses import fields, replace
from pathlib import Path

import pytest
import torch

from prior.cache.pack import write_pack
from prior.cache.prepared import prepared_clips
from prior.face.model import load_face_model
from prior.renderer.perceptual import TRUNK_NAME
from prior.training.renderer_items import RendererDataset, TrainingItem
from render.errors import OutputError, StoreError
from render.head.track import FORMS, Track
from render.store import write_json
from render.text import read_json

MODEL = load_face_model()
#: Frames of the clip's first half, and frames without a crop that come after them.
HALF, BETWEEN = 20, 60


@pytest.fixture(scope="module")
def cache(prepared_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The two people with sound, facts that training does not read, and frames without crops amid the others."""
    root = tmp_path_factory.mktemp("caches") / "cache"
    shutil.copytree(prepared_cache, root)
    for folder in root.iterdir():
        track = Track.load(folder / "track.safetensors")
        order = [*range(HALF), *[HALF - 1] * BETWEEN, *range(HALF, len(track))]
        by_row = {name: getattr(track, name)[order] for name, form in FORMS.items() if form.shape[0] == "T"}
        by_row["timestamps"] = torch.arange(len(order), dtype=torch.float64) / 25
        moving = torch.linspace(0, 1, len(order))[:, None]  # else the frames between are all one
        replace(track, **{**by_row, "lower_expression": by_row["lower_expression"] + moving}).save(
            folder / "track.safetensors"
        )
        frames = [*range(HALF), *range(HALF + BETWEEN, len(order))]
        person = read_json(folder / "facts.json")["person"]
        write_json(folder / "facts.json", {"person": person, "crop_frames": frames, "has_sound": True, "speech": True})
        (folder / "audio.ogg").write_bytes(bytes(5000))
    return root


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_pack_gives_the_batches_of_its_cache(cache, models, tmp_path):
    packed = write_pack(cache, tmp_path / "pack", models / TRUNK_NAME)
    assert str(packed) == f"2 of 2 people, 2 of 2 clips, {packed.size / 1e6:.1f} MB"
    held = contents(tmp_path / "pack")
    assert packed.size == sum(map(len, held.values()))
    wanted = [f"{clip}/{name}" for clip in ("A_1", "B_1") for name in ("track.safetensors", "crops.mp4", "facts.json")]
    assert sorted(held) == sorted([*wanted, TRUNK_NAME]), "no sound"
    clip = next(prepared_clips(tmp_path / "pack"))
    assert clip.facts == {"person": "A", "crop_frames": [*range(HALF), *range(HALF + 6, 46)]}
    assert len(clip.track) == 40 + 2 * 3, "of the frames between those that a window of .08 s reaches, and one more"
    erased = torch.rand(4, MODEL.lower_basis.shape[0], generator=torch.Generator().manual_seed(0))
    datasets = [RendererDataset(folder, MODEL, erased, targets=2, seed=3) for folder in (cache, tmp_path / "pack")]
    assert datasets[0].people == datasets[1].people == ["A", "B"]
    for index in range(12):
        whole, part = (dataset[index] for dataset in datasets)
        for field in fields(TrainingItem):
            assert torch.equal(getattr(whole, field.name), getattr(part, field.name)), f"{field.name} of item {index}"


def test_the_same_cache_gives_the_same_bytes_and_so_does_a_pack(cache, models, tmp_path):
    write_pack(cache, tmp_path / "first", models / TRUNK_NAME)
    write_pack(cache, tmp_path / "second", models / TRUNK_NAME)
    write_pack(tmp_path / "first", tmp_path / "again", tmp_path / "first" / TRUNK_NAME)
    assert contents(tmp_path / "first") == contents(tmp_path / "second") == contents(tmp_path / "again")


def test_everybody_comes_in_before_anybody_comes_in_twice(cache, models, tmp_path):
    more = tmp_path / "more"
    shutil.copytree(cache, more)
    shutil.copytree(more / "A_1", more / "A_2")
    shutil.copytree(more / "B_1", more / "C_1")
    write_json(more / "C_1" / "facts.json", {**read_json(more / "C_1" / "facts.json"), "person": "C"})
    everything = write_pack(more, tmp_path / "everything", models / TRUNK_NAME)
    assert (everything.people, everything.clips) == (3, 4)
    part = write_pack(more, tmp_path / "part", models / TRUNK_NAME, (everything.size - 1) / 1e6)
    assert (part.people, part.clips, part.all_people, part.all_clips) == (3, 3, 3, 4)
    assert [clip.folder.name for clip in prepared_clips(tmp_path / "part")] == ["A_1", "B_1", "C_1"]
    assert part.size < everything.size


def test_a_clip_without_crops_stays_out(cache, models, tmp_path):
    more = tmp_path / "more"
    shutil.copytree(cache, more)
    shutil.copytree(more / "A_1", more / "A_0")
    write_json(more / "A_0" / "facts.json", {"person": "A", "crop_frames": []})
    packed = write_pack(more, tmp_path / "pack", models / TRUNK_NAME, float("inf"))
    assert (packed.people, packed.clips, packed.all_clips) == (2, 2, 3)
    assert [clip.folder.name for clip in prepared_clips(tmp_path / "pack")] == ["A_1", "B_1"]


def test_what_cannot_be_read_or_written_is_named(cache, models, tmp_path):
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    with pytest.raises(OutputError, match=r"file.*: Not a directory; the pack was not written"):
        write_pack(cache, tmp_path / "file" / "pack", models / TRUNK_NAME)
    with pytest.raises(OutputError, match="link: exists already"):
        write_pack(cache, tmp_path / "link", models / TRUNK_NAME)
    shutil.copytree(cache, tmp_path / "more")
    (tmp_path / "more" / "A_1" / "crops.mp4").unlink()
    with pytest.raises(OutputError, match=r"A_1/crops\.mp4: No such file or directory"):
        write_pack(tmp_path / "more", tmp_path / "pack", models / TRUNK_NAME)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "link", "more"]


def test_a_pack_appears_whole_or_not_at_all(cache, models, tmp_path, monkeypatch):
    with pytest.raises(StoreError, match=r"0 people fit into 0\.5 MB, at least 2 are needed; raise --pack-megabytes"):
        write_pack(cache, tmp_path / "pack", models / TRUNK_NAME, 0.5)
    with pytest.raises(StoreError, match="adapt prepare"):
        write_pack(tmp_path / "nothing", tmp_path / "pack", models / TRUNK_NAME)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched, pytest.raises(OutputError, match="make room"):
        patched.setattr("prior.cache.pack.shutil.copyfile", full)
        write_pack(cache, tmp_path / "pack", models / TRUNK_NAME)
    assert not list(tmp_path.iterdir())
    (tmp_path / "pack").mkdir()
    with pytest.raises(OutputError, match="exists already"):
        write_pack(cache, tmp_path / "pack", models / TRUNK_NAME)
    assert not list((tmp_path / "pack").iterdir())

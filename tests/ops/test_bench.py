import json
import runpy
import sys

import pytest
import torch

from cuda_ext import bench

TOY = ["--faces", "1000", "--size", "16", "--batch", "2", "--repeats", "1", "--device", "cpu"]


def test_rows(capsys: pytest.CaptureFixture[str]) -> None:
    bench.main([*TOY, "--json", "--against", "twin"])
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert len(rows) == 20  # five ops and their twins, two passes
    fields = {"op", "pass", "device", "faces", "size", "batch", "ms", "mpix_s", "floor_ms"}
    for row in rows:
        assert set(row) == fields and row["ms"] > 0 and row["floor_ms"] > 0
        assert row["mpix_s"] == pytest.approx(16 * 16 / 1000 / row["ms"])


def test_table_of_the_module_run_as_a_program(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["bench", *TOY, "--op", "shade"])
    runpy.run_path(bench.__file__, run_name="__main__")
    assert "forward+backward" in capsys.readouterr().out


def test_every_mesh_has_the_faces_it_says() -> None:
    for faces in bench.GRIDS:
        assert len(bench.BenchScene(faces, 8, 1, "cpu").faces) == pytest.approx(faces, rel=0.01)


def test_a_missing_peer_is_told() -> None:
    for name in bench.PEERS:
        try:
            __import__(name)
        except ImportError:
            with pytest.raises(SystemExit, match=f"{name} is not installed"):
                bench.main([*TOY, "--against", name])


@pytest.mark.cuda
def test_rows_on_cuda(capsys: pytest.CaptureFixture[str]) -> None:
    assert torch.cuda.is_available()
    bench.main([*TOY[:-1], "cuda", "--json"])
    assert len(capsys.readouterr().out.splitlines()) == 10

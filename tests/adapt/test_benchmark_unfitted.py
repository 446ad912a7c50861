"""The benchmark of the prior without a fit: frames of a kind are scored apart."""

import json

import pytest
import torch

from adapt.benchmarks.fit import FitSplit
from adapt.benchmarks.unfitted import frames_apart, main, table


def test_wide_and_small_openings_are_scored_apart():
    wanted = torch.tensor([0.0, 0.01, 0.04, 0.06, 0.1, 0.2, 0.3, 0.4, 0.45, 0.5])
    measured = wanted * 0.5
    measured[2] = 0.0
    distance = torch.arange(10.0)
    apart = frames_apart(distance, measured, wanted)
    assert apart["wide"]["frames"] == 2 and apart["wide"]["squeezenet"] == 8.5
    assert apart["wide"]["opening"] == pytest.approx(0.5) and apart["wide"]["closed"] == 0
    assert apart["small"]["frames"] == 2 and apart["small"]["closed"] == 0.5
    assert "small" not in frames_apart(distance[5:], measured[5:], wanted[5:])


def test_the_command_writes_a_table_of_all_people(prepared_cache, models, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("ADAPT_MODELS", str(models))
    rows = torch.arange(40)
    monkeypatch.setattr("adapt.benchmarks.unfitted.split_clip", lambda clip: FitSplit(clip, rows[:20], rows[30:36]))
    main([str(prepared_cache), "-o", str(tmp_path)])
    lines = [json.loads(line) for line in (tmp_path / "scores.jsonl").read_text().splitlines()]
    assert (
        [line["person"] for line in lines] == ["A", "B"]
        and table(lines) == (tmp_path / "table.md").read_text()
        and "people" in capsys.readouterr().out
    )
    assert all(line["scores"]["mouth"]["psnr"] > 15 for line in lines)
    assert (tmp_path / "sheets" / f"{lines[0]['clip']}.png").stat().st_size > 1000

"""Files and processes: names, folders, modes, signals, two runs at once; nothing of the user's is lost."""

import json
import os
import shutil

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

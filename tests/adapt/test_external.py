import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from adapt.baselines.external import MethodError, call


def test_a_command_that_fails_is_told_by_its_last_words(tmp_path):
    with pytest.raises(MethodError, match="exit status 3: no such model"):
        call(["sh", "-c", "echo no such model; exit 3"], 1, tmp_path / "said.txt")


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="told by /proc")
def test_a_compared_command_ends_with_us_even_where_we_are_killed(tmp_path):
    code = (
        "import sys\nfrom pathlib import Path\nfrom adapt.baselines.external import call\n"
        "call(['sh', '-c', 'echo $$ > pid; exec sleep 77'], 1, Path('said.txt'))"
    )
    us = subprocess.Popen([sys.executable, "-c", code], cwd=tmp_path, env={**os.environ, "PYTHONPATH": os.getcwd()})
    told = tmp_path / "pid"
    until = time.monotonic() + 60
    while not (told.exists() and told.read_text().strip()) and time.monotonic() < until:
        time.sleep(0.05)
    child = Path("/proc") / told.read_text().strip()
    assert child.exists()
    us.send_signal(signal.SIGKILL)
    us.wait(10)
    while child.exists() and "zombie" not in (child / "status").read_text() and time.monotonic() < until:
        time.sleep(0.05)
    assert not child.exists() or "zombie" in (child / "status").read_text()

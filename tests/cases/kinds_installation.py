"""Machines that adapt is installed on but not ready for: what is missing is named, in a line, with what to install."""

import os
import subprocess
import sys
from pathlib import Path

from tests.cases.case import Bench, case

ROOT = Path(__file__).parents[2]
NO_LIBGL = 'raise ImportError("libGL.so.1: cannot open shared object file: No such file or directory")\n'


def adapt_without_libgl(bench: Bench, *words: str) -> subprocess.CompletedProcess[str]:
    """Run a command where OpenCV fails to load, as its usual wheel does on a server without libGL."""
    stub = bench.folder / "stub"
    stub.mkdir(exist_ok=True)
    (stub / "cv2.py").write_text(NO_LIBGL)
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(stub), str(ROOT)])}
    command = [sys.executable, "-m", "adapt.cli", *words]
    return subprocess.run(command, cwd=bench.folder, env=env, capture_output=True, text=True, timeout=120)


@case("no libGL", "doctor says what to install")
def doctor_says_what_to_install(bench: Bench) -> str:
    done = adapt_without_libgl(bench, "doctor")
    (line,) = [line for line in done.stdout.splitlines() if "OpenCV  " in line]
    assert line.startswith("missing") and "libGL.so.1" in line, line
    assert "apt-get install libgl1" in line and "opencv-contrib-python-headless" in line, line
    assert "pip install mediapipe" not in done.stdout, done.stdout
    assert done.returncode == 1 and "Traceback" not in done.stderr, done.stderr
    return "OpenCV is missing: libgl1, or the headless one"


@case("no libGL", "a command says to run doctor")
def a_command_says_to_run_doctor(bench: Bench) -> str:
    done = adapt_without_libgl(bench, "check", str(bench.shared / "talking.mp4"))
    (line,) = done.stderr.splitlines()
    assert done.returncode == 1 and line.startswith("adapt: ") and "libGL.so.1" in line, done
    assert "`adapt doctor` says what to install" in line, line
    return line

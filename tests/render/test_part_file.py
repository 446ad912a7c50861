import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from render.part_file import PartFile
from render.store import write_text
from render.video.reader import Footage
from render.video.writer import VideoWriter
from tests.media import make_clip

fcntl = pytest.importorskip("fcntl")
#: Begins to write and says so; is then killed, or ended by the end of its input.
BEGINS = """
import sys
from pathlib import Path
from render.part_file import PartFile
part = PartFile.beside(Path(sys.argv[1]))
part.path.write_text("half")
print("begun", flush=True)
sys.stdin.read()
part.become(Path(sys.argv[1]))
"""


def begin(target: Path) -> subprocess.Popen:
    child = subprocess.Popen(
        [sys.executable, "-c", BEGINS, str(target)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None and child.stdout.readline() == "begun\n"
    return child


def end(child: subprocess.Popen, is_killed: bool) -> None:
    if is_killed:
        child.send_signal(signal.SIGKILL)
    child.communicate()


def names(folder: Path) -> list[str]:
    return sorted(os.listdir(folder))


def test_what_a_killed_write_left_is_removed_by_the_next(tmp_path: Path) -> None:
    target = tmp_path / "facts.json"
    for _ in range(3):
        end(begin(target), is_killed=True)
        assert names(tmp_path) == [".facts.json.part"]
    write_text(target, "whole")
    assert names(tmp_path) == ["facts.json"] and target.read_text() == "whole"


def test_what_a_living_write_is_at_stays(tmp_path: Path) -> None:
    target = tmp_path / "facts.json"
    living = begin(target)
    dead = begin(target)
    assert names(tmp_path) == [".facts.json.1.part", ".facts.json.part"]
    end(dead, is_killed=True)
    write_text(target, "of another")
    assert names(tmp_path) == [".facts.json.part", "facts.json"]
    end(living, is_killed=False)
    assert names(tmp_path) == ["facts.json"] and target.read_text() == "half"


def test_a_killed_videos_part_is_removed_too(tmp_path: Path) -> None:
    footage = Footage(make_clip(tmp_path / "clip.mp4", frames=2))
    target = tmp_path / "out.mp4"
    end(begin(target), is_killed=True)
    with VideoWriter(footage, target) as writer:
        for frame in footage.frames():
            writer.write(frame)
    assert names(tmp_path) == ["clip.mp4", "out.mp4"]


def test_what_is_no_file_of_ours_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / ".a.part").mkdir()
    (tmp_path / "theirs").write_text("theirs")
    (tmp_path / ".a.1.part").symlink_to(tmp_path / "theirs")
    write_text(tmp_path / "a", "whole")
    assert names(tmp_path) == [".a.1.part", ".a.part", "a", "theirs"]
    assert (tmp_path / "theirs").read_text() == "theirs"


def test_where_there_are_no_locks_nothing_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> None:
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", refused)
    first = PartFile.beside(tmp_path / "a")
    write_text(tmp_path / "a", "whole")
    assert names(tmp_path) == [".a.part", "a"]
    first.drop()
    assert names(tmp_path) == ["a"]


def test_no_open_file_is_kept(tmp_path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(20):
        write_text(tmp_path / "a", "whole")
        PartFile.beside(tmp_path / "b").drop()
    assert len(os.listdir("/proc/self/fd")) == before

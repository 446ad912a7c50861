import errno
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from adapt.output import new_folder, refuse_unwritable, work_folder
from render.errors import OutputError
from render.store import write_text


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def make(out, text="new", **how):
    with new_folder(out, **how) as made:
        (made.path / "film").write_text(text)
    return made.path


@pytest.mark.parametrize("there", ["folder with notes", "file"])
def test_what_came_into_being_meanwhile_stays_and_so_does_the_result(tmp_path, there):
    out = tmp_path / "out"
    with new_folder(out) as made:
        (made.path / "film").write_text("hours")
        if there == "file":
            out.write_text("mine")
        else:
            out.mkdir()
            (out / "notes").write_text("mine")
    assert made.path == tmp_path / "out.1" and (made.path / "film").read_text() == "hours"
    assert (out if there == "file" else out / "notes").read_text() == "mine"
    assert names(tmp_path) == ["out", "out.1"]


def test_a_second_run_is_refused_at_its_start(tmp_path):
    with new_folder(tmp_path / "out") as made:
        with pytest.raises(OutputError, match="another run is writing it"):
            make(tmp_path / "out")
        (made.path / "film").write_text("hours")
    assert (tmp_path / "out" / "film").read_text() == "hours" and names(tmp_path) == ["out"]


def test_what_a_killed_run_left_is_removed_at_the_next_start(tmp_path):
    code = (
        "import os, sys\nfrom pathlib import Path\nfrom adapt.output import new_folder\n"
        "with new_folder(Path(sys.argv[1])) as made:\n    (made.path / 'half').touch()\n    os.kill(os.getpid(), 9)"
    )
    assert subprocess.run([sys.executable, "-c", code, tmp_path / "out"], timeout=60).returncode == -9
    assert names(tmp_path) == [".out.part"]
    assert names(make(tmp_path / "out")) == ["film"] and names(tmp_path) == ["out"]


@pytest.mark.parametrize("is_new", [True, False])
def test_a_disk_without_locks_takes_new_folders_and_keeps_what_may_be_anothers(tmp_path, monkeypatch, is_new):
    def refused(*_):
        raise OSError(errno.ENOLCK, "no locks")

    monkeypatch.setattr("fcntl.flock", refused)
    if is_new:
        assert names(make(tmp_path / "out")) == ["film"]
        return
    (tmp_path / ".out.part").mkdir()
    (tmp_path / ".out.part" / "half").touch()
    with pytest.raises(OutputError, match="remove it, or choose another --out"):
        make(tmp_path / "out")
    assert names(tmp_path / ".out.part") == ["half"]


def test_a_link_is_written_through(tmp_path):
    make(tmp_path / "real", "old")
    (tmp_path / "link").symlink_to("real")
    make(tmp_path / "link", "new", is_replaced=lambda there: True)
    assert (tmp_path / "link").is_symlink() and (tmp_path / "real" / "film").read_text() == "new"
    assert names(tmp_path) == ["link", "real"]


def test_a_failed_run_leaves_nothing(tmp_path):
    with pytest.raises(KeyboardInterrupt), work_folder(tmp_path / "out") as folder:
        (folder / "half").touch()
        raise KeyboardInterrupt
    assert not names(tmp_path)


def test_the_umask_is_honoured_and_a_replaced_file_keeps_its_mode(tmp_path):
    def mode(path):
        return stat.S_IMODE(path.stat().st_mode)

    before = os.umask(0o077)
    try:
        write_text(tmp_path / "private", "a")
        assert mode(tmp_path / "private") == 0o600 and mode(make(tmp_path / "out")) == 0o700
        os.umask(0o002)
        write_text(tmp_path / "private", "b")
        write_text(tmp_path / "shared", "a")
    finally:
        os.umask(before)
    assert mode(tmp_path / "private") == 0o600 and mode(tmp_path / "shared") == 0o664


def test_a_disk_that_refuses_modes_is_written_to(tmp_path, monkeypatch):
    def refused(*_, **__):
        raise PermissionError(errno.EPERM, "Operation not permitted")

    for place in ("os.chmod", "os.fchmod", "pathlib.Path.chmod"):
        monkeypatch.setattr(place, refused)
    for text in ("old", "new"):
        write_text(tmp_path / "file", text)
        make(tmp_path / "out", text, is_replaced=lambda there: True)
    assert (tmp_path / "file").read_text() == (tmp_path / "out" / "film").read_text() == "new"


def test_any_name_that_the_disk_takes_can_be_written_and_a_longer_one_is_refused_at_once(tmp_path):
    write_text(tmp_path / ("幕" * 85), "a")
    refuse_unwritable(tmp_path / ("幕" * 85))
    with pytest.raises(OutputError, match="too long"):
        refuse_unwritable(tmp_path / ("幕" * 86))
    with pytest.raises(OutputError, match="too long"):
        make(tmp_path / ("a" * 251))
    refuse_unwritable(tmp_path / "not" / "yet" / "there")
    assert names(tmp_path) == ["幕" * 85]
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="cannot be written"):
        refuse_unwritable(tmp_path / "file" / "out")
    assert Path(tmp_path / "file").read_text() == ""

import json
import shlex
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import adapt
from adapt.cli import main, settle_threads, split_overrides, usable_cores
from adapt.commands.compare import options_of as compare_options_of
from adapt.commands.dub import options_of as dub_options_of
from adapt.commands.dub import requests_of
from adapt.commands.flags import COMMANDS, EXAMPLES
from adapt.progress import JsonLines
from tests.heads import near
from tests.media import Sound, make_clip, make_sound


def run(*words: str | Path) -> int:
    with pytest.raises(SystemExit) as done:
        main([str(word) for word in words])
    return int(done.value.code or 0)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_clip(tmp_path_factory.mktemp("cli") / "a face.mp4", pictures=[near(i) for i in range(6)])


def test_check_prints_the_cast(clip: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("check", clip) == 0
    out = capsys.readouterr().out
    assert "person 1: poor; 0.2 s usable of 0.2 s in shots 0" in out


def test_check_writes_its_folder_and_refuses_to_replace_it(
    clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "seen"
    assert run("check", clip, "-o", out) == 0
    assert {path.name for path in out.iterdir()} == {"check.json", "cast.jpg", "config.json"}
    assert json.loads((out / "check.json").read_text())["cast"][0]["number"] == 1
    assert json.loads((out / "config.json").read_text())["video"] == clip.name
    capsys.readouterr()
    assert run("check", clip, "-o", out) == 1
    assert "--overwrite" in capsys.readouterr().err
    assert run("check", clip, "-o", out, "--overwrite") == 0


def test_json_lines(clip: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("check", clip, "--json", "--no-cache") == 0
    captured = capsys.readouterr()
    events = [json.loads(line) for line in captured.out.splitlines()]
    assert events[0]["event"] == "progress" and events[-1]["event"] == "result"
    assert events[-1]["facts"]["frames"] == 6 and len(events[-1]["cast"]) == 1


def test_settings_come_from_flags_then_overrides_then_file(
    clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = tmp_path / "settings.yaml"
    settings.write_text(f"out: {tmp_path / 'file'}\n")
    assert run("check", clip, "--config", settings) == 0
    assert run("check", clip, "--config", settings, f"out={tmp_path / 'override'}") == 0
    assert run("check", clip, f"out={tmp_path / 'unused'}", "-o", tmp_path / "flag") == 0
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_dir()) == ["file", "flag", "override"]
    capsys.readouterr()
    assert run("check", clip, "colour=red") == 2
    assert "colour" in capsys.readouterr().err
    assert run("check", clip, "--backend", "eyes") == 2
    assert "mediapipe, fan" in capsys.readouterr().err
    assert run("check", clip, "--config", tmp_path / "none.yaml") == 2
    assert "none.yaml" in capsys.readouterr().err
    settings.write_text("- out\n- video\n")
    assert run("check", clip, "--config", settings) == 2
    assert "settings.yaml: holds no settings" in capsys.readouterr().err


def bad_files(folder: Path) -> dict[str, Path]:
    text, empty = folder / "text.mp4", folder / "empty.mp4"
    text.write_text("this is no video\n" * 40)
    empty.touch()
    sound = make_sound(folder / "sound.m4a", Sound(seconds=0.3))
    return {"text": text, "empty": empty, "missing": folder / "nowhere.mp4", "sound": sound, "folder": folder}


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ("text", "not a video or audio file"),
        ("empty", "the file is empty"),
        ("missing", "no such file"),
        ("sound", "there is no video in it"),
        ("folder", "is a folder"),
    ],
)
def test_a_bad_file_is_one_clear_line(kind: str, says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = bad_files(tmp_path)[kind]
    assert run("check", path) == 1
    captured = capsys.readouterr()
    (line,) = captured.err.splitlines()
    assert says in line and path.name in line and not captured.out
    assert run("check", path, "--json") == 1
    (event,) = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert event["event"] == "error" and event["kind"] == "FootageError" and says in event["text"]


def test_a_video_without_a_face_is_no_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = make_clip(tmp_path / "sea.mp4", pictures=[np.full((90, 160, 3), 120, np.uint8)] * 5)
    assert run("check", path, "-o", tmp_path / "seen") == 0
    assert "no face was found" in capsys.readouterr().out
    assert not (tmp_path / "seen" / "cast.jpg").exists()


def test_help_of_every_command_names_every_setting(capsys: pytest.CaptureFixture[str]) -> None:
    for name, (config_type, _) in COMMANDS.items():
        assert run(name, "--help") == 0
        out = capsys.readouterr().out
        for field in config_type.__dataclass_fields__:  # type: ignore[attr-defined]
            assert field.upper() in out or f"--{field.replace('_', '-')}" in out, (name, field)
    assert run("--help") == 0


def test_threads_sleep_while_they_wait_and_are_no_more_than_there_are_cores(tmp_path: Path) -> None:
    environment = {"OMP_NUM_THREADS": "3"}
    settle_threads(environment)
    assert environment == {"OMP_NUM_THREADS": "3", "OMP_WAIT_POLICY": "PASSIVE"}
    quota = tmp_path / "cpu.max"
    for text, cores in (("100000 100000", 1), ("50000 100000", 1), ("max 100000", usable_cores(tmp_path / "none"))):
        quota.write_text(text)
        assert usable_cores(quota) == cores
    own: dict[str, str] = {}
    settle_threads(own)
    assert int(own["OMP_NUM_THREADS"]) == usable_cores()


def test_an_unknown_flag_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("check", "--colour", "red") == 2
    assert run("check") == 2  # the video is missing
    assert "missing: video" in capsys.readouterr().err


@pytest.mark.parametrize(("sent", "code"), [("SIGINT", 130), ("SIGTERM", 143), ("SIGHUP", 129)])
def test_an_interrupt_leaves_nothing_half_written(tmp_path: Path, sent: str, code: int) -> None:
    """Ctrl-C, a scheduler's end, a closed terminal; between two frames, while a folder is in the making."""
    script = (
        "import sys, time\nfrom pathlib import Path\nfrom types import SimpleNamespace\nimport adapt.cli\n"
        "from adapt.output import new_folder\n"
        "def work(config, progress):\n"
        "    with new_folder(Path(config.out)) as made, progress.stage('work') as advance:\n"
        "        (made.path / 'half').touch()\n        print('under way', flush=True)\n"
        "        while True:\n            time.sleep(0.02)\n            advance(1)\n"
        "adapt.cli.import_module = lambda name: SimpleNamespace(main=work)\nadapt.cli.main(sys.argv[1:])"
    )
    command = [sys.executable, "-c", script, "check", "clip.mp4", "-o", str(tmp_path / "seen")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stderr is not None
        assert process.stdout.readline().strip() == b"under way" and list(tmp_path.iterdir())
        process.send_signal(getattr(signal, sent))
        assert process.wait(60) == code
        assert b"interrupted" in process.stderr.read()
    assert not list(tmp_path.iterdir())


def test_a_command_that_is_to_outlive_its_terminal_does() -> None:
    """As nohup starts it: SIGHUP ignored."""
    script = (
        "import os, signal, sys\nfrom types import SimpleNamespace\nimport adapt.cli\n"
        "signal.signal(signal.SIGHUP, signal.SIG_IGN)\n"
        "adapt.cli.import_module = lambda name: SimpleNamespace(main=lambda *_: os.kill(os.getpid(), signal.SIGHUP))\n"
        "adapt.cli.main(sys.argv[1:])"
    )
    assert subprocess.run([sys.executable, "-c", script, "check", "clip.mp4"], timeout=60).returncode == 0


def test_the_value_of_a_flag_is_no_override() -> None:
    words = ["compare", "a.mp4", "--method", "wav=run {query} {output}", "lanes=1", "--strict", "held_out=2"]
    assert split_overrides(words) == (["lanes=1", "held_out=2"], [*words[:4], "--strict"])


def test_an_interrupt_that_got_lost_is_heeded_at_the_next_step() -> None:
    progress = JsonLines()
    with pytest.raises(KeyboardInterrupt), progress.stage("work", 3) as advance:
        advance(1)
        progress.cancel()
        advance(1)


def test_help_and_version_come_at_once_without_torch() -> None:
    code = (
        "import sys, adapt.cli\ntry:\n    adapt.cli.main(sys.argv[1:])\nfinally:\n    assert 'torch' not in sys.modules"
    )
    for words, told in ((["--help"], "compare"), (["--version"], "adapt "), (["dub", "--help"], "adapt dub shot.mp4")):
        done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, timeout=60)
        assert done.returncode == 0 and told in done.stdout, done.stderr


def test_a_slip_costs_no_wait_and_a_check_loads_no_torch(talking_clip: tuple[Path, object], tmp_path: Path) -> None:
    code = (
        "import sys, adapt.cli\ntry:\n    adapt.cli.main(sys.argv[1:])\nfinally:\n"
        "    assert not {'torch', 'scipy'} & set(sys.modules)"
    )
    clip = str(talking_clip[0])
    for words, told in (
        (["dub", "none.mp4", clip, "-o", str(tmp_path / "x")], "none.mp4: no such file"),
        (["dub", clip, "none.wav", "-o", str(tmp_path / "x")], "none.wav: no such file"),
        (["dub", clip, "silence", "--mouth", "7", "-o", str(tmp_path / "x")], "--mouth 7"),
        (["dub", clip, "silence", "-o", str(tmp_path)], "exists already and is no dub"),
        (["fit", str(tmp_path), "-o", "x.actor"], "is a folder"),
        (["check", clip, "--no-cache"], "person 1"),
    ):
        done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, timeout=120)
        assert told in done.stdout + done.stderr and "Traceback" not in done.stderr, (words, done.stderr)


README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
TOLD = [line for lines in EXAMPLES.values() for line in lines]
TOLD += [line.strip("$ ") for line in README.splitlines() if line.startswith("$ adapt ")]


@pytest.mark.parametrize("line", TOLD)
def test_every_command_line_of_help_and_readme_can_be_pasted(line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    given = []
    monkeypatch.setattr(
        "adapt.cli.import_module", lambda name: SimpleNamespace(main=lambda *both: given.append(both[0]))
    )
    name, *words = shlex.split(line, comments=True)[1:]
    assert run(name, *words) == 0
    assert isinstance(given[0], COMMANDS[name][0])
    if name == "dub":
        assert requests_of(given[0]) and dub_options_of(given[0])
    if name == "compare":
        assert compare_options_of(given[0])


def test_everything_that_is_promised_to_programs_is_there() -> None:
    for name in adapt.__all__:
        assert getattr(adapt, name).__doc__, name
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = adapt.nothing


def test_a_package_that_does_not_load_is_one_line_and_our_own_fault_a_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def doctor(*_: object) -> None:
        raise fault

    monkeypatch.setattr("adapt.commands.doctor.main", doctor)
    fault = ModuleNotFoundError("No module named 'kornia'", name="kornia")
    assert run("doctor") == 1
    line = "adapt: something that adapt needs cannot be loaded (No module named 'kornia'); "
    assert capsys.readouterr().err.splitlines() == [line + "`adapt doctor` says what to install"]
    fault = ImportError("cannot import name 'dub' from 'adapt.dubbing'", name="adapt.dubbing")
    with pytest.raises(ImportError, match="cannot import name"):
        main(["doctor"])

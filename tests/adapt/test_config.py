import math
from pathlib import Path

import pytest

from adapt.commands.dub import requests_of
from adapt.commands.flags import CheckConfig, CompareConfig, DubConfig, FitConfig
from adapt.config import command_line, handed_on, meant, parse_range, refuse_mistyped, resolve
from adapt.dubbing.options import DubOptions
from adapt.fitting.options import FitOptions
from adapt.motion.sources import Sound
from render.errors import ConfigError


@pytest.mark.parametrize("name", ["take_${oc.env:SECRET}.mp4", "a${b}.mp4", "a${b.mp4", "???", "a\\${b}.mp4"])
def test_names_of_files_are_no_templates(name, monkeypatch):
    monkeypatch.setenv("SECRET", "hunter2")
    assert resolve(CheckConfig, {"video": name}).video == name
    assert resolve(DubConfig, {"video": "v.mp4", "out": "o", "face": [f"1={name}"]}).face == [f"1={name}"]
    if name != "???":  # which says that a value is still to be given
        assert resolve(CheckConfig, {"video": "v.mp4"}, [f"audio={name}"]).audio == name


def test_a_settings_file_cannot_ask_for_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("SECRET", "hunter2")
    file = tmp_path / "settings.yaml"
    for text in ("video: take_${oc.env:SECRET}.mp4", "video: a\naudio: ${video}"):
        file.write_text(text)
        with pytest.raises(ConfigError, match="is not filled in; write the value itself") as refused:
            resolve(CheckConfig, file=file)
        assert "hunter2" not in str(refused.value) and str(file) in str(refused.value)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_settings_of_any_editor_are_read(tmp_path, encoding):
    file = tmp_path / "settings.yaml"
    file.write_bytes("video: Zoë.mp4\r\noverwrite: true\r\n".encode(encoding))
    config = resolve(CheckConfig, file=file)
    assert (config.video, config.overwrite) == ("Zoë.mp4", True)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("video: Zoë".encode("latin-1"), "save it as UTF-8"),
        (b"- a.mp4\n- b.mp4", "holds no settings"),
        (b".nan", "holds no settings"),
        (b"7", "holds no settings"),
        (b"video: [", "cannot be read as YAML"),
        (b"colour: red", "Key 'colour' not in"),
        (b"overwrite: 1,1", "overwrite: Value '1,1'"),
    ],
)
def test_other_files_are_one_line(tmp_path, data, message):
    file = tmp_path / "settings.yaml"
    file.write_bytes(data)
    with pytest.raises(ConfigError, match=message) as refused:
        resolve(CheckConfig, file=file)
    assert len(str(refused.value).splitlines()) == 1


@pytest.mark.parametrize("number", ["nan", "inf", "-inf"])
def test_no_setting_takes_a_number_that_is_none(number):
    for word in ("audio_offset", "mouth"):
        with pytest.raises(ConfigError, match="finite"):
            resolve(DubConfig, {"video": "v.mp4", "out": "o"}, [f"{word}={number}"])
    with pytest.raises(ConfigError, match="--audio-offset .*finite"):
        DubOptions(audio_offset=float(number))
    if number != "-inf":
        with pytest.raises(ConfigError, match="both finite"):
            parse_range(f"0-{number}")
        with pytest.raises(ConfigError, match="--range"):
            DubOptions(part=(0.0, float(number)))
        with pytest.raises(ConfigError, match="--fit-minutes"):
            DubOptions(fit_minutes=float(number))


def test_seeds_and_steps_are_not_negative():
    for seed in (-1, 1 << 63):
        for options in (DubOptions, FitOptions):
            with pytest.raises(ConfigError, match="--seed"):
                options(seed=seed)
    with pytest.raises(ConfigError, match="--fit-steps -1"):
        DubOptions(fit_steps=-1)
    with pytest.raises(ConfigError, match="--seconds nan"):
        FitOptions(seconds=math.nan)


@pytest.mark.parametrize(
    ("entry", "actor", "person", "sound"),
    [
        ("ada.actor=a.wav", "ada.actor", None, "a.wav"),
        ("ada.actor@2=a.wav", "ada.actor", 2, "a.wav"),
        ("2=a.wav", None, 2, "a.wav"),
        ("there=b.actor=c=d.wav", "there=b.actor", None, "c=d.wav"),
        ("ada@there.actor@3=a.wav", "ada@there.actor", 3, "a.wav"),
        ("ada@there.actor=a.wav", "ada@there.actor", None, "a.wav"),
        ("2024=a.wav", "2024", None, "a.wav"),
        ("ada.actor=take=2.wav", "ada.actor", None, "take=2.wav"),
    ],
)
def test_who_a_face_names(entry, actor, person, sound, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("there=b.actor", "ada@there.actor", "2024"):
        (tmp_path / name).mkdir()
    (tmp_path / "2024" / "actor.json").touch()
    (tmp_path / "2").mkdir()  # an output folder, say
    (request,) = requests_of(DubConfig(video="v.mp4", out="o", face=[entry]))
    assert isinstance(request.driver, Sound)
    found = (request.actor and str(request.actor), request.person, str(request.driver.path))
    assert found == (actor, person, sound)


@pytest.mark.parametrize("entry", ["²@²=a.wav", "=a.wav", "1=", "ada@x=a.wav", "ada.actor"])
def test_a_face_that_names_nobody_is_one_line(entry):
    with pytest.raises(ConfigError, match="give ACTOR=AUDIO, ACTOR@PERSON=AUDIO or PERSON=AUDIO"):
        requests_of(DubConfig(video="v.mp4", out="o", face=[entry]))


def test_a_superscript_is_a_name_not_a_number():
    (request,) = requests_of(DubConfig(video="v.mp4", out="o", face=["²=a.wav"]))
    assert str(request.actor) == "²" and request.person is None


def test_settings_are_handed_on_without_folders():
    config = DubConfig(
        video="/Users/ada/My Films/a b.mp4",
        audio=None,
        out="../out",
        drive="source",
        face=["/Users/ada/x=y/ada.actor@2=takes/a b.wav", "1=silence"],
        range="2-6",
    )
    kept = handed_on(config)
    assert (kept["video"], kept["out"], kept["drive"], kept["range"]) == ("a b.mp4", "out", "source", "2-6")
    assert kept["face"] == ["x=ada.actor@2=a b.wav", "1=silence"] and kept["audio"] is None
    compared = CompareConfig(
        footage=["/data/a.mp4"], out="o", method=["mine=python /Users/ada/m.py --w=~/w.pth {output}"]
    )
    assert handed_on(compared)["method"] == ["mine=python m.py --w=w.pth {output}"]
    options = DubOptions(deliver="/Users/ada/mix.wav", motion_model=Path("/Users/ada/m.safetensors"), part=(1.0, 2.0))
    kept = handed_on(options)
    assert (kept["deliver"], kept["motion_model"], kept["part"]) == ("mix.wav", "m.safetensors", (1.0, 2.0))


def test_a_list_has_no_settings_of_its_own():
    with pytest.raises(ConfigError, match="footage.mp4=1: a setting that is a list"):
        resolve(FitConfig, overrides=["footage.mp4=1"])


def test_what_a_plan_does_without_is_not_missing_there():
    planned = {"video": "shot.mp4", "plan": True}
    assert resolve(DubConfig, planned).out == "" and resolve(DubConfig, {**planned, "out": "there"}).out == "there"
    assert resolve(DubConfig, {"video": "shot.mp4"}, ["plan=true"]).out == ""
    assert command_line("dub", resolve(DubConfig, planned), person=1) == "adapt dub shot.mp4 --person 1 --plan"


def test_a_missing_setting_is_named_as_it_is_given():
    with pytest.raises(ConfigError, match=r"missing: video, -o folder for the dubbed video, report and sidecar \("):
        resolve(DubConfig)


def test_a_mistyped_word_is_offered_but_a_file_is_a_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match="--deliver sorce: no such file; did you mean source"):
        refuse_mistyped("--deliver", "sorce", ["source", "mix"])
    refuse_mistyped("--deliver", "voice.wav", ["source", "mix"])
    (tmp_path / "sorce").touch()
    refuse_mistyped("--deliver", "sorce", ["source", "mix"])
    assert meant("silent", ["silence"]) == "silence" and meant("take.wav", ["silence"]) is None

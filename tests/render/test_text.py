import json
import os

import pytest
import torch

from render.store import load_tensors, save_tensors, write_json
from render.text import printable, read_text, shown

LATIN = os.fsdecode(b"caf\xe9.mp4")


def test_a_name_that_is_no_text_is_stored_and_shown_with_a_replacement(tmp_path):
    assert printable(LATIN) == "caf\ufffd.mp4" and printable("é 幕 😀") == "é 幕 😀"
    write_json(tmp_path / "run.json", {"file": LATIN})
    assert json.loads((tmp_path / "run.json").read_text(encoding="utf-8")) == {"file": "caf\ufffd.mp4"}
    save_tensors(tmp_path / "one", "thing", 1, {"a": torch.zeros(1)}, {"file": LATIN})
    assert load_tensors(tmp_path / "one", "thing", 1)[1] == {"file": "caf\ufffd.mp4"}


def test_control_characters_are_shown_not_obeyed():
    title = "\x1b]0;yours\x07 \x9b31m \u202egnp.exe"
    assert shown(title) == "\\u001b]0;yours\\u0007 \\u009b31m \\u202egnp.exe"
    assert json.loads(shown(json.dumps(title, ensure_ascii=False))) == title
    assert shown("two\n\tlines") == "two\n\tlines"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_text_files_of_any_editor_are_read(tmp_path, encoding):
    file = tmp_path / "note.txt"
    file.write_bytes("Zoë\r\nAda\r".encode(encoding))
    assert read_text(file) == "Zoë\nAda\n"


def test_text_in_an_old_code_page_is_refused_in_words(tmp_path):
    (tmp_path / "note.txt").write_bytes("Zoë".encode("latin-1"))
    with pytest.raises(ValueError, match="save it as UTF-8"):
        read_text(tmp_path / "note.txt")

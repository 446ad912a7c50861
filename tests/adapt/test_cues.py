import math
from random import Random

import pytest
import torch

from adapt.dubbing.options import DubOptions
from adapt.motion.controls import Intensity, MouthScale, Offset, Weights, directed
from adapt.motion.cues import read_cues, told_range
from adapt.motion.direction import Direction
from adapt.motion.keys import read_keys
from adapt.motion.words import parse_weights
from render.errors import ConfigError

TABLE = """start,end,person,mouth,offset,intensity,weights,region
0:00:01.5,2.5,2,1.2,,,,
,3,,,-0.04,0.5,"lips=1.5,jaw=0.8",

1,,1,,,,,lips
"""


def test_who_listens_rests_and_a_note_is_for_people(tmp_path, spoken, speaker):
    path = tmp_path / "cues.csv"
    path.write_text("start,end,speaks,intensity,note\n1,2,no,2,Ada speaks\n3,4,yes,,\n5,6,,,not sure\n")
    cues = read_cues(path)
    assert [cue.told for cue in cues.motion] == ["speaks no", "intensity 2"] and not cues.regions
    after = directed(spoken, speaker, cues.motion)
    middle = (spoken.seconds > 1.2) & (spoken.seconds < 1.8)
    torch.testing.assert_close(after[middle], speaker.closed.expand(int(middle.sum()), -1), atol=1e-5, rtol=0)
    outside = (spoken.seconds <= 1) | (spoken.seconds >= 2)
    assert torch.equal(after[outside], spoken.expression[outside])


def test_a_table_is_cues_in_the_order_of_its_rows(tmp_path):
    path = tmp_path / "cues.csv"
    path.write_text(TABLE, encoding="utf-8")
    cues = read_cues(path)
    assert [type(cue.control) for cue in cues.motion] == [MouthScale, Offset, Intensity, Weights]
    first, shifted, _, weights = cues.motion
    assert (first.start, first.end, first.person, first.control.factor) == (1.5, 2.5, 2, 1.2)
    assert (shifted.start, shifted.end, shifted.person, shifted.control.seconds) == (-math.inf, 3.0, None, -0.04)
    assert weights.control == Weights(1.5, 0.8) and cues.people == {1, 2}
    assert [(one.region, one.start, one.end) for one in cues.regions] == [("lips", 1.0, math.inf)]
    assert told_range(first) == ("0:00:01.500", "0:00:02.500", "mouth 1.2")
    assert told_range(cues.regions[0]) == ("0:00:01.000", "the end", "region lips")
    path.write_text(TABLE.replace(",", ";").replace("1.5;jaw", "1.5 jaw"), encoding="utf-16")
    assert [cue.control for cue in read_cues(path).motion] == [cue.control for cue in cues.motion]


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("", "empty; give a table with columns start, end, person, "),
        ("start,moth\n", "row 1: no column moth; did you mean mouth?"),
        ("start,eyebrows\n", "row 1: no column eyebrows; columns are start, "),
        ("mouth,mouth\n", "row 1: two columns mouth"),
        ("start,end,mouth\n1,2,1\n1,2,9\n", "row 3: mouth 9: give a factor from 0.6 to 1.4"),
        ("start,end,mouth\n1,2,big\n", "row 2: mouth big: give a finite number"),
        ("start,end,intensity\n\n1,2,-1\n", "row 3: intensity -1: give a factor from 0 to 2"),
        ("emotion\nhappy:3\n", "row 2: emotion happy:3: give a strength from 0 "),
        ("start,end,mouth\n2,1,1\n", "row 2: start 2 is not before end 1"),
        ("start,end,mouth\n1:2:3:4,,1\n", "row 2: start 1:2:3:4: give seconds of the shot"),
        ("start,end,mouth\n-1,,1\n", "row 2: start -1: give seconds of the shot"),
        ("start,end,mouth\n1,2,\n", "row 2: says nothing; fill in one of speaks, mouth, "),
        ("mouth\n1,2\n", "row 2: 2 cells for 1 columns"),
        ("person,mouth\nAda,1\n", "row 2: person Ada: give a cast number"),
        ("region\nnose\n", "row 2: region nose: choose one of lips, mouth, lower-face"),
        ("speaks\nmaybe\n", "row 2: speaks maybe: say yes, or no"),
        ("offset\n3\n", "row 2: offset 3: give seconds from -0.5 to 0.5"),
        ("weights\nlips\n", "row 2: weights lips: give factors of lips and jaw"),
        ("weights\nlips=3\n", "row 2: weights lips 3: give a factor from 0 to 2"),
    ],
)
def test_what_means_nothing_is_told_with_its_row(tmp_path, table, message):
    path = tmp_path / "cues.csv"
    path.write_text(table, encoding="utf-8")
    with pytest.raises(ConfigError) as error:
        read_cues(path)
    assert message in str(error.value) and str(path) in str(error.value) and "\n" not in str(error.value)


def test_a_table_that_is_no_text_or_has_a_nul_is_one_line(tmp_path):
    path = tmp_path / "cues.csv"
    for data in (b"\xff\xfa\x00start", b'start,mouth\n"1'):
        path.write_bytes(data)
        with pytest.raises(ConfigError, match=r"cues.csv"):
            read_cues(path)


def test_weights_are_said_in_words():
    assert parse_weights("lips=1.5,jaw=0.8") == {"lips": 1.5, "jaw": 0.8}
    assert parse_weights("jaw=0") == {"jaw": 0.0}
    for text in ("", "lips", "lips=a", "nose=1", "lips=1,lips=1"):
        with pytest.raises(ConfigError, match="--weights"):
            parse_weights(text)
    with pytest.raises(ConfigError, match="--weights jaw 3: give a factor from 0 to 2"):
        DubOptions(jaw=3)


def test_regions_share_what_is_put_back_and_somebody_else_is_refused(tmp_path):
    path = tmp_path / "cues.csv"
    path.write_text("start,end,person,region\n1,2,2,lips\n", encoding="utf-8")
    direction = Direction(region="mouth", table=path)
    seconds = torch.arange(75, dtype=torch.float64) / 25
    shares = direction.regions(2, seconds)
    torch.testing.assert_close(shares["mouth"] + shares["lips"], torch.ones(75))
    assert shares["lips"][[25, 37, 50]].tolist() == [0, 1, 0] and 0 < float(shares["lips"][26]) < 1
    assert direction.regions(1, seconds) == {} and not direction.of_person(1) and len(direction.of_person(2)) == 1
    direction.refuse_others([1, 2])
    with pytest.raises(ConfigError, match="names person 2, but dubbed is 1"):
        direction.refuse_others([1])


def test_a_damaged_table_is_read_or_refused_in_one_line(tmp_path):
    random = Random(0)
    (tmp_path / "keys.csv").write_bytes(b"time,opening\n1,0.2\n")
    whole = TABLE.encode() + b"3,4,1,,,,,mouth\n"
    for name, read in (("cues.csv", read_cues), ("keys.csv", read_keys)):
        original = whole if name == "cues.csv" else b"time,sound,opening,width\n0.5,m,0.1,\n1:02.5,a,,0.2\n"
        for _ in range(300):
            data = bytearray(original)
            for _ in range(random.randint(1, 6)):
                place = random.randrange(len(data))
                data[place : place + random.randint(0, 3)] = random.choice(
                    (b"", b"\0", b'"', b",", b"\n", b"-9e999", b"\xff")
                )
                data = data or bytearray(b" ")
            (tmp_path / name).write_bytes(data)
            try:
                read(tmp_path / name)
            except ConfigError as error:
                assert "\n" not in str(error)

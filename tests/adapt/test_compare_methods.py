import pytest

from adapt.comparison.compare import method_named
from render.errors import ConfigError


@pytest.mark.parametrize(
    ("word", "name"),
    [
        ("frozen", "frozen mouth"),
        ("nearestmouth", "nearest mouth"),
        ("Nearest-Mouth", "nearest mouth"),
        ("pri", "prior"),
    ],
)
def test_a_method_is_named_without_spaces_or_by_how_it_begins(word, name):
    assert method_named(word) == name


@pytest.mark.parametrize("word", ["", "x", "mouth"])
def test_a_word_that_means_no_method_is_refused(word):
    with pytest.raises(ConfigError, match="known are real, frozen mouth"):
        method_named(word)

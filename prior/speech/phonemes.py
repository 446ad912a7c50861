"""The phoneme inventory: 30 sound classes that mouths of every language share, and how teachers' symbols map to them.

Classes are merged where the lips and jaw do not differ: voicing is dropped (prosody carries it), and diphthongs
are split into their two targets. A label row is int8 [T] at `LABEL_RATE`, index into `CLASSES`, -1 where unknown.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable

import numpy as np

LABEL_RATE = 50  # labels and posteriors a second; row t is centred on t / LABEL_RATE seconds
CLASSES = (
    *("sil", "p", "m", "f", "w", "th", "t", "n", "l", "r", "s", "sh", "k", "ng", "h", "j"),
    *("i", "I", "y", "e", "E", "ae", "a", "uh", "er", "ao", "o", "oe", "U", "u"),
)
INDEX = {name: index for index, name in enumerate(CLASSES)}
SILENCE = INDEX["sil"]
CLOSED = tuple(INDEX[name] for name in ("p", "m"))  # lips together
LABIODENTAL = (INDEX["f"],)  # lower lip at the upper teeth
STOPS = tuple(INDEX[name] for name in ("p", "t", "k", "sh"))  # may begin with a silent closure


# CMU phones of pocketsphinx, flite and festival's American voices, as classes in order of time.
ARPABET = {
    **{"AA": "a", "AE": "ae", "AH": "uh", "AX": "uh", "AO": "ao", "AW": "a U", "AY": "a I", "B": "p", "CH": "sh"},
    **{"D": "t", "DH": "th", "EH": "E", "ER": "er", "EY": "e I", "F": "f", "G": "k", "HH": "h", "IH": "I", "IY": "i"},
    **{"JH": "sh", "K": "k", "L": "l", "M": "m", "N": "n", "NG": "ng", "OW": "o U", "OY": "ao I", "P": "p", "R": "r"},
    **{"S": "s", "SH": "sh", "T": "t", "TH": "th", "UH": "U", "UW": "u", "V": "f", "W": "w", "Y": "j", "Z": "s"},
    **{"ZH": "sh", "SIL": "sil", "PAU": "sil", "H#": "sil"},
}
# Single IPA letters; what is not listed (tone marks, length, stress) is skipped.
_IPA_GROUPS = {
    **{"p": "pbɓ", "m": "mɱ", "f": "fvʋɸ", "w": "wʍɥ", "th": "θðβ", "t": "tdɾʈɖ", "n": "nɲɳ", "l": "lɫʎɭɬ"},
    **{"r": "rɹɻ", "s": "sz", "sh": "ʃʒɕʑʂʐç", "k": "kgɡcɟqɣ", "ng": "ŋɴ", "h": "hxχɦħʁʕʀ", "j": "jʝ"},
    **{"i": "i", "I": "ɪɨᵻ", "y": "yʏ", "e": "e", "E": "ɛ", "ae": "æ", "a": "aɑɐä", "uh": "əʌɜɤ", "er": "ɚɝ"},
    **{"ao": "ɔɒ", "o": "oɵ", "oe": "øœɞ", "U": "ʊ", "u": "uʉɯ"},
}
IPA = {letter: name for name, letters in _IPA_GROUPS.items() for letter in letters}


def classes_of_arpabet(phone: str) -> list[int]:
    """Classes of one CMU phone ("AY1" -> a, I); unknown symbols raise KeyError."""
    return [INDEX[name] for name in ARPABET[phone.upper().rstrip("012")].split()]


def classes_of_ipa(phoneme: str) -> list[int]:
    """Classes of one IPA phoneme string ("aɪ" -> a, I; "tʃ" -> sh), empty if nothing in it is known."""
    letters = [letter for letter in unicodedata.normalize("NFC", phoneme) if letter in IPA]
    classes = [INDEX[IPA[letter]] for letter in letters]
    if len(classes) >= 2 and classes[0] == INDEX["t"] and classes[1] in (INDEX["s"], INDEX["sh"]):
        classes = classes[1:]  # an affricate has the mouth of its fricative
    return classes


def label_rows(segments: Iterable[tuple[float, float, list[int]]], seconds: float) -> np.ndarray:
    """Labels of timed phones.

    Args:
        segments: (start, end, classes) in seconds; several classes share the time evenly, none leaves it unknown.
        seconds: length of the sound.

    Returns:
        int8 [T], T = floor(seconds * LABEL_RATE) + 1.
    """
    rows = np.full(int(seconds * LABEL_RATE + 1e-6) + 1, -1, np.int8)
    for start, end, classes in segments:
        for position, label in enumerate(classes):
            first = start + (end - start) * position / len(classes)
            last = start + (end - start) * (position + 1) / len(classes)
            rows[int(np.ceil(first * LABEL_RATE - 1e-6)) : int(np.ceil(last * LABEL_RATE - 1e-6))] = label
    return rows

"""Appearance: what a face looks like, in numbers that tell people of one video apart; no recognition network.

In: sightings of one face. Out: a mean description (local binary patterns of the upright face, colours of hair and of
skin), and the log-odds that two descriptions show one person. Patterns: Ahonen, Hadid & Pietikäinen 2006, "Face
Description with Local Binary Patterns". This tells the handful of people in a video apart; it identifies nobody.
"""

from collections.abc import Sequence

import cv2
import numpy as np

from adapt.cast.faces import Face, LandmarkLayout, eye_centres, eye_distance

# The upright head: picture size in px, distance of the eyes in it, and where the point between the eyes lies.
HEAD_WIDTH, HEAD_HEIGHT = 160, 144
HEAD_EYE_DISTANCE = 32.0
HEAD_BETWEEN_EYES = (80.0, 64.0)
# Parts of it (rows, columns): the face; hair; the skin of cheeks, nose and mouth.
FACE_PART = (slice(32, 144), slice(24, 136))
HAIR_PART = (slice(0, 44), slice(21, 140))
SKIN_PART = (slice(61, 118), slice(51, 110))
PATTERN_CELLS = 7
# Blur and step, px, of the two scales at which patterns are taken.
PATTERN_SCALES = (1, 2)
COLOUR_BINS = (4, 8, 8)
COLOUR_RANGE = ((0.0, 256.0), (96.0, 160.0), (96.0, 160.0))
# Log-odds that two runs show one person: logistic regression on pairs of training people's runs, half of them from
# different takes; the bias is set on tuning people.
BIAS = 7.1
PATTERN_WEIGHT = -0.1135
HAIR_WEIGHT = -1.05
SKIN_WEIGHT = -2.97
# Colour distance of two parts of which one is out of the picture.
UNSEEN_DISTANCE = 0.7


def _uniform_patterns() -> np.ndarray:
    """uint8 [256]: class of every 8-bit circular pattern: 58 with at most two changes, one for all others."""
    classes = np.full(256, 58, np.uint8)
    bits = (np.arange(256)[:, None] >> np.arange(8)) & 1
    uniform = (bits != np.roll(bits, 1, axis=1)).sum(axis=1) <= 2
    classes[uniform] = np.arange(uniform.sum())
    return classes


PATTERN_CLASSES = _uniform_patterns()
RING = ((0, 0), (0, 1), (0, 2), (1, 2), (2, 2), (2, 1), (2, 0), (1, 0))


class Appearance:
    """Mean description of one face over a run; a sighting now and then is looked at, rarer as the run goes on."""

    def __init__(self) -> None:
        self._sightings = 0
        self._next = 0
        self._count = 0
        self._patterns = np.zeros(len(PATTERN_SCALES) * PATTERN_CELLS**2 * 59, np.float32)
        self._hair = np.zeros(int(np.prod(COLOUR_BINS)), np.float32)
        self._skin = np.zeros_like(self._hair)
        self._hair_count = 0

    def add(self, rgb: np.ndarray, face: Face, layout: LandmarkLayout) -> None:
        """Take in one sighting; picture uint8 [H, W, 3]."""
        self._sightings += 1
        if self._sightings <= self._next:
            return
        self._next = round(1.1 * self._sightings) + 5
        head, seen = upright_head(rgb, face.landmarks, layout)
        lab = cv2.cvtColor(head, cv2.COLOR_RGB2LAB)
        self._count += 1
        self._patterns += local_patterns(head[FACE_PART])
        self._skin += colour_histogram(lab[SKIN_PART], seen[SKIN_PART])
        hair = colour_histogram(lab[HAIR_PART], seen[HAIR_PART])
        self._hair += hair
        self._hair_count += bool(hair.any())

    @property
    def patterns(self) -> np.ndarray:
        """Mean square-root histograms of local patterns, float32."""
        return self._patterns / max(self._count, 1)

    @property
    def skin(self) -> np.ndarray:
        """Mean square-root colour histogram of the skin, float32 [256]."""
        return self._skin / max(self._count, 1)

    @property
    def hair(self) -> np.ndarray | None:
        """Mean square-root colour histogram of what is above the brows, float32 [256]; None: out of the picture."""
        return self._hair / self._hair_count if self._hair_count else None


def upright_head(rgb: np.ndarray, landmarks: np.ndarray, layout: LandmarkLayout) -> tuple[np.ndarray, np.ndarray]:
    """The head with level eyes at a fixed size: uint8 [144, 160, 3], and bool [144, 160] where the picture has it."""
    right, left = (eye[:2].astype(np.float64) for eye in eye_centres(landmarks, layout))
    scale = max(eye_distance(landmarks, layout), 1.0) / HEAD_EYE_DISTANCE
    angle = np.arctan2(left[1] - right[1], left[0] - right[0])
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    shift = (right + left) / 2 - turn @ HEAD_BETWEEN_EYES
    factor = max(1, round(scale))
    matrix = np.concatenate([turn / factor, shift[:, None] - 0.5], axis=1)
    size = (HEAD_WIDTH * factor, HEAD_HEIGHT * factor)
    flags = cv2.WARP_INVERSE_MAP | cv2.INTER_LINEAR
    head = cv2.warpAffine(rgb, matrix, size, flags=flags)
    seen = cv2.warpAffine(np.full(rgb.shape[:2], 255, np.uint8), matrix, size, flags=flags)
    if factor > 1:
        head = cv2.resize(head, (HEAD_WIDTH, HEAD_HEIGHT), interpolation=cv2.INTER_AREA)
        seen = cv2.resize(seen, (HEAD_WIDTH, HEAD_HEIGHT), interpolation=cv2.INTER_AREA)
    return head, seen > 200


def local_patterns(face: np.ndarray) -> np.ndarray:
    """Square roots of histograms of uniform local binary patterns, cell by cell, at two scales; from uint8 [H, W,
    3].
    """
    luma = cv2.cvtColor(np.ascontiguousarray(face), cv2.COLOR_RGB2GRAY).astype(np.float32)
    histograms = []
    for scale in PATTERN_SCALES:
        picture = cv2.GaussianBlur(luma, (0, 0), float(scale))[::scale, ::scale]
        height, width = picture.shape[0] - 2, picture.shape[1] - 2
        centre = picture[1:-1, 1:-1]
        codes = np.zeros((height, width), np.uint8)
        for bit, (y, x) in enumerate(RING):
            codes |= (picture[y : y + height, x : x + width] >= centre).astype(np.uint8) << bit
        rows = np.arange(height) * PATTERN_CELLS // height
        columns = np.arange(width) * PATTERN_CELLS // width
        cells = rows[:, None] * PATTERN_CELLS + columns
        counts = np.bincount((cells * 59 + PATTERN_CLASSES[codes]).ravel(), minlength=PATTERN_CELLS**2 * 59)
        shares = counts.reshape(-1, 59) / np.bincount(cells.ravel())[:, None]
        histograms.append(np.sqrt(shares).ravel())
    return np.concatenate(histograms).astype(np.float32)


def colour_histogram(lab: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """Square root of the colour histogram of the pixels `seen`, float32 [256]; zeros where there are hardly any."""
    pixels = lab[seen].astype(np.float32)
    if len(pixels) < 30:
        return np.zeros(int(np.prod(COLOUR_BINS)), np.float32)
    index = np.zeros(len(pixels), int)
    for channel, (bins, (low, high)) in enumerate(zip(COLOUR_BINS, COLOUR_RANGE, strict=True)):
        step = ((pixels[:, channel] - low) * bins / (high - low)).astype(int)
        index = index * bins + np.clip(step, 0, bins - 1)
    counts = np.bincount(index, minlength=int(np.prod(COLOUR_BINS)))
    return np.sqrt(counts / len(pixels)).astype(np.float32)


def likenesses(appearances: Sequence[Appearance]) -> np.ndarray:
    """Log-odds that two descriptions show one person, of each pair of N: float64 [N, N], symmetric."""
    patterns = squared_distances(np.stack([one.patterns for one in appearances]))
    skin = np.sqrt(squared_distances(np.stack([one.skin for one in appearances])))
    unseen = np.zeros(int(np.prod(COLOUR_BINS)), np.float32)
    hairs = [one.hair for one in appearances]
    has_hair = np.array([hair is not None for hair in hairs])
    hair = np.sqrt(squared_distances(np.stack([unseen if hair is None else hair for hair in hairs])))
    hair = np.where(has_hair[:, None] & has_hair, hair, UNSEEN_DISTANCE)
    return BIAS + PATTERN_WEIGHT * patterns + SKIN_WEIGHT * skin + HAIR_WEIGHT * hair


def squared_distances(rows: np.ndarray) -> np.ndarray:
    """Squared distances between rows [N, K]: float64 [N, N], symmetric, 0 on the diagonal; one matrix product."""
    rows = rows.astype(np.float64)
    products = rows @ rows.T
    lengths = products.diagonal()
    squares = np.maximum(lengths[:, None] + lengths - (products + products.T), 0)
    np.fill_diagonal(squares, 0)
    return squares

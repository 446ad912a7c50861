"""Crop: the square picture of a face that the network reads and draws, cut out of a frame by a similarity."""

import cv2
import numpy as np

CROP_SIZE = 256


def cut_crop(rgb: np.ndarray, crop_from_image: np.ndarray, crop_size: int) -> np.ndarray:
    """Cut a crop out of a picture, uint8 [H, W, 3] → uint8 [crop_size, crop_size, 3], averaging where it shrinks.

    A picture of one channel, uint8 [H, W], will do as well.

    Args:
        rgb: the upright picture.
        crop_from_image: float64 [2, 3], px with centres at + 0.5.
        crop_size: px.
    """
    scale = float(np.sqrt(abs(np.linalg.det(crop_from_image[:, :2]))))
    box, offset = _source_window(crop_from_image, crop_size, rgb.shape[:2])
    window = rgb[box[1] : box[3], box[0] : box[2]]
    if scale < 1:
        window = cv2.GaussianBlur(window, (0, 0), 0.5 * float(np.sqrt(max(1e-6, scale**-2 - 1))))
    linear = crop_from_image[:, :2]
    # OpenCV puts pixel centres at whole numbers.
    shift = crop_from_image[:, 2] + linear @ (offset + 0.5) - 0.5
    flags = cv2.INTER_CUBIC if scale >= 1 else cv2.INTER_LINEAR
    matrix = np.concatenate([linear, shift[:, None]], 1)
    return cv2.warpAffine(window, matrix, (crop_size, crop_size), flags=flags, borderMode=cv2.BORDER_REPLICATE)


def _source_window(
    crop_from_image: np.ndarray, crop_size: int, shape: tuple[int, ...]
) -> tuple[tuple[int, int, int, int], np.ndarray]:
    """The part of the picture that a crop shows (x0, y0, x1, y1, px), with room for filters, and its corner."""
    inverse = np.linalg.inv(crop_from_image[:, :2])
    corners = np.array([[0, 0], [crop_size, 0], [0, crop_size], [crop_size, crop_size]], np.float64)
    places = (corners - crop_from_image[:, 2]) @ inverse.T
    reach = 4 + 2 * np.abs(inverse).max()
    limit = np.array([shape[1], shape[0]])
    low = np.clip(np.floor(places.min(0) - reach), 0, limit - 1).astype(int)
    high = np.clip(np.ceil(places.max(0) + reach), low + 1, limit).astype(int)
    return (int(low[0]), int(low[1]), int(high[0]), int(high[1])), low.astype(np.float64)

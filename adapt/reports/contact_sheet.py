"""Contact sheets: labelled pictures in rows and columns, as one JPEG or PNG."""

from collections.abc import Sequence

import cv2
import numpy as np

MARGIN_PX = 4
HEADER_PX = 22


def contact_sheet(
    rows: Sequence[Sequence[np.ndarray]], columns: Sequence[str], captions: Sequence[str] = ()
) -> np.ndarray:
    """Lay pictures out.

    Args:
        rows: pictures uint8 [H, W, 3] sRGB, all of one size; every row as long as `columns`.
        columns: heading of each column.
        captions: text at the start of each row's header, such as a timecode; empty for none.

    Returns:
        uint8 [H', W', 3] sRGB.
    """
    height, width = rows[0][0].shape[:2]
    step_x, step_y = width + MARGIN_PX, height + HEADER_PX
    sheet = np.full((HEADER_PX + step_y * len(rows), step_x * len(columns) + MARGIN_PX, 3), 255, np.uint8)
    for index, heading in enumerate(columns):
        _write(sheet, heading, MARGIN_PX + index * step_x, 16)
    for number, row in enumerate(rows):
        top = HEADER_PX + number * step_y
        if captions:
            _write(sheet, captions[number], MARGIN_PX, top + height + 16)
        for index, picture in enumerate(row):
            left = MARGIN_PX + index * step_x
            sheet[top : top + height, left : left + width] = picture
    return sheet


def _write(sheet: np.ndarray, text: str, left: int, base: int) -> None:
    cv2.putText(sheet, text, (left, base), cv2.FONT_HERSHEY_SIMPLEX, 0.45, (20, 20, 20), 1, cv2.LINE_AA)


def encode_image(rgb: np.ndarray, suffix: str = ".jpg") -> bytes:
    """Encode uint8 [H, W, 3] sRGB as ".jpg" (quality 92) or ".png"."""
    parameters = [] if suffix == ".png" else [cv2.IMWRITE_JPEG_QUALITY, 92]  # OpenCV prints of what it does not use
    done, data = cv2.imencode(suffix, cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR), parameters)
    if not done:
        raise ValueError(f"encode_image(): cannot encode {rgb.shape} as {suffix}")
    return data.tobytes()

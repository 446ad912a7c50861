import numpy as np
import pytest

from adapt.benchmarks.timing import CLICKS_HZ, clicks, lags, loudness


@pytest.mark.parametrize("late", [-0.06, 0.0, 0.04])
def test_a_lag_is_found_whatever_the_frame_times(late):
    clock, level = loudness(clicks(3.0))
    seconds = np.cumsum(np.resize([1 / 24, 1 / 60, 1 / 30], 80))
    found = lags(seconds, 0.3 + 2 * np.interp(seconds - late, clock, level), clock, level)
    assert len(found) >= 5 and np.abs(found - late).max() < 0.004


def test_loudness_peaks_in_the_middle_of_each_click():
    clock, level = loudness(clicks(2.0))
    peaks = [clock[(clock >= start) & (clock < start + 0.3)][level[(clock >= start) & (clock < start + 0.3)].argmax()]
             for start in np.arange(1, 5) / CLICKS_HZ]  # fmt: skip
    assert np.abs(peaks - (np.arange(1, 5) / CLICKS_HZ + 0.25 / CLICKS_HZ)).max() < 0.01

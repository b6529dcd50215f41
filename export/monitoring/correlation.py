"""How long a series remembers itself: frames of a video say less than as many photos."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Numbers = npt.NDArray[np.float64]

_WIDTHS = 5.0


def correlation_time(series: Numbers) -> float:
    """Return the integrated autocorrelation time in steps, from 1 for independent values.

    1 + 2 (r1 + r2 + ...), summed up to the first lag that is five times the sum so far (Sokal, 1997): a mean of n
    values is as good as one of n / time independent ones.

    Args:
        series: (n,); of one value throughout, the time is 1.
    """
    centred = series - series.mean() if len(series) else series
    power = float(centred @ centred)
    if len(series) < 2 or power <= 1e-12 * max(1.0, float(series @ series)):
        return 1.0
    size = 2 ** int(np.ceil(np.log2(2 * len(series))))
    spectrum = np.fft.rfft(centred, size)
    lags = np.fft.irfft(np.abs(spectrum) ** 2, size)[: len(series)] / power
    times = 2 * np.cumsum(lags) - 1
    wide = np.flatnonzero(np.arange(len(times)) >= _WIDTHS * times)
    return max(1.0, float(times[wide[0]] if len(wide) else times.max()))

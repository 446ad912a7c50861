"""A method from outside, added to a comparison by a command: it gets files and writes a video.

`NAME=COMMAND`, where the command's words may hold {enrollment}, {query}, {mask} (videos), {audio} (wav) and {output}
(the video to write). Videos are lossless crops, a frame a row; the query's mouth is erased and filled smoothly, and the
mask is white there. The command is run as a list of arguments, never by a shell, and ended with all that it started
when it takes too long or the comparison is stopped; where the comparison is killed, it is ended by the system (Linux).
"""

import ctypes
import os
import shlex
import signal
import string
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from fractions import Fraction
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import av
import numpy as np
import soundfile
import torch

from adapt.baselines.contract import CompareMethod, Enrollment, Query
from prior.speech.sound import SAMPLE_RATE
from render.errors import AdaptError, ConfigError
from render.head.track import Track
from render.store import file_sha256

PLACES = ("enrollment", "query", "mask", "audio", "output")
#: How many characters of a failed command's output are kept.
LAST_WORDS = 300
#: Of linux/prctl.h.
PR_SET_PDEATHSIG = 1


class MethodError(AdaptError):
    """A compared method failed, or gave something other than the frames it was asked for."""


def outside_method(entry: str, limit_minutes: float) -> CompareMethod:
    """The method of a setting `NAME=COMMAND`, which may take so long for a clip.

    Raises:
        ConfigError: no name, no command, no {output}, an unknown word in braces, or braces or quotes left open.
    """
    name, separator, command = entry.partition("=")
    try:
        words = shlex.split(command)
        named = {place for word in words for _, place, _, _ in string.Formatter().parse(word) if place is not None}
    except ValueError as error:
        raise ConfigError(f"--method {entry}: {error}; a brace of the command itself is written twice") from error
    if not name.strip() or not separator or not words or "output" not in named:
        raise ConfigError(f"--method {entry}: give NAME='COMMAND … {{output}}'")
    if named - set(PLACES):
        raise ConfigError(f"--method {entry}: {', '.join(sorted(named - set(PLACES)))}: known are {', '.join(PLACES)}")
    named_files = [Path(word.rpartition("=")[2]) for word in words]
    files = [file_sha256(file) for file in named_files if file.is_file()]
    return CompareMethod(
        name.strip(), partial(_run, words, limit_minutes), {"words": words, "files": files}, "audio" in named
    )


def _run(words: list[str], limit_minutes: float, enrollment: Enrollment, query: Query) -> torch.Tensor:
    with TemporaryDirectory(prefix="adapt-compare-") as folder:
        paths = {place: Path(folder) / f"{place}.mkv" for place in PLACES}
        paths["audio"] = Path(folder) / "audio.wav"
        write_lossless(paths["enrollment"], enrollment.crops, frame_rate(enrollment.track))
        write_lossless(paths["query"], (query.crops * 255).round().to(torch.uint8), frame_rate(query.track))
        mask = (query.erased * 255).to(torch.uint8).expand(-1, 3, -1, -1)
        write_lossless(paths["mask"], mask, frame_rate(query.track))
        if query.waveform is not None:
            soundfile.write(paths["audio"], query.waveform, SAMPLE_RATE, subtype="PCM_16")
        call([word.format(**paths) for word in words], limit_minutes, Path(folder) / "said.txt")
        return read_video(paths["output"], query.crops.shape)


def call(words: list[str], limit_minutes: float, log: Path) -> None:
    """Run a command to its end; its output goes into a file.

    Raises:
        MethodError: it cannot be run, failed, or took too long.
    """
    with log.open("wb") as output:
        try:
            process = subprocess.Popen(
                words,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=_ended_with_us(),
            )
        except OSError as error:
            raise MethodError(f"{words[0]} cannot be run ({error.strerror})") from error
        try:
            status = process.wait(60 * limit_minutes)
        except subprocess.TimeoutExpired as error:
            raise MethodError(f"stopped after {limit_minutes:g} minutes; see --method-minutes") from error
        finally:
            with suppress(ProcessLookupError):  # nothing that it started is left
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    if status:
        last = " ".join(log.read_text(errors="replace").split())[-LAST_WORDS:]
        raise MethodError(f"exit status {status}: {last}")


def _ended_with_us() -> Callable[[], None] | None:
    """What a child runs first, so that the system ends it when this process is gone; None where it cannot."""
    if not sys.platform.startswith("linux"):
        return None
    prctl, us = ctypes.CDLL(None).prctl, os.getpid()

    def begin() -> None:
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != us:  # gone before it was said
            os._exit(1)

    return begin


def frame_rate(track: Track) -> Fraction:
    """Frames per second of a track's rows, as a container can say it."""
    step = track.frame_seconds if len(track) > 1 else 0.04
    return Fraction(1 / step).limit_denominator(1001)


def write_lossless(path: Path, frames: torch.Tensor, rate: Fraction) -> None:
    """Write frames uint8 [T, 3, H, W] as FFV1 in rgb."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=rate)
        stream.pix_fmt = "bgr0"
        stream.height, stream.width = frames.shape[-2:]
        for frame in frames:
            picture = np.ascontiguousarray(frame.permute(1, 2, 0).numpy())
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))


def read_video(path: Path, shape: torch.Size) -> torch.Tensor:
    """The frames [T, 3, H, W] that a method wrote, in [0, 1]; raises `MethodError` where they are not of that shape."""
    if not path.is_file():
        raise MethodError("ended well but wrote no {output}")
    try:
        with av.open(str(path)) as container:
            pictures = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    except (av.FFmpegError, IndexError, OSError) as error:
        raise MethodError(f"its output is no readable video ({error})") from error
    written = (len(pictures), 3, *(pictures[0].shape[:2] if pictures else (0, 0)))
    if written != tuple(shape):
        wrote, asked = (f"{size[0]} frames of {size[3]}x{size[2]} px" for size in (written, shape))
        raise MethodError(f"wrote {wrote}, was asked for {asked}")
    return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).float() / 255

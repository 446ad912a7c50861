"""Sound to mouth motion: `python examples/05_audio_to_motion.py [SOUND] [--toy] [--out FOLDER]`.

Reads any sound or video file (default: the synthesised sentence beside this script), says what it is like, prints what
the phonetic encoder hears, and writes the motion of the average mouth at 25 frames/s, with a picture of its opening.
"""

import argparse
from itertools import groupby
from pathlib import Path

import matplotlib
import numpy as np

from prior.face.model import load_face_model
from prior.motion.model import load_motion_model
from prior.motion.style import MEASURES, mouth_measures
from prior.speech.features import features
from prior.speech.loudness import describe_audio
from prior.speech.phonemes import CLASSES, LABEL_RATE
from prior.speech.phonetics import load_phonetics, posteriors
from prior.speech.sound import SAMPLE_RATE, read_waveform

matplotlib.use("Agg")
from matplotlib import pyplot  # noqa: E402  (after the backend is chosen)


def main() -> None:
    parser = argparse.ArgumentParser(description="Mouth motion from sound.")
    parser.add_argument("sound", nargs="?", type=Path, default=Path(__file__).with_name("sentence.flac"))
    parser.add_argument("--toy", action="store_true", help="only the first two seconds")
    parser.add_argument("--out", type=Path, default=Path("audio_to_motion"))
    arguments = parser.parse_args()

    facts = describe_audio(arguments.sound)
    print(f"{arguments.sound.name}: {facts.duration_seconds:.2f} s, {facts.loudness_lufs:.1f} LUFS")

    waveform = read_waveform(arguments.sound)
    if arguments.toy:
        waveform = waveform[: 2 * SAMPLE_RATE]
    heard = posteriors(load_phonetics(), features(waveform).mel).argmax(1)
    print(" ".join(CLASSES[label] for label, _ in groupby(heard.tolist())))

    frames = np.arange(0, len(waveform) / SAMPLE_RATE, 1 / 25)
    motion = load_motion_model().predict(waveform, frames)
    arguments.out.mkdir(parents=True, exist_ok=True)
    motion.save(arguments.out / "motion.safetensors")

    measures = mouth_measures(load_face_model(), motion.lower_expression).numpy()
    figure, axes = pyplot.subplots(len(MEASURES), 1, sharex=True, figsize=(12, 6), layout="constrained")
    for column, name in enumerate(MEASURES):
        axes[column].plot(frames, measures[:, column])
        axes[column].set_ylabel(f"{name}, cm")
    for label, rows in groupby(enumerate(heard.tolist()), key=lambda pair: pair[1]):
        if CLASSES[label] != "sil":
            axes[0].text(next(rows)[0] / LABEL_RATE, measures[:, 0].max(), CLASSES[label], fontsize=7)
    axes[-1].set_xlabel("seconds")
    figure.savefig(arguments.out / "motion.png", dpi=100)
    print(f"{arguments.out}: motion.safetensors ({len(frames)} frames), motion.png")


if __name__ == "__main__":
    main()

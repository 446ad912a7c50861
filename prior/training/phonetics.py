"""Train the phonetic encoder: `python -m prior.training.phonetics SPEECH… --cache DIR`.

Three steps, each kept in the cache folder and skipped when there: synthesise speech in many languages with exact
phone times; decode and align the real sound files given (English words that two decoders agree on; the rest is left
unlabelled); train. Half-way the encoder itself labels what the decoders could not (other languages), where it is
sure. Only the synthesis and decoding steps need the programs named in `prior.teachers.speech`.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from tqdm import tqdm

from prior.speech.features import FRAME_RATE, LOG_FLOOR, level, log_mel
from prior.speech.phonemes import CLASSES, CLOSED, LABEL_RATE, LABIODENTAL, SILENCE
from prior.speech.phonetics import MEL_MEAN, WEIGHTS, PhoneticEncoder, load_phonetics, posteriors
from prior.speech.sound import SAMPLE_RATE, read_waveform, resample
from prior.teachers import speech as teachers
from prior.teachers.speech import hush, music
from prior.training.run import one_line_errors
from render.store import write_atomic

WORDS = Path("/usr/share/dict")  # word lists of the system's packages
LANGUAGES = {  # espeak-ng voice -> word list, or the syllables its words are made of
    **{"en-us": "american-english", "en-gb-x-rp": "american-english", "de": "ngerman", "fr": "french"},
    **{"es": "spanish", "it": "italian", "pt-br": "portuguese", "pl": "polish", "nl": "dutch", "sv": "swedish"},
}
SYLLABLES = {  # espeak-ng voice -> (onsets, rimes)
    "cmn-latn-pinyin": (
        "b p m f d t n l g k h j q x zh ch sh r z c s".split(),
        (
            "a1 o3 ai2 ei4 ao1 ou3 an2 en4 ang1 eng3 i4 ia1 ie2 iao3 iu4 ian1 in2 iang3 ing4 u1 ua2 uo3 ui4 uan1 un2 "
            "ong4"
        ).split(),
    ),
    "ru": ("б п м в ф д т з с ж ш ч н л р г к х ст пр".split(), "а о у э ы и е я ю ам от ен ил ок ой ый".split()),
    "ko": (
        "바 파 마 다 나 라 가 하 사 자 아 보 모 구 우 수 도 노 비 미 시 이 에 네 한 말 람 은".split(),
        [""],
    ),
    "ja": (
        list("あいうえおかきくけこさしすせそたちつてとなにのはひふまみむもやゆよらりるれわ"),
        ["", "", "ん"],
    ),
}
VARIANTS = ("", "+f1", "+f2", "+f3", "+f4", "+f5", "+m1", "+m2", "+m3", "+m4", "+m5", "+m6", "+m7", "+m8", "+linda")
FUNCTION_WORDS = (
    "the of and to in a is that for it as was with be by on not he this are or his from at which but have an had "
    "they you were there one all we can her has been if more when will would who so no my may some them than "
    "very about just people before might much even because through between where most how make"
).split()
SPEED_FACTORS = (0.87, 1.0, 1.15)  # resampling: speed, pitch and formants together
KINDS = ("real", "espeak", "flite", "festival", "music")  # of training sounds; "music" is all without a voice
CROP_SECONDS = 6.0
LIP_WEIGHT = 1.5  # of p b m f v in the loss: a missing closure is more visible than a surplus one
SURE, RULED_OUT = 0.75, 0.03  # posteriors from which the encoder labels a row itself, and below which it drops a label
BORDER_ROWS = 2  # labels may be this far off in time


def sentences(voice: str, count: int, generator: np.random.Generator) -> list[str]:
    """Random word sequences in a voice's language, ended by a full stop, some with a comma."""
    if voice in SYLLABLES:
        onsets, rimes = SYLLABLES[voice]
        words = [
            " ".join(
                "".join((generator.choice(onsets), generator.choice(rimes))) for _ in range(generator.integers(1, 4))
            )
            for _ in range(4000)
        ]
        if voice != "cmn-latn-pinyin":
            words = [word.replace(" ", "") for word in words]
    else:
        stored = (WORDS / LANGUAGES[voice]).read_bytes()
        try:
            listed = stored.decode("utf-8").split()
        except UnicodeDecodeError:  # some packages still ship Latin-1 lists
            listed = stored.decode("latin-1").split()
        words = [word.lower() for word in listed if word.isalpha() and 2 <= len(word) <= 11]
    made, listing = [], np.array(words)
    for _ in range(count):
        chosen = [str(word) for word in generator.choice(listing, generator.integers(3, 9))]
        if voice.startswith("en"):
            chosen = [part for word in chosen for part in (str(generator.choice(FUNCTION_WORDS)), word)]
        if generator.random() < 0.3:
            chosen[len(chosen) // 2] += ","
        made.append(" ".join(chosen) + ".")
    return made


def synthesise(seconds_a_voice: float, seed: int) -> list[tuple[str, np.ndarray, np.ndarray]]:
    """Speech of every teacher voice: (kind, waveform, labels) triples, `seconds_a_voice` seconds each at least."""
    generator = np.random.default_rng(seed)
    spoken: list[tuple[str, np.ndarray, np.ndarray]] = []
    for voice in tqdm([*LANGUAGES, *SYLLABLES], desc="espeak-ng"):
        total = 0.0
        for text in sentences(voice, 2000, generator):
            variant = voice + str(generator.choice(VARIANTS))
            waveform, labels = teachers.espeak_speech(
                text, variant, int(generator.integers(110, 230)), int(generator.integers(20, 85))
            )
            spoken.append(("espeak", waveform, labels))
            total += len(waveform) / SAMPLE_RATE
            if total > seconds_a_voice:
                break
    for voice in tqdm(teachers.FLITE_VOICES, desc="flite"):
        for text in sentences("en-us", int(seconds_a_voice / 3.5), generator):
            spoken.append(("flite", *teachers.flite_speech(text, voice, float(generator.uniform(0.75, 1.2)))))
    for voice, (_, language) in tqdm(teachers.FESTIVAL_VOICES.items(), desc="festival"):
        texts = sentences({"en": "en-us", "it": "it"}[language], int(seconds_a_voice / 3.5), generator)
        spoken += [("festival", *pair) for pair in teachers.festival_speech(texts, voice)]
    return spoken


def decode(paths: list[Path]) -> list[tuple[str, np.ndarray, np.ndarray]]:
    """Real speech with the labels that the decoders agree on: (kind, waveform, labels), one a file."""
    spoken = []
    for path in tqdm(paths, desc="decode"):
        waveform = level(read_waveform(path))
        labels = np.concatenate(
            [teachers.decoded_labels(part)[: len(part) * LABEL_RATE // SAMPLE_RATE] for part in _pieces(waveform)]
        )
        spoken.append(("real", waveform[: len(labels) * SAMPLE_RATE // LABEL_RATE], labels))
    return spoken


def _pieces(waveform: np.ndarray, longest_seconds: float = 15.0) -> list[np.ndarray]:
    """Cut at the quietest place of each stretch, on whole label rows, into pieces of at most `longest_seconds`."""
    row = SAMPLE_RATE // LABEL_RATE
    pieces, start = [], 0
    while len(waveform) - start > longest_seconds * SAMPLE_RATE:
        first = start + int(longest_seconds * 0.6 * SAMPLE_RATE) // row * row
        candidates = waveform[first : start + int(longest_seconds * SAMPLE_RATE) // row * row]
        power = np.convolve((candidates.reshape(-1, row) ** 2).mean(1), np.full(9, 1 / 9), "same")
        end = first + (4 + int(power[4:-4].argmin())) * row
        pieces.append(waveform[start:end])
        start = end
    return [*pieces, waveform[start:]]


def feature_rows(spoken: list[tuple[str, np.ndarray, np.ndarray]]) -> list[dict[str, torch.Tensor]]:
    """Log-mel (half precision) and labels of every sound at every speed factor."""
    sounds = []
    for kind, waveform, labels in tqdm(spoken, desc="features"):
        if len(waveform) < SAMPLE_RATE // 2:
            continue
        for factor in SPEED_FACTORS:
            faster = resample(waveform, SAMPLE_RATE * factor) if factor != 1 else waveform
            mel = log_mel(torch.from_numpy(level(faster)))
            count = (len(mel) + 1) // 2
            source = np.minimum((np.arange(count) * factor + 0.5).astype(int), len(labels) - 1)
            sounds.append(
                {
                    "mel": mel.half(),
                    "labels": torch.from_numpy(labels[source].astype(np.int64)),
                    "kind": torch.tensor(KINDS.index(kind)),
                }
            )
    return sounds


def augment(mel: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Room, noise, other voices, formants, equaliser and band limits on log-mel [B, T, M].

    All in band power, where independent sounds add and a room's late reverberation is a decaying smear over time.
    """
    batch, count, bands = mel.shape

    def uniform(low: float, high: float, *shape: int) -> torch.Tensor:
        return low + (high - low) * torch.rand(*(shape or (batch, 1, 1)), generator=generator)

    def sometimes(probability: float) -> torch.Tensor:
        return (torch.rand(batch, 1, 1, generator=generator) < probability).float()

    # Formants: the mel axis read at a stretched position.
    position = torch.arange(bands) * (1 + uniform(-0.1, 0.1, batch, 1) * sometimes(0.5)[:, 0])
    low = position.floor().clamp(0, bands - 2)
    weight = (position - low).clamp(0, 1)[:, None]
    index = low.long()[:, None].expand(batch, count, bands)
    mel = mel.gather(2, index) * (1 - weight) + mel.gather(2, index + 1) * weight
    power = mel.exp()
    # Room: 0.15 to 0.8 s to fall by 60 dB, 0.15 to 0.9 of the direct sound's energy.
    decay = 10 ** (-6 / (FRAME_RATE * uniform(0.15, 0.8, batch, 1)))
    taps = decay ** torch.arange(1, 41)
    taps = taps / taps.sum(1, keepdim=True) * (uniform(0.15, 0.9) * sometimes(0.4))[:, 0]
    kernel = torch.cat([torch.ones(batch, 1), taps], 1).flip(1)[:, None]
    stacked = nn.functional.pad(power.transpose(1, 2), (40, 0)).transpose(0, 1)
    power = nn.functional.conv1d(stacked, kernel, groups=batch).transpose(0, 1).transpose(1, 2)
    # Other people, then steady noise of random colour with the statistics of band power.
    power = power + power.roll(1, 0) * 10 ** uniform(-2.5, -0.7) * sometimes(0.2)
    loud = power.mean((1, 2), keepdim=True)
    colour = torch.cumsum(torch.randn(batch, 1, bands, generator=generator) * 0.3, 2)
    shape = (colour - colour.mean(2, keepdim=True)).exp()
    flutter = -torch.log(torch.rand(batch, count, bands, generator=generator) + 1e-6)
    power = power + loud * shape * flutter * 10 ** uniform(-5.0, -0.3) * sometimes(0.7)
    mel = torch.log(power + LOG_FLOOR)
    # Equaliser, gain, and codecs without high bands.
    curve = nn.functional.interpolate(torch.randn(batch, 1, 6, generator=generator), bands, mode="linear")
    mel = mel + curve * 0.8 * sometimes(0.6) + uniform(-1.0, 1.0)
    narrow = sometimes(0.3)
    beyond = torch.arange(bands) > bands * (uniform(0.6, 1.0) * narrow + 1 - narrow)
    mel = torch.where(beyond, torch.full_like(mel, -20.0), mel)
    for _ in range(2):  # a masked band and a masked moment
        start = torch.randint(0, bands, (batch, 1, 1), generator=generator)
        masked = (torch.arange(bands) >= start) & (torch.arange(bands) < start + 6) & (sometimes(0.4) > 0)
        mel = torch.where(masked, torch.full_like(mel, MEL_MEAN), mel)
    return mel


def train(
    encoder: PhoneticEncoder,
    sounds: list[dict[str, torch.Tensor]],
    steps: int,
    batch: int,
    peak_rate: float,
    seed: int,
    most_seconds: float = float("inf"),
) -> tuple[float, int]:
    """One run of AdamW over random crops, half of them real speech: a short rise of the rate, then a cosine to zero.

    Where `most_seconds` run out before `steps`, the rate falls with the clock, so that it is zero by then.

    Returns:
        The last smoothed loss, and the steps taken.
    """
    generator = torch.Generator().manual_seed(seed)
    crop = int(CROP_SECONDS * FRAME_RATE)
    kinds = np.array([sound["kind"] for sound in sounds])
    real, formant, voiceless = (torch.from_numpy(kinds == KINDS.index(kind)) for kind in ("real", "espeak", "music"))
    spoken = ~(real | formant | voiceless)
    lengths = torch.tensor([float(len(sound["mel"])) for sound in sounds])
    weight = torch.zeros(len(sounds))
    for chosen, share in ((real, 0.45), (spoken, 0.22), (formant, 0.25), (voiceless, 0.08)):
        weight += torch.where(chosen, lengths, 0.0) / (lengths * chosen).sum().clamp(min=1) * share
    class_weight = torch.ones(len(CLASSES))
    class_weight[[*CLOSED, *LABIODENTAL]] = LIP_WEIGHT
    optimiser = torch.optim.AdamW(encoder.parameters(), lr=peak_rate, weight_decay=0.02)
    encoder.train()
    smoothed, began, taken = float("nan"), time.monotonic(), 0
    progress = tqdm(range(steps), desc="train", mininterval=10)
    for taken in progress:
        done = max(taken / steps, (time.monotonic() - began) / most_seconds)
        if done >= 1:
            break
        optimiser.param_groups[0]["lr"] = peak_rate * min(done / 0.1 + 0.02, 0.5 + 0.5 * float(np.cos(np.pi * done)))
        mels, labels = [], []
        for index in torch.multinomial(weight, batch, generator=generator).tolist():
            mel, target = sounds[index]["mel"].float(), sounds[index]["labels"]
            start = 2 * int(torch.randint(0, max(1, (len(mel) - crop) // 2 + 1), (1,), generator=generator))
            mel, target = mel[start : start + crop], target[start // 2 : (start + crop) // 2]
            short = crop - len(mel)
            mels.append(nn.functional.pad(mel, (0, 0, 0, short), value=float(np.log(LOG_FLOOR))))
            labels.append(nn.functional.pad(target, (0, crop // 2 - len(target)), value=SILENCE))
        augmented = augment(torch.stack(mels), generator)
        with torch.autocast("cpu", torch.bfloat16):
            guess = encoder(augmented)
        flat = guess.float().flatten(0, 1)
        loss = nn.functional.nll_loss(flat, torch.stack(labels).flatten(), class_weight, ignore_index=-1)
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(encoder.parameters(), 1.0)
        optimiser.step()
        smoothed = loss.item() if smoothed != smoothed else 0.98 * smoothed + 0.02 * loss.item()
        progress.set_postfix(loss=f"{smoothed:.3f}", refresh=False)
    encoder.eval()
    return smoothed, taken + 1


def label_unknown(encoder: PhoneticEncoder, sounds: list[dict[str, torch.Tensor]]) -> tuple[float, float]:
    """Give unlabelled rows of real speech the encoder's own class where it is sure, and forget labels it rules out.

    The decoders know English only: in other languages the words they agree on are sometimes wrong.

    Returns:
        The share of unlabelled rows that got a label, and the share of labels forgotten.
    """
    given = unknown = forgotten = labelled = 0
    for sound in tqdm(sounds, desc="self-label"):
        if sound["kind"] != KINDS.index("real"):
            continue
        probabilities = posteriors(encoder, sound["mel"].float())
        best, guess = probabilities.max(1)
        empty = sound["labels"] < 0
        near = nn.functional.max_pool1d(probabilities.T[None], 2 * BORDER_ROWS + 1, 1, BORDER_ROWS)[0].T
        believed = near.gather(1, sound["labels"].clamp(min=0)[:, None])[:, 0]
        wrong = ~empty & (believed < RULED_OUT)
        sure = empty & (best >= SURE)
        sound["labels"] = torch.where(sure, guess, torch.where(wrong, -1, sound["labels"]))
        given, unknown = given + int(sure.sum()), unknown + int(empty.sum())
        forgotten, labelled = forgotten + int(wrong.sum()), labelled + int((~empty).sum())
    return given / max(1, unknown), forgotten / max(1, labelled)


def _stored(path: Path, make: object) -> list[tuple[str, np.ndarray, np.ndarray]]:
    """Read (kind, waveform, labels) triples from `path`, or make and write them."""
    if not path.exists():
        spoken = make()  # type: ignore[operator]
        tensors = {}
        for number, (kind, waveform, labels) in enumerate(spoken):
            name = f"{number:06d}.{kind}"
            tensors[f"{name}.waveform"] = torch.from_numpy((waveform * 16384).clip(-32767, 32767).astype(np.int16))
            tensors[f"{name}.labels"] = torch.from_numpy(labels)
        write_atomic(path, lambda temporary: save_file(tensors, str(temporary)))
    tensors = load_file(str(path))
    names = sorted(name[: -len(".waveform")] for name in tensors if name.endswith(".waveform"))
    return [
        (
            name.split(".")[1],
            tensors[f"{name}.waveform"].numpy().astype(np.float32) / 16384,
            tensors[f"{name}.labels"].numpy(),
        )
        for name in names
    ]


def main() -> None:
    """Command line; see the module's first line."""
    parser = argparse.ArgumentParser(description="Train the phonetic encoder.")
    parser.add_argument("speech", nargs="*", type=Path, help="real sound or video files to learn from")
    parser.add_argument("--cache", type=Path, required=True, help="folder for synthesised and decoded speech")
    parser.add_argument("--seconds-a-voice", type=float, default=240.0)
    parser.add_argument("--steps", type=int, default=1500, help="of each of the two runs")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="most, of each run")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--start", type=Path, default=None, help="weights to go on from, instead of the first run")
    parser.add_argument("--out", type=Path, default=WEIGHTS)
    with one_line_errors("prior.training.phonetics"):
        learn(parser.parse_args())


def learn(given: argparse.Namespace) -> None:
    """All three steps, as the flags of `main` say."""
    began = time.time()
    synthetic = _stored(given.cache / "synthetic.safetensors", lambda: synthesise(given.seconds_a_voice, given.seed))
    real = _stored(given.cache / "real.safetensors", lambda: decode(given.speech))
    generator = np.random.default_rng(given.seed)
    sounds = feature_rows(synthetic + real + [make(10.0, generator) for make in (music, hush) for _ in range(30)])
    torch.manual_seed(given.seed)
    encoder = load_phonetics(given.start) if given.start else PhoneticEncoder()
    facts: dict[str, object] = {
        "synthetic_seconds": sum(len(part[1]) for part in synthetic) / SAMPLE_RATE,
        "real_seconds": sum(len(part[1]) for part in real) / SAMPLE_RATE,
        "real_labelled": float(np.mean(np.concatenate([part[2] for part in real]) >= 0)),
        "classes": len(CLASSES),
        "started_from": str(given.start.name) if given.start else "",
    }
    if given.start is None:
        facts["loss_first"], facts["steps_first"] = train(
            encoder, sounds, given.steps, given.batch, 2e-3, given.seed, 60 * given.minutes
        )
        encoder.save(given.cache / "first.safetensors", facts)
    facts["self_labelled"], facts["labels_forgotten"] = label_unknown(encoder, sounds)
    facts["loss"], facts["steps"] = train(
        encoder, sounds, given.steps, given.batch, 1e-3, given.seed + 1, 60 * given.minutes
    )
    facts["seconds_taken"] = time.time() - began
    encoder.save(given.out, facts)
    print(facts)


if __name__ == "__main__":
    main()

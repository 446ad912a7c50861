"""`adapt dub` on the command line: settings → parts → a folder with the dubbed video, report, sidecar and sheet."""

import shutil
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from adapt.bundle import ActorBundle
from adapt.cast import Analysis, analyse
from adapt.commands import DubConfig
from adapt.config import ConfigError
from adapt.contact_sheet import contact_sheet, encode_image
from adapt.crop import cut_crop
from adapt.drive import motion_at, retarget, scale_mouth
from adapt.dub import DUBBED, Dubbed, Part, dub
from adapt.fit import fit
from adapt.fit_command import parse_range
from adapt.inspection import ALTERED, RUN
from adapt.people import choose_person, track_footage, track_person
from adapt.progress import Progress
from adapt.report import ClipEncoder, Report
from prior.audio import SAMPLE_RATE, read_waveform
from prior.motion_model import MouthStyle, mouth_style, shipped_motion_model
from prior.phonemes import LABEL_RATE
from prior.renderer_prior import RendererPrior, load_renderer_prior
from render.composite import Patch
from render.errors import DubError, OutputError
from render.motion import Motion
from render.store import code_version, file_sha256, write_json
from render.track import Track
from render.video import Footage, Frame, timecode
from render.video_writer import FORMATS

#: Side of the report's player, px, and how many frames it shows at most.
PLAYER_PX = 384
MOST_SHOWN = 1500
SHEET_ROWS = 6
SILENT_LEVEL = 1e-4
TRACK_SUFFIX = ".safetensors"


@dataclass(frozen=True)
class Request:
    """Who is to be dubbed to what, as asked for.

    Attributes:
        actor: path of a bundle, or None to fit the person from the shot.
        person: cast number in the shot, or None where one alone can be meant.
        sound: audio file that drives, or None.
        drive: "source", a video or a track file that drives, or None.
    """

    actor: Path | None
    person: int | None
    sound: Path | None
    drive: str | None


def requests_of(config: DubConfig) -> list[Request]:
    """Read the settings; raises `ConfigError` where they contradict each other or say nothing."""
    ways = [name for name in ("audio", "drive", "face") if getattr(config, name)]
    if len(ways) != 1:
        given = " and ".join(ways) or "none"
        raise ConfigError(f"say what moves the mouth by one of AUDIO, --drive or --face ACTOR=AUDIO ({given} given)")
    if not config.face:
        actor = Path(config.actor) if config.actor else None
        return [Request(actor, config.person, Path(config.audio) if config.audio else None, config.drive)]
    requests = []
    for entry in config.face:
        who, found, sound = entry.partition("=")
        name, _, person = who.partition("@")
        if not found or not name or not sound or (person and not person.isdigit()):
            raise ConfigError(f"--face {entry}: give ACTOR=AUDIO, ACTOR@PERSON=AUDIO or PERSON=AUDIO")
        if name.isdigit():
            requests.append(Request(None, int(name), Path(sound), None))
        else:
            requests.append(Request(Path(name), int(person) if person else None, Path(sound), None))
    if len(requests) > 1 and config.deliver is None:
        raise ConfigError(
            "several people speak: say with --deliver which sound the result has (source, or an audio file)"
        )
    return requests


def sound_motion(sound: Path, style: MouthStyle | None) -> Motion:
    """The motion of a sound file from its start, at the audio-to-motion model's own rate.

    Raises:
        FootageError: unreadable, or no sound in it.
        DubError: silent from end to end.
    """
    waveform = read_waveform(sound)
    if float(np.abs(waveform).max(initial=0.0)) < SILENT_LEVEL:
        raise DubError(f"{sound}: silent from end to end; choose the file that holds the speech")
    times = np.arange(int(len(waveform) / SAMPLE_RATE * LABEL_RATE)) / LABEL_RATE
    return shipped_motion_model().predict(waveform, times, style)


def video_motion(drive: str, actor: ActorBundle, prior: RendererPrior, progress: Progress) -> Motion:
    """The mouth motion of another video or a track file, carried over to the actor's own closed mouth and range."""
    path = Path(drive)
    if path.suffix == TRACK_SUFFIX:
        track = Track.load(path)
    else:
        track = track_footage(Footage(path), None, f"adapt track {drive}", progress)
    driver = mouth_style(track, prior.model)
    lower = track.lower_expression
    if actor.style:
        style = MouthStyle(**actor.style)
        lower = retarget(lower, driver.closed, driver.spread, style.closed, style.spread)
    return Motion(track.timestamps - track.timestamps[0], lower, track.confidence)


def make_part(
    request: Request, analysis: Analysis, config: DubConfig, prior: RendererPrior, progress: Progress
) -> Part:
    """Find the person, load or fit the actor, and prepare the motion for the shot's frames."""
    person = choose_person(analysis, request.person, f"adapt dub {config.video} …")
    track = track_person(analysis, person)
    prior_sha256 = prior.facts["sha256"]
    if request.actor is None:
        progress.note(f"person {person}: no bundle given, fitting from the shot itself")
        footage = [analysis.footage.path]
        name = f"person {person} of {analysis.footage.path.name}"
        bundle = fit(
            footage, name, person, steps=config.fit_steps, seed=config.seed, prior=prior, progress=progress
        ).bundle
    else:
        bundle = ActorBundle.load(request.actor, prior_sha256)
    style = MouthStyle(**bundle.style) if bundle.style else mouth_style(track, prior.model)
    if request.drive == "source":
        expression, driven = track.lower_expression, track.confidence > 0
    else:
        if request.sound is not None:
            motion = sound_motion(request.sound, style)
        else:
            motion = video_motion(str(request.drive), bundle, prior, progress)
        expression, driven = _placed(motion, track, style, config)
    expression = scale_mouth(expression, style.closed, config.mouth)
    return Part(bundle, track, expression, driven & _in_range(track, config))


def _in_range(track: Track, config: DubConfig) -> torch.Tensor:
    time = track.timestamps - track.timestamps[0]
    part = parse_range(config.range)
    if part is None:
        return torch.ones(len(time), dtype=torch.bool)
    inside = (time >= part[0]) & (time < part[1])
    if not bool(inside.any()):
        raise DubError(f"--range {config.range}: no frame lies in it; {config.video} is {float(time[-1]):.2f} s long")
    return inside


def _placed(motion: Motion, track: Track, style: MouthStyle, config: DubConfig) -> tuple[torch.Tensor, torch.Tensor]:
    """The motion on the frames of the range (of the whole shot if none is given); others keep the track's own."""
    rows = torch.nonzero(_in_range(track, config)).flatten()
    expression, driven = track.lower_expression.clone(), torch.zeros(len(track), dtype=torch.bool)
    expression[rows], driven[rows] = motion_at(
        motion, track.timestamps[rows], style.closed, config.on_mismatch, config.audio_offset
    )
    return expression, driven


def main(config: DubConfig, progress: Progress) -> None:
    """Dub, and write the output folder; nothing is left where it fails."""
    requests = requests_of(config)
    out = Path(config.out)
    if out.exists():
        raise OutputError(f"{out}: exists already; choose another folder")
    prior = load_renderer_prior()
    footage = Footage(config.video)
    analysis = analyse(footage, progress=progress)
    parts = [make_part(request, analysis, config, prior, progress) for request in requests]
    people = [part.track.source["person"] for part in parts]
    if len(set(people)) < len(people):
        raise DubError(f"people {', '.join(map(str, people))}: the same person is named twice; use ACTOR@PERSON=AUDIO")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=f".{out.name}.", suffix=".part", dir=out.parent))
    except OSError as error:
        raise OutputError(f"{out}: cannot be written ({error.strerror}); choose another folder with --out") from error
    try:
        folder.chmod(0o755)
        _write_folder(folder, config, footage, parts, requests, prior, progress)
        folder.rename(out)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    progress.note(f"{out}: done; look at {out / 'report.html'}")


class Recorder:
    """Watches a dub: keeps a small player of the first part's face, and the frames where most was changed."""

    def __init__(self, part: Part) -> None:
        self.track = part.track.with_crop_size(PLAYER_PX)
        self.before, self.after = ClipEncoder(), ClipEncoder()
        self.times: list[float] = []
        self.rows: list[tuple[float, int, np.ndarray, np.ndarray]] = []

    def __call__(self, frame: Frame, patches: list[Patch]) -> None:
        """Record one frame."""
        if len(self.times) >= MOST_SHOWN:
            return
        affine = self.track.crop_from_image[frame.index].numpy()
        real = cut_crop(frame.rgb, affine, PLAYER_PX)
        new = real
        for patch in patches:
            to_player = _square(affine) @ np.linalg.inv(_square(patch.crop_from_image))
            new = _overlaid(new, patch, to_player)
        self.before.add(real, frame.timestamp)
        self.after.add(new, frame.timestamp)
        self.times.append(frame.timestamp)
        difference = float(np.abs(new.astype(np.float32) - real).mean())
        self.rows.append((difference, frame.index, real, new))
        if len(self.rows) > 4 * SHEET_ROWS:
            self.rows = sorted(self.rows, key=lambda row: -row[0])[:SHEET_ROWS]

    def worst(self) -> list[tuple[float, int, np.ndarray, np.ndarray]]:
        """Frames that changed most: difference, frame, source picture, dubbed picture."""
        return sorted(self.rows, key=lambda row: -row[0])[:SHEET_ROWS]


def _square(affine: np.ndarray) -> np.ndarray:
    return np.vstack([affine, [0.0, 0.0, 1.0]])


def _overlaid(picture: np.ndarray, patch: Patch, picture_from_crop: np.ndarray) -> np.ndarray:
    side = picture.shape[0]
    rgb = cut_crop(patch.rgb, picture_from_crop[:2], side)
    matte = cut_crop(patch.matte, picture_from_crop[:2], side).clip(0, 1)[..., None]
    mixed = picture * (1 - matte) + 255 * rgb * matte
    return np.asarray(np.clip(np.rint(mixed), 0, 255), np.uint8)


def _write_folder(
    folder: Path,
    config: DubConfig,
    footage: Footage,
    parts: list[Part],
    requests: list[Request],
    prior: RendererPrior,
    progress: Progress,
) -> None:
    suffix = footage.path.suffix.lower() if footage.path.suffix.lower() in FORMATS else ".mp4"
    video = folder / f"{footage.path.stem}.dubbed{suffix}"
    sounds = [request.sound for request in requests if request.sound]
    if config.deliver not in (None, "source"):
        delivered: list[Path] | None = [Path(str(config.deliver))]
    else:
        delivered = None if config.deliver == "source" or not sounds else sounds
    recorder = Recorder(parts[0])
    result = dub(
        footage, parts, video, config.codec, config.quality, delivered, config.grain, config.seed,
        prior=prior, watch=recorder, progress=progress,
    )  # fmt: skip
    quality = quality_facts(footage, result)
    write_json(folder / "qc.json", quality)
    write_json(folder / RUN, _run_facts(config, footage, parts, delivered, video, prior))
    worst = recorder.worst()
    sheet = contact_sheet(
        [[real, new] for _, _, real, new in worst],
        ["source", "dubbed"],
        [f"frame {index}  {timecode(float(footage.timestamps[index]))}" for _, index, _, _ in worst],
    )
    (folder / "sheet.jpg").write_bytes(encode_image(sheet))
    _report(folder, footage, parts, result, recorder, quality, sheet)
    progress.result({"output": video.name, **quality})


def quality_facts(footage: Footage, result: Dubbed) -> dict[str, Any]:
    """What a dub did, for qc.json: counts by status, and stretches that passed through with their timecodes."""
    stretches = []
    start = 0
    for index in range(1, len(result.status) + 1):
        if index == len(result.status) or result.status[index] != result.status[start]:
            if result.status[start] != DUBBED:
                begin, end = footage.timestamps[start], footage.timestamps[index - 1]
                stretches.append(
                    {
                        "status": result.status[start],
                        "frames": [start, index - 1],
                        "from": timecode(float(begin)),
                        "to": timecode(float(end)),
                    }
                )
            start = index
    return {
        "frames": footage.frame_count,
        "status": {word: result.status.count(word) for word in sorted(set(result.status))},
        "not_dubbed": stretches,
        "largest_changed_share": max(result.changed, default=0.0),
        "notes": [*footage.notes, *result.notes],
    }


def _run_facts(
    config: DubConfig,
    footage: Footage,
    parts: list[Part],
    delivered: list[Path] | None,
    video: Path,
    prior: RendererPrior,
) -> dict[str, Any]:
    actors = [
        {"name": part.bundle.name, "person": part.track.source["person"], "consent": part.bundle.consent}
        for part in parts
    ]
    return {
        "statement": ALTERED,
        "code_version": code_version(),
        "torch": torch.__version__,
        "prior_sha256": prior.facts["sha256"],
        "source": {"file": footage.path.name, "sha256": footage.sha256},
        "sounds": [{"file": path.name, "sha256": file_sha256(path)} for path in delivered or []],
        "actors": actors,
        "output": {"file": video.name, "sha256": file_sha256(video)},
        "settings": asdict(config),
    }


def _report(
    folder: Path,
    footage: Footage,
    parts: list[Part],
    result: Dubbed,
    recorder: Recorder,
    quality: dict[str, Any],
    sheet: np.ndarray,
) -> None:
    report = Report(f"Dub of {footage.path.name}")
    for part in parts:
        report.facts(
            {
                "actor": part.bundle.name,
                "person in the shot": part.track.source["person"],
                "consent": part.bundle.consent,
                "terms of the prior": part.bundle.facts.get("terms"),
            }
        )
    shown = len(recorder.times)
    moments = [
        (index, f"{timecode(float(footage.timestamps[index]))}: changed most") for _, index, _, _ in recorder.worst()
    ]
    report.section("Source and dub" + ("" if shown == footage.frame_count else f" (the first {shown} frames)"))
    clips = {"source": recorder.before.finish(), "dubbed": recorder.after.finish()}
    report.player(clips, recorder.times, result.status[:shown], moments)
    report.section("Frames that were not dubbed")
    rows = [(entry["from"], entry["to"], entry["status"]) for entry in quality["not_dubbed"]]
    if rows:
        report.table(["from", "to", "status"], rows)
    else:
        report.text("none")
    report.section("Notes")
    report.text("; ".join(quality["notes"]) or "none")
    report.image(encode_image(sheet), "frames that changed most")
    report.write(folder / "report.html")

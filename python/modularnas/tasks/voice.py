"""Voice recognition: spoken words by a residual network on log-mel spectrograms (the paper's table 4).

Reads the Free Spoken Digit Dataset (a `.npz`, or its folder of wav files) and folders in the form of Speech Commands
(Warden 2018, arXiv 1804.03209: a folder a word, `validation_list.txt` and `testing_list.txt`). A waveform becomes a
log-mel spectrogram, and in training SpecAugment masks bands and frames of it (Park et al. 2019, arXiv 1904.08779,
section 2, without the time warp). Digits are split as their authors do (takes 0 to 4 are the test) or by speaker.
"""

from __future__ import annotations

import wave
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from modularnas.errors import ModularNASError
from modularnas.tasks.image import accuracy
from modularnas.tasks.recipe import Plan, Task, adamw, one_cycle, part, register, whole

__all__ = ["Recordings", "create", "log_mel", "mel_filters", "read", "spec_augment"]


@dataclass(frozen=True)
class Recordings:
    """Spoken words.

    Attributes:
        audio: float32 `(N, samples)` in [-1, 1], zeros at the end.
        words: int64 `(N,)`.
        names: of the words.
        rate: samples a second.
        speakers: int64 `(N,)`; None if unknown.
        official: for each recording 0 to train, 1 to validate, 2 to test, as its authors split.
    """

    audio: Tensor
    words: Tensor
    names: Sequence[str]
    rate: int
    speakers: Tensor | None
    official: Tensor


def read(path: str | Path, words: Sequence[str] | None = None) -> Recordings:
    """Spoken digits, or Speech Commands.

    Args:
        path: a `.npz` with `audio` (int16 `(N, samples)`, 8 kHz), `digit`, `speaker`, `take`; a folder of
            `DIGIT_SPEAKER_TAKE.wav`; or a folder with one folder of wav files for each word.
        words: of the last, which words; None: all.

    Raises:
        ModularNASError: if it is none of these, or a recording is not 16 bit mono, naming it.
    """
    path = Path(path)
    try:
        if path.suffix == ".npz":
            return _read_npz(path)
        if (path / "recordings").is_dir():
            path = path / "recordings"
        if any(path.glob("*_*_*.wav")):
            return _read_digits(path)
        if (path / "testing_list.txt").is_file():
            return _read_commands(path, words)
        raise FileNotFoundError("there is neither DIGIT_SPEAKER_TAKE.wav nor testing_list.txt")
    except (OSError, KeyError, ValueError, EOFError, wave.Error) as error:
        raise ModularNASError(
            f"'{path}' holds no spoken words: {error}; expected fsdd's .npz or folder of wav files, or Speech Commands"
        ) from error


def _read_npz(path: Path) -> Recordings:
    with np.load(path, allow_pickle=False) as file:
        audio, digit, speaker, take = (file[name] for name in ("audio", "digit", "speaker", "take"))
    return _digits(torch.from_numpy(audio).float() / 32768, digit, speaker, take, 8000)


def _digits(audio: Tensor, digit: Any, speaker: Any, take: Any, rate: int) -> Recordings:
    # Takes 0 to 4 are the official test; there is no official validation: takes 5 to 9.
    takes = torch.as_tensor(np.asarray(take)).long()
    official = torch.where(takes < 5, 2, torch.where(takes < 10, 1, 0))
    labels, speakers = (torch.as_tensor(np.asarray(a)).long() for a in (digit, speaker))
    return Recordings(audio, labels, [str(i) for i in range(10)], rate, speakers, official)


def _wav(path: Path) -> tuple[Tensor, int]:
    with wave.open(str(path), "rb") as file:
        if file.getsampwidth() != 2 or file.getnchannels() != 1:
            raise ValueError(
                f"{path.name} is {8 * file.getsampwidth()} bit, {file.getnchannels()} channels, not 16 bit mono"
            )
        data = np.frombuffer(file.readframes(file.getnframes()), "<i2")
        return torch.from_numpy(data.astype(np.float32) / 32768), file.getframerate()


def _waves(paths: Sequence[Path]) -> tuple[Tensor, int]:
    """Recordings of one second each, cut or filled with zeros."""
    rates = set()
    audio = []
    for path in paths:
        samples, rate = _wav(path)
        rates.add(rate)
        audio.append(torch.nn.functional.pad(samples[:rate], (0, max(0, rate - len(samples)))))
    if len(rates) != 1:
        raise ValueError(f"recordings have the rates {sorted(rates)}; expected one")
    return torch.stack(audio), rates.pop()


def _read_digits(path: Path) -> Recordings:
    files = sorted(path.glob("*_*_*.wav"))
    parts = [file.stem.split("_") for file in files]
    speakers = sorted({speaker for _, speaker, _ in parts})
    audio, rate = _waves(files)
    digits, takes = ([int(p[i]) for p in parts] for i in (0, 2))
    return _digits(audio, digits, [speakers.index(speaker) for _, speaker, _ in parts], takes, rate)


def _read_commands(path: Path, words: Sequence[str] | None) -> Recordings:
    names = sorted(words or (p.name for p in path.iterdir() if p.is_dir() and not p.name.startswith("_")))
    lists = {
        line.strip(): code
        for code, name in ((1, "validation_list.txt"), (2, "testing_list.txt"))
        for line in (path / name).read_text(encoding="utf-8").splitlines()
    }
    files = [file for name in names for file in sorted((path / name).glob("*.wav"))]
    if without := set(names) - {file.parent.name for file in files}:
        raise ValueError(f"there are no wav files of {', '.join(sorted(without))}")
    audio, rate = _waves(files)
    people = sorted({file.stem.partition("_nohash_")[0] for file in files})
    number = {person: i for i, person in enumerate(people)}
    speakers = torch.tensor([number[file.stem.partition("_nohash_")[0]] for file in files])
    official = torch.tensor([lists.get(f"{file.parent.name}/{file.name}", 0) for file in files])
    labels = torch.tensor([names.index(file.parent.name) for file in files])
    return Recordings(audio, labels, names, rate, speakers, official)


def mel_filters(n_mels: int, n_fft: int, rate: int) -> Tensor:
    """Triangles on the mel scale 2595 log10(1 + f / 700), `(n_fft / 2 + 1, n_mels)`, from 0 to half the rate.

    Example:
        >>> mn.tasks.voice.mel_filters(8, 64, 8000).shape
        torch.Size([33, 8])
    """
    top = 2595 * np.log10(1 + rate / 2 / 700)
    points = 700 * (10 ** (torch.linspace(0, top, n_mels + 2, dtype=torch.float64) / 2595) - 1)
    frequencies = torch.linspace(0, rate / 2, n_fft // 2 + 1, dtype=torch.float64).unsqueeze(1)
    widths = points.diff()
    rising = (frequencies - points[:-2]) / widths[:-1]
    falling = (points[2:] - frequencies) / widths[1:]
    return torch.minimum(rising, falling).clamp_min(0).float()


def log_mel(audio: Tensor, rate: int, *, n_mels: int = 40, n_fft: int = 256, hop: int = 200) -> Tensor:
    """Log-mel spectrograms `(N, 1, n_mels, frames)` of waveforms `(N, samples)`.

    The power spectrum of Hann windows through `mel_filters`, as torchaudio's `MelSpectrogram`, then log(x + 1e-6).

    Args:
        audio: in [-1, 1].
        rate: samples a second.
        n_mels: bands.
        n_fft: samples of a window.
        hop: samples from window to window.

    Example:
        >>> mn.tasks.voice.log_mel(torch.randn(2, 8000), 8000).shape
        torch.Size([2, 1, 40, 41])
    """
    window = torch.hann_window(n_fft)
    filters = mel_filters(n_mels, n_fft, rate)
    parts = []
    for some in audio.split(256):  # whole data sets would take gigabytes
        power = torch.stft(some, n_fft, hop, window=window, return_complex=True).abs().square()  # (N, bins, frames)
        parts.append(torch.log(power.transpose(1, 2) @ filters + 1e-6).transpose(1, 2))
    return torch.cat(parts).unsqueeze(1)


def spec_augment(bands: int, frames: int) -> Callable[[Tensor, torch.Generator], Tensor]:
    """One mask over up to `bands` bands and one over up to `frames` frames of each spectrogram, set to 0."""

    def augment(x: Tensor, generator: torch.Generator) -> Tensor:
        for dim, most in ((2, bands), (3, frames)):
            n = x.shape[dim]
            width = torch.randint(0, most + 1, (len(x), 1), generator=generator)
            start = (torch.rand(len(x), 1, generator=generator) * (n - width + 1)).long()
            place = torch.arange(n)
            mask = (place >= start) & (place < start + width)  # (N, n)
            x = x.masked_fill(mask[:, None, :, None] if dim == 2 else mask[:, None, None, :], 0.0)
        return x

    return augment


@register("voice")
def create(
    data: str | Path | Recordings,
    *,
    smoke: bool = False,
    seed: int = 0,
    space: str = "audio_resnet34",
    split: str = "official",
    words: Sequence[str] | None = None,
    n_mels: int = 40,
    n_fft: int = 256,
    hop: int = 200,
    masks: tuple[int, int] = (6, 6),
    batch_size: int = 64,
    n_train: int | None = None,
    optimizer: Any = adamw,
    scheduler: Any = one_cycle,
    **settings: Any,
) -> tuple[Task, Plan]:
    """The task.

    Args:
        data: as of `read`, or what it gives.
        smoke: whether to use a few recordings and a narrow network.
        seed: of split and order.
        space: a ready space for pictures of one channel.
        split: "official"; or "speaker:3": the third speaker is the test, and one recording in ten the validation.
        words: of Speech Commands.
        n_mels: bands of the spectrogram.
        n_fft: samples of a window.
        hop: samples from window to window.
        masks: most bands and frames that SpecAugment masks.
        batch_size: recordings of a batch.
        n_train: how many recordings to train on; None: all.
        optimizer: as of `mn.train.fit`; None: its SGD.
        scheduler: as of `mn.train.fit`; None: its cosine.
        **settings: of the space.
    """
    whole(n_mels=n_mels, n_fft=n_fft, hop=hop, batch_size=batch_size, n_train=n_train)
    recordings = data if isinstance(data, Recordings) else read(data, words)
    train, valid, test = _split(recordings, split, seed)
    if smoke:
        train, valid, test = train[:96], valid[:48], test[:48]
        n_mels, hop = 16, 500
        settings = {"channels": 8, "blocks": (1, 1, 1, 1), **settings}
    x = log_mel(recordings.audio, recordings.rate, n_mels=n_mels, n_fft=n_fft, hop=hop)
    x = (x - x[train].mean()) / x[train].std()
    augment = spec_augment(*masks)
    y = recordings.words
    parts = (
        part(train[:n_train], x, y, size=batch_size, shuffle=True, seed=seed, augment=augment),
        part(valid, x, y, size=256),
        part(test, x, y, size=256),
    )
    known = {"num_classes": len(recordings.names), "image_size": n_mels, "frames": x.shape[3], **settings}
    if space != "audio_resnet34":
        known.pop("frames")
    baseline = {"audio_resnet34": "basic_block_3x3", "pyramidnet": "pyramid_block_3x3"}.get(space)
    fit = {"clip_norm": 5.0, "scheduler": scheduler}
    loss = torch.nn.functional.cross_entropy
    task = Task("voice", *parts, (space, known), {"accuracy": accuracy}, baseline, loss, optimizer, fit)
    return task, Plan.smoke() if smoke else Plan()


def _split(recordings: Recordings, split: str, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(recordings.words), generator=generator)
    if split == "official":
        official = recordings.official[order]
        return tuple(order[official == code] for code in range(3))  # type: ignore[return-value]
    kind, _, number = split.partition(":")
    speakers = recordings.speakers
    if kind != "speaker" or not number.isdigit() or speakers is None or not (speakers == int(number)).any():
        known = 0 if speakers is None else int(speakers.max())
        raise ModularNASError(f"split is {split!r}; expected 'official', or 'speaker:N' with N of 0 to {known}")
    mine = speakers[order] == int(number)
    others = order[~mine]
    n_valid = len(others) // 10
    return others[n_valid:], others[:n_valid], order[mine]

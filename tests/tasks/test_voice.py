"""Reading recordings, spectrograms and masks."""

import wave

import numpy as np
import pytest
import torch

import modularnas as mn
from modularnas.tasks import voice


def write_wav(path, samples, rate=8000, channels=1):
    path.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(np.asarray(samples, "<i2").tobytes())


def test_digits_of_the_research_data(data):
    recordings = voice.read(data / "fsdd_8k.npz")
    assert recordings.audio.shape == (3000, 8000)
    assert [(recordings.official == code).sum().item() for code in range(3)] == [2400, 300, 300]
    assert recordings.audio.abs().max() <= 1


def test_a_folder_of_digits(tmp_path):
    for digit in (0, 7):
        for speaker in ("anna", "bob"):
            for take in (0, 6, 11):
                write_wav(tmp_path / "recordings" / f"{digit}_{speaker}_{take}.wav", [100 * digit] * 4000)
    recordings = voice.read(tmp_path)
    assert recordings.audio.shape == (12, 8000)
    assert sorted(set(recordings.words.tolist())) == [0, 7]
    assert sorted(recordings.official.tolist()) == [0] * 4 + [1] * 4 + [2] * 4
    assert recordings.audio[recordings.words == 7][0, 0] == pytest.approx(700 / 32768)
    assert recordings.speakers.unique().tolist() == [0, 1]


def test_speech_commands(tmp_path):
    for word in ("yes", "no"):
        for person in ("a1", "b2", "c3"):
            write_wav(tmp_path / word / f"{person}_nohash_0.wav", [5] * 20_000, rate=16_000)
    (tmp_path / "validation_list.txt").write_text("yes/b2_nohash_0.wav\n")
    (tmp_path / "testing_list.txt").write_text("yes/c3_nohash_0.wav\nno/c3_nohash_0.wav\n")
    recordings = voice.read(tmp_path)
    assert recordings.audio.shape == (6, 16_000)
    assert list(recordings.names) == ["no", "yes"]
    assert sorted(recordings.official.tolist()) == [0, 0, 0, 1, 2, 2]
    assert list(voice.read(tmp_path, words=["yes"]).names) == ["yes"]
    with pytest.raises(mn.ModularNASError, match=r"holds no spoken words: there are no wav files of perhaps; expected"):
        voice.read(tmp_path, words=["yes", "perhaps"])


def test_wrong_files_are_one_error(tmp_path):
    with pytest.raises(mn.ModularNASError, match=r"holds no spoken words: there is neither"):
        mn.tasks.run("voice", data=tmp_path, out=tmp_path / "out")
    write_wav(tmp_path / "0_anna_1.wav", [0] * 8, channels=2)
    with pytest.raises(mn.ModularNASError, match=r"0_anna_1.wav is 16 bit, 2 channels, not 16 bit mono"):
        voice.read(tmp_path)


def test_speakers_can_be_left_out(data):
    task, _ = voice.create(data / "fsdd_8k.npz", split="speaker:2", n_mels=8, hop=1000)
    assert len(task.test.targets) == 500
    assert len(task.train.targets) + len(task.valid.targets) == 2500
    with pytest.raises(
        mn.ModularNASError, match=r"split is 'speaker:9'; expected 'official', or 'speaker:N' with N of 0 to 5"
    ):
        voice.create(data / "fsdd_8k.npz", split="speaker:9")


def test_a_tone_is_in_its_band():
    rate = 8000
    seconds = torch.arange(rate) / rate
    tones = torch.stack([torch.sin(2 * torch.pi * hertz * seconds) for hertz in (200.0, 1000.0, 3000.0)])
    bands = voice.log_mel(tones, rate, n_mels=20)[:, 0].mean(2).argmax(1)
    middles = voice.mel_filters(20, 256, rate).argmax(0) * rate / 256
    for band, hertz in zip(bands, (200, 1000, 3000), strict=True):
        assert middles[band] == pytest.approx(hertz, rel=0.2)


def test_spectrograms_are_those_of_torchaudio():
    torchaudio = pytest.importorskip("torchaudio")
    audio = torch.randn(2, 4000)
    theirs = torchaudio.transforms.MelSpectrogram(8000, n_fft=256, hop_length=200, n_mels=40)(audio)
    torch.testing.assert_close(voice.log_mel(audio, 8000)[:, 0], torch.log(theirs + 1e-6), rtol=1e-3, atol=1e-3)


def test_masks_are_bands_and_frames():
    x = torch.ones(100, 1, 20, 30)
    masked = voice.spec_augment(4, 6)(x, torch.Generator().manual_seed(0)) == 0
    bands, frames = masked[:, 0].all(2).sum(1), masked[:, 0].all(1).sum(1)
    assert bands.max() == 4
    assert frames.max() == 6
    assert bands.min() == frames.min() == 0

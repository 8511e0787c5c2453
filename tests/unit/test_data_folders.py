"""Folders of images and sounds: which files are read, and what is said of all others."""

import io
import os
import struct
import wave
import zlib

import numpy as np
import pytest
import soundfile
import torch
from PIL import Image, features

from gantlet.core.data import all_samples, notes_of
from gantlet.core.errors import UserError
from gantlet.core.spec import datasets
from gantlet.data.arrays import has_mostly_audio, image_files, image_suffixes
from gantlet.domains.recordings import MOST_NUMBERS


def picture(seed=0, size=8, mode="RGB"):
    shape = (size, size) if mode == "L" else (size, size, len(mode))
    pixels = np.random.default_rng(seed).integers(0, 256, shape).astype(np.uint8)
    return Image.frombytes(mode, (size, size), pixels.tobytes())


def pictures(folder, n=4, ending="png"):
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(n):
        picture(i).save(folder / f"{i}.{ending}")
    return folder


def sound(path, n=40, rate=8000, channels=1, **how):
    path.parent.mkdir(parents=True, exist_ok=True)
    x = 0.5 * np.sin(np.arange(n * channels) * 0.3).reshape(n, channels)
    soundfile.write(path, x, rate, **how)
    return torch.from_numpy(x.mean(1)).float()


def refused(text):
    """Returns the one line with which data is refused."""
    with pytest.raises(UserError) as caught:
        datasets.make(text).whole()
    message = str(caught.value)
    assert "\n" not in message
    return message


# What is found


def test_links_to_folders_are_followed_and_circles_end(tmp_path):
    pictures(tmp_path / "in" / "a", 2)
    pictures(tmp_path / "store" / "b", 3)
    (tmp_path / "in" / "b").symlink_to(tmp_path / "store" / "b")
    (tmp_path / "store" / "b" / "round").symlink_to(tmp_path / "in")
    (tmp_path / "in" / "again").symlink_to(tmp_path / "in" / "a")
    (tmp_path / "in" / "gone").symlink_to(tmp_path / "nowhere")
    (tmp_path / "in" / "self").symlink_to(tmp_path / "in" / "self")
    found = datasets.make(f"images:path={tmp_path / 'in'}").whole()
    assert list(found.names) == ["a/0", "a/1", "b/0", "b/1", "b/2"]
    assert found.labels.tolist() == [0, 0, 1, 1, 1]
    assert notes_of(found) == (
        "in: 2 files are not images and were not read: gone, self",
        "in: 2 linked folders are there already, read once: again, b/round",
    )


def test_what_is_not_read_is_counted_and_named(tmp_path):
    pictures(tmp_path, 3)
    for name in ("a.txt", "b.wav", "c.csv", "d.md"):
        (tmp_path / name).write_text("x")
    pictures(tmp_path / ".trash", 2)
    (tmp_path / ".DS_Store").write_text("x")
    assert notes_of(datasets.make(f"images:path={tmp_path}").whole()) == (
        f"{tmp_path.name}: 2 hidden files were not read: .trash/0.png, .trash/1.png",
        f"{tmp_path.name}: 4 files are not images and were not read: a.txt, b.wav, c.csv, ...",
    )
    folder = tmp_path / "sounds"
    sound(folder / "a.wav")
    sound(folder / ".b" / "a.wav")
    (folder / "cover.jpg").write_bytes(b"x")
    assert notes_of(datasets.make(f"audio:path={folder}").whole()) == (
        "sounds: 1 hidden file was not read: .b/a.wav",
        "sounds: 1 file is not a sound and was not read: cover.jpg",
    )


def test_a_folder_is_of_what_it_holds_more_of(tmp_path):
    pictures(tmp_path, 3)
    sound(tmp_path / "stray.wav")
    assert not has_mostly_audio(tmp_path)
    for name in "bcd":
        sound(tmp_path / f"{name}.flac")
    assert has_mostly_audio(tmp_path)


def test_every_ending_that_pillow_decodes_in_any_case(tmp_path):
    # Each by its usual ending, and by others.
    alike = ("png", "bmp", "tiff", "gif", "ppm", "tga", "Webp", "pcx", "ico", "dds", "qoi")
    kinds = {ending: ending.upper() for ending in alike}
    kinds |= {"TIF": "TIFF", "JFIF": "JPEG", "jpe": "JPEG", "jp2": "JPEG2000"}
    for ending, kind in kinds.items():
        with io.BytesIO() as file:
            picture(1).save(file, kind, **({"sizes": [(8, 8)]} if kind == "ICO" else {}))
            (tmp_path / f"x-{ending}.{ending}").write_bytes(file.getvalue())
    found = datasets.make(f"images:path={tmp_path}").whole()
    assert all_samples(found).shape == (len(kinds), 3, 8, 8)
    assert notes_of(found) == ()
    # Another program would be run for these.
    assert not {".eps", ".ps", ".h5", ".mpg"} & image_suffixes()


def test_postscript_by_another_name_is_not_run(tmp_path):
    (tmp_path / "a.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n")
    assert "a.png cannot be read as an image" in refused(f"images:path={tmp_path}")


def test_names_that_are_not_utf_8(tmp_path):
    pictures(tmp_path, 2)
    picture().save(tmp_path / "x.png")
    (tmp_path / "x.png").rename(tmp_path / os.fsdecode(b"\xff.png"))
    assert len(image_files(tmp_path).files) == 3


# Images


def test_what_of_an_image_is_lost_is_said(tmp_path):
    pictures(tmp_path, 1)
    picture(1, mode="RGBA").save(tmp_path / "clear.png")
    Image.new("RGBA", (8, 8), (1, 2, 3, 255)).save(tmp_path / "solid.png")
    frames = [picture(i) for i in range(3)]
    frames[0].save(tmp_path / "film.gif", save_all=True, append_images=frames[1:])
    picture(2, mode="CMYK").save(tmp_path / "print.jpg")
    found = datasets.make(f"images:path={tmp_path}").whole()
    assert notes_of(found) == (
        "1 image has transparency, which was dropped: clear.png",
        "1 image has several frames, of which the first was read: film.gif",
        (
            "1 image has colours of print (CMYK) or of another kind, converted to RGB without a "
            "profile: print.jpg"
        ),
    )


def png(width, height, depth, kind, data):
    def chunk(name, body):
        crc = struct.pack(">I", zlib.crc32(name + body))
        return struct.pack(">I", len(body)) + name + body + crc

    head = struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0)
    parts = (chunk(b"IHDR", head), chunk(b"IDAT", zlib.compress(data)), chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


@pytest.mark.parametrize(("kind", "channels"), [(0, 1), (4, 2), (2, 3), (6, 4)])
def test_png_of_16_bits_is_refused_in_every_colour(tmp_path, kind, channels):
    rows = b"".join(b"\0" + os.urandom(16 * channels) for _ in range(8))
    (tmp_path / "deep.png").write_bytes(png(8, 8, 16, kind, rows))
    said = refused(f"images:path={tmp_path}")
    assert "deep.png holds more than 8 bits a channel" in said
    assert "npz" in said


def test_ppm_and_tiff_of_16_bits_are_refused(tmp_path):
    for name in "ab":
        (tmp_path / name).mkdir()
    (tmp_path / "a" / "x.ppm").write_bytes(b"P6 2 2 65535\n" + bytes(24))
    assert "x.ppm holds more than 8 bits a channel" in refused(f"images:path={tmp_path / 'a'}")
    # A TIFF of three channels of 16 bits, its pixels right behind the directory: width, height,
    # bits, compression, kind, strips, channels, rows a strip, bytes, order.
    shorts = {258: (3, 134), 259: (1, 1), 262: (1, 2), 277: (1, 3), 284: (1, 1)}
    longs = {256: 2, 257: 2, 273: 140, 278: 2, 279: 24}
    tags = [(t, 3, *v) for t, v in shorts.items()] + [(t, 4, 1, v) for t, v in longs.items()]
    tags.sort()
    body = struct.pack("<H", len(tags)) + b"".join(struct.pack("<HHII", *t) for t in tags)
    body += struct.pack("<I", 0)
    raw = b"II*\0" + struct.pack("<I", 8) + body
    (tmp_path / "b" / "x.tif").write_bytes(raw + struct.pack("<HHH", 16, 16, 16) + bytes(24))
    assert "x.tif holds more than 8 bits a channel" in refused(f"images:path={tmp_path / 'b'}")


def test_jpeg_2000_of_more_than_8_bits_is_refused(tmp_path):
    image = Image.new("RGB", (8, 8), (200, 20, 20))
    for name, how in (("a.jp2", {}), ("b.j2k", {"no_jp2": True})):
        image.save(tmp_path / name, **how)
        assert all_samples(datasets.make(f"images:path={tmp_path}").whole()).shape[1:] == (3, 8, 8)
        raw = bytearray((tmp_path / name).read_bytes())
        # The bits of the third channel, less one, in the header of the stream.
        place = raw.index(b"\xff\x4f\xff\x51") + 4 + 38 + 6
        assert raw[place] == 7
        for bits in (9, 12, 16):
            raw[place] = bits - 1
            (tmp_path / name).write_bytes(raw)
            assert f"{name} holds more than 8 bits a channel" in refused(f"images:path={tmp_path}")
        (tmp_path / name).unlink()
    Image.fromarray(np.zeros((8, 8), np.uint16)).save(tmp_path / "grey.jp2")
    assert "grey.jp2 holds more than 8 bits a channel" in refused(f"images:path={tmp_path}")


@pytest.mark.skipif(not features.check("avif"), reason="Pillow reads no AVIF here")
def test_avif_of_more_than_8_bits_is_refused(tmp_path):
    path = tmp_path / "a.avif"
    Image.new("RGB", (16, 16), (200, 20, 20)).save(path)
    assert all_samples(datasets.make(f"images:path={tmp_path}").whole()).shape == (1, 3, 16, 16)
    raw = bytearray(path.read_bytes())
    raw[raw.index(b"av1C") + 6] |= 0x40
    bits = raw.index(b"pixi") + 9
    assert raw[bits : bits + 3] == bytes([8] * 3)
    raw[bits : bits + 3] = bytes([10] * 3)
    path.write_bytes(raw)
    assert "a.avif holds more than 8 bits a channel" in refused(f"images:path={tmp_path}")


def test_sgi_of_16_bits_is_refused_and_bitmaps_of_16_bits_a_pixel_are_read(tmp_path):
    head = struct.pack(">HBBHHHH", 474, 0, 2, 3, 2, 2, 3)
    (tmp_path / "a.sgi").write_bytes(head + bytes(500) + bytes(24))
    assert "a.sgi holds more than 8 bits a channel" in refused(f"images:path={tmp_path}")
    (tmp_path / "a.sgi").unlink()
    # Five bits of red, six of green and five of blue.
    head = struct.pack("<IiiHHIIiiII", 40, 2, 2, 1, 16, 3, 8, 1, 1, 0, 0)
    head += struct.pack("<III", 0xF800, 0x7E0, 0x1F)
    raw = b"BM" + struct.pack("<IHHI", 14 + len(head) + 8, 0, 0, 14 + len(head)) + head
    (tmp_path / "a.bmp").write_bytes(raw + struct.pack("<H", 0xF800) * 4)
    found = all_samples(datasets.make(f"images:path={tmp_path}").whole())
    assert found[0, :, 0, 0].tolist() == [255, 0, 0]


@pytest.mark.parametrize("side", [10_000, 60_000])
def test_an_image_that_claims_to_be_huge_is_refused_by_its_header(tmp_path, side):
    (tmp_path / "bomb.png").write_bytes(png(side, side, 8, 0, b""))
    said = refused(f"images:path={tmp_path}")
    assert "bomb.png" in said
    assert "at most 67,108,864 pixels are decoded" in said


def test_unreadable_images_are_left_out_if_that_is_wanted(tmp_path):
    pictures(tmp_path, 6)
    for name in ("0", "3"):
        (tmp_path / f"{name}.png").write_bytes(b"damaged")
    said = refused(f"images:path={tmp_path}")
    assert "0.png cannot be read" in said
    assert "--skip-bad N" in said
    assert "skip_bad=N" in said
    said = refused(f"images:path={tmp_path},skip_bad=1")
    assert "3.png cannot be read" in said
    assert "1 before it were skipped" in said
    found = datasets.make(f"images:path={tmp_path},skip_bad=2")
    assert found.space.shape == (3, 8, 8)
    assert list(found.whole().names) == ["1", "2", "4", "5"]
    assert notes_of(found.whole()) == ("2 unreadable files skipped: 0.png, 3.png",)
    x = all_samples(found.whole())
    pictures(tmp_path, 6)
    whole = datasets.make(f"images:path={tmp_path}").whole()
    assert torch.equal(x, all_samples(whole)[[1, 2, 4, 5]])


# Sounds


@pytest.mark.parametrize(
    ("name", "how", "error"),
    [
        ("a.wav", {"subtype": "PCM_24", "format": "WAVEX"}, 1e-6),
        ("a.wav", {"subtype": "FLOAT"}, 1e-6),
        ("a.WAV", {"subtype": "ULAW", "format": "WAV"}, 0.02),
        ("a.flac", {"subtype": "PCM_24"}, 1e-6),
        ("a.aiff", {"subtype": "PCM_16"}, 1e-4),
        ("a.w64", {"subtype": "PCM_16"}, 1e-4),
    ],
)
def test_sounds_of_other_kinds_are_read(tmp_path, name, how, error):
    x = sound(tmp_path / name, 400, **how)
    found = all_samples(datasets.make(f"audio:path={tmp_path}").whole())[0, 0]
    assert torch.allclose(found, x, atol=error)


def test_several_channels_are_averaged_and_that_is_said(tmp_path):
    x = sound(tmp_path / "two.flac", channels=2, subtype="PCM_24")
    sound(tmp_path / "one.flac", channels=1)
    found = datasets.make(f"audio:path={tmp_path}").whole()
    assert torch.allclose(all_samples(found)[1, 0], x, atol=1e-6)
    told = "1 file has several channels, which were averaged: two.flac"
    assert notes_of(found) == (told,)


@pytest.mark.parametrize("name", ["a.wav", "a.flac"])
def test_a_sound_that_is_cut_short_is_refused_or_left_out(tmp_path, name):
    sound(tmp_path / name, 4000)
    sound(tmp_path / "b.wav", 100)
    raw = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(raw[: len(raw) // 2])
    said = refused(f"audio:path={tmp_path}")
    assert name in said
    assert "--skip-bad N" in said
    found = datasets.make(f"audio:path={tmp_path},skip_bad=1").whole()
    assert (len(found), list(found.names)) == (1, ["b"])
    assert notes_of(found) == (f"1 unreadable file skipped: {name}",)


def test_a_wav_file_whose_writer_could_not_go_back_is_read(tmp_path):
    with io.BytesIO() as out:
        with wave.open(out, "wb") as file:
            file.setparams((1, 2, 8000, 0, "NONE", ""))
            file.writeframes(np.arange(50, dtype="<i2").tobytes())
        raw = bytearray(out.getvalue())
    raw[4:8] = raw[40:44] = b"\xff" * 4
    (tmp_path / "a.wav").write_bytes(raw)
    assert len(all_samples(datasets.make(f"audio:path={tmp_path}").whole())[0, 0]) == 50


def test_a_sound_that_claims_to_be_huge_is_refused_by_its_header(tmp_path):
    sound(tmp_path / "a.flac", 4000)
    raw = bytearray((tmp_path / "a.flac").read_bytes())
    # The number of samples is the last 36 bits before the checksum of the stream.
    raw[21] |= 0x0F
    raw[22:26] = b"\xff" * 4
    (tmp_path / "a.flac").write_bytes(raw)
    said = refused(f"audio:path={tmp_path}")
    assert "a.flac says that it holds" in said
    assert f"{MOST_NUMBERS:,} are read" in said

"""Clips out of archives: as they are published, as they break, and as somebody with bad intentions makes them."""

import gzip
import io
import itertools
import random
import tarfile
import tracemalloc

import pytest

from pipeline.config import FetchConfig
from pipeline.ingest.clip_errors import (
    ArchiveBroken,
    BadRow,
    FileNotFound,
    TooLarge,
    Truncated,
    UnsafeMember,
    ZeroByte,
)
from pipeline.ingest.fetch import tape, tar
from pipeline.ingest.fetch.archives import list_archives, read_archive
from tests.ingest.fetch.server import cut, stall

SETTINGS = FetchConfig(max_mib=2, tries=3)
RANDOM = random.Random(0).randbytes(300_000)


class Everything:
    """A container of every name."""

    def __contains__(self, name: object) -> bool:
        return True


def header(name: str, size: int = 0, **facts) -> bytes:
    """The header of a member and nothing else."""
    info = tarfile.TarInfo(name)
    info.size = size
    for fact, value in facts.items():
        setattr(info, fact, value)
    return info.tobuf(tarfile.GNU_FORMAT if "pax_headers" not in facts else tarfile.PAX_FORMAT)


def padded(content: bytes) -> bytes:
    return content + bytes(-len(content) % 512)


def member(name: str, content: bytes = b"clip", **facts) -> bytes:
    return header(name, len(content), **facts) + padded(content)


END = bytes(1024)


@pytest.fixture
def archive(tmp_path):
    """A function that writes bytes, or members and the mark of the end, to a file."""
    numbers = itertools.count()

    def write(*members: bytes, end: bytes = END) -> str:
        path = tmp_path / f"{next(numbers)}.tar"
        path.write_bytes(b"".join(members) + end)
        return str(path)

    return write


def read(uri: str, wanted=Everything(), settings: FetchConfig = SETTINGS) -> list:  # noqa: B008
    """Name, and content or class of the error."""
    return [(m.name, m.content if m.error is None else type(m.error)) for m in read_archive(uri, wanted, settings)]


def read_until_broken(uri: str, match: str, kind=ArchiveBroken) -> list:
    """What comes before the error that ends an archive."""
    members = []
    with pytest.raises(kind, match=match):
        members.extend((m.name, m.content) for m in read_archive(uri, Everything(), SETTINGS))
    return members


@pytest.fixture(scope="module")
def kinetics(clips_dir, tmp_path_factory):
    """An archive as published: real clips under the names that Kinetics gives them, gzipped."""
    clips = {
        f"{name:>11.11}_{start:06d}_{start + 10:06d}".replace(" ", "-"): (clips_dir / name).read_bytes()
        for start, name in enumerate(["arm_wrestling.mp4", "flipping_a_pancake.mkv", "nasa_multi_audio.mp4"])
    }
    path = tmp_path_factory.mktemp("kinetics") / "part_0.tar.gz"
    with tarfile.open(path, "w:gz", compresslevel=1) as made:
        for stem, content in clips.items():
            for name, data in ((f"./train/._{stem}.mp4", b"AppleDouble"), (f"./train/{stem}.mp4", content)):
                info = tarfile.TarInfo(name)
                info.size = len(data)
                made.addfile(info, io.BytesIO(data))
    return path, clips


def test_clips_come_out_as_they_went_in(kinetics, server, s3, tmp_path):
    path, clips = kinetics
    client, address = s3
    client.upload_file(str(path), "clips", "k400/part_0.tar.gz")
    plain = tmp_path / "plain.tgz"  # whose name says something else
    plain.write_bytes(gzip.decompress(path.read_bytes()))
    places = (str(path), str(plain), server.put("/p", path.read_bytes()), address("clips/k400/part_0.tar.gz"))
    for place in places:
        assert {m.stem: m.content for m in read_archive(place, Everything(), SETTINGS)} == clips
    assert [m.name for m in read_archive(str(path), Everything(), SETTINGS)] == [
        f"./train/{stem}.mp4" for stem in clips
    ]


def test_only_what_is_wanted_is_kept(kinetics):
    path, clips = kinetics
    wanted = list(clips)[1]
    assert read(str(path), {wanted, "another", "../" + wanted}) == [(f"./train/{wanted}.mp4", clips[wanted])]
    assert read(str(path), ()) == []


def test_an_archive_survives_a_bad_connection(kinetics, server):
    path, clips = kinetics
    steps = [cut(400_000), cut(500_000), stall(100_000)]
    url = server.put("/p", path.read_bytes(), *steps)
    found = read_archive(url, Everything(), FetchConfig(tries=5, timeout_s=0.3))
    assert {m.stem: m.content for m in found} == clips
    server.for_ever = True
    url = server.put("/p", path.read_bytes(), cut(400_000), cut(0))
    assert len(read_until_broken(url, "broke after byte 400,000", Truncated)) == 0
    url = server.put("/p", path.read_bytes(), cut(900_000), cut(0))
    first = next(iter(clips.items()))
    assert read_until_broken(url, "broke after byte 900,000", Truncated) == [(f"./train/{first[0]}.mp4", first[1])]


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_every_form_of_tar(tmp_path, form):
    names = ["short.mp4", f"{'folder/' * 13}a.mp4"] + ["d/" + "x" * 200 + ".mp4"] * (form != tarfile.USTAR_FORMAT)
    with tarfile.open(tmp_path / "a.tar", "w", format=form) as made:
        made.add(tmp_path, "folder", recursive=False)
        for name in names:
            info = tarfile.TarInfo(name)
            info.size = 1000
            made.addfile(info, io.BytesIO(RANDOM))
    assert read(str(tmp_path / "a.tar")) == [(name, RANDOM[:1000]) for name in names]


def test_archives_and_gzip_members_that_were_strung_together(archive):
    one, two = member("a.mp4", RANDOM) + END, member("b.mp4") + END
    expected = [("a.mp4", RANDOM), ("b.mp4", b"clip")]
    assert read(archive(one, two)) == expected
    assert read(archive(gzip.compress(one), gzip.compress(two), end=b"")) == expected
    whole = member("a.mp4", RANDOM) + two
    parts = [gzip.compress(whole[start : start + 70_001]) for start in range(0, len(whole), 70_001)]
    assert read(archive(*parts, end=bytes(100))) == expected


def test_members_that_are_not_plain_files_or_point_elsewhere(archive):
    kinds = {
        "sym.mp4": {"type": tarfile.SYMTYPE, "linkname": "/etc/passwd"},
        "hard.mp4": {"type": tarfile.LNKTYPE, "linkname": "good.mp4"},
        "device.mp4": {"type": tarfile.CHRTYPE},
        "disk.mp4": {"type": tarfile.BLKTYPE},
        "pipe.mp4": {"type": tarfile.FIFOTYPE},
        "odd.mp4": {"type": b"Z"},
    }
    names = ["/etc/x.mp4", "../x.mp4", "a/../../x.mp4", "a/..", "/"]
    hostile = [header(name, **facts) for name, facts in kinds.items()] + [member(name) for name in names[:3]]
    found = read(archive(*hostile, header("folder.mp4", type=tarfile.DIRTYPE), member("good.mp4")))
    assert found == [(name, UnsafeMember) for name in [*kinds, *names[:3]]] + [("good.mp4", b"clip")]
    link = next(read_archive(archive(hostile[0]), {"sym"}, SETTINGS))
    assert (link.stem, link.content) == ("sym", None)
    assert str(link.error).endswith(".tar: a symbolic link, not a plain file")
    assert read(archive(*hostile, member("good.mp4")), {"good"}) == [("good.mp4", b"clip")]


def test_names_that_are_no_text(archive):
    info = header("bad.mp4", 4).replace(b"bad", b"\xff\xfeb")
    checked = info[:148] + b"%06o\0 " % (sum(info[:148]) + 256 + sum(info[156:])) + info[156:]
    pax = member("x", pax_headers={"path": "new\nline\x1b[31m.mp4"})
    found = list(read_archive(archive(checked + padded(b"clip"), pax, member("good.mp4")), Everything(), SETTINGS))
    assert [m.name for m in found] == ["\ufffd\ufffdb.mp4", "new\ufffdline\ufffd[31m.mp4", "good.mp4"]
    assert all(m.content == b"clip" for m in found)
    assert "".join(m.stem for m in found).encode()


def test_only_video_members_count(archive):
    """The members of WebDataset and video2dataset, in any order, and what else lies beside a clip."""
    sidecars = ["json", "txt", "srt", "wav", "jpg", "m4a", "cls", "npy", "mp4.json", "part", ""]
    beside = [member(f"a.{ending}") for ending in sidecars] + [member("a"), member("mp4"), member(".mp4")]
    assert read(archive(*beside, member("a.mp4"), *beside), {"a", "mp4", ""}) == [("a.mp4", b"clip")]
    endings = ["MP4", "avi", "mkv", "webm", "Mov"]
    found = list(read_archive(archive(*beside, *(member(f"x/a.{ending}") for ending in endings)), {"a"}, SETTINGS))
    assert [m.name for m in found] == [f"x/a.{ending}" for ending in endings]
    assert [m.position for m in found] == [len(beside) + number for number in range(len(endings))]


def test_members_of_no_size_and_of_too_great_a_size(archive):
    largest = SETTINGS.max_mib << 20
    uri = archive(member("none.mp4", b""), member("huge.mp4", bytes(largest + 1)), member("large.mp4", bytes(largest)))
    assert read(uri) == [("none.mp4", ZeroByte), ("huge.mp4", TooLarge), ("large.mp4", bytes(largest))]
    assert read_until_broken(archive(header("a.mp4", 1 << 62)), "cut short: .* bytes missing near byte") == [
        ("a.mp4", None)
    ]
    assert read_until_broken(archive(header("a.mp4", 2 << 20), RANDOM), "cut short") == []


def test_sparse_files_are_not_taken(archive):
    old = bytearray(header("old.mp4", 4, type=tarfile.GNUTYPE_SPARSE))
    old[482] = 1  # another block of the map follows
    old[148:156] = b"%06o\0 " % (sum(old[:148]) + 256 + sum(old[156:]))
    new = member("new.mp4", pax_headers={"GNU.sparse.major": "1", "GNU.sparse.realsize": str(1 << 60)})
    found = read(archive(bytes(old), bytes(504) + b"\1" + bytes(7), bytes(512), padded(b"clip"), new, member("a.mp4")))
    assert found == [("old.mp4", UnsafeMember), ("new.mp4", UnsafeMember), ("a.mp4", b"clip")]


def pax(records: bytes) -> bytes:
    return header("pax", len(records), type=tarfile.XHDTYPE) + padded(records)


@pytest.mark.parametrize(
    "extended",
    [
        pax(b"99 path=a\n"), pax(b"0 path=a\n"), pax(b"7 path\n"), pax(b"path=a\n"), pax(b"-9 a=b\n"), pax(b"1" * 4000),
        pax(b"12 size=-99\n"), pax(b"13 size=9e99\n"), pax(b"\0" * 9), pax(b"27 size=999999999999999999\n"),
        header("pax", 1 << 30, type=tarfile.XHDTYPE), header("long", 1 << 30, type=tarfile.GNUTYPE_LONGNAME),
        header("a.mp4", -5), b"\xff" * 512, b"x" * 512, b"\0" * 511 + b"x",
    ],
)  # fmt: skip
def test_a_damaged_header_ends_the_archive_and_not_the_run(archive, extended):
    before = member("good.mp4")
    found = read_until_broken(archive(before, extended, member("after.mp4")), r"\.tar: .* near byte [\d,]+")
    assert found[:1] == [("good.mp4", b"clip")]
    assert ("after.mp4", b"clip") not in found


def test_damage_ends_an_archive_and_spares_what_lies_before_it(archive, tmp_path):
    members = [member(f"{i}.mp4", RANDOM) for i in range(4)]
    whole = gzip.compress(b"".join(members) + END)
    half, flipped, wrong = whole[: len(whole) // 2], bytearray(whole), bytearray(whole)
    flipped[len(whole) // 2 : len(whole) // 2 + 2000] = bytes(2000)
    wrong[-6] ^= 1  # of the checksum
    good = [(f"{i}.mp4", RANDOM) for i in range(4)]
    assert read_until_broken(archive(half, end=b""), "cut short near byte") == good[:1]
    assert good[:1] == read_until_broken(archive(bytes(flipped), end=b""), r"\.tar: ")[:1]
    assert read_until_broken(archive(bytes(wrong), end=b""), r"corrupt \(CRC") == good
    assert read_until_broken(archive(whole, b"trailing", end=b""), "corrupt") == good
    assert read_until_broken(archive(*members, end=b""), "no mark of its end near byte 1,20") == good
    assert read_until_broken(archive(*members[:2], end=members[2][:-700]), "cut short: .* missing") == good[:2]
    for content, kind in ((b"", "no mark"), (b"<html>sorry</html>", "cut short"), (b"PK\3\4" * 200, "no tar archive")):
        assert read_until_broken(archive(content, end=b""), kind) == []


def bomb(size: int) -> bytes:
    return gzip.compress(bytes(size), mtime=0)


def test_bombs_are_put_out(archive, monkeypatch):
    monkeypatch.setattr(tape, "SLACK", 8 << 20)
    zeros = bomb(32 << 20)
    assert read_until_broken(archive(zeros, end=b""), "unpacks to more than 100 times its size") == []
    skipped = gzip.compress(header("a.mp4", 1 << 40)) + zeros
    assert read_until_broken(archive(skipped, end=b""), "more than 100 times") == [("a.mp4", None)]
    monkeypatch.setattr(tar, "MOST_PADDING", 1 << 20)
    assert read_until_broken(archive(member("a.mp4"), bytes(2 << 20)), "nothing but zeros") == [("a.mp4", b"clip")]


def test_a_bomb_within_a_bomb_is_no_tar_archive(archive):
    """Only one layer is unpacked; an archive within an archive is one member among others."""
    inner = gzip.compress(gzip.compress(member("a.mp4", RANDOM) + END))
    assert read_until_broken(archive(inner, end=b""), r"no tar archive, begins with b'\\x1f\\x8b") == []
    nested = member("b.tar", member("a.mp4") + END) + member("c.tar.gz", bomb(1 << 20))
    assert read(archive(nested, member("d.mp4"))) == [("d.mp4", b"clip")]


ENDLESS = {
    "zeros": (b"", bytes(1 << 16), "nothing but zeros"),
    "noise in an unwanted member": (header("x.bin", 1 << 50), RANDOM, r"more than 0\.05 GiB \(ingest\.fetch\.max_arch"),
    "members": (b"", member("x.txt") * 64, r"more than 10,000 members"),
    "headers": (b"", pax(b"8 a=bcd\n") * 64, "more than 16 extended headers for one member"),
    "parts of a sparse file": (bytes(0), bytes(504) + b"\1" + bytes(7), "a sparse file of too many parts"),
    "a gzip header": (b"\x1f\x8b\x08\x08" + bytes(6), b"x" * (1 << 16), "4 MiB in it unpack to nothing"),
    "empty gzip members": (
        gzip.compress(member("a.mp4")),
        gzip.compress(b"") * 10_000,
        "4 MiB in it unpack to nothing",
    ),
}


@pytest.mark.parametrize("kind", ENDLESS)
def test_an_endless_stream_ends(server, monkeypatch, kind):
    monkeypatch.setattr(tar, "MOST_HEADERS", 10_000)
    monkeypatch.setattr(tar, "MOST_PADDING", 8 << 20)
    start, again, says = ENDLESS[kind]
    if kind.startswith("parts"):
        block = bytearray(header("old.mp4", 4, type=tarfile.GNUTYPE_SPARSE))
        block[482] = 1
        block[148:156] = b"%06o\0 " % (sum(block[:148]) + 256 + sum(block[156:]))
        start = bytes(block)

    def endless(handler, file):
        handler.reply(200, b"", Content_Length=None)
        handler.close_connection = True
        handler.wfile.write(start)
        while not handler.server.closing.is_set():
            handler.wfile.write(again)

    url = server.put("/endless.tar", b"", endless)
    settings = FetchConfig(max_mib=2, tries=3, max_archive_gib=0.05)
    with pytest.raises(ArchiveBroken, match=says):
        list(read_archive(url, {"a"}, settings))


def test_the_limit_of_an_archive_holds_packed_and_unpacked(archive):
    settings = FetchConfig(max_mib=2, max_archive_gib=2**-10)  # one MiB
    large = member("a.mp4", bytes(3 << 20)) + member("b.mp4")
    for content in (large, gzip.compress(large)):
        with pytest.raises(ArchiveBroken, match=r"more than 0\.000976562 GiB"):
            list(read_archive(archive(content), {"b"}, settings))


def test_what_extended_headers_say_beside_names_and_sizes_is_not_kept(archive):
    records = b"".join(b"%d %06d=%s\n" % (200, number, b"v" * 188) for number in range(5000))
    uri = archive(*([pax(records)] * 8), member("a.mp4"))
    tracemalloc.start()
    assert read(uri) == [("a.mp4", b"clip")]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4e6  # of 8 MB of headers


def test_a_thousand_members_take_the_memory_of_one(tmp_path):
    with tarfile.open(tmp_path / "a.tar.gz", "w:gz", compresslevel=1) as made:
        for i in range(1000):
            info = tarfile.TarInfo(f"{i:06d}.mp4")
            info.size = 10_000
            made.addfile(info, io.BytesIO(RANDOM[i : i + 10_000]))
    tracemalloc.start()
    count = sum(
        m.content == RANDOM[int(m.stem) :][:10_000]
        for m in read_archive(str(tmp_path / "a.tar.gz"), Everything(), SETTINGS)
    )
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert count == 1000
    assert peak < 4e6  # of 10 MB


def test_archives_of_a_folder_and_of_a_prefix(tmp_path, s3):
    client, address = s3
    names = ["b.tar", "deep/c c.tgz", "deep/d.TAR.GZ", "z.tar.gz"]
    for name in [*names, "note.txt", "._b.tar", "a.zip"]:
        path = tmp_path / "data" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(member(f"{name}.mp4") + END)
        client.upload_file(str(path), "clips", f"folder/{name}")
    (tmp_path / "data" / "loop").symlink_to(tmp_path)
    assert list_archives(str(tmp_path / "data"), SETTINGS) == [str(tmp_path / "data" / name) for name in names]
    found = list_archives(address("clips/folder"), SETTINGS)
    assert [read(uri, {"c c.tgz"}) for uri in found] == [[], [("deep/c c.tgz.mp4", b"clip")], [], []]
    assert list_archives(found[0], SETTINGS) == found[:1]
    assert list_archives(str(tmp_path / "data" / "b.tar"), SETTINGS) == [str(tmp_path / "data" / "b.tar")]
    for nothing in (str(tmp_path / "none"), address("clips/none"), address("none/none")):
        with pytest.raises(FileNotFound, match="not there; give an archive"):
            list_archives(nothing, SETTINGS)
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFound, match="no archive there"):
        list_archives(str(tmp_path / "empty"), SETTINGS)


def test_archives_of_a_list(tmp_path, server, s3):
    text = "\ufeffpart_0.tar.gz\r\n\r\n# the rest\nsub/part_1.tgz\nhttps://host/k400/part_2.tar.gz\npart_0.tar.gz\n"
    (tmp_path / "train.txt").write_text(text + "/data/part_3.tar\n")
    far = "https://host/k400/part_2.tar.gz"
    assert list_archives(str(tmp_path / "train.txt"), SETTINGS) == [
        str(tmp_path / "part_0.tar.gz"), str(tmp_path / "sub/part_1.tgz"), far, "/data/part_3.tar",
    ]  # fmt: skip
    base = server.put("/k400/train.txt", text.encode()).removesuffix("train.txt")
    near = [f"{base}part_0.tar.gz", f"{base}sub/part_1.tgz"]
    assert list_archives(f"{base}train.txt?version=1", SETTINGS) == [*near, far]
    assert list_archives(f"{base}part_0.tar.gz", SETTINGS) == near[:1]
    client, address = s3
    client.put_object(Bucket="clips", Key="lists/train.txt", Body=text.encode())
    assert list_archives(address("clips/lists/train.txt"), SETTINGS) == [
        address("clips/lists/part_0.tar.gz"), address("clips/lists/sub/part_1.tgz"), far,
    ]  # fmt: skip


@pytest.mark.parametrize("line", ["file:///etc/passwd", "FILE:///etc/passwd", "file:/etc/passwd", "c:/secret.tar"])
def test_a_list_from_elsewhere_names_no_file_of_this_machine(server, line):
    with pytest.raises(BadRow, match=r"/train\.txt: names .*, a file of this machine"):
        list_archives(server.put("/train.txt", line.encode()), SETTINGS)
    assert list_archives(server.put("/train.txt", b"/etc/passwd"), SETTINGS) == [f"{server.base}/etc/passwd"]

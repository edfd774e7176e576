"""yt-dlp itself against a server of our own, and its own exceptions with YouTube's own words."""

import contextlib
import http.server
import os
import socket
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path

import pytest
import yt_dlp
from yt_dlp.cookies import CookieLoadError
from yt_dlp.networking.exceptions import IncompleteRead, ProxyError, TransportError
from yt_dlp.utils import (
    ContentTooShortError,
    DownloadError,
    ExtractorError,
    GeoRestrictedError,
    RegexNotFoundError,
    UserNotLive,
)

from pipeline.config import FetchConfig
from pipeline.ingest import clip_errors as errors
from pipeline.ingest.clip_errors import BadRow, error_named
from pipeline.ingest.fetch import youtube_child
from pipeline.ingest.fetch.scratch import process_start, remove_stale
from pipeline.ingest.fetch.youtube import egress_of, fetch_video, video_id, watch_page
from pipeline.ingest.fetch.youtube_errors import clip_error
from tests.ingest.fetch.local_limiter import LocalLimiter
from tests.ingest.videos import make_video

ID = "0sf943sWZls"
COOKIES = "# Netscape HTTP Cookie File\n\n127.0.0.1\tFALSE\t/\tFALSE\t0\tname\tvalue\n"
PAGES = {
    "page": b"<html><body>No video here.</body></html>",
    "list": b"<rss><channel><title>t</title><item><title>v</title><link>/ok.mp4</link></item></channel></rss>",
}


class Site(http.server.ThreadingHTTPServer):
    """`/429-429-ok.mp4` answers with one of these after the other, the last for ever. yt-dlp asks twice for a video:
    as a page, of which it finds that it is the video itself, and then for its data."""

    daemon_threads = True

    def __init__(self, video):
        super().__init__(("127.0.0.1", 0), Handler)
        self.video, self.requests, self.end = video, Counter(), threading.Event()
        self.dripping, self.dropped = threading.Event(), threading.Event()  # begun, broken off
        self.address = f"http://127.0.0.1:{self.server_port}"


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        answers = self.path.strip("/").removesuffix(".mp4").split("-")
        answer = answers[min(self.server.requests[self.path], len(answers) - 1)]
        self.server.requests[self.path] += 1
        if answer.isdecimal():
            return self.send_error(int(answer))
        content = PAGES.get(answer, self.server.video)
        size = {"cut": 2 * len(content), "empty": 0, "large": 3 << 20, "unsized": None}
        length = size.get(answer, len(content))
        self.send_response(200)
        self.send_header("Content-Type", "text/html" if answer in PAGES else "video/mp4")
        if length is not None:
            self.send_header("Content-Length", str(length))
        self.end_headers()
        try:
            if answer == "unsized":
                while not self.server.end.is_set():
                    self.wfile.write(bytes(1 << 16))
            elif answer == "drip":
                self.server.dripping.set()
                while not self.server.end.wait(0.1):
                    self.wfile.write(b"a")
            elif answer == "stall":
                self.wfile.write(content[:100])
                self.server.end.wait()
            elif answer != "empty":
                self.wfile.write(content)
        except OSError:
            self.server.dropped.set()
        return None

    def log_message(self, *arguments):
        pass


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    with Site(make_video(tmp_path_factory.mktemp("site") / "v.mp4").read_bytes()) as site:
        thread = threading.Thread(target=site.serve_forever)
        thread.start()
        yield site
        site.end.set()
        site.shutdown()
        thread.join()


class Told:
    """A limiter that never waits, and what it was told."""

    def __init__(self):
        self.calls = []

    def acquire(self, egress):
        self.calls.append(("acquire", egress))

    def refused(self, egress, reason):
        self.calls.append(("refused", egress))

    def succeeded(self, egress):
        self.calls.append(("succeeded", egress))


def settings(**changes):
    return FetchConfig(**{"timeout_s": 10, "tries": 1, "max_mib": 1} | changes)


def fetch(site, name, tmp_path, limiter=None, **changes):
    """A file of our site in place of a page of YouTube."""
    try:
        return fetch_video(f"{site.address}/{name}", settings(**changes), limiter or Told(), tmp_path / "s", page=str)
    finally:
        assert list((tmp_path / "s").iterdir()) == []  # in every case


def test_a_video_comes_whole(site, tmp_path):
    told = Told()
    assert fetch(site, "ok.mp4", tmp_path, told) == site.video
    assert told.calls == [("acquire", "direct"), ("succeeded", "direct")]


def test_plugins_in_a_home_are_not_loaded(site, tmp_path, monkeypatch):
    folder = tmp_path / "yt-dlp" / "plugins" / "some" / "yt_dlp_plugins" / "extractor"
    folder.mkdir(parents=True)
    (folder / "some.py").write_text(f"open({str(tmp_path / 'loaded')!r}, 'w')\n")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert fetch(site, "ok.mp4", tmp_path) == site.video
    assert not (tmp_path / "loaded").exists()


@pytest.mark.parametrize(
    ("name", "kind", "words", "told"),
    [
        ("403.mp4", "Forbidden", "HTTP Error 403: Forbidden", ["succeeded"]),
        ("404.mp4", "VideoGone", "HTTP Error 404: Not Found", ["succeeded"]),
        ("429.mp4", "RateLimited", "HTTP Error 429: Too Many Requests", ["refused"]),
        ("500.mp4", "ServerError", "HTTP Error 500: Internal Server Error", []),
        ("cut.mp4", "Truncated", "bytes read, .* more expected", ["succeeded"]),
        ("large.mp4", "TooLarge", r"more than 1 MiB \(ingest.fetch.max_mib\)", ["succeeded"]),
        ("unsized.mp4", "TooLarge", r"more than 1 MiB \(ingest.fetch.max_mib\)", ["succeeded"]),
        ("page", "FormatUnavailable", "Unsupported URL", ["succeeded"]),
        ("list", "FormatUnavailable", r"leads to others \(yt-dlp: playlist\), and no link is followed", ["succeeded"]),
        ("empty.mp4", "ZeroByte", "Did not get any data blocks", ["succeeded"]),
    ],
)
def test_what_the_server_does_is_the_error_with_its_true_message(site, tmp_path, name, kind, words, told):
    limiter = Told()
    with pytest.raises(error_named(kind), match=words) as raised:
        fetch(site, name, tmp_path, limiter)
    assert f"{site.address}/{name}: " in str(raised.value)
    assert "\n" not in str(raised.value)
    assert [call for call, _ in limiter.calls] == ["acquire", *told]


def test_a_server_that_falls_silent_or_sends_drops_is_left(site, tmp_path):
    with pytest.raises(errors.Network, match="Read timed out"):
        fetch(site, "stall.mp4", tmp_path, timeout_s=0.5)
    with pytest.raises(errors.Network, match=r"stalled, .* yt-dlp was killed"):
        fetch(site, "drip.mp4", tmp_path, timeout_s=0.3)


def test_nobody_there_is_a_network_error(tmp_path):
    with pytest.raises(errors.Network, match="Connection refused"):
        fetch_video("http://127.0.0.1:1/v.mp4", settings(), Told(), tmp_path, page=str)
    proxied = settings(youtube_proxies=("http://me:secret@127.0.0.1:1",))  # so that nothing leaves this machine
    with pytest.raises(errors.Network, match=rf"\[youtube\] {ID}: .*Unable to connect to proxy") as raised:
        fetch_video(f"https://youtu.be/{ID}", proxied, Told(), tmp_path)
    assert "secret" not in str(raised.value)


def test_what_may_pass_is_tried_again_and_what_may_not_is_not(site, tmp_path):
    told = Told()
    assert fetch(site, "429-429-ok.mp4", tmp_path, told, tries=3) == site.video
    assert [call for call, _ in told.calls] == ["acquire", "refused"] * 2 + ["acquire", "succeeded"]
    told = Told()
    with pytest.raises(errors.VideoGone):
        fetch(site, "410.mp4", tmp_path, told, tries=3)
    assert [call for call, _ in told.calls] == ["acquire", "succeeded"]


def test_proxies_are_taken_in_turn(site, tmp_path):
    told = Told()
    proxies = ("http://me:secret@127.0.0.1:1", "http://127.0.0.1:2")
    with pytest.raises(errors.Network):
        fetch(site, "ok.mp4", tmp_path, told, tries=2, youtube_proxies=proxies)
    assert {egress for _, egress in told.calls} == {"me@127.0.0.1:1", "127.0.0.1:2"}
    assert egress_of(None) == "direct"
    assert egress_of("socks5://10.0.0.1:1080") == "10.0.0.1:1080"


def test_cookies_are_read_from_a_copy(site, tmp_path):
    cookies = tmp_path / "cookies.txt"
    cookies.write_text(COOKIES)
    before = cookies.read_bytes()
    assert fetch(site, "ok.mp4", tmp_path, youtube_cookies=str(cookies)) == site.video
    assert cookies.read_bytes() == before
    with pytest.raises(errors.Unreadable, match=r"none.txt: No such file.*youtube_cookies"):
        fetch(site, "ok.mp4", tmp_path, youtube_cookies=str(tmp_path / "none.txt"))
    cookies.write_text("no cookies\n")
    with pytest.raises(errors.Unreadable, match=r"(?i)cookie"):
        fetch(site, "ok.mp4", tmp_path, youtube_cookies=str(cookies))


def test_a_proxy_that_is_given_up_leaves_the_others(site, tmp_path):
    class OneIsGivenUp(Told):
        def acquire(self, egress):
            super().acquire(egress)
            if egress == "127.0.0.1:1":
                raise errors.RateLimited("refused 4 times in a row")

    told = OneIsGivenUp()
    with pytest.raises((errors.Network, errors.RateLimited)):
        fetch(site, "ok.mp4", tmp_path, told, tries=2, youtube_proxies=("http://127.0.0.1:1", "http://127.0.0.1:2"))
    assert {egress for _, egress in told.calls} == {"127.0.0.1:1", "127.0.0.1:2"}


def test_a_given_up_egress_costs_no_request(site, tmp_path):
    limiter = LocalLimiter(settings(youtube_pause_s=3600.0), clock=lambda: clock[0], sleep=lambda s: wait(s))
    clock = [0.0]

    def wait(seconds):
        clock[0] += seconds

    for _ in range(3):
        limiter.acquire("direct")
        limiter.refused("direct", "429")
    with pytest.raises(errors.RateLimited, match="429"):
        fetch(site, "429.mp4", tmp_path, limiter)
    asked = site.requests["/429.mp4"]
    with pytest.raises(errors.RateLimited, match="is asked no more"):
        fetch(site, "429.mp4", tmp_path, limiter, tries=4)
    assert site.requests["/429.mp4"] == asked


def environments(module: str) -> list[bytes]:
    """What the processes that run a module have been told; at least one runs."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if module.encode() in (process / "cmdline").read_bytes():
                found.append((process / "environ").read_bytes())
    assert found
    return found


def test_a_killed_worker_takes_yt_dlp_with_it_and_the_next_cleans_up(site, tmp_path, tmp_path_factory):
    code = (
        "import sys; from pathlib import Path; from pipeline.config import FetchConfig\n"
        "from pipeline.ingest.fetch import youtube; from tests.ingest.fetch.local_limiter import LocalLimiter\n"
        "settings = FetchConfig(tries=1, youtube_cookies=sys.argv[3])\n"
        "youtube.fetch_video(sys.argv[1], settings, LocalLimiter(settings), Path(sys.argv[2]), page=str)\n"
    )
    site.dripping.clear()
    site.dropped.clear()
    cookies = tmp_path_factory.mktemp("cookies") / "cookies.txt"
    cookies.write_text(COOKIES)
    cookies.chmod(0o644)
    worker = subprocess.Popen(
        [sys.executable, "-c", code, f"{site.address}/ok-drip.mp4", str(tmp_path), str(cookies)],
        cwd=Path(__file__).parents[3], env={**os.environ, "MLFLOW_TRACKING_PASSWORD": "hunter2"},
    )  # fmt: skip
    try:
        assert site.dripping.wait(60)
        assert not any(b"hunter2" in environ for environ in environments("youtube_child"))
    finally:
        worker.kill()
        worker.wait()
    assert site.dropped.wait(60)  # nobody listens any more
    (left,) = tmp_path.iterdir()
    assert left.stat().st_mode & 0o777 == 0o700
    assert {file.stat().st_mode & 0o077 for file in left.iterdir()} == {0}  # cookies and passwords among them
    remove_stale(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_process_left_is_removed_and_no_more(tmp_path):
    host, dead = socket.gethostname(), subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    mine = tmp_path / f"video-fetch-{host}-{os.getpid()}-{process_start(os.getpid())}-a_b"
    again = tmp_path / f"video-fetch-{host}-{os.getpid()}-1-a_b"  # its id has come again
    stale = tmp_path / f"video-fetch-{host}-{dead.pid}-77-a_b"
    others = [
        tmp_path / f"video-fetch-else{host}-{dead.pid}-77-a_b",
        tmp_path / "clips",
        tmp_path / f"video-fetch-{host}-x-y-z",
    ]
    for folder in (mine, again, stale, *others):
        folder.mkdir()
        (folder / "video.part").write_bytes(b"half")
    if os.getuid() == 0:  # others may have such folders too
        others.append(tmp_path / f"video-fetch-{host}-{dead.pid}-78-a_b")
        others[-1].mkdir()
        os.chown(others[-1], 65534, 65534)
    others.append(tmp_path / f"video-fetch-{host}-{dead.pid}-79-a_b")
    others[-1].symlink_to(tmp_path / "clips")
    remove_stale(tmp_path)
    assert sorted(tmp_path.iterdir()) == sorted([mine, *others])


@pytest.mark.parametrize(
    "address",
    [
        f"https://www.youtube.com/watch?v={ID}",
        f"http://youtube.com/watch?v={ID}&list=PL1&index=2",
        f"https://m.youtube.com/watch?t=3&v={ID}#t=3",
        f"https://youtu.be/{ID}?t=1",
        f"https://www.youtube.com/embed/{ID}",
        f"https://www.youtube.com/shorts/{ID}",
    ],
)
def test_the_id_of_an_address_is_all_that_is_taken_from_it(address):
    assert video_id(address) == ID
    assert watch_page(address) == f"https://www.youtube.com/watch?v={ID}"


@pytest.mark.parametrize(
    "address",
    [
        "", ID, "https://www.youtube.com/", "https://www.youtube.com/watch?v=", "https://www.youtube.com/watch?v=short",
        f"https://www.youtube.com/watch?v={ID}x", f"https://www.youtube.com/watch?v={ID}%0A",
        f"https://www.youtube.com/watch?v={ID}&v={ID}", f"https://www.youtube.com.evil.org/watch?v={ID}",
        f"https://evil.org/watch?v={ID}", f"file:///watch?v={ID}", f"https://www.youtube.com@evil.org/watch?v={ID}",
        "https://www.youtube.com/watch?v=../../etc/p", "https://www.youtube.com/watch?v=ééééééééééé",
        f"https://www.youtube.com/playlist?list={ID}", "https://[/watch?v=", f"ytsearch:{ID}",
    ],
)  # fmt: skip
def test_anything_else_is_a_bad_row_and_asks_nobody(tmp_path, address):
    told = Told()
    with pytest.raises(BadRow, match="names no video; expected https://"):
        fetch_video(address, settings(), told, tmp_path)
    assert told.calls == []


HINT = (
    "Use --cookies-from-browser or --cookies for the authentication. See  https://github.com/yt-dlp/yt-dlp/wiki/FAQ"
    "#how-do-i-pass-cookies-to-yt-dlp  for how to manually pass cookies. Also see  https://github.com/yt-dlp/yt-dlp/"
    "wiki/Extractors#exporting-youtube-cookies  for tips on effectively exporting YouTube cookies"
)
RULES = "Video unavailable. This video has been removed for violating YouTube's "


NOT_HERE = "Video unavailable. This video is no longer available "
OTHERS = "Video unavailable. This video contains content from X, who has blocked it "
CLOSED = "because the YouTube account associated with this video has been terminated"
REASONS = {
    "VideoPrivate": [
        f"Private video. Sign in if you've been granted access to this video. {HINT}",
        f"This video is private. If the owner of this video has granted you access, please sign in. {HINT}",
    ],
    "VideoGone": [
        "Video unavailable",
        "Video unavailable. This video has been removed by the uploader",
        "This video has been removed by the user",
        "This video is not available",
        "This video does not exist.",
    ],
    "CopyrightClaim": [NOT_HERE + "due to a copyright claim by Somebody", OTHERS + "on copyright grounds"],
    "CountryBlocked": [
        OTHERS + "in your country on copyright grounds",
        "The uploader has not made this video available in your country",
    ],
    "TermsViolation": [
        RULES + "policy on hate speech.",
        RULES + "policy on nudity or sexual content",
        RULES + "policy on spam, deceptive practices, and scams",
        RULES + "policy on harassment and bullying",
        RULES + "policy on harmful and dangerous content",
        RULES + "Terms of Service",
        RULES + "Community Guidelines",
    ],
    "AccountTerminated": [
        NOT_HERE + CLOSED,
        NOT_HERE + CLOSED + " due to multiple third-party notifications of copyright infringement.",
        NOT_HERE + "because the uploader has closed their YouTube account.",
    ],
    "AgeRestricted": [f"Sign in to confirm your age. This video may be inappropriate for some users. {HINT}"],
    "BotCheck": [
        f"Sign in to confirm you\u2019re not a bot. {HINT}",
        "Video unavailable. YouTube is requiring a captcha challenge before playback",
        "All player responses are invalid. Your IP is likely being blocked by Youtube",
    ],
    "RateLimited": [
        "Video unavailable. This content isn't available, try again later. The current session has been rate-limited "
        "by YouTube for up to an hour. It is recommended to use `-t sleep` to add a delay between video requests to "
        "avoid exceeding the rate limit. For more information, refer to  https://github.com/yt-dlp/yt-dlp/wiki/"
        "Extractors#this-content-isnt-available-try-again-later",
    ],
    "SignInNeeded": [
        "Join this channel to get access to members-only content like this video, and other exclusive perks.",
        "This video is only available to Music Premium members",
        "This video requires payment to watch.",
        f"Login details are needed to download this content. {HINT}",
    ],
    "ExtractorOutdated": [
        "The following content is not available on this app. Watch on the latest version of YouTube.",
        "This video is unavailable on this device.",
        "The page needs to be reloaded.",
    ],
    "ServerError": ["An error occurred. Please try again later."],
    "LiveOrPremiere": [
        "This live event will begin in 2 hours.",
        "Premieres in 3 days",
        "This live stream recording is not available.",
    ],
    "FormatUnavailable": [
        "Requested format is not available. Use --list-formats for a list of available formats",
        "This video is DRM protected",
        "Something that YouTube has never said before",
    ],
}


@pytest.mark.parametrize(("kind", "reason"), [(kind, reason) for kind in REASONS for reason in REASONS[kind]])
def test_each_reason_of_youtube_has_its_class(kind, reason):
    error = clip_error(wrapped(ExtractorError(reason, expected=True, video_id="copyright-1", ie="youtube")))
    assert type(error).__name__ == kind
    assert " ".join(reason.split()) in str(error)


def wrapped(error):
    """As `YoutubeDL` raises what was raised in an extractor."""
    with yt_dlp.YoutubeDL({"quiet": True, "logger": youtube_child.Log()}) as ydl:
        try:
            try:
                raise error
            except ExtractorError as inner:
                ydl.report_error(str(inner), inner.format_traceback())
        except DownloadError as outer:
            return outer
    raise AssertionError("it raises")


def caused(error, cause):
    """An extractor's error as it comes from another."""
    try:
        raise cause
    except type(cause):
        return error()


@pytest.mark.parametrize(
    ("kind", "error"),
    [
        ("CountryBlocked", GeoRestrictedError("Not for you", countries=["DE"])),
        ("LiveOrPremiere", UserNotLive()),
        ("ExtractorOutdated", RegexNotFoundError("Unable to extract player version")),
        ("ExtractorOutdated", ExtractorError("Failed to extract any player response")),
        ("Network", caused(lambda: ExtractorError("Unable to download API page"), TransportError("timed out"))),
        ("Network", caused(lambda: ExtractorError("Unable to download API page"), ProxyError("no tunnel"))),
        ("Truncated", caused(lambda: ExtractorError("Unable to download page"), IncompleteRead(10, 20))),
    ],
)
def test_types_come_before_words(kind, error):
    assert type(clip_error(wrapped(error))).__name__ == kind


def test_the_rest_of_what_yt_dlp_raises():
    assert isinstance(clip_error(ContentTooShortError(10, 20)), errors.Truncated)
    assert isinstance(clip_error(CookieLoadError("failed to load cookies")), errors.Unreadable)
    assert isinstance(clip_error(OSError(28, "No space left on device")), errors.Unreadable)
    assert isinstance(clip_error(KeyError("streamingData")), errors.ExtractorOutdated)  # a bug of yt-dlp
    own = errors.TooLarge("more than 1 MiB")
    assert clip_error(own) is own


def test_the_message_says_what_to_do_and_nothing_of_bug_reports():
    error = clip_error(wrapped(RegexNotFoundError("Unable to extract player version", ie="youtube")))
    assert str(error) == (
        f"yt-dlp: [youtube] Unable to extract player version; update yt-dlp, which is {yt_dlp.version.__version__} here"
    )
    assert "youtube_cookies" in str(clip_error(ExtractorError("Sign in to confirm your age", expected=True)))


def test_warnings_tell_what_an_error_leaves_out():
    outdated = ExtractorError("Failed to extract any player response")
    error = clip_error(outdated, ["[youtube] x: Unable to download API page: HTTP Error 429: Too Many Requests"])
    assert isinstance(error, errors.RateLimited)
    error = clip_error(ExtractorError("Requested format is not available", expected=True), ["No JavaScript runtime"])
    assert isinstance(error, errors.FormatUnavailable)
    assert "No JavaScript runtime" in str(error)


@pytest.mark.parametrize("status", ["is_live", "is_upcoming", "post_live"])
def test_what_is_not_over_is_not_fetched(status):
    with pytest.raises(errors.LiveOrPremiere, match="fetch it when it is over"):
        chosen(height=360, live_status=status)


def chosen(height, sizes=((640, 360), (256, 144), (1280, 720)), **facts):
    """Width and height of the format that yt-dlp takes of these, of a video of YouTube."""
    request = {"address": watch_page(f"https://youtu.be/{ID}"), "height": height, "file": "video", "timeout_s": 1}
    asked = youtube_child.options({**request, "max_bytes": 1, "cookies": None, "proxy": None}, youtube_child.Log())
    formats = [
        {"format_id": f"{kind}{width}x{height}", "url": "https://127.0.0.1:1/v", "ext": "mp4", "protocol": "https",
         "width": width, "height": height, "vcodec": "avc1", "acodec": sound}
        for width, height in sizes for kind, sound in (("mixed", "mp4a"), ("video", "none"))
    ]  # fmt: skip
    formats.append(
        {"format_id": "sound", "url": "https://127.0.0.1:1/a", "ext": "m4a", "vcodec": "none", "acodec": "mp4a"}
    )
    info = {"id": ID, "title": "t", "extractor": "youtube", "extractor_key": "Youtube", "formats": formats, **facts}
    with yt_dlp.YoutubeDL({**asked, "simulate": True}) as ydl:
        taken = ydl.process_ie_result(info, download=True)
    assert "requested_formats" not in taken or taken["requested_formats"] is None  # nothing to merge
    return taken["width"], taken["height"]


def test_the_greatest_resolution_up_to_the_height_is_taken():
    assert chosen(360) == (640, 360)
    assert chosen(719) == (640, 360)
    assert chosen(2000) == (1280, 720)
    assert chosen(360, [(360, 640), (202, 360)]) == (360, 640)  # upright: the shorter side counts
    assert chosen(100) == (256, 144)  # the smallest there is


def test_yt_dlp_asks_no_other_site_and_runs_no_ffmpeg():
    request = {"address": "https://www.youtube.com/watch?v=x", "height": 360, "file": "video", "timeout_s": 1,
               "max_bytes": 1, "cookies": None, "proxy": None}  # fmt: skip
    asked = youtube_child.options(request, youtube_child.Log())
    with yt_dlp.YoutubeDL(asked) as ydl:
        assert list(ydl._ies) == ["Youtube"]
        assert not any(ydl._pps.values())
        assert ydl.cache.enabled is False

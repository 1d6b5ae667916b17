"""RAF-DB's zip comes over https, whole and as it should be, or not at all (3 s)."""

import io
import os
import shutil
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.error import URLError
from urllib.request import Request, urlopen

import pytest

from ferlab.data import download
from ferlab.data.archive import unpack
from ferlab.data.layout import find
from ferlab.errors import UserError

URL = "https://mirror.example/raf-db-dataset"


@pytest.fixture
def server():
    """A server with `body` that takes ranges, and an opener that leads there; `asked` has the starts."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            start = int(self.headers.get("Range", "bytes=0-")[6:-1]) if server.ranges else 0
            server.asked.append(start)
            if start and start >= len(server.body):
                return self.send_error(416)
            self.send_response(206 if start else 200)
            if start:
                self.send_header("Content-Range", f"bytes {start}-{len(server.body) - 1}/{len(server.body)}")
            self.send_header("Content-Length", str(len(server.body) - start))
            self.end_headers()
            self.wfile.write(server.body[start : server.breaks_at])

        def log_message(self, *args):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.body, server.ranges, server.breaks_at, server.asked = b"", True, None, []

    def opener(request, timeout):
        assert request.full_url == URL
        here = f"http://127.0.0.1:{server.server_port}/"
        return urlopen(Request(here, headers=request.headers), timeout=timeout)

    server.opener = opener
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def counts(kaggle_zip) -> dict:
    """How many images of each class the drawn zip has."""
    rows = find(kaggle_zip).rows
    return {
        split: tuple(sum(row.label == label for row in part) for label in range(1, 8))
        for split, part in rows.items()
    }


def refusal(server, tmp_path, counts) -> str:
    with pytest.raises(UserError) as error:
        download.fetch(tmp_path / "raf-db-dataset.zip", url=URL, counts=counts, opener=server.opener)
    assert not (tmp_path / "raf-db-dataset.zip").exists()
    return str(error.value)


def test_a_zip_is_fetched_checked_and_unpacked(server, kaggle_zip, counts, tmp_path, capsys):
    server.body = kaggle_zip.read_bytes()
    data = tmp_path / "raf-db-dataset"
    assert download.obtain(data, url=URL, counts=counts, opener=server.opener) == data
    assert sorted(p.name for p in tmp_path.iterdir()) == ["raf-db-dataset", "raf-db-dataset.zip"]
    there, here = find(kaggle_zip), find(data)
    assert here.layout.startswith("Kaggle layout, folder")
    for split in ("train", "test"):
        names = [row.path for row in there.rows[split]]
        assert names == [row.path for row in here.rows[split]]
        assert here.read(names[0]) == there.read(names[0])


def test_a_broken_transfer_is_gone_on_with(server, kaggle_zip, counts, tmp_path):
    server.body, server.breaks_at = kaggle_zip.read_bytes(), 100_000
    text = refusal(server, tmp_path, counts)
    assert f"broke off after 100,000 of {len(server.body):,} bytes" in text and "goes on where" in text
    assert (tmp_path / "raf-db-dataset.zip.part").stat().st_size == 100_000
    server.breaks_at = None
    path = tmp_path / "raf-db-dataset.zip"
    download.fetch(path, url=URL, counts=counts, opener=server.opener)
    assert server.asked == [0, 100_000] and path.read_bytes() == server.body


def test_a_server_without_ranges_starts_again(server, kaggle_zip, counts, tmp_path):
    server.body, server.ranges = kaggle_zip.read_bytes(), False
    path = tmp_path / "raf-db-dataset.zip"
    path.with_name("raf-db-dataset.zip.part").write_bytes(b"half")
    download.fetch(path, url=URL, counts=counts, opener=server.opener)
    assert path.read_bytes() == server.body


def test_a_transfer_that_was_whole_already(server, kaggle_zip, counts, tmp_path):
    server.body = kaggle_zip.read_bytes()
    path = tmp_path / "raf-db-dataset.zip"
    path.with_name("raf-db-dataset.zip.part").write_bytes(server.body)
    download.fetch(path, url=URL, counts=counts, opener=server.opener)  # the server answers 416
    assert path.read_bytes() == server.body


def test_other_content_is_refused_and_removed(server, kaggle_zip, counts, tmp_path):
    server.body = b"<!DOCTYPE html><html>Sign in</html>"
    assert "mirror.example sent something else than RAF-DB" in refusal(server, tmp_path, counts)
    other = io.BytesIO()
    with zipfile.ZipFile(other, "w") as archive:
        archive.writestr("cats/1.jpg", b"cat")
    server.body = other.getvalue()
    assert "has no RAF-DB in it" in refusal(server, tmp_path, counts)
    server.body = kaggle_zip.read_bytes()
    assert "its images per class are" in refusal(server, tmp_path, {**counts, "test": (1,) * 7})
    assert not list(tmp_path.iterdir())


def test_too_much_is_not_written(server, tmp_path):
    server.body = bytes(300_000)
    with pytest.raises(UserError, match="more than 200,000 bytes"):
        download.transfer(URL, tmp_path / "x.part", server.opener, limit=200_000)
    assert not list(tmp_path.iterdir())


def test_a_pipe_in_place_of_the_part_is_not_opened(tmp_path):
    os.mkfifo(tmp_path / "x.part")
    with pytest.raises(UserError, match="x.part is not a file; remove it"):
        download.transfer(URL, tmp_path / "x.part", never)


def test_only_https(tmp_path):
    for url in ("http://www.kaggle.com/x", "file:///etc/passwd", "ftp://x/y"):
        with pytest.raises(UserError, match="is not https"):
            download.transfer(url, tmp_path / "x.part", opener=None)
    follow = download.HttpsOnly()
    with pytest.raises(URLError, match="redirected to http://x/y, which is not https"):
        follow.redirect_request(Request(URL), None, 302, "", {}, "http://x/y")
    assert follow.redirect_request(Request(URL), None, 302, "", {}, "https://x/y").full_url == "https://x/y"


def never(request, timeout):
    raise AssertionError("nothing is to be downloaded")


def test_what_is_there_is_taken(drawn, kaggle_zip, tmp_path):
    for data in ("synthetic", drawn, kaggle_zip):
        assert download.obtain(data, opener=never) == data
    shutil.copy(kaggle_zip, tmp_path / "raf-db-dataset.zip")  # as placed by hand
    data = tmp_path / "raf-db-dataset"
    assert download.is_here(data) and download.obtain(data, opener=never) == data
    assert find(data).layout.startswith("Kaggle layout, folder")


def test_a_bad_zip_placed_by_hand_is_named(tmp_path):
    (tmp_path / "raf-db-dataset.zip").write_bytes(b"half a zip")
    with pytest.raises(UserError, match="raf-db-dataset.zip .* is not a zip"):
        download.obtain(tmp_path / "raf-db-dataset", opener=never)


def test_no_network_says_what_to_do(tmp_path):
    def opener(request, timeout):
        raise URLError("Temporary failure in name resolution")

    with pytest.raises(UserError) as error:
        download.obtain(tmp_path / "raf-db-dataset", opener=opener)
    for part in (
        "name resolution",
        "shuvoalok/raf-db-dataset",
        "archive.zip",
        'DATA = "synthetic"',
        str(tmp_path / "raf-db-dataset.zip"),
    ):
        assert part in str(error.value)
    with pytest.raises(UserError, match="there is no .*elsewhere; correct the path"):
        download.obtain(tmp_path / "elsewhere", opener=never)


def test_unpack_leaves_nothing_half_done(kaggle_zip, tmp_path):
    data = bytearray(kaggle_zip.read_bytes())
    data[len(data) // 2] ^= 0xFF  # in some face
    (tmp_path / "bad.zip").write_bytes(data)
    with pytest.raises(UserError, match="could not be unpacked to .* is damaged in the zip"):
        unpack(tmp_path / "bad.zip", tmp_path / "new")
    assert [p.name for p in tmp_path.iterdir()] == ["bad.zip"]
    (tmp_path / "new").mkdir()
    with pytest.raises(UserError, match="already exists"):
        unpack(kaggle_zip, tmp_path / "new")

"""RAF-DB onto this machine: a zip or folder that is there already, or the Kaggle mirror's zip, over https.

python -m ferlab.data.download                          # raf-db-dataset.zip and, from it, raf-db-dataset/

By hand: torch.hub.download_url_to_file has no resume and no limit of size, and leaves https if redirected.
"""

import os
import sys
from collections import Counter
from collections.abc import Callable
from http.client import HTTPException
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

from tqdm.auto import tqdm

from ferlab.data.archive import unpack
from ferlab.data.layout import find
from ferlab.data.rafdb import COUNTS
from ferlab.errors import UserError, command

NAME = "raf-db-dataset"
URL = "https://www.kaggle.com/api/v1/datasets/download/shuvoalok/raf-db-dataset"
TIMEOUT = 30  # seconds without a byte
CHUNK = 1 << 16  # bytes
LIMIT = 2 * 39_021_420  # bytes, twice of what RAF-DB's zip has
STEPS = f"""What to do:
  - with a network, run this again: it goes on where it stopped; or
  - download the zip of kaggle.com/datasets/shuvoalok/raf-db-dataset with a browser, which may call it
    archive.zip, and put it here as {NAME}.zip: {{place}}; or
  - set DATA to the path of a zip or folder of RAF-DB, in the mirror's or the official layout; or
  - go on without RAF-DB, on drawn faces: DATA = "synthetic" (in a shell --data synthetic)."""


class HttpsOnly(HTTPRedirectHandler):
    """Follows redirects as urllib does, but to https only."""

    def redirect_request(self, req, fp, code, msg, headers, newurl):
        if urlsplit(newurl).scheme != "https":
            raise URLError(f"it was redirected to {newurl}, which is not https")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def is_here(data: str | Path) -> bool:
    """Whether there is anything at `data` to read: the word "synthetic", a folder, a zip, or the zip of that
    name.
    """
    path = os.path.expanduser(data)
    return str(data) == "synthetic" or _filled(path) or os.path.isfile(f"{path}.zip")


def _filled(path: str) -> bool:
    try:
        return bool(os.listdir(path))
    except OSError:  # a file, or a folder of which `find` says that it cannot be read
        return os.path.exists(path)


def obtain(
    data: str | Path = NAME, *, url: str = URL, counts: dict = COUNTS, opener: Callable | None = None
) -> str | Path:
    """`data`, after making sure that it can be read; `raf-db-dataset` is downloaded where it is not there.

    A zip beside it, `<data>.zip`, is checked and unpacked to `data`; nothing is downloaded then. `opener` is
    called as urllib's `OpenerDirector.open`. Raises UserError that says what to do where nothing can be had.
    """
    path = os.path.expanduser(data)
    folder, archive = Path(path), Path(f"{path}.zip")
    if str(data) == "synthetic" or _filled(path):
        return data
    if folder.is_dir():  # an empty one
        folder.rmdir()
    if not archive.is_file():
        if folder.name != NAME:
            raise UserError(f"there is no {data}; correct the path, or name {NAME} to download RAF-DB.")
        fetch(archive, url=url, counts=counts, opener=opener)
    find(archive)  # says what is wrong with it, before anything is written
    unpack(archive, folder)
    print(f"unpacked {archive} to {folder}{os.sep}")
    return data


def fetch(path: Path, *, url: str = URL, counts: dict = COUNTS, opener: Callable | None = None) -> None:
    """Download `url` to `path`, with a progress bar. It appears there only whole and with RAF-DB's counts.

    What a broken transfer leaves in `<path>.part` is gone on with. Raises UserError.
    """
    part = path.with_name(f"{path.name}.part")
    steps = STEPS.format(place=path.absolute())
    try:
        transfer(url, part, opener or build_opener(HttpsOnly).open)
    except (OSError, HTTPException) as error:
        reason = getattr(error, "reason", None) or error.__class__.__name__ + f": {error}"
        raise UserError(f"RAF-DB could not be downloaded ({reason}).\n{steps}") from None
    wrong = _wrong(part, counts)
    if wrong:
        part.unlink()
        raise UserError(f"{urlsplit(url).netloc} sent something else than RAF-DB ({wrong}).\n{steps}")
    os.replace(part, path)


def transfer(url: str, part: Path, opener: Callable, *, limit: int = LIMIT) -> None:
    """Append to `part` what it lacks of `url`, or write it anew where the server sends no ranges.

    Raises UserError where it is not https, more than `limit` bytes or `part` no file; OSError where it
    breaks off.
    """
    if urlsplit(url).scheme != "https":
        raise UserError(f"{url} is not https, and nothing else is downloaded.")
    if part.exists() and not part.is_file():  # opening a pipe would wait for ever
        raise UserError(f"{part} is not a file; remove it.")
    have = part.stat().st_size if part.exists() else 0
    request = Request(url, headers={"User-Agent": NAME} | ({"Range": f"bytes={have}-"} if have else {}))
    try:
        answer = opener(request, timeout=TIMEOUT)
    except HTTPError as error:
        if have and error.code == 416:  # nothing after what is there: it is whole, or the check refuses it
            return
        raise
    with answer:
        sent = answer.headers.get("Content-Range", "")
        goes_on = answer.status == 206 and sent.startswith(f"bytes {have}-")
        have = have if goes_on else 0
        length = answer.headers.get("Content-Length", "")
        total = have + int(length) if length.isdigit() else None
        with (
            open(part, "ab" if goes_on else "wb") as file,
            tqdm(desc=part.stem, total=total, initial=have, unit="B", unit_scale=True) as bar,
        ):
            while have <= limit >= (total or 0) and (chunk := answer.read(CHUNK)):
                file.write(chunk)
                have += len(chunk)
                bar.update(len(chunk))
    if max(have, total or 0) > limit:
        part.unlink()
        raise UserError(f"{url} sends more than {limit:,} bytes; RAF-DB's zip has half of that.")
    if total and have < total:
        raise OSError(f"the connection broke off after {have:,} of {total:,} bytes")


def _wrong(path: Path, counts: dict) -> str:
    """Why the zip is not RAF-DB, or nothing. The zip is closed when this returns: Windows wants it so."""
    try:
        rows = find(path).rows
    except UserError as error:
        return str(error)
    labels = {split: Counter(row.label for row in part) for split, part in rows.items()}
    found = {split: tuple(n for _, n in sorted(part.items())) for split, part in labels.items()}
    return "" if found == counts else f"its images per class are {found}"


@command
def main() -> None:
    if len(sys.argv) > 1:
        raise UserError("usage: python -m ferlab.data.download")
    print(obtain())


if __name__ == "__main__":
    main()

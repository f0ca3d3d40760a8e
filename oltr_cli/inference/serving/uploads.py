"""What a request brings: images as files of a form or as base64 in JSON, within limits, and their pixels.

Whatever is wrong with one image is said of that image; the others of the request are answered. Only a request that
cannot be read at all, or that is beyond the limits as a whole, is refused.
"""

import asyncio
import base64
import binascii
import io
import json
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import Message

from oltr_cli.base.text import amount, counted
from oltr_cli.data.feed.transforms import evaluation_crop
from oltr_cli.data.images import decode_image, formats_of, why_unidentified
from oltr_cli.errors import DataProblem, first_line
from oltr_cli.recipe.data import DataSpec

TOO_LARGE, NO_IMAGE, BROKEN, MALFORMED = 413, 415, 422, 400
_END = 512  # bytes at the end of a form that have its last boundary
_NAME = 255  # characters of a file's name that are kept


@dataclass(frozen=True)
class Limits:
    """What a server takes.

    Attributes:
        files: images of a request.
        file_bytes, request_bytes: of one image file, and of the body of a request as it is sent.
        pixels: width times height of an image, which decides how much memory its decoding takes.
    """

    files: int = 64
    file_bytes: int = 20_000_000
    request_bytes: int = 100_000_000
    pixels: int = 50_000_000


@dataclass(frozen=True)
class Upload:
    """One image of a request as it was sent, or what is wrong with it and the HTTP status that says so."""

    name: str
    content: bytes = b""
    problem: str = ""
    status: int = 200


class Refused(Exception):
    """A request that is answered with one line and this HTTP status."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


class Body:
    """The body of a request, of at most ``most`` bytes: in the place of ``request.receive``."""

    def __init__(self, request: Request, most: int) -> None:
        self.most, self.taken, self.ended = most, 0, False
        given = request.headers.get("content-length", "")
        # A body without a length may be as long as is taken.
        self.length = int(given) if given.isascii() and given.isdecimal() and len(given) < 20 else most
        self._waits = "expect" in request.headers  # the client sends nothing until it is read
        self._receive = request.receive
        self.end = b""  # of what has come

    async def __call__(self) -> Message:
        """The next part.

        Raises:
            Refused: there are more than ``most`` bytes.
        """
        if max(self.length, self.taken) > self.most:
            raise Refused(TOO_LARGE, f"the request has more than {amount(self.most)}; send fewer images at a time")
        message = await self._receive()
        part = message.get("body", b"")
        self.taken += len(part)
        self.end = (self.end + part[-_END:])[-_END:]
        self.ended = not message.get("more_body")
        return message

    async def drop(self) -> None:
        """Read the rest, to a limit, and keep nothing: a client that still sends would not see a refusal."""
        while not self.ended and self.taken < 10 * self.most and (self.taken or not self._waits):
            message = await self._receive()
            self.taken += len(message.get("body", b""))
            self.ended = not message.get("more_body")


async def read_uploads(request: Request, body: Body, limits: Limits) -> list[Upload]:
    """The images of a request, in order.

    Raises:
        Refused: the request is malformed, too large or has too many images, or none.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind not in ("multipart/form-data", "application/json"):
        raise Refused(NO_IMAGE, "send images as multipart/form-data or as application/json")
    bounded = Request(request.scope, body)
    found = await (_of_json if kind == "application/json" else _of_form)(bounded, limits)
    # Of a form that was cut off the last file would be missing without a word; its boundary has 70 bytes at most.
    if kind == "multipart/form-data" and not _is_whole(request, body):
        raise Refused(MALFORMED, "the form cannot be read: its end is missing")
    if not found:
        raise Refused(MALFORMED, "the request has no images")
    return [_checked(one, limits) for one in found]


def _is_whole(request: Request, body: Body) -> bool:
    from python_multipart.multipart import parse_options_header

    boundary = parse_options_header(request.headers["content-type"])[1].get(b"boundary", b"")
    return b"--" + boundary + b"--" in body.end


def decoded(upload: Upload, spec: DataSpec, limits: Limits) -> tuple[Upload, NDArray[np.uint8] | None]:
    """The crop (3, S, S) that ``oltr predict`` cuts from the same file; None with a problem in the upload."""
    if upload.problem:
        return upload, None
    file = io.BytesIO(upload.content)
    try:
        with Image.open(file, formats=formats_of(file)) as image:
            if image.width * image.height > limits.pixels:
                return _too_many_pixels(upload, limits, f"{image.width} × {image.height}"), None
            pixels = decode_image(image)
        return upload, evaluation_crop(torch.from_numpy(pixels).permute(2, 0, 1), spec).numpy()
    except Image.UnidentifiedImageError:
        return replace(upload, problem=why_unidentified(file), status=NO_IMAGE), None
    except Image.DecompressionBombError:
        return _too_many_pixels(upload, limits, "far too many"), None
    except MemoryError:
        return replace(upload, problem="cannot be decoded (not enough memory)", status=TOO_LARGE), None
    except DataProblem as problem:
        return replace(upload, problem=str(problem), status=BROKEN), None
    except Exception as error:  # a broken file makes Pillow's plugins raise nearly anything
        return replace(upload, problem=f"cannot be decoded ({first_line(error)})", status=BROKEN), None


def _too_many_pixels(upload: Upload, limits: Limits, size: str) -> Upload:
    most = f"{limits.pixels / 1e6:g} megapixels"
    return replace(upload, problem=f"has {size} pixels; at most {most} are decoded", status=TOO_LARGE)


def _checked(upload: Upload, limits: Limits) -> Upload:
    if upload.problem:
        return upload
    if len(upload.content) > limits.file_bytes:
        size, most = amount(len(upload.content)), amount(limits.file_bytes)
        return replace(upload, content=b"", problem=f"has {size}; at most {most} a file", status=TOO_LARGE)
    if not upload.content:
        return replace(upload, problem="is empty", status=BROKEN)
    return upload


def _too_many(limits: Limits, count: int | None = None) -> Refused:
    has = "too many images" if count is None else counted(count, "image")
    return Refused(TOO_LARGE, f"the request has {has}; at most {counted(limits.files, 'image')} at a time")


async def _of_form(request: Request, limits: Limits) -> list[Upload]:
    try:
        # One more than allowed, so that its refusal is told from other faults of a form.
        form = await request.form(max_files=limits.files + 1, max_fields=limits.files + 1, max_part_size=1 << 16)
    except HTTPException as error:
        if "Too many" in str(error.detail):
            raise _too_many(limits) from None
        raise Refused(MALFORMED, f"the form cannot be read: {error.detail}") from None
    try:
        parts = form.multi_items()
        if len(parts) > limits.files:
            raise _too_many(limits)
        found = []
        for field, part in parts:
            if isinstance(part, UploadFile):
                large = (part.size or 0) > limits.file_bytes  # not read: it lies on the disk
                name = (part.filename or field)[-_NAME:]
                most = f"has {amount(part.size or 0)}; at most {amount(limits.file_bytes)} a file"
                found.append(Upload(name, problem=most, status=TOO_LARGE) if large else Upload(name, await part.read()))
            else:
                found.append(Upload(field[-_NAME:], problem="is text, not a file", status=NO_IMAGE))
        return found
    finally:
        await form.close()


async def _of_json(request: Request, limits: Limits) -> list[Upload]:
    return await asyncio.to_thread(_parsed, await request.body(), limits)


def _parsed(text: bytes, limits: Limits) -> list[Upload]:
    try:
        body = json.loads(text)
    except (ValueError, RecursionError) as error:  # UnicodeDecodeError is a ValueError
        raise Refused(MALFORMED, f"broken JSON: {first_line(error)}") from None
    images = body.get("images") if isinstance(body, dict) else None
    if not isinstance(images, list):
        raise Refused(MALFORMED, 'the JSON must be {"images": [{"name": "a.jpg", "data": "<base64>"}, …]}')
    if len(images) > limits.files:
        raise _too_many(limits, len(images))
    return [_of_entry(one, f"image {number}") for number, one in enumerate(images, 1)]


def _of_entry(entry: Any, usual: str) -> Upload:
    """An image of the JSON: an object with ``data`` and perhaps ``name``, or the base64 text alone."""
    given = entry if isinstance(entry, dict) else {"data": entry}
    name, data = given.get("name", usual), given.get("data")
    name = name[-_NAME:] if isinstance(name, str) and name else usual
    if not isinstance(data, str):
        return Upload(name, problem='has no text "data" with base64', status=BROKEN)
    text = data.partition(",")[2] if data[:5].lower() == "data:" else data
    try:
        return Upload(name, base64.b64decode("".join(text.split()), validate=True))
    except (binascii.Error, ValueError):
        return Upload(name, problem="is not valid base64", status=BROKEN)

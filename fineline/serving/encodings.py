"""Content-Encoding of a request's body: gzip and deflate, bounded by what they become."""

import zlib

from starlette.exceptions import HTTPException

KNOWN = ("gzip", "deflate")

_GZIP_OR_ZLIB = zlib.MAX_WBITS | 32


class Decompressor:
    """Takes a body in pieces. Raises HTTPException: 400 where it is damaged, 413 where more than `largest` bytes come of it."""

    def __init__(self, encoding: str, largest: int, too_large: HTTPException):
        self._encoding, self._left, self._too_large = encoding, largest, too_large
        self._stream = zlib.decompressobj(_GZIP_OR_ZLIB)

    def feed(self, piece: bytes, last: bool) -> bytes:
        """What the next piece becomes; `last` ends the body."""
        try:
            plain = self._stream.decompress(piece, self._left + 1)  # of 0 it would be without bound
        except zlib.error:
            raise HTTPException(400, f"the body is not {self._encoding}, which its Content-Encoding says") from None
        self._left -= len(plain)
        if self._left < 0:
            raise self._too_large
        if self._stream.unused_data or (last and not self._stream.eof):
            raise HTTPException(400, f"the body is no whole {self._encoding}: its end is missing, or not its end")
        return plain

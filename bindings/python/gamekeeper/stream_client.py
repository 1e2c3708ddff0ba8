"""Clients that talk in streams, and what messages in streams are."""

import ctypes
import os
from typing import Any, NamedTuple, Optional, Union

from . import _ffi
from .enums import Framing

__all__ = ["Content", "Stream"]


class Content(NamedTuple):
    """What a message is, as the header of ``Framing.JSON`` tells it."""

    #: The content type, as "text/json"; at most 255 bytes, as the others.
    type: str = "application/octet-stream"
    #: The content encoding, as "utf-8". Empty, of a message that is sent: "utf-8" for types that begin with "text/", else
    #: "binary".
    encoding: str = ""
    #: The order of bytes in numbers of the content: "little" or "big".
    byteorder: str = "little"


class Stream(NamedTuple):
    """How a client talks in a stream (TCP). TLS is spoken where ``tls_ca``, ``tls_certificate`` or ``tls_insecure`` says
    whom to believe: one of them at most."""

    #: How messages are told apart: as at the server's door.
    framing: Union[Framing, int] = Framing.LENGTH
    #: A PEM file: a server is believed whose certificate leads to one in it and is for the server's name.
    tls_ca: "Optional[Union[str, os.PathLike[str]]]" = None
    #: A PEM file: a server is believed whose own certificate is in it, whatever name and dates stand there.
    tls_certificate: "Optional[Union[str, os.PathLike[str]]]" = None
    #: Whoever answers is believed: for development.
    tls_insecure: bool = False
    #: The name that the certificate must be for; None: the host that is connected to.
    server_name: Optional[str] = None
    #: Bytes that one read takes at most, 1 to 1,048,576: the longest message of a raw stream.
    read_bytes: int = 4096
    #: Seconds for which a message that has begun may stand still, 0.1 to 3600.
    stall_timeout: float = 30.0
    #: The password may be told where others can read it on the way.
    password_in_clear: bool = False

    @property
    def tls(self) -> bool:
        """Whether TLS is spoken."""
        return self.tls_insecure or self.tls_ca is not None or self.tls_certificate is not None


def use(context: ctypes.c_void_p, stream: Stream, files: bool = False) -> None:
    """Has a context's clients talk so.

    :param files: whether files come and go there, too; the context must allow them already
    """
    framing = Framing(stream.framing)
    if files and framing != Framing.LENGTH:
        raise ValueError("files travel in streams of Framing.LENGTH alone, this is {!r}".format(framing))
    options = _ffi.gk_stream_options(
        struct_size=ctypes.sizeof(_ffi.gk_stream_options),
        read_bytes=stream.read_bytes,
        password_in_clear=1 if stream.password_in_clear else 0,
        stall_timeout_us=round(stream.stall_timeout * 1e6),
    )
    if files:
        _ffi.check(_ffi.lib.gk_context_connect_stream_files(context, ctypes.byref(options)))
    else:
        _ffi.check(_ffi.lib.gk_context_connect_stream(context, framing.value, ctypes.byref(options)))
    if not stream.tls:
        if stream.server_name is not None:
            raise ValueError("server_name says whom to expect: tls_ca must say how that is proved")
        return
    tls = _ffi.gk_stream_tls(
        struct_size=ctypes.sizeof(_ffi.gk_stream_tls),
        trust_anybody=1 if stream.tls_insecure else 0,
        authorities=_path(stream.tls_ca),
        certificate=_path(stream.tls_certificate),
        server_name=None if stream.server_name is None else _ffi.c_text(stream.server_name),
    )
    _ffi.check(_ffi.lib.gk_context_set_stream_tls(context, ctypes.byref(tls)))


def _path(path: "Optional[Union[str, os.PathLike[str]]]") -> Optional[bytes]:
    return None if path is None else _ffi.c_text(os.fspath(path))


def content_of(event: Any) -> Optional[Content]:
    """What an event's message is, where its sender told."""
    if not event.content:
        return None
    told = event.content.contents
    return Content(*(text.decode("utf-8", "replace") for text in (told.type, told.encoding, told.byteorder)))


def tell(options: _ffi.gk_send_options, content: Optional[Content]) -> _ffi.gk_send_options:
    """Adds to options what the message is."""
    if content is not None:
        told = _ffi.gk_content(
            struct_size=ctypes.sizeof(_ffi.gk_content),
            type=_ffi.c_text(content.type),
            encoding=_ffi.c_text(content.encoding) if content.encoding else None,
            byteorder=_ffi.c_text(content.byteorder),
        )
        # The options keep it alive.
        options.content = ctypes.pointer(told)
    return options

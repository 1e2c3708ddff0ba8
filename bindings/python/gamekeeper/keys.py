"""The server's identity: a P-256 key pair, and its public part for clients to pin."""

import ctypes
import hashlib
import os
from typing import Any, Optional, Union

from . import _ffi, errors

_Path = Union[str, "os.PathLike[str]"]

# Of the curve y² = x³ − 3x + b over the field of p elements.
_P = 0xFFFFFFFF00000001000000000000000000000000FFFFFFFFFFFFFFFFFFFFFFFF
_B = 0x5AC635D8AA3A93E7B3EBBD55769886BC651D06B0CC53B0F63BCE3C3E27D2604B
# SubjectPublicKeyInfo of an uncompressed P-256 point: this, then 0x04, x, y.
_SPKI_PREFIX = bytes.fromhex("3059301306072a8648ce3d020106082a8648ce3d030107034200")


class SECP256R1:
    """The one curve that keys lie on, also called NIST P-256."""

    name = "secp256r1"
    key_size = 256

    def __repr__(self) -> str:
        return "<curve secp256r1>"

    def __eq__(self, other: object) -> bool:
        return getattr(other, "name", None) == self.name

    def __hash__(self) -> int:
        return hash(self.name)


class _KeyHandle:
    """A key of the library's, freed with the last Python object that uses it."""

    def __init__(self, pointer: ctypes.c_void_p) -> None:
        self.pointer = pointer
        self._free = _ffi.lib.gk_key_free

    def __del__(self) -> None:
        self._free(self.pointer)


def _bytes(value: object, what: str) -> bytes:
    if not isinstance(value, (bytes, bytearray, memoryview)):
        raise TypeError("{} is {}, not bytes".format(what, type(value).__name__))
    return bytes(value)


def _make(function: Any, *arguments: Any) -> _KeyHandle:
    pointer = ctypes.c_void_p()
    _ffi.check(function(*arguments, ctypes.byref(pointer)))
    return _KeyHandle(pointer)


class EllipticCurvePrivateKey:
    """A private key. It signs the handshakes of a server whose public key clients have pinned."""

    def __init__(self, key: Optional[_KeyHandle] = None) -> None:
        """A new random key. ``key`` is for this class's own use."""
        self._key = _make(_ffi.lib.gk_key_generate) if key is None else key

    def __repr__(self) -> str:
        # Of a private key only what everybody may read.
        return "<EllipticCurvePrivateKey of {!r}>".format(self.getPublicKey())

    @staticmethod
    def new() -> "EllipticCurvePrivateKey":
        """A new random key."""
        return EllipticCurvePrivateKey()

    @staticmethod
    def fromPEM(pem: str) -> "EllipticCurvePrivateKey":
        """Reads a PKCS#8 key ("BEGIN PRIVATE KEY"). Raises KeyFormatError."""
        return EllipticCurvePrivateKey(_make(_ffi.lib.gk_key_from_pem, _ffi.c_text(pem)))

    @staticmethod
    def fromBytes(der: bytes) -> "EllipticCurvePrivateKey":
        """Reads a PKCS#8 key in DER. Raises KeyFormatError."""
        data = _bytes(der, "der")
        return EllipticCurvePrivateKey(_make(_ffi.lib.gk_key_from_der, data, len(data)))

    def curve(self) -> SECP256R1:
        """The curve that the key lies on."""
        return SECP256R1()

    def getBytes(self) -> bytes:
        """The private key as PKCS#8, DER."""
        return _ffi.read_bytes(_ffi.lib.gk_key_private_der, self._key.pointer)

    def getPrivateKeyPEM(self) -> str:
        """The private key as PKCS#8, PEM."""
        return _ffi.read_text(_ffi.lib.gk_key_private_pem, self._key.pointer)

    def getPublicKey(self) -> "EllipticCurvePublicKey":
        """The public part."""
        return EllipticCurvePublicKey(_ffi.read_bytes(_ffi.lib.gk_key_public_der, self._key.pointer))

    def savePEM(self, path: _Path) -> None:
        """Writes the private key as PEM into a file that only its owner can read. Raises NetworkError
        (an OSError) where the file cannot be written."""
        _ffi.check(_ffi.lib.gk_key_save(self._key.pointer, _ffi.c_path(path)))

    def sign(self, data: bytes) -> bytes:
        """A signature of ``data``: ECDSA over its SHA-256, in DER."""
        content = _bytes(data, "data")
        return _ffi.read_bytes(_ffi.lib.gk_key_sign, self._key.pointer, content, len(content))


class EllipticCurvePublicKey:
    """A public key."""

    #: What :meth:`verify` raises.
    InvalidSignature = errors.InvalidSignature

    def __init__(self, key: bytes) -> None:
        """From SubjectPublicKeyInfo in DER, like :meth:`fromBytes`."""
        der = _bytes(key, "key")
        pem = _ffi.read_text(_ffi.lib.gk_public_key_der_to_pem, der, len(der))
        self._der = der
        self._pem = pem
        self._point = der[len(_SPKI_PREFIX) :]

    def __repr__(self) -> str:
        return "<EllipticCurvePublicKey {}>".format(self.compress().hex())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, EllipticCurvePublicKey) and self._der == other._der

    def __hash__(self) -> int:
        return hash(self._der)

    @staticmethod
    def fromPEM(pem: str) -> "EllipticCurvePublicKey":
        """Reads a SubjectPublicKeyInfo ("BEGIN PUBLIC KEY"). Raises KeyFormatError."""
        return EllipticCurvePublicKey(_ffi.read_bytes(_ffi.lib.gk_public_key_pem_to_der, _ffi.c_text(pem)))

    @staticmethod
    def fromBytes(der: bytes) -> "EllipticCurvePublicKey":
        """Reads a SubjectPublicKeyInfo in DER. Raises KeyFormatError."""
        return EllipticCurvePublicKey(der)

    @staticmethod
    def uncompress(curve: Any, data: bytes) -> "EllipticCurvePublicKey":
        """Reads a point as X9.62 writes it, compressed (33 bytes) or not (65 bytes).

        :param curve: what :meth:`curve` gives, or another object whose ``name`` is "secp256r1"
        :raises ValueError: the curve is another one, or the data is no point of it
        """
        name = getattr(curve, "name", None)
        if name != SECP256R1.name:
            raise ValueError("the curve is {!r}, supported is secp256r1".format(name or curve))
        point = _bytes(data, "data")
        if len(point) == 33 and point[0] in (2, 3):
            x = int.from_bytes(point[1:], "big")
            point = b"\x04" + point[1:] + _other_coordinate(x, odd=point[0] == 3).to_bytes(32, "big")
        elif len(point) != 65 or point[0] != 4:
            raise ValueError("a point has 33 or 65 bytes and begins with 2, 3 or 4")
        return EllipticCurvePublicKey(_SPKI_PREFIX + point)

    def curve(self) -> SECP256R1:
        """The curve that the key lies on."""
        return SECP256R1()

    def x(self) -> bytes:
        """The first coordinate: 32 bytes, the least significant first."""
        return self._point[32:0:-1]

    def y(self) -> bytes:
        """The second coordinate: 32 bytes, the least significant first."""
        return self._point[64:32:-1]

    def compress(self) -> bytes:
        """The point in the 33 bytes of X9.62's compressed form."""
        return bytes([2 + (self._point[64] & 1)]) + self._point[1:33]

    def getEncryptionKey(self) -> bytes:
        """32 bytes made from the key: SHA-256 of :meth:`x` and :meth:`y`. Public, like the key itself."""
        return hashlib.sha256(self.x() + self.y()).digest()

    def getBytes(self) -> bytes:
        """The key as SubjectPublicKeyInfo, DER."""
        return self._der

    def getPublicKeyPEM(self) -> str:
        """The key as SubjectPublicKeyInfo, PEM."""
        return self._pem

    def savePEM(self, path: _Path) -> None:
        """Writes the key as PEM."""
        with open(path, "w", encoding="ascii", newline="\n") as file:
            file.write(self._pem)

    def verify(self, signature: bytes, data: bytes) -> None:
        """Raises InvalidSignature unless ``signature`` is this key's for ``data``."""
        sign, content = _bytes(signature, "signature"), _bytes(data, "data")
        _ffi.check(
            _ffi.lib.gk_public_key_verify(self._der, len(self._der), content, len(content), sign, len(sign))
        )


def _other_coordinate(x: int, odd: bool) -> int:
    """The y that belongs to an x. Only ever of public points, so its time may tell what it computes."""
    if x >= _P:
        raise ValueError("the data is no point of the curve")
    square = (x * x * x - 3 * x + _B) % _P
    # p leaves 3 when divided by 4, for which this is the root if there is one.
    y = pow(square, (_P + 1) // 4, _P)
    if y * y % _P != square:
        raise ValueError("the data is no point of the curve")
    return y if (y & 1) == odd else _P - y

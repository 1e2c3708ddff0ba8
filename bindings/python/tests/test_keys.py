"""Keys give the same results as the real package's for the same key."""

import hashlib
import os
import stat

import mpgameserver
import mpgameserver.crypto
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

import gamekeeper
from gamekeeper import EllipticCurvePrivateKey, EllipticCurvePublicKey

# Its getEncryptionKey needs a module that it does not import, and fails without.
mpgameserver.crypto.hashlib = hashlib


@pytest.fixture(params=range(8))
def pair(request):
    """The same key, made here and read there, or the other way round."""
    if request.param % 2:
        ours = EllipticCurvePrivateKey.new()
        theirs = mpgameserver.EllipticCurvePrivateKey.fromPEM(ours.getPrivateKeyPEM())
    else:
        theirs = mpgameserver.EllipticCurvePrivateKey.new()
        ours = EllipticCurvePrivateKey.fromPEM(theirs.getPrivateKeyPEM())
    return ours, theirs


def test_private_forms(pair):
    ours, theirs = pair
    assert ours.getBytes() == theirs.getBytes()
    assert ours.getPrivateKeyPEM() == theirs.getPrivateKeyPEM()
    assert EllipticCurvePrivateKey.fromBytes(theirs.getBytes()).getBytes() == theirs.getBytes()
    assert mpgameserver.EllipticCurvePrivateKey.fromBytes(ours.getBytes()).getBytes() == ours.getBytes()
    assert ours.curve().name == theirs.curve().name
    assert ours.curve().key_size == theirs.curve().key_size


def test_public_forms(pair):
    ours, theirs = (key.getPublicKey() for key in pair)
    for form in ("getBytes", "getPublicKeyPEM", "x", "y", "compress", "getEncryptionKey"):
        assert getattr(ours, form)() == getattr(theirs, form)(), form
    assert EllipticCurvePublicKey.fromPEM(theirs.getPublicKeyPEM()) == ours
    assert EllipticCurvePublicKey.fromBytes(theirs.getBytes()) == ours
    assert EllipticCurvePublicKey.uncompress(ours.curve(), theirs.compress()) == ours
    # The curve may also be the object that its users pass today.
    assert EllipticCurvePublicKey.uncompress(ec.SECP256R1(), ours.compress()) == ours
    assert mpgameserver.EllipticCurvePublicKey.fromPEM(ours.getPublicKeyPEM()).getBytes() == ours.getBytes()
    point = b"\x04" + ours.x()[::-1] + ours.y()[::-1]
    assert EllipticCurvePublicKey.uncompress(ours.curve(), point) == ours


def test_signatures(pair):
    ours, theirs = pair
    for data in (b"", b"x", bytes(100_000)):
        theirs.getPublicKey().verify(ours.sign(data), data)
        ours.getPublicKey().verify(theirs.sign(data), data)
    signature = ours.sign(b"data")
    public = ours.getPublicKey()
    for bad, data in ((signature, b"other"), (signature[:-1], b"data"), (b"", b"data"), (bytes(70), b"data")):
        with pytest.raises(EllipticCurvePublicKey.InvalidSignature):
            public.verify(bad, data)
        with pytest.raises(gamekeeper.InvalidSignature):
            public.verify(bad, data)
    with pytest.raises(EllipticCurvePublicKey.InvalidSignature):
        EllipticCurvePrivateKey.new().getPublicKey().verify(signature, b"data")


def test_files(pair, tmp_path):
    ours, theirs = pair
    private, public = tmp_path / "root.key", tmp_path / "root.pub"
    ours.savePEM(str(private))
    ours.getPublicKey().savePEM(public)
    assert private.read_bytes().decode() == theirs.getPrivateKeyPEM()
    assert public.read_bytes().decode() == theirs.getPublicKey().getPublicKeyPEM()
    if os.name == "posix":
        assert stat.S_IMODE(private.stat().st_mode) == 0o600


def test_new_keys_differ():
    assert len({EllipticCurvePrivateKey.new().getBytes() for _ in range(20)}) == 20


def test_unreadable_keys():
    other_curve = ec.generate_private_key(ec.SECP384R1())
    wrapped = mpgameserver.EllipticCurvePrivateKey(other_curve)
    good = EllipticCurvePrivateKey.new()
    for pem in ("", "nonsense", good.getPublicKey().getPublicKeyPEM(), wrapped.getPrivateKeyPEM()):
        with pytest.raises(gamekeeper.KeyFormatError) as caught:
            EllipticCurvePrivateKey.fromPEM(pem)
        assert isinstance(caught.value, ValueError)
        assert caught.value.code == -13 and caught.value.message
    for pem in ("", "nonsense", good.getPrivateKeyPEM(), wrapped.getPublicKey().getPublicKeyPEM()):
        with pytest.raises(gamekeeper.KeyFormatError):
            EllipticCurvePublicKey.fromPEM(pem)
    for der in (b"", b"nonsense", good.getBytes()[:-1]):
        with pytest.raises(gamekeeper.KeyFormatError):
            EllipticCurvePrivateKey.fromBytes(der)
        with pytest.raises(gamekeeper.KeyFormatError):
            EllipticCurvePublicKey.fromBytes(der)
    with pytest.raises(ValueError):
        EllipticCurvePrivateKey.fromPEM(good.getPrivateKeyPEM() + "\0")
    with pytest.raises(TypeError):
        EllipticCurvePrivateKey.fromBytes(good.getPrivateKeyPEM())
    with pytest.raises(TypeError):
        good.sign("text")


def test_no_points():
    curve = gamekeeper.SECP256R1()
    public = EllipticCurvePrivateKey.new().getPublicKey()
    p = 2**256 - 2**224 + 2**192 + 2**96 - 1
    # For about half of all x there is no y.
    missing = 0
    for x in range(40):
        data = b"\x02" + x.to_bytes(32, "big")
        try:
            theirs = mpgameserver.EllipticCurvePublicKey.uncompress(ec.SECP256R1(), data)
        except ValueError:
            missing += 1
            with pytest.raises(ValueError):
                EllipticCurvePublicKey.uncompress(curve, data)
        else:
            assert EllipticCurvePublicKey.uncompress(curve, data).getBytes() == theirs.getBytes()
    assert 0 < missing < 40
    off = b"\x04" + public.x()[::-1] + bytes(32)
    for data in (b"", b"\x02", public.compress() + b"x", b"\x05" + bytes(32), b"\x02" + p.to_bytes(32, "big"), off):
        with pytest.raises(ValueError):
            EllipticCurvePublicKey.uncompress(curve, data)
    with pytest.raises(ValueError, match="secp384r1"):
        EllipticCurvePublicKey.uncompress(ec.SECP384R1(), public.compress())


def test_nothing_private_is_shown():
    key = EllipticCurvePrivateKey.new()
    secret = key.getBytes()[36:68].hex()
    assert secret not in repr(key) and key.getPublicKey().compress().hex() in repr(key)

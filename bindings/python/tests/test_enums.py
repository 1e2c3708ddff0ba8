"""The enumerations and the sequence number are the real package's."""

import mpgameserver
import pytest

from gamekeeper import ConnectionStatus, RetryMode, SeqNum


#: Members that the real package does not have: it asks nobody who may come in, and orders no messages.
OWN = {"JOINING", "SEQUENCED", "ORDERED"}


@pytest.mark.parametrize("ours, theirs", [(RetryMode, mpgameserver.RetryMode), (ConnectionStatus, mpgameserver.ConnectionStatus)])
def test_enumerations(ours, theirs):
    # What is public there is a member, and the methods that all of its enumerations have.
    names = {name for name in vars(theirs) if name.isupper() and not name.startswith("_")}
    assert {member.name for member in ours} - OWN == names
    for name in names:
        their_member, member = getattr(theirs, name), ours[name]
        assert member.value == their_member.value == int(member)
        assert str(member) == repr(member) == "{}".format(member) == str(their_member)
        assert ours(their_member.value) is member
    with pytest.raises(ValueError):
        ours(99)


NUMBERS = [1, 2, 3, 100, 32766, 32767, 32768, 32769, 40000, 65533, 65534, 65535]


def test_sequence_numbers():
    for a in NUMBERS:
        for b in NUMBERS:
            ours, theirs = SeqNum(a), mpgameserver.SeqNum(a)
            other, their_other = SeqNum(b), mpgameserver.SeqNum(b)
            assert ours.diff(other) == theirs.diff(their_other)
            assert ours.newer_than(other) == theirs.newer_than(their_other)
            assert (ours < other, ours > other) == (theirs < their_other, theirs > their_other)
            assert (ours == other) == (a == b) and hash(ours) == hash(a)
            assert ours + b == theirs + b and isinstance(ours + b, SeqNum)
            assert ours - b == theirs - b and isinstance(ours - b, SeqNum)


def test_sequence_number_of_another_range():
    assert SeqNum() == 0 and SeqNum.maximum() == mpgameserver.SeqNum.maximum()
    assert SeqNum(5) <= 5 and SeqNum(5) >= 5 and SeqNum(5) < 6 and SeqNum(5) > 4
    for number in (-1, 65536):
        with pytest.raises(ValueError):
            SeqNum(number)

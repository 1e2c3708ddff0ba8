"""What a game implements."""

from typing import TYPE_CHECKING, List, Optional, Tuple

from ._files import FileOffer
from .client import Client as _Client
from .enums import SeqNum

if TYPE_CHECKING:
    # Type checkers know this module even where it is not installed; at run time nobody asks.
    from typing_extensions import TypeAlias


#: What ``handle_messages`` gets: for each message who sent it, its number and its bytes.
Messages = List[Tuple[_Client, SeqNum, bytes]]


class EventHandler:
    """Base class of a game's logic: make a subclass and override what the game needs.

    All methods are called on one thread, the one in ``run()`` of the server. An exception that leaves
    one is logged, and the server goes on; KeyboardInterrupt and SystemExit end the server in good order
    and leave its ``run()``.
    """

    #: The type of the clients that the methods get.
    Client: "TypeAlias" = _Client

    def starting(self) -> None:
        """The server runs: the first call. Its address is bound."""

    def shutdown(self) -> None:
        """The server has stopped: the last call. Not made when the process is killed."""

    def authorise(self, client: _Client, data: bytes) -> Optional[bool]:
        """A client proved itself: may it come in? Asked only after ``ServerContext.setAuthorise(True)``.

        What it sends before it is let in is left unacknowledged, so that it repeats it. Whoever is refused,
        or leaves before the decision, gets no ``connect`` and no ``disconnect``.

        :param data: what it brought, a ticket for instance; mpgameserver's clients bring nothing
        :returns: True lets it in, False refuses it; None: ``client.accept()`` or ``client.refuse()`` will say, on
            any thread. An exception refuses it.
        """
        return True

    def connect(self, client: _Client) -> None:
        """A client joined. The same object stands for it until ``disconnect``."""

    def disconnect(self, client: _Client) -> None:
        """A client left, was sent away, fell silent, or the server stops. Nothing more comes from it."""

    def update(self, delta_t: float) -> None:
        """A tick, whether clients are connected or not; ``delta_t`` seconds since the last one."""

    def handle_message(self, client: _Client, seqnum: SeqNum, msg: bytes = b"") -> None:
        """A message.

        :param seqnum: the client's number of the message, from 1 to 65535 and round again
        :param msg: its bytes
        """

    def handle_messages(self, messages: Messages) -> None:
        """Many messages, in the order in which they came. Who overrides it gets all messages here, and none in
        :meth:`handle_message`: for games with so many that a call for each is too dear. ``send_many`` of the server is its
        counterpart.

        An exception ends what it does for the whole list, so catch what one client's message can cause.

        :param messages: for each (client, number, bytes); at least one
        """
        for client, seqnum, msg in messages:
            self.handle_message(client, seqnum, msg)

    def file_offered(self, client: _Client, offer: FileOffer) -> None:
        """A client offers a file: call ``offer.accept(directory)`` or ``offer.refuse()``, in here or later. Asked only after
        ``ServerContext.setFiles()``. Where this is not overridden all are refused."""
        offer.refuse()

    def writable(self, client: _Client) -> None:
        """A client's queue that had refused a message with WouldBlock has room again.

        mpgameserver has no such call: its queues grow instead.
        """

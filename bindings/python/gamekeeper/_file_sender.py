"""How a server's client object and a game's client send files."""

from typing import Optional, Tuple

from ._files import FileCallback, Files, Path, Progress


class FileSender:
    """Who can be sent files."""

    def _files(self) -> Tuple[Files, Optional[int]]:
        """Who sends files, and to which peer."""
        raise NotImplementedError

    def send_file(
        self,
        path: Path,
        name: Optional[str] = None,
        progress: Optional[Progress] = None,
        callback: Optional[FileCallback] = None,
    ) -> int:
        """Sends a file of any length beside all messages, which it does not delay; to a client of a server on any thread.
        When the connection breaks, sending it again to the same receiver goes on where it left off.

        The functions are called on the server's thread, or in ``update`` of a UdpClient.

        :param path: the file; it must not change before the end
        :param name: the name that it is offered under; None: its own
        :param progress: called with the bytes that have arrived, and those in all
        :param callback: called once, with a FileEnd
        :returns: its number, for :meth:`cancel_file`
        :raises StateError: there is no session; files are not enabled here or at the other side; or the wire is
            mpgameserver's
        :raises StalePeerError: the client has left
        :raises WouldBlock: 1024 files wait
        """
        files, peer = self._files()
        return files.send(peer, path, name, progress, callback)

    def cancel_file(self, file: int) -> bool:
        """Gives a file up that is being sent; False: it has ended already."""
        files, peer = self._files()
        return files.cancel(peer, file)

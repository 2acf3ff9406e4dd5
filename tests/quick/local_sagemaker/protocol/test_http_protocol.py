"""What leaves a connection in one step of the event loop leaves it in one system call."""

from __future__ import annotations

import asyncio

from local.sagemaker.protocol.http_protocol import GatheringTransport


class Recorder(asyncio.Transport):
    """Keeps what it is told to send, call by call."""

    def __init__(self) -> None:
        super().__init__({"peername": ("127.0.0.1", 1)})
        self.calls: list[list[bytes]] = []
        self.closed = False

    def writelines(self, pieces: list[bytes]) -> None:  # type: ignore[override]
        assert not self.closed
        self.calls.append(list(pieces))

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        self.closed = True


def test_pieces_of_one_step_go_together_and_those_of_the_next_follow() -> None:
    async def scenario() -> list[list[bytes]]:
        recorder = Recorder()
        transport = GatheringTransport(recorder)
        transport.write(b"head")
        transport.write(b"body")
        assert recorder.calls == []
        await asyncio.sleep(0)
        transport.write(b"next")
        await asyncio.sleep(0)
        return recorder.calls

    assert asyncio.run(scenario()) == [[b"head", b"body"], [b"next"]]


def test_nothing_is_lost_by_closing_and_nothing_is_sent_after_it() -> None:
    async def scenario() -> Recorder:
        recorder = Recorder()
        transport = GatheringTransport(recorder)
        transport.write(b"last")
        transport.close()
        transport.write(b"too late")
        await asyncio.sleep(0)
        assert transport.get_extra_info("peername") == ("127.0.0.1", 1)  # all else is the transport's own
        return recorder

    recorder = asyncio.run(scenario())
    assert (recorder.calls, recorder.closed) == ([[b"last"]], True)

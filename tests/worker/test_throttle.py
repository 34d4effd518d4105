from __future__ import annotations

from dlm_engine.worker.throttle import Throttle


def test_what_comes_too_soon_waits_and_the_last_is_never_lost() -> None:
    now = [0.0]
    sent: list[tuple[float, int]] = []
    throttle: Throttle[int] = Throttle(
        lambda value: sent.append((now[0], value)), interval=1.0, clock=lambda: now[0]
    )
    for tenth in range(25):
        now[0] = tenth / 10
        throttle.offer(tenth)
    throttle.flush()
    throttle.flush()
    assert sent == [(0.0, 0), (1.0, 10), (2.0, 20), (2.4, 24)]


def test_what_is_kept_back_can_be_added_up() -> None:
    sent: list[str] = []
    throttle: Throttle[str] = Throttle(
        sent.append, lambda old, new: old + new, interval=1.0, clock=lambda: 0.0
    )
    for letter in "abc":
        throttle.offer(letter)
    throttle.flush()
    assert sent == ["a", "bc"]

"""Prepare the next items in a thread while the model computes."""

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar('Item')
_END = object()


def read_ahead(items: Iterable[Item], count: int) -> Iterator[Item]:
    """Iterate over items that a thread makes ``count`` ahead.

    Decoders and NumPy release Python's lock, so that one thread suffices. What the items raise is
    raised here.
    """
    items = iter(items)
    thread = ThreadPoolExecutor(1, thread_name_prefix='read_ahead')
    try:
        ahead = deque(thread.submit(next, items, _END) for _ in range(count))
        while (item := ahead.popleft().result()) is not _END:
            ahead.append(thread.submit(next, items, _END))
            yield item
    finally:
        thread.shutdown(cancel_futures=True)

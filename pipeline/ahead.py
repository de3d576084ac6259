"""Work on a stream of items in threads, ahead of whoever needs the results, in order."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


class Ahead(Iterator[Result], Generic[Item, Result]):
    """What a function makes of every item, in the order of the items; the first ones are begun at once.

    Threads suffice for functions that release the interpreter lock, as decoders and tokenizers do.
    """

    def __init__(
        self,
        function: Callable[[Item], Result],
        items: Iterable[Item],
        *,
        workers: int,
        ahead: int,
        name: str = "ahead",
    ) -> None:
        """Use `workers` threads, called `name`; at most `ahead` items are begun and not yet taken."""
        self._function = function
        self._items = iter(items)
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix=name)
        self._waiting: deque[Future[Result]] = deque()
        self._begin(ahead)

    def __next__(self) -> Result:
        """The next result.

        Raises:
            Exception: whatever the function raises for this item.
        """
        if not self._waiting:
            raise StopIteration
        result = self._waiting.popleft().result()
        self._begin(1)
        return result

    def close(self) -> None:
        """Drop what is queued and wait for the items in work."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _begin(self, count: int) -> None:
        for item in islice(self._items, count):
            self._waiting.append(self._pool.submit(self._function, item))

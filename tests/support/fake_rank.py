"""A rank whose models are all the denoiser of one addition: `python -m tests.support.fake_rank`."""

from typing import Any

from imageserver.engine.rank.__main__ import main


def open_denoisers(*_: Any) -> Any:
    # Imported here, after the first sign of life: torch takes seconds.
    from tests.support.fake_denoisers import FakeDenoisers

    return FakeDenoisers()


if __name__ == "__main__":
    main(open_denoisers)

"""An HTTP door into a link, for programs on any machine that can post a picture."""

from tx.door.door import Door

__all__ = ["Door"]

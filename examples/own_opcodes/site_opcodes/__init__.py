"""Two opcodes of one's own: the smallest useful one, and one with everything."""

from site_opcodes.checksums import OpListChecksums
from site_opcodes.port import OpWaitForPort

__all__ = ["OpListChecksums", "OpWaitForPort"]

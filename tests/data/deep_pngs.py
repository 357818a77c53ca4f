"""PNGs of 16 bits a channel, most of which Pillow cannot write: by hand."""

import struct
import zlib

import numpy as np

_KINDS = {1: 0, 2: 4, 3: 2, 4: 6}  # Channels -> PNG's colour type.


def write(path, numbers, clear=()):
  """Writes [H, W, C] uint16; one colour may be named as clear."""
  height, width, channels = numbers.shape
  header = struct.pack('>IIBBBBB', width, height, 16, _KINDS[channels], 0, 0, 0)
  rows = b''.join(b'\0' + row.astype('>u2').tobytes() for row in numbers)
  chunks = [(b'IHDR', header)]
  if clear:
    chunks.append((b'tRNS', np.array(clear, '>u2').tobytes()))
  chunks += [(b'IDAT', zlib.compress(rows)), (b'IEND', b'')]
  content = b'\x89PNG\r\n\x1a\n'
  for kind, data in chunks:
    check = zlib.crc32(kind + data)
    content += struct.pack('>I', len(data)) + kind + data
    content += struct.pack('>I', check)
  path.write_bytes(content)
  return path

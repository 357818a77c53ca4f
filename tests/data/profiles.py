"""ICC profiles for tests, written by hand from their primaries."""

import struct

_WHITE = (0.9642, 1.0, 0.8249)  # D50, to which profiles refer.

# XYZ of red, green and blue under D50.
DISPLAY_P3 = (
  (0.51512, 0.24120, -0.00105),
  (0.29198, 0.69225, 0.04189),
  (0.15710, 0.06657, 0.78407),
)
ADOBE_RGB = (
  (0.60974, 0.31111, 0.01947),
  (0.20528, 0.62567, 0.06087),
  (0.14919, 0.06322, 0.74457),
)


def _fixed(value: float) -> bytes:
  return struct.pack('>i', round(value * 65536))


def _xyz(values) -> bytes:
  return b'XYZ \0\0\0\0' + b''.join(map(_fixed, values))


def _curve(gamma: float) -> bytes:
  return b'curv\0\0\0\0' + struct.pack('>IH', 1, round(gamma * 256)) + b'\0\0'


def _cmyk_to_lab() -> bytes:
  """A table of two points an axis, in which each ink darkens."""
  head = b'mft2\0\0\0\0' + bytes([4, 3, 2, 0])
  head += b''.join(map(_fixed, (1, 0, 0, 0, 1, 0, 0, 0, 1)))
  ramp = struct.pack('>HH', 0, 65535)
  inks = [[(i >> bit) & 1 for bit in (3, 2, 1, 0)] for i in range(16)]
  table = b''
  for cyan, magenta, yellow, black in inks:
    lightness = 0.0 if black else 100 - 25 * (cyan + magenta + yellow)
    lab = (
      lightness / 100 * 65280,
      32768 + (0 if black else 60 * 256 * (magenta - cyan)),
      32768 + (0 if black else 60 * 256 * yellow),
    )
    table += struct.pack('>HHH', *(min(65535, round(v)) for v in lab))
  return head + struct.pack('>HH', 2, 2) + ramp * 4 + table + ramp * 3


def _assemble(space: bytes, connection: bytes, kind: bytes, tags) -> bytes:
  """Returns an ICC v2 profile."""
  name = b'desc\0\0\0\0' + struct.pack('>I', 2) + b'P\0' + b'\0' * 78
  tags = [
    (b'desc', name),
    (b'cprt', b'text\0\0\0\0x\0'),
    (b'wtpt', _xyz(_WHITE)),
    *tags,
  ]
  start = 128 + 4 + 12 * len(tags)
  table, data = struct.pack('>I', len(tags)), b''
  for tag, value in tags:
    value += b'\0' * (-len(value) % 4)
    table += struct.pack('>4sII', tag, start + len(data), len(value))
    data += value
  head = struct.pack(
    '>I4sI4s4s4s12s4s',
    start + len(data),
    b'\0' * 4,
    0x02100000,
    kind,
    space,
    connection,
    b'\0' * 12,
    b'acsp',
  )
  head = head.ljust(68, b'\0') + b''.join(map(_fixed, _WHITE))
  return head.ljust(128, b'\0') + table + data


def of_primaries(primaries, gamma: float = 2.2) -> bytes:
  """Returns the profile of a display or a camera."""
  tags = zip((b'rXYZ', b'gXYZ', b'bXYZ'), map(_xyz, primaries))
  curves = [(tag, _curve(gamma)) for tag in (b'rTRC', b'gTRC', b'bTRC')]
  return _assemble(b'RGB ', b'XYZ ', b'mntr', [*tags, *curves])


def of_grey(gamma: float) -> bytes:
  return _assemble(b'GRAY', b'XYZ ', b'mntr', [(b'kTRC', _curve(gamma))])


def of_print() -> bytes:
  return _assemble(b'CMYK', b'Lab ', b'prtr', [(b'A2B0', _cmyk_to_lab())])

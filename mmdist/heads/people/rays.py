"""Rays against triangles: Embree through its C interface.

Owns the device, scenes and packets of rays. The library is the one inside the
package `embreex` (extra `heads`); its own Python classes copy a mesh number by
number, which takes longer than drawing. Here a scene shares numpy's memory,
and 16 rays cross the border at once. The GIL is released meanwhile.
"""

import ctypes
import functools
import importlib.util
import pathlib
import weakref

import numpy as np

from mmdist.core import errors

PACKAGE = 'embreex'
# Of Embree 4's `rtcore_geometry.h`, `rtcore_buffer.h` and `rtcore_common.h`.
_TRIANGLES = 0
_INDICES, _VERTICES = 0, 1
_UINT3, _FLOAT3 = 0x5003, 0x9003
_BUILD_LOW = 0
_COHERENT = 1 << 16
_ALL_FEATURES = 0xFFFFFFFF
_NOTHING = 0xFFFFFFFF
_LANES = 16
# Rows of `RTCRayHit16`, each of 16 floats or integers: a ray, then a hit. The
# last rows are instance numbers, one more of them in some builds.
_ORIGIN, _NEAR, _DIRECTION, _FAR, _MASK = 0, 3, 4, 8, 9
_U, _V, _TRIANGLE, _GEOMETRY = 15, 16, 17, 18
_ROWS = 21
# Embree wants 64 bytes; numpy promises 16.
_ALIGNMENT = 64
# What a hit triangle's own surface may be away from a ray that starts on it.
_START = 1e-4


class Scene:
  """Triangles that rays can be shot at.

  Attributes:
    num_triangles: T.
  """

  def __init__(self, vertices: np.ndarray, triangles: np.ndarray):
    """Builds the tree.

    Args:
      vertices: [N, 3] float32.
      triangles: [T, 3] rows of `vertices`.
    """
    library, device = _library(), _device()
    self.num_triangles = len(triangles)
    # Embree reads 16 bytes at each vertex, so one float follows the last.
    self._vertices = np.zeros((len(vertices) + 1, 3), np.float32)
    self._vertices[:-1] = vertices
    self._triangles = np.ascontiguousarray(triangles, np.uint32)
    geometry = library.rtcNewGeometry(device, _TRIANGLES)
    for kind, layout, array, count in (
      (_VERTICES, _FLOAT3, self._vertices, len(vertices)),
      (_INDICES, _UINT3, self._triangles, len(triangles)),
    ):
      library.rtcSetSharedGeometryBuffer(
        geometry, kind, 0, layout, array.ctypes.data, 0, 12, count
      )
    library.rtcSetGeometryBuildQuality(geometry, _BUILD_LOW)
    library.rtcCommitGeometry(geometry)
    self._scene = library.rtcNewScene(device)
    library.rtcSetSceneBuildQuality(self._scene, _BUILD_LOW)
    library.rtcAttachGeometry(self._scene, geometry)
    library.rtcReleaseGeometry(geometry)
    library.rtcCommitScene(self._scene)
    weakref.finalize(self, library.rtcReleaseScene, self._scene)

  def intersect(
    self, origins: np.ndarray, directions: np.ndarray
  ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns what rays hit first.

    Args:
      origins: [R, 3] or [3] float32.
      directions: [R, 3] float32, of any length.

    Returns:
      ([R] int32 triangle or -1, [R] distance in lengths of the direction,
      [R, 2] weights of the triangle's second and third vertex).
    """
    packets = self._shoot(origins, directions, np.inf, 'rtcIntersect16')
    count = len(directions)
    triangle = packets[:, _TRIANGLE].reshape(-1)[:count].view(np.int32)
    far = packets[:, _FAR].reshape(-1)[:count]
    weights = packets[:, [_U, _V]].transpose(0, 2, 1).reshape(-1, 2)[:count]
    return triangle.copy(), far.copy(), weights

  def is_occluded(
    self, origins: np.ndarray, directions: np.ndarray, far: float
  ) -> np.ndarray:
    """Returns [R] whether anything lies within `far` along rays."""
    packets = self._shoot(origins, directions, far, 'rtcOccluded16')
    # Embree marks a ray that hits with a distance of minus infinity.
    return packets[:, _FAR].reshape(-1)[: len(directions)] < 0

  def _shoot(
    self, origins: np.ndarray, directions: np.ndarray, far: float, name: str
  ) -> np.ndarray:
    """Fills packets, has Embree follow them, returns [P, rows, lanes]."""
    packets = _packets(origins, directions, far)
    call = getattr(_library(), name)
    mask, arguments = _every_lane().ctypes.data, _arguments().ctypes.data
    first, step = packets.ctypes.data, packets.strides[0]
    scene = self._scene
    for address in range(first, first + step * len(packets), step):
      call(mask, scene, address, arguments)
    return packets


def _packets(
  origins: np.ndarray, directions: np.ndarray, far: float
) -> np.ndarray:
  """Returns [P, rows, lanes] float32 rays; the last packet is filled up."""
  count = -(-len(directions) // _LANES)
  size = count * _ROWS * _LANES
  memory = np.empty(size + _ALIGNMENT // 4, np.float32)
  start = -memory.ctypes.data % _ALIGNMENT // 4
  packets = memory[start : start + size].reshape(count, _ROWS, _LANES)
  missing = count * _LANES - len(directions)

  def lanes(vectors: np.ndarray) -> np.ndarray:
    if missing:
      vectors = np.concatenate([vectors, np.repeat(vectors[-1:], missing, 0)])
    return vectors.reshape(count, _LANES, 3).transpose(0, 2, 1)

  origins = np.asarray(origins, np.float32)
  packets[:, _ORIGIN : _ORIGIN + 3] = (
    lanes(origins) if origins.ndim > 1 else origins[:, None]
  )
  packets[:, _NEAR] = _START
  packets[:, _DIRECTION : _DIRECTION + 3] = lanes(
    np.asarray(directions, np.float32)
  )
  packets[:, _DIRECTION + 3] = 0.0
  packets[:, _FAR] = far
  packets[:, _MASK:] = np.array(_NOTHING, np.uint32).view(np.float32)
  packets[:, _MASK + 1 : _MASK + 3] = 0
  return packets


@functools.cache
def _every_lane() -> np.ndarray:
  """16 times 'this ray counts', on an aligned address."""
  memory = np.full(2 * _LANES, -1, np.int32)
  start = -memory.ctypes.data % _ALIGNMENT // 4
  return memory[start : start + _LANES]


@functools.cache
def _arguments() -> np.ndarray:
  """`RTCIntersectArguments`, and as well `RTCOccludedArguments`."""
  return np.array([_COHERENT, _ALL_FEATURES] + [0] * 14, np.uint32)


@functools.cache
def _library() -> ctypes.CDLL:
  """Loads Embree and says what its functions take.

  Raises:
    UserError: the package that brings it is not installed, or brings none.
  """
  found = importlib.util.find_spec(PACKAGE)
  if found is None or found.origin is None:
    raise errors.UserError(
      f'heads of people need the package {PACKAGE!r}, which is not installed; '
      "install the extra 'heads': pip install 'mmdist[heads]'."
    )
  package = pathlib.Path(found.origin).parent
  paths = [
    path
    for folder in (package.parent / f'{PACKAGE}.libs', package / '.dylibs')
    for path in sorted(folder.glob('*embree4*'))
  ]
  if not paths:
    raise errors.UserError(
      f'the package {PACKAGE!r} in {package} brings no Embree 4; install a '
      "wheel of it: pip install --only-binary=:all: 'mmdist[heads]'."
    )
  return _typed(ctypes.CDLL(str(paths[0])))


def _typed(library: ctypes.CDLL) -> ctypes.CDLL:
  pointer, number, size = ctypes.c_void_p, ctypes.c_uint, ctypes.c_size_t
  for name, result, takes in (
    ('rtcNewDevice', pointer, [ctypes.c_char_p]),
    ('rtcNewScene', pointer, [pointer]),
    ('rtcNewGeometry', pointer, [pointer, ctypes.c_int]),
    ('rtcSetGeometryBuildQuality', None, [pointer, ctypes.c_int]),
    ('rtcSetSceneBuildQuality', None, [pointer, ctypes.c_int]),
    ('rtcCommitGeometry', None, [pointer]),
    ('rtcAttachGeometry', number, [pointer, pointer]),
    ('rtcReleaseGeometry', None, [pointer]),
    ('rtcCommitScene', None, [pointer]),
    ('rtcReleaseScene', None, [pointer]),
    ('rtcIntersect16', None, [pointer] * 4),
    ('rtcOccluded16', None, [pointer] * 4),
    (
      'rtcSetSharedGeometryBuffer',
      None,
      [pointer, ctypes.c_int, number, ctypes.c_int, pointer, size, size, size],
    ),
  ):
    function = getattr(library, name)
    function.restype, function.argtypes = result, takes
  return library


@functools.cache
def _device() -> int:
  """Embree's state in this process: the caller's thread builds alone."""
  device = _library().rtcNewDevice(b'threads=1,set_affinity=0')
  if not device:
    raise errors.UserError(
      'Embree found no processor that it knows; heads of people need x86-64 '
      'with SSE4.2, or arm64.'
    )
  return device

"""A triangle mesh inside a page, to be turned with the mouse.

Owns the script, which needs WebGL and nothing from elsewhere, and the packing
of a mesh into text. Which mesh is shown is the caller's.
"""

import base64
import dataclasses

import numpy as np

# A vertex: position 3 x uint16 in the bounding box, normal 3 x int8, colour
# 3 x uint8. `SCRIPT` reads the same.
_VERTEX = np.dtype(
  [('position', '<u2', 3), ('normal', 'i1', 3), ('color', 'u1', 3)]
)
_MAX_VERTICES = 2**16  # Indices are uint16.

SCRIPT = """
(() => {
  const canvas = document.querySelector('canvas[data-mesh]');
  const gl = canvas.getContext('webgl', {alpha: false});
  if (!gl) {
    const note = document.createElement('p');
    note.textContent = 'This browser has no WebGL, which shows the mesh.';
    canvas.replaceWith(note);
    return;
  }
  const bytes = Uint8Array.from(
    atob(canvas.dataset.mesh), letter => letter.charCodeAt(0));
  const numVertices = Number(canvas.dataset.vertices);
  const numIndices = (bytes.length - 12 * numVertices) / 2;
  const [low, high] = ['low', 'high'].map(
    name => canvas.dataset[name].split(' ').map(Number));
  const size = low.map((value, axis) => high[axis] - value);
  const center = low.map((value, axis) => value + size[axis] / 2);
  const radius = Math.hypot(...size) / 2;

  const compile = (kind, text) => {
    const shader = gl.createShader(kind);
    gl.shaderSource(shader, text);
    gl.compileShader(shader);
    return shader;
  };
  const program = gl.createProgram();
  gl.attachShader(program, compile(gl.VERTEX_SHADER, `
    attribute vec3 position, normal, color;
    uniform vec3 low, size, center, right, up, back;
    uniform float away, radius, aspect, clay;
    varying vec3 shown;
    void main() {
      vec3 p = low + size * position - center;
      vec3 seen = vec3(dot(right, p), dot(up, p), dot(back, p) - away);
      float near = away - 1.2 * radius, far = away + 1.2 * radius;
      near = max(near, 0.05 * radius);
      float depth = (-seen.z * (far + near) - 2.0 * far * near) / (far - near);
      float zoom = 4.0;
      gl_Position = vec4(zoom * seen.x / aspect, zoom * seen.y, depth, -seen.z);
      vec3 n = normalize(normal);
      n = vec3(dot(right, n), dot(up, n), dot(back, n));
      float light = max(dot(n, normalize(vec3(-0.4, 0.5, 1.0))), 0.0);
      vec3 own = color * (0.75 + 0.25 * light);
      shown = mix(own, vec3(0.15 + 0.7 * light), clay);
    }`));
  gl.attachShader(program, compile(gl.FRAGMENT_SHADER, `
    precision mediump float;
    varying vec3 shown;
    void main() { gl_FragColor = vec4(shown, 1.0); }`));
  gl.linkProgram(program);
  gl.useProgram(program);

  gl.bindBuffer(gl.ARRAY_BUFFER, gl.createBuffer());
  gl.bufferData(
    gl.ARRAY_BUFFER, bytes.subarray(0, 12 * numVertices), gl.STATIC_DRAW);
  gl.bindBuffer(gl.ELEMENT_ARRAY_BUFFER, gl.createBuffer());
  gl.bufferData(
    gl.ELEMENT_ARRAY_BUFFER, bytes.subarray(12 * numVertices), gl.STATIC_DRAW);
  [['position', gl.UNSIGNED_SHORT, 0], ['normal', gl.BYTE, 6],
   ['color', gl.UNSIGNED_BYTE, 9]].forEach(([name, kind, offset]) => {
    const place = gl.getAttribLocation(program, name);
    gl.enableVertexAttribArray(place);
    gl.vertexAttribPointer(place, 3, kind, true, 12, offset);
  });
  gl.enable(gl.DEPTH_TEST);
  gl.clearColor(0.85, 0.85, 0.85, 1);

  const start = {azimuth: 0.5, elevation: 0.1, distance: 3.4 * radius};
  const eye = {...start};
  const clay = document.querySelector('#clay');
  const set = (name, value) => {
    const place = gl.getUniformLocation(program, name);
    Array.isArray(value) ?
      gl.uniform3fv(place, value) : gl.uniform1f(place, value);
  };
  const draw = () => {
    const scale = window.devicePixelRatio || 1;
    canvas.width = Math.round(canvas.clientWidth * scale);
    canvas.height = Math.round(canvas.clientHeight * scale);
    gl.viewport(0, 0, canvas.width, canvas.height);
    gl.clear(gl.COLOR_BUFFER_BIT | gl.DEPTH_BUFFER_BIT);
    const {azimuth: a, elevation: e, distance} = eye;
    Object.entries({
      low, size, center, radius, away: distance,
      right: [Math.cos(a), 0, -Math.sin(a)],
      up: [-Math.sin(e) * Math.sin(a), Math.cos(e),
           -Math.sin(e) * Math.cos(a)],
      back: [Math.cos(e) * Math.sin(a), Math.sin(e),
             Math.cos(e) * Math.cos(a)],
      aspect: canvas.width / canvas.height,
      clay: clay.checked ? 1 : 0,
    }).forEach(([name, value]) => set(name, value));
    gl.drawElements(gl.TRIANGLES, numIndices, gl.UNSIGNED_SHORT, 0);
    canvas.dataset.drawn = `${a.toFixed(3)} ${e.toFixed(3)}`;
  };
  let waiting = false;
  const redraw = () => {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => { waiting = false; draw(); });
  };
  const turn = (across, up) => {
    eye.azimuth -= across;
    eye.elevation = Math.max(-1.5, Math.min(1.5, eye.elevation + up));
    redraw();
  };
  const zoom = factor => {
    eye.distance = Math.max(
      1.3 * radius, Math.min(8 * radius, eye.distance * factor));
    redraw();
  };
  canvas.addEventListener(
    'pointerdown', event => canvas.setPointerCapture(event.pointerId));
  canvas.addEventListener('pointermove', event => {
    if (event.buttons & 1) {
      turn(event.movementX * 0.008, event.movementY * 0.008);
    }
  });
  // Only with Ctrl, or by pinching: else the page could not be scrolled.
  canvas.addEventListener('wheel', event => {
    if (!event.ctrlKey) return;
    event.preventDefault();
    zoom(Math.exp(event.deltaY * 0.002));
  }, {passive: false});
  canvas.addEventListener('dblclick', () => {
    Object.assign(eye, start);
    redraw();
  });
  const keys = {
    ArrowLeft: () => turn(-0.1, 0), ArrowRight: () => turn(0.1, 0),
    ArrowUp: () => turn(0, -0.1), ArrowDown: () => turn(0, 0.1),
    '+': () => zoom(0.9), '-': () => zoom(1.1),
  };
  canvas.addEventListener('keydown', event => {
    if (!(event.key in keys)) return;
    event.preventDefault();
    keys[event.key]();
  });
  clay.addEventListener('change', redraw);
  window.addEventListener('resize', redraw);
  draw();
})();
"""


@dataclasses.dataclass(frozen=True, eq=False)
class ViewedMesh:
  """What is shown.

  Attributes:
    vertices: [N, 3] world units, at most 65,536.
    normals: [N, 3] of unit length, outward.
    colors: [N, 3] display colours in [0, 1].
    faces: [M, 3] numbers of vertices.
  """

  vertices: np.ndarray
  normals: np.ndarray
  colors: np.ndarray
  faces: np.ndarray

  def __post_init__(self) -> None:
    if len(self.vertices) > _MAX_VERTICES:
      raise ValueError(
        f'a mesh of {len(self.vertices)} vertices; a page shows at most '
        f'{_MAX_VERTICES}, so decimate it first.'
      )


def pack(mesh: ViewedMesh) -> bytes:
  """Returns the vertices, 12 bytes each, then the indices as uint16."""
  low, high = _bounds(mesh)
  vertices = np.zeros(len(mesh.vertices), _VERTEX)
  share = (mesh.vertices - low) / (high - low)
  vertices['position'] = np.round(share * (2**16 - 1))
  vertices['normal'] = np.round(np.clip(mesh.normals, -1, 1) * 127)
  vertices['color'] = np.round(np.clip(mesh.colors, 0, 1) * 255)
  return vertices.tobytes() + mesh.faces.astype('<u2').tobytes()


def _bounds(mesh: ViewedMesh) -> tuple[np.ndarray, np.ndarray]:
  low = np.min(mesh.vertices, 0).astype(np.float64)
  high = np.max(mesh.vertices, 0).astype(np.float64)
  return low, np.maximum(high, low + 1e-6)  # A flat mesh has a box too.


def figure(mesh: ViewedMesh) -> str:
  """Returns the element that `SCRIPT` draws into, with the mesh inside it."""
  low, high = (
    ' '.join(f'{value:.6g}' for value in corner) for corner in _bounds(mesh)
  )
  data = base64.b64encode(pack(mesh)).decode()
  return (
    '<figure class="mesh"><canvas tabindex="0" role="img" '
    'aria-label="the triangle mesh; arrow keys turn it" '
    f'data-vertices="{len(mesh.vertices)}" data-low="{low}" '
    f'data-high="{high}" data-mesh="{data}"></canvas>'
    '<figcaption>Triangle mesh: drag or arrow keys turn it, Ctrl and the wheel '
    'or + and - zoom, a double click starts again. '
    '<label><input type="checkbox" id="clay"> shape only</label>'
    '</figcaption></figure>'
  )

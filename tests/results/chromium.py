"""A headless Chromium, spoken to by its own protocol over two pipes.

Only the standard library is used: no driver, no package. (Chrome DevTools
Protocol, `--remote-debugging-pipe`: messages are JSON and end with a zero.)
"""

import base64
import contextlib
import json
import os
import shutil
import subprocess
import time

import pytest

PATH = shutil.which('chromium') or shutil.which('chromium-browser')
needs_chromium = pytest.mark.skipif(
  PATH is None, reason='Chromium is not installed: apt-get install chromium'
)
# WebGL by the processor: tests have no graphics card.
FLAGS = (
  '--headless',
  '--no-sandbox',
  '--use-angle=swiftshader',
  '--enable-unsafe-swiftshader',
  '--hide-scrollbars',
  '--remote-debugging-pipe',
)
DEADLINE_S = 120.0


class Page:
  """One page of the browser.

  Attributes:
    errors: what the page's scripts, and the browser's policy, complained of.
  """

  def __init__(self, send, receive):
    self._send, self._receive = send, receive
    self._number = 0
    self._buffer = b''
    self._session = None
    self.errors = []
    target = self.call('Target.createTarget', url='about:blank')
    self._session = self.call(
      'Target.attachToTarget', targetId=target['targetId'], flatten=True
    )['sessionId']
    for domain in ('Page', 'Runtime', 'Log'):
      self.call(f'{domain}.enable')

  def call(self, method, **params):
    """Calls a method of the protocol; returns its result."""
    self._number += 1
    message = {'id': self._number, 'method': method, 'params': params}
    if self._session:
      message['sessionId'] = self._session
    os.write(self._send, json.dumps(message).encode() + b'\0')
    while True:
      answer = self._next()
      if answer.get('id') == self._number:
        assert 'error' not in answer, answer
        return answer['result']

  def _next(self):
    while b'\0' not in self._buffer:
      data = os.read(self._receive, 2**20)
      assert data, 'Chromium has ended.'
      self._buffer += data
    line, _, self._buffer = self._buffer.partition(b'\0')
    message = json.loads(line)
    if message.get('method') == 'Runtime.exceptionThrown':
      self.errors.append(message['params']['exceptionDetails'])
    if message.get('method') == 'Log.entryAdded':
      entry = message['params']['entry']
      self.errors += [entry] if entry['level'] == 'error' else []
    return message

  def open(self, path, width, height):
    """Shows a file in a window of this size, and waits until it is there."""
    self.call(
      'Emulation.setDeviceMetricsOverride',
      width=width,
      height=height,
      deviceScaleFactor=1,
      mobile=False,
    )
    self.call('Page.navigate', url=path.resolve().as_uri())
    self.wait_for(
      "location.protocol === 'file:' && document.readyState === 'complete'"
    )

  def run(self, script):
    """Returns the value of a JavaScript expression."""
    result = self.call(
      'Runtime.evaluate', expression=script, returnByValue=True
    )['result']
    return result.get('value')

  def wait_for(self, script):
    """Waits until an expression is true."""
    start = time.monotonic()
    while not self.run(script):
      assert time.monotonic() - start < DEADLINE_S, script
      time.sleep(0.05)

  def drag(self, x, y, across, down):
    """Presses the mouse at (x, y), moves it, and lets it go."""
    for kind, dx, dy, buttons in (
      ('mousePressed', 0, 0, 1),
      ('mouseMoved', across // 2, down // 2, 1),
      ('mouseMoved', across, down, 1),
      ('mouseReleased', across, down, 0),
    ):
      self.call(
        'Input.dispatchMouseEvent',
        type=kind,
        x=x + dx,
        y=y + dy,
        button='left',
        buttons=buttons,
        clickCount=1,
      )

  def screenshot(self, path, whole=False):
    """Writes a PNG of what is seen, or of the whole page."""
    picture = self.call(
      'Page.captureScreenshot',
      captureBeyondViewport=whole,
      **_clip(self, whole),
    )
    path.write_bytes(base64.b64decode(picture['data']))


def _clip(page, whole):
  if not whole:
    return {}
  size = page.call('Page.getLayoutMetrics')['cssContentSize']
  box = {name: size[name] for name in ('x', 'y', 'width', 'height')}
  return {'clip': {**box, 'scale': 1}}


@contextlib.contextmanager
def browser(folder):
  """Starts Chromium with a profile in a folder; yields a page."""
  to_browser, send = os.pipe()
  receive, from_browser = os.pipe()

  command = [PATH, *FLAGS, f'--user-data-dir={folder}/profile']
  # The protocol's pipes are the descriptors 3 and 4, by definition.
  shell = f'exec 3<&{to_browser} 4>&{from_browser}; exec "$@"'
  process = subprocess.Popen(
    ['bash', '-c', shell, 'bash', *command],
    pass_fds=(to_browser, from_browser),
    stdout=subprocess.DEVNULL,
    stderr=subprocess.DEVNULL,
  )
  os.close(to_browser)
  os.close(from_browser)
  try:
    yield Page(send, receive)
  finally:
    os.close(send)  # It ends when nobody speaks to it any more.
    try:
      process.wait(30)
    except subprocess.TimeoutExpired:
      process.kill()
      process.wait()
    os.close(receive)

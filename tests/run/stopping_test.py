import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from mmdist.run import stopping


def test_the_first_signal_asks(capfd):
  before = signal.getsignal(signal.SIGTERM)
  with stopping.Stopper() as stop:
    stop.has_begun = True
    assert not stop.asked
    os.kill(os.getpid(), signal.SIGTERM)
    assert stop.asked
  assert 'SIGTERM: saving after this step' in capfd.readouterr().err
  assert signal.getsignal(signal.SIGTERM) == before


def test_a_step_that_takes_too_long_is_overdue():
  with stopping.Stopper(grace_s=0.05) as stop:
    stop.check_stop()  # Nobody has asked.
    stop.has_begun = True
    os.kill(os.getpid(), signal.SIGINT)
    stop.check_stop()
    time.sleep(0.1)
    with pytest.raises(stopping.Overdue):
      stop.check_stop()


def test_a_second_signal_ends_at_once():
  program = (
    'import os, signal\n'
    'from mmdist.run import stopping\n'
    'with stopping.Stopper():\n'
    '  os.kill(os.getpid(), signal.SIGTERM)\n'
    '  os.kill(os.getpid(), signal.SIGINT)\n'
    '  print("still here")\n'
  )
  run = subprocess.run([sys.executable, '-c', program], capture_output=True)
  assert run.returncode == 128 + signal.SIGINT
  assert not run.stdout


def test_a_thread_hears_nothing():
  before = signal.getsignal(signal.SIGTERM)
  seen = []

  def work():
    with stopping.Stopper() as stop:
      seen.append((stop.asked, signal.getsignal(signal.SIGTERM)))

  thread = threading.Thread(target=work)
  thread.start()
  thread.join()
  assert seen == [(False, before)]


def test_before_the_first_step_nothing_is_waited_for(capfd):
  with stopping.Stopper(grace_s=60) as stop:
    os.kill(os.getpid(), signal.SIGTERM)
    with pytest.raises(stopping.Overdue):
      stop.check_stop()
  assert 'SIGTERM: ending; once more' in capfd.readouterr().err

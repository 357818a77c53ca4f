"""What can be said of the templates where there is no such cluster.

No Slurm, no Kubernetes and no second machine is here: the files are held to
the schemas that are at hand, and the script to stand-ins of its programs.
"""

import configparser
import json
import os
import pathlib
import shlex
import signal
import subprocess
import time

import jsonschema
import ray
import yaml

from launchers import command_line
from launchers import optimize

ROOT = pathlib.Path(__file__).resolve().parents[2]
FOLDER = ROOT / 'launchers' / 'cluster'
PINS = (ROOT / 'constraints.txt').read_text().split()


def read(name):
  return yaml.safe_load((FOLDER / name).read_text(encoding='utf-8'))


def test_the_wheel_packs_the_templates():
  setup = configparser.ConfigParser()
  setup.read(ROOT / 'setup.cfg')
  packed = setup['options.package_data']['mmdist.launchers'].split()
  assert packed == ['cluster/*']
  names = {path.name for path in FOLDER.iterdir() if path.is_file()}
  assert names == {'README.md', 'kuberay.yaml', 'ray_up.yaml', 'slurm.sh'}


def test_ray_up_reads_its_file():
  schema = pathlib.Path(ray.__file__).parent / 'autoscaler' / 'ray-schema.json'
  config = read('ray_up.yaml')
  jsonschema.validate(config, json.loads(schema.read_text()))
  assert config['max_workers'] == len(config['provider']['worker_ips'])
  (start,) = [x for x in config['head_start_ray_commands'] if '--head' in x]
  assert '--num-cpus=0' in start and 'RAY_AUTH_MODE=token' in start
  assert '--dashboard-host=127.0.0.1' in start


def test_a_ray_job_of_kubernetes_has_what_it_needs():
  job = read('kuberay.yaml')
  assert (job['apiVersion'], job['kind']) == ('ray.io/v1', 'RayJob')
  cluster = job['spec']['rayClusterSpec']
  assert f'ray=={cluster["rayVersion"]}' in PINS
  assert cluster['authOptions'] == {'mode': 'token'}
  head = cluster['headGroupSpec']
  assert head['rayStartParams']['num-cpus'] == '0'
  groups = [head, *cluster['workerGroupSpecs']]
  for group in groups:
    pod = group['template']['spec']
    volumes = {volume['name'] for volume in pod['volumes']}
    (container,) = pod['containers']
    assert container['image'] and container['resources']['limits']
    assert {m['name'] for m in container['volumeMounts']} <= volumes
  for value in cluster['workerGroupSpecs'][0]['rayStartParams'].values():
    assert isinstance(value, str)


def test_its_entrypoint_is_a_command_that_is_understood():
  entrypoint = read('kuberay.yaml')['spec']['entrypoint']
  program, name, *words = shlex.split(entrypoint)
  assert (program, name) == ('mmdist', 'optimize')
  command = optimize.COMMAND
  config, options = command_line.parse(
    [name, *words], command.options, command.config
  )
  assert config.prompt.endswith('with green skin')
  assert options.ray_address == 'auto' and not options.ship_code


# Stand-ins: each notes how it was called. srun runs what it is given, here.
STAND_INS = {
  'scontrol': 'printf "one\\ntwo\\nthree\\n"',
  'hostname': 'echo "10.1.2.3 fe80::1"',
  'srun': 'while [[ $1 == --* ]]; do shift; done; exec "$@"',
  'ray': """
echo "ray $*" >> "$NOTES"
stat -c "token %a $RAY_AUTH_MODE $(wc -c < "$RAY_AUTH_TOKEN_PATH")" \\
  "$RAY_AUTH_TOKEN_PATH" >> "$NOTES"
[[ $1 == status ]] && { echo "3.0/8.0 CPU"; exit; }
exec sleep 600
""",
  'mmdist': """
echo "mmdist $*" >> "$NOTES"
trap 'echo saved >> "$NOTES"; exit 0' TERM
[[ $2 == --forever ]] || exit 7
while true; do sleep 0.1; done
""",
}


def start_slurm(tmp_path, *words) -> subprocess.Popen:
  programs = tmp_path / 'bin'
  programs.mkdir()
  for name, text in STAND_INS.items():
    (programs / name).write_text(f'#!/bin/bash\n{text}\n')
    (programs / name).chmod(0o755)
  return subprocess.Popen(
    ['bash', str(FOLDER / 'slurm.sh'), *words],
    env={
      'PATH': f'{programs}:{os.environ["PATH"]}',
      'NOTES': str(tmp_path / 'notes'),
      'SLURM_JOB_NODELIST': 'one,two,three',
      'SLURM_SUBMIT_DIR': str(tmp_path),
    },
    stderr=subprocess.PIPE,
    text=True,
  )


def notes_of(tmp_path) -> list[str]:
  path = tmp_path / 'notes'
  return path.read_text().splitlines() if path.exists() else []


def test_a_slurm_job_has_a_head_workers_a_token_and_a_learner(tmp_path):
  process = start_slurm(tmp_path, 'optimize', '--workdir=a b')
  assert process.wait(30) == 7  # The learner's own.
  notes = notes_of(tmp_path)
  (head,) = [note for note in notes if note.startswith('ray start --head')]
  assert '--node-ip-address=10.1.2.3 --port=6379 --num-cpus=0' in head
  assert notes.count('ray start --block --address=10.1.2.3:6379') == 2
  tokens = {note for note in notes if note.startswith('token')}
  assert tokens == {'token 600 token 64'}
  address = '--ray_address=10.1.2.3:6379'
  # The workers start beside it, so its note may stand before theirs.
  assert f'mmdist optimize --workdir=a b {address}' in notes
  assert not list(tmp_path.glob('.ray-token*'))


def test_a_slurm_job_saves_when_its_time_is_over(tmp_path):
  process = start_slurm(tmp_path, 'optimize', '--forever')
  until = time.monotonic() + 30
  while time.monotonic() < until and not any(
    note.startswith('mmdist') for note in notes_of(tmp_path)
  ):
    time.sleep(0.05)
  time.sleep(0.2)  # The stand-in sets its trap after its note.
  process.send_signal(signal.SIGTERM)
  assert process.wait(30) == 0
  assert notes_of(tmp_path)[-1] == 'saved'


def test_a_slurm_job_without_a_command_is_one_line(tmp_path):
  process = start_slurm(tmp_path)
  _, err = process.communicate(timeout=30)
  assert process.returncode == 2
  assert err == 'error: no command; expected optimize or sweep, and its flags\n'

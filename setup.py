"""Which folders are the package; everything else is in setup.cfg.

The wheel has one top-level package, mmdist. Launchers and experiments lie at
the top of a checkout, where people look for them, and inside of it there.
"""

import setuptools

setuptools.setup(
  packages=[
    *setuptools.find_packages(include=['mmdist', 'mmdist.*']),
    'mmdist.launchers',
    'mmdist.experiments',
  ],
  package_dir={
    'mmdist': 'mmdist',
    'mmdist.launchers': 'launchers',
    'mmdist.experiments': 'experiments',
  },
)

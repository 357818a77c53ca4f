"""One proxy per concept, where a prior is asked for that.

Each proxy then learns what the renders look like under one concept's text. That
costs a fit per concept and step. By default one proxy learns all texts of a
prior.
"""

from collections.abc import Collection, Sequence
import hashlib
from typing import Any

import numpy as np

from mmdist.core import messages
from mmdist.priors import proxy as proxies

_STEP = 'step'  # Of the array in a copy that counts a proxy's own fits.


class ConceptProxies:
  """Proxies by their concept's text; see `proxy.Proxy` for what they do.

  A concept's proxy is made when it is first asked for. Until its first fit it
  predicts what the frozen base predicts. Every step fits the proxies of the
  concepts that it asks. Where a run goes on with other concepts, those that are
  new have fewer fits behind them, and those that are gone lose their proxies.

  Attributes:
    step: number of steps whose fits are done; a proxy that came later has
      fewer fits behind it.
  """

  def __init__(
    self,
    unet: Any,
    rank: int = 4,
    adapter: str = proxies.ADAPTER,
    records: bool = False,
  ):
    """Begins without proxies.

    Args:
      unet: a frozen diffusers model; it is changed in place.
      rank: of every adapter.
      adapter: the first part of the adapters' names.
      records: see `proxy.Proxy`.
    """
    self._unet = unet
    self._rank = rank
    self._records = records
    self._adapter = adapter
    self._by_label: dict[str, proxies.Proxy] = {}
    self.step = 0

  def of(self, text: str) -> proxies.Proxy:
    """Returns the proxy of a text without view words."""
    return self._of_label(label_of(text))

  def _of_label(self, label: str) -> proxies.Proxy:
    if label not in self._by_label:
      self._by_label[label] = proxies.Proxy(
        self._unet,
        self._rank,
        adapter=f'{self._adapter}_{label}',
        records=self._records,
      )
    return self._by_label[label]

  def members(self, texts: Sequence[str]) -> dict[str, proxies.Member]:
    """Returns what a fit on texts without view words moves, by a label.

    Proxies of other texts are removed. A run asks all of its concepts at every
    step, so one that is not asked has been taken out of the run.
    """
    asked = {label_of(text): text for text in sorted(set(texts))}
    self._keep_only(asked)
    return {
      label: proxies.Member(self.of(text), (text,))
      for label, text in asked.items()
    }

  def _keep_only(self, labels: Collection[str]) -> None:
    for label in self._by_label.keys() - labels:
      self._by_label.pop(label).remove()

  def save(self) -> messages.ProxyState:
    """Returns a copy of everything learned, optimisers included."""
    arrays: dict[str, np.ndarray] = {}
    for label, proxy in sorted(self._by_label.items()):
      state = proxy.save()
      # Its own count, by which its Adam corrects the bias of its moments.
      arrays[f'{label}/{_STEP}'] = np.asarray(state.step)
      arrays |= {f'{label}/{name}': a for name, a in state.arrays.items()}
    return messages.ProxyState(self.step, arrays)

  def restore(self, state: messages.ProxyState) -> None:
    """Goes back to what `save` returned, bit for bit.

    Raises:
      UserError: the state is of proxies with other layers or another rank.
    """
    parts: dict[str, dict[str, np.ndarray]] = {}
    for name, array in state.arrays.items():
      label, _, rest = name.partition('/')
      parts.setdefault(label, {})[rest] = array
    # A proxy that the copy does not have was made after it. It is removed here,
    # and made anew when it is asked for.
    self._keep_only(parts)
    for label, arrays in parts.items():
      own = arrays.pop(_STEP, None)
      # Checkpoints of schema 2 have no such counts and take all for equal.
      step = state.step if own is None else int(own)
      self._of_label(label).restore(messages.ProxyState(step, arrays))
    self.step = state.step

  def remove(self) -> None:
    """Takes all adapters out of the UNet."""
    for proxy in self._by_label.values():
      proxy.remove()
    self._by_label = {}


def label_of(text: str) -> str:
  """Returns a short name of a text, for arrays and adapters."""
  return hashlib.sha256(text.encode()).hexdigest()[:12]

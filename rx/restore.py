"""The restoration network as a component of a model folder, which diffusers reads and writes."""

# No postponed annotations here: diffusers reads the configuration from ``__init__``.
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin

from rx.restoration import ENDS, Restoration


class RestorationNetwork(Restoration, ModelMixin, ConfigMixin):
    """``rx.restoration.Restoration``; model folders name this class."""

    _keep_in_fp32_modules = list(ENDS)  # noqa: RUF012 - diffusers' own form

    @register_to_config
    def __init__(
        self, width: int = 64, growth: int = 32, blocks: int = 23, small: bool = False
    ) -> None:
        super().__init__(width, growth, blocks, small)

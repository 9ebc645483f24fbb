"""A site's policy: the device that SITE_DEVICE names."""

import os

from mlcore.plugin import hookimpl


class Policy:
    @hookimpl
    def mlcore_choose_device(self, devices):
        return os.environ.get("SITE_DEVICE")


plugin = Policy()

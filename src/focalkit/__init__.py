"""focalkit: learning when almost everything is background."""

"""One file per policy: state and decisions first, its two short drivers last."""
